"""The tables, as SQLAlchemy Core. The migrations build the same ones; a contract test compares the two."""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, Table, Text, column, table, text
from sqlalchemy.types import TypeEngine

from remit.audit.batch import ITEM_FIELDS, CallFields
from remit.audit.record import DecisionRecord, LifecycleRecord

MINUTE_US: Final = 60_000_000
HOUR_US: Final = 60 * MINUTE_US
ALL: Final = ""
"""The dimension without a value: all decisions of the tenant."""
PRINCIPAL: Final = "principal"
NAMESPACE: Final = "namespace"
REVISION: Final = "revision"
CALLER: Final = "caller"
QUESTION: Final = "question"

metadata = MetaData()


def text_type() -> TypeEngine[str]:
    """Text compared byte by byte: SQLite's default, and collation "C" on PostgreSQL."""
    return Text().with_variant(Text(collation="C"), "postgresql")


def _text(name: str, default: str | None = None, *, primary_key: bool = False) -> Column[str]:
    server_default = None if default is None else text(f"'{default}'")
    return Column(name, text_type(), primary_key=primary_key, nullable=False, server_default=server_default)


def _bytes(name: str, length: int | None = 16, *, primary_key: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary(length), primary_key=primary_key, nullable=False)


def _integer(name: str, *, primary_key: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=primary_key, nullable=False, autoincrement=False)


def _place() -> tuple[Column[int], Column[bytes]]:
    """Where a record stands in its chain. The defaults are those of records from before there were chains."""
    return (
        Column("seq", BigInteger, nullable=False, server_default=text("0")),
        Column("hash", LargeBinary(32), nullable=False, server_default=text("''")),
    )


def _chain(*, of: bool = True) -> tuple[Column[str], ...]:
    """Which chain (`audit.chain.ChainId`)."""
    return tuple(_text(name, primary_key=True) for name in (*(("of_table",) if of else ()), "tenant", "node"))


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
    *_place(),
    # The only one: a second, by namespace, writes a page more to the log for each row. It holds namespace and
    # effect so that who looks for what a principal asked in one, or was denied, need not read the rows of all the others.
    Index("decisions_by_principal", "tenant", "principal", "id", "namespace", "effect"),
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
    *_place(),
    Index("lifecycle_by_type", "tenant", "type", "id"),
    sqlite_with_rowid=False,
)

chains = Table(
    "chains",
    metadata,
    *_chain(),
    _integer("seq"),
    _bytes("hash", 32),
    sqlite_with_rowid=False,
)
"""The newest record of each chain, moved on by the transaction that writes it."""

checkpoints = Table(
    "checkpoints",
    metadata,
    *_chain(),
    _integer("seq", primary_key=True),
    _bytes("hash", 32),
    _integer("previous_seq"),
    _bytes("previous_hash", 32),
    _integer("time_us"),
    _text("key_id"),
    _bytes("signature", 64),
    sqlite_with_rowid=False,
)
"""Heads that a node signed (`signing.Checkpoint`)."""

tombstones = Table(
    "tombstones",
    metadata,
    *_chain(of=False),
    _integer("seq", primary_key=True),
    _bytes("hash", 32),
    _integer("before_us"),
    _integer("time_us"),
    _text("key_id"),
    _bytes("signature", None),
    sqlite_with_rowid=False,
)
"""The last record that a purge took from a chain, signed where there was a key: what is left follows it."""

counts = Table(
    "counts",
    metadata,
    _text("tenant", primary_key=True),
    _text("dimension", primary_key=True),
    _integer("hour_us", primary_key=True),
    _text("value", primary_key=True),
    _text("effect", primary_key=True),
    _text("reason", primary_key=True),
    _text("node", primary_key=True),
    _integer("recorded"),
    _integer("unrecorded"),
    # A bit for each minute of the hour that holds one of the recorded.
    _integer("minutes"),
    sqlite_with_rowid=False,
)
"""Decisions of each hour, written by the transaction that writes them (`audit.counts`)."""

revisions = Table(
    "revisions",
    metadata,
    _text("revision", primary_key=True),
    _text("tenant"),
    _integer("kept_us"),
    _bytes("archive", None),
    sqlite_with_rowid=False,
)
"""Policy files by content hash, for as long as a record names them."""

# Written and emptied again by the store's probe, so that "can it write?" is answered by writing.
probe = Table(
    "probe",
    metadata,
    _bytes("id", primary_key=True),
    _bytes("filler", None),
)

decisions_by_call = table(decisions.name, *map(column, (*CallFields._fields, *ITEM_FIELDS, "seq", "hash")))
"""Table `decisions` with its columns in the order of calls and their rows."""

# A record as it was made, without its place.
decision_columns = tuple(decisions.c[name] for name in DecisionRecord._fields)
lifecycle_columns = tuple(lifecycle.c[name] for name in LifecycleRecord._fields)
