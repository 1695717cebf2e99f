"""Changes of a policy store, each within a transaction of the caller."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    bindparam,
    func,
    insert,
    literal,
    literal_column,
    select,
    tuple_,
    union,
    update,
)

from remit.audit.append.bulk_insert import Copy
from remit.audit.chain.chain import Head
from remit.audit.chain.signing import SigningKey
from remit.clock import now_us
from remit.core.names import Tenant
from remit.fleet.bindings import BindingChange, GrantedRow, RowKey, columns_of, row_of
from remit.fleet.change import ChangeKind, PolicyChange, genesis, linked
from remit.fleet.schema.tables import bindings, changes, has_end, heads, is_named

_HEADS: Final = 10_000
"""Tenants in one statement: the databases limit them."""
CHANNEL: Final = "remit_policy"
"""PostgreSQL tells listeners on this channel that something may be new. The text of a notification means nothing."""

ABANDONED_S: Final = 2.0
"""How long PostgreSQL keeps the lock of a tenant for a process that has stopped, or whose network is gone."""

# Statements of each change are built once.
_ROWS: Final = select(bindings.c.member, bindings.c.holds, bindings.c.scope, bindings.c.expires_us, bindings.c.seq)
_of_tenant: Final = bindings.c.tenant == bindparam("tenant")
_key: Final = tuple_(bindings.c.member, bindings.c.holds, bindings.c.scope)
# Each part uses its own index.
_NAMED_OR_ENDED: Final = union(
    _ROWS.where(_of_tenant, _key.in_(bindparam("keys", expanding=True))),
    _ROWS.where(_of_tenant, has_end, bindings.c.expires_us <= bindparam("now_us")),
).order_by("member", "holds", "scope")
_CLOCK: Final = literal_column("CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)", BigInteger)
_HEAD: Final = select(heads.c.seq, heads.c.hash).where(heads.c.tenant == bindparam("tenant"))
_locked: Final = _HEAD.with_for_update().subquery("locked")
_LOCK: Final = {
    # The clock outside: it is read when the lock is there.
    "postgresql": select(
        _locked,
        _CLOCK.label("now_us"),
        func.set_config("idle_in_transaction_session_timeout", f"{ABANDONED_S * 1_000:.0f}ms", True),
    ),
    "sqlite": _HEAD.add_columns(bindparam("now_us", type_=BigInteger).label("now_us")),
}
_MADE_BY: Final = select(changes).where(
    changes.c.tenant == bindparam("tenant"), changes.c.request_id == bindparam("request_id"), is_named
)
_ADD: Final = insert(changes)
_MOVE: Final = (
    update(heads)
    .where(heads.c.tenant == bindparam("its_tenant"))
    .values(seq=bindparam("its_seq"), hash=bindparam("its_hash"))
)
_REMOVE: Final = bindings.delete().where(*(each == bindparam(f"its_{each.name}") for each in bindings.primary_key))


class TenantWrite:
    """A transaction about the rows of run time of one tenant. Nobody else changes the tenant meanwhile."""

    def __init__(self, connection: Connection, tenant: Tenant, key: SigningKey | None = None) -> None:
        """`key` signs the change."""
        self._connection = connection
        self._tenant = tenant
        self._key = key
        self.head, self.now_us = lock_head(connection, tenant)
        """The head, and the store's time."""

    def rows(self, keys: Iterable[RowKey]) -> list[GrantedRow]:
        """The rows with these keys, expired ones too, and all rows whose end has passed."""
        wanted = {"tenant": self._tenant, "keys": [tuple(key) for key in keys], "now_us": self.now_us}
        return [_granted(row) for row in self._connection.execute(_NAMED_OR_ENDED, wanted)]

    def ending(self) -> Iterator[GrantedRow]:
        """The rows in force that end some time. There may be many: they are read when the first one is asked for."""
        yield from granted_rows(self._connection, self._tenant, has_end, bindings.c.expires_us > self.now_us)

    def made_by(self, request_id: str) -> PolicyChange | None:
        """The change that a request with this name made."""
        named = {"tenant": self._tenant, "request_id": request_id}
        row = self._connection.execute(_MADE_BY, named).one_or_none()
        return None if row is None else PolicyChange.of(row)

    def commit(self, change: BindingChange, caller: str, request_id: str = "") -> Head:
        """Writes the change. It is durable after the transaction."""
        head = append_change(
            self._connection,
            self._tenant,
            self.now_us,
            ChangeKind.BINDINGS,
            caller,
            change.body,
            request_id,
            key=self._key,
            after=self.head,
        )
        apply_change(self._connection, self._tenant, change, head.seq)
        notify(self._connection)
        return head


