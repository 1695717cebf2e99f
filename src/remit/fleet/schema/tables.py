"""The tables, as SQLAlchemy Core. The migrations build the same ones; a contract test compares the two."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, Table, literal_column

from remit.audit.schema.tables import text_type

metadata = MetaData()


def _text(name: str, *, primary_key: bool = False) -> Column[str]:
    return Column(name, text_type(), primary_key=primary_key, nullable=False)


def _integer(name: str, *, primary_key: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=primary_key, nullable=False, autoincrement=False)


def _bytes(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=False)


releases = Table(
    "releases",
    metadata,
    _integer("seq", primary_key=True),
    _text("hash"),
    _integer("format"),
    _text("body"),
    _text("key_id"),
    _bytes("signature"),
)
"""A release: `Release.text`, and who signed it."""

folders = Table("folders", metadata, _text("digest", primary_key=True), _bytes("content"))
"""The files of the root or of a tenant, packed, by the digest that releases name."""

changes = Table(
    "changes",
    metadata,
    _text("tenant", primary_key=True),
    _integer("seq", primary_key=True),
    _bytes("hash"),
    _integer("time_us"),
    _text("kind"),
    _text("caller"),
    _text("body"),
    _text("request_id"),
    _text("key_id"),
    _bytes("signature"),
)
"""`change.PolicyChange`."""

bindings = Table(
    "bindings",
    metadata,
    _text("tenant", primary_key=True),
    _text("member", primary_key=True),
    _text("holds", primary_key=True),
    _text("scope", primary_key=True),
    _integer("expires_us"),
    _integer("seq"),
)
"""The rows of run time that are in force, or have expired since the tenant's last change. They follow from `changes`."""

heads = Table("heads", metadata, _text("tenant", primary_key=True), _integer("seq"), _bytes("hash"))
"""The newest change of each tenant."""

nodes = Table(
    "nodes",
    metadata,
    _text("node", primary_key=True),
    _text("instance"),
    _text("version"),
    _text("formats"),
    _integer("seen_us"),
    _integer("stopped_us"),
    _text("report"),
)
"""The last report of each node, by the store's clock."""

# SQLite uses such an index only for a statement that says the same in the same words, without a parameter.
is_named = changes.c.request_id != literal_column("''")
Index(
    "changes_by_request",
    changes.c.tenant,
    changes.c.request_id,
    unique=True,
    sqlite_where=is_named,
    postgresql_where=is_named,
)
Index("releases_by_hash", releases.c.hash, unique=True)

has_end = bindings.c.expires_us != literal_column("0")
Index(
    "bindings_by_end",
    bindings.c.tenant,
    bindings.c.expires_us,
    sqlite_where=has_end,
    postgresql_where=has_end,
)
