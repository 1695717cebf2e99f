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
    """The columns of a record's position in its chain. The defaults are for records from before there were chains."""
    return (
        Column("seq", BigInteger, nullable=False, server_default=text("0")),
        Column("hash", LargeBinary(32), nullable=False, server_default=text("''")),
    )


def _chain(*, of: bool = True) -> tuple[Column[str], ...]:
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
    # The defaults are for records from before these columns.
    _text("question", default="CHECK"),
    _text("detail", default=""),
    *_place(),
    # The only index: a second one, by namespace, writes one more page to the log for each row. It holds namespace and
    # effect: a search for a principal's decisions in a namespace, or for its denials, then reads no other rows.
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
"""The newest record of each chain, updated in the transaction that writes the record."""

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
"""The last record that a purge deleted from a chain, signed if there was a key. The remaining records follow it."""

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
    # One bit for each minute of the hour that has a recorded decision.
    _integer("minutes"),
    sqlite_with_rowid=False,
)
"""Decisions of each hour, written in the transaction of the decisions (`remit.audit.append.rollup`)."""

revisions = Table(
    "revisions",
    metadata,
    _text("revision", primary_key=True),
    _text("tenant"),
    _integer("kept_us"),
    _bytes("archive", None),
    sqlite_with_rowid=False,
)
"""Policy archives by content hash, stored as long as a record names them."""

# The store's probe writes a row and deletes it: this tests whether the store can write.
probe = Table(
    "probe",
    metadata,
    _bytes("id", primary_key=True),
    _bytes("filler", None),
)

decisions_by_call = table(decisions.name, *map(column, (*CallFields._fields, *ITEM_FIELDS, "seq", "hash")))
"""Table `decisions` with its columns in the order of calls and their rows."""

# A record as it was made, without its position.
decision_columns = tuple(decisions.c[name] for name in DecisionRecord._fields)
lifecycle_columns = tuple(lifecycle.c[name] for name in LifecycleRecord._fields)