def append_change(  # noqa: PLR0917 (the columns of a change)
    connection: Connection,
    tenant: Tenant,
    time_us: int,
    kind: str,
    caller: str,
    body: str,
    request_id: str = "",
    *,
    key: SigningKey | None = None,
    after: Head | None = None,
) -> Head:
    """Adds a change to a tenant's chain, whose row in `heads` is locked until the end of the transaction. `key` signs it.
    `after` is the head if this transaction has locked it already."""
    before = after if after is not None else lock_head(connection, tenant).head
    change = linked(before, tenant, time_us, kind, caller, body, request_id)
    if key is not None:
        change = change.signed(key)
    connection.execute(_ADD, change._asdict())
    moved = {"its_tenant": tenant, "its_seq": change.seq, "its_hash": change.hash}
    if not connection.execute(_MOVE, moved).rowcount:
        connection.execute(insert(heads).values(tenant=tenant, seq=change.seq, hash=change.hash))
    return change.head


def append_changes(
    connection: Connection, time_us: int, caller: str, kinds_and_bodies: Mapping[Tenant, tuple[str, str]]
) -> None:
    """Adds a change without a signature to the chain of each of these tenants, whose rows in `heads` are locked until the end
    of the transaction."""
    before = heads_of(connection, kinds_and_bodies)
    made = [
        linked(before.get(tenant, genesis(tenant)), tenant, time_us, kind, caller, body)
        for tenant, (kind, body) in kinds_and_bodies.items()
    ]
    moved = [
        {"its_tenant": each.tenant, "its_seq": each.seq, "its_hash": each.hash}
        for each in made
        if each.tenant in before
    ]
    new = [{"tenant": each.tenant, "seq": each.seq, "hash": each.hash} for each in made if each.tenant not in before]
    for statement, rows in ((_ADD, [each._asdict() for each in made]), (_MOVE, moved), (insert(heads), new)):
        if rows:
            connection.execute(statement, rows)


def heads_of(connection: Connection, tenants: Iterable[Tenant], *, locked: bool = False) -> dict[Tenant, Head]:
    """The heads of those of these tenants that have one."""
    found: dict[Tenant, Head] = {}
    names = sorted(tenants)
    for start in range(0, len(names), _HEADS):
        wanted = select(heads).where(heads.c.tenant.in_(names[start : start + _HEADS])).order_by(heads.c.tenant)
        rows = connection.execute(wanted.with_for_update() if locked else wanted)
        found |= {Tenant(row.tenant): Head(row.seq, bytes(row.hash)) for row in rows}
    return found


def apply_change(connection: Connection, tenant: Tenant, change: BindingChange, seq: int) -> None:
    """Brings the table `bindings` to where change `seq` brings the rows. What is granted anew has been revoked or has
    ended."""
    keys = [
        {"its_tenant": tenant, "its_member": key.member, "its_holds": key.holds, "its_scope": key.scope}
        for key in change.gone
    ]
    if keys:
        connection.execute(_REMOVE, keys)
    if change.granted:
        _insert(connection, [{"tenant": tenant, **columns_of(GrantedRow(row, seq))} for row in change.granted])


def _insert(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    if connection.dialect.name != "postgresql":
        connection.execute(insert(bindings), rows)
        return
    cursor = connection.connection.cursor()
    try:
        Copy(bindings)(cursor, [tuple(row[column.name] for column in bindings.columns) for row in rows])
    finally:
        cursor.close()


def granted_rows(connection: Connection, tenant: Tenant, *where: Any, most: int | None = None) -> list[GrantedRow]:
    """The rows of run time of a tenant, expired ones too, by member, holds and scope; the first ones, if `most` is given."""
    columns = bindings.c
    wanted = _ROWS.where(columns.tenant == tenant, *where)
    found = connection.execute(wanted.order_by(columns.member, columns.holds, columns.scope).limit(most))
    return [_granted(row) for row in found]


def _granted(row: Any) -> GrantedRow:
    return GrantedRow(row_of(*row[:4]), row.seq)


class LockedHead(NamedTuple):
    head: Head
    now_us: int
    """The store's time."""


def head_of(connection: Connection, tenant: Tenant) -> Head:
    row = connection.execute(_HEAD, {"tenant": tenant}).one_or_none()
    return Head(row.seq, bytes(row.hash)) if row is not None else genesis(tenant)


def lock_head(connection: Connection, tenant: Tenant) -> LockedHead:
    """The head, and the time from which on nobody else changes the tenant, until the end of the transaction. SQLite's write
    transactions exclude each other."""
    own = {"tenant": tenant} if connection.dialect.name == "postgresql" else {"tenant": tenant, "now_us": now_us()}
    row = connection.execute(_LOCK[connection.dialect.name], own).one_or_none()
    if row is None:
        return LockedHead(genesis(tenant), store_us(connection))
    return LockedHead(Head(row.seq, bytes(row.hash)), row.now_us)


def notify(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"NOTIFY {CHANNEL}")


def store_us(connection: Connection) -> int:
    """The store's time, in microseconds since the Unix epoch: nodes' clocks may differ."""
    found: int = connection.execute(select(store_clock(connection))).scalar_one()
    return found


def store_clock(connection: Connection) -> ColumnElement[int]:
    """The same, as a part of a statement."""
    if connection.dialect.name != "postgresql":
        return literal(now_us())
    return _CLOCK
