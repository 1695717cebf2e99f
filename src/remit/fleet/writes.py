"""Changes of a policy store, each within a transaction of the caller."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    bindparam,
    insert,
    literal,
    literal_column,
    select,
    text,
    tuple_,
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

CHANNEL: Final = "remit_policy"
"""PostgreSQL tells listeners on this channel that something may be new. The text of a notification means nothing."""


class TenantWrite:
    """A transaction about the rows of run time of one tenant. Nobody else changes the tenant meanwhile."""

    def __init__(self, connection: Connection, tenant: Tenant, key: SigningKey | None = None) -> None:
        """`key` signs the change."""
        self._connection = connection
        self._tenant = tenant
        self._key = key
        self.head = lock_head(connection, tenant)
        self.now_us = store_us(connection)
        """The store's time."""

    def rows(self, keys: Iterable[RowKey]) -> dict[RowKey, GrantedRow]:
        """The rows with these keys, expired ones too."""
        columns = bindings.c
        named = tuple_(columns.member, columns.holds, columns.scope).in_([tuple(key) for key in keys])
        return {RowKey.of(each.row): each for each in granted_rows(self._connection, self._tenant, named)}

    def ended(self) -> list[GrantedRow]:
        """The rows whose end has passed."""
        return self._ending(bindings.c.expires_us <= self.now_us)

    def ending(self) -> Iterator[GrantedRow]:
        """The rows in force that end some time. There may be many: they are read when the first one is asked for."""
        yield from self._ending(bindings.c.expires_us > self.now_us)

    def _ending(self, when: ColumnElement[bool]) -> list[GrantedRow]:
        return granted_rows(self._connection, self._tenant, has_end, when)

    def made_by(self, request_id: str) -> PolicyChange | None:
        """The change that a request with this name made."""
        where = changes.c.tenant == self._tenant, changes.c.request_id == request_id, is_named
        row = self._connection.execute(select(changes).where(*where)).one_or_none()
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
    before = after if after is not None else lock_head(connection, tenant)
    change = linked(before, tenant, time_us, kind, caller, body, request_id)
    if key is not None:
        change = change.signed(key)
    connection.execute(insert(changes).values(**change._asdict()))
    values = {"seq": change.seq, "hash": change.hash}
    if not connection.execute(update(heads).where(heads.c.tenant == tenant).values(**values)).rowcount:
        connection.execute(insert(heads).values(tenant=tenant, **values))
    return change.head


def apply_change(connection: Connection, tenant: Tenant, change: BindingChange, seq: int) -> None:
    """Brings the table `bindings` to where change `seq` brings the rows. What is granted anew has been revoked or has
    ended."""
    keys = [{"its_member": key.member, "its_holds": key.holds, "its_scope": key.scope} for key in change.gone]
    if keys:
        columns = bindings.c
        named = [each == bindparam(f"its_{each.name}") for each in (columns.member, columns.holds, columns.scope)]
        connection.execute(bindings.delete().where(columns.tenant == tenant, *named), keys)
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
    order = columns.member, columns.holds, columns.scope
    wanted = select(*order, columns.expires_us, columns.seq).where(columns.tenant == tenant, *where)
    found = connection.execute(wanted.order_by(*order).limit(most))
    return [GrantedRow(row_of(*row[:4]), row.seq) for row in found]


def head_of(connection: Connection, tenant: Tenant) -> Head:
    return _head(connection, tenant, select(heads.c.seq, heads.c.hash))


def lock_head(connection: Connection, tenant: Tenant) -> Head:
    """The head; nobody else changes the tenant until the end of the transaction. SQLite's write transactions exclude each
    other."""
    return _head(connection, tenant, select(heads.c.seq, heads.c.hash).with_for_update())


def _head(connection: Connection, tenant: Tenant, wanted: Select[Any]) -> Head:
    row = connection.execute(wanted.where(heads.c.tenant == tenant)).one_or_none()
    return Head(row.seq, bytes(row.hash)) if row is not None else genesis(tenant)


def notify(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"NOTIFY {CHANNEL}"))


def store_us(connection: Connection) -> int:
    """The store's time, in microseconds since the Unix epoch: nodes' clocks may differ."""
    found: int = connection.execute(select(store_clock(connection))).scalar_one()
    return found


def store_clock(connection: Connection) -> ColumnElement[int]:
    """The same, as a part of a statement."""
    if connection.dialect.name != "postgresql":
        return literal(now_us())
    return literal_column("CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)", BigInteger)
