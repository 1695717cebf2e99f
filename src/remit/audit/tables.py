"""The tables, as SQLAlchemy Core. The migrations build the same ones; a contract test compares the two."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, Table, Text, text
from sqlalchemy.types import TypeEngine

metadata = MetaData()


def text_type() -> TypeEngine[str]:
    """Text compared byte by byte: SQLite's default, and collation "C" on PostgreSQL."""
    return Text().with_variant(Text(collation="C"), "postgresql")


def _text(name: str, default: str | None = None) -> Column[str]:
    return Column(name, text_type(), nullable=False, server_default=None if default is None else text(f"'{default}'"))


def _bytes(name: str, *, primary_key: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary(16), primary_key=primary_key, nullable=False)


def _integer(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


decisions = Table(
    "decisions",
    metadata,
    _bytes("id", primary_key=True),
    _integer("time_us"),
    _text("node"),
    _text("caller"),
    _text("on_behalf_of"),
    _text("tenant"),
    _text("namespace"),
    _text("principal"),
    _text("action"),
    _text("kind"),
    _text("resource_id"),
    _text("effect"),
    _text("reason"),
    _text("rule"),
    _text("revision"),
    _integer("latency_ns"),
    _bytes("call_id"),
    _integer("batch_index"),
    _text("trace_id"),
    # The defaults are those of records from before these columns.
    _text("question", default="CHECK"),
    _text("detail", default=""),
    # The only one: a second, by namespace, writes a page more to the log for each row.
    Index("decisions_by_principal", "tenant", "principal", "id"),
    sqlite_with_rowid=False,
)

lifecycle = Table(
    "lifecycle",
    metadata,
    _bytes("id", primary_key=True),
    _integer("time_us"),
    _text("node"),
    _text("type"),
    _text("tenant"),
    _text("revision"),
    _text("detail"),
    sqlite_with_rowid=False,
)

# Written and emptied again by the store's probe, so that "can it write?" is answered by writing.
probe = Table(
    "probe",
    metadata,
    _bytes("id", primary_key=True),
    Column("filler", LargeBinary, nullable=False),
)
