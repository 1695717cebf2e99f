"""Reads the rows of run time of a tenant, and their history, from a policy store: a page at a time."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import or_, select, tuple_

from remit.audit.chain.chain import Head
from remit.core.names import Tenant
from remit.core.position import Position
from remit.fleet.bindings import BindingChange, GrantedRow, RowKey
from remit.fleet.change import ChangeKind, PolicyChange, genesis, position_of
from remit.fleet.errors import HistoryLostError, PolicyStoreError
from remit.fleet.history import next_changes
from remit.fleet.schema.tables import bindings, changes
from remit.fleet.store import PolicyStore
from remit.fleet.writes import granted_rows, head_of, store_us

_PAGE: Final = 1_000
_ABOUT: Final = 10_000
"""Changes whose caller and reason an export remembers."""


class BindingPage(NamedTuple):
    head: Head
    """The change up to which the rows count."""
    rows: Sequence[GrantedRow]


class BindingState(NamedTuple):
    head: Head
    now_us: int
    """By the store's clock."""
    rows: Sequence[GrantedRow]
    """Expired ones too."""


class GrantAbout(NamedTuple):
    """A change without its rows."""

    seq: int
    time_us: int
    caller: str
    granter: str
    reason: str

    @classmethod
    def of(cls, change: Any) -> "GrantAbout":
        members = json.loads(change.body)
        return cls(change.seq, change.time_us, change.caller, members["granter"], members["reason"])


class ExportedPage(NamedTuple):
    head: Head
    rows: Sequence[GrantedRow]
    changes: Sequence[GrantAbout]
    """Those that granted the rows."""


class PassedChange(NamedTuple):
    head: Head
    about: GrantAbout
    change: BindingChange


class PassedChanges(NamedTuple):
    head: Head
    """The last change that was read."""
    found: Sequence[PassedChange]
    """Those of them that are about rows of run time."""


def state(store: PolicyStore, tenant: Tenant) -> BindingState:
    with store.reading() as connection:
        return BindingState(head_of(connection, tenant), store_us(connection), granted_rows(connection, tenant))


def page(
    store: PolicyStore, tenant: Tenant, size: int, *, after: RowKey | None = None, member: str = "", holds: str = ""
) -> BindingPage:
    """The first `size` rows after this one that are in force, of this member and to this group or role."""
    columns = bindings.c
    where = [columns.member == member] if member else []
    where += [columns.holds == holds] if holds else []
    with store.reading() as connection:
        where.append(or_(columns.expires_us == 0, columns.expires_us > store_us(connection)))
        rows = granted_rows(connection, tenant, *where, *_after(after), most=size)
        return BindingPage(head_of(connection, tenant), rows)


def export(store: PolicyStore, tenant: Tenant) -> Iterator[ExportedPage]:
    """All rows that are in force now, in pages of one snapshot of the store. There is at least one page."""
    known: dict[int, GrantAbout] = {}
    with store.reading() as connection:
        head, now_us = head_of(connection, tenant), store_us(connection)
        in_force = or_(bindings.c.expires_us == 0, bindings.c.expires_us > now_us)
        after: RowKey | None = None
        while True:
            rows = granted_rows(connection, tenant, in_force, *_after(after), most=_PAGE)
            wanted = sorted({each.seq for each in rows})
            if len(known) > _ABOUT:
                known.clear()
            if missing := [seq for seq in wanted if seq not in known]:
                found = select(changes).where(changes.c.tenant == tenant, changes.c.seq.in_(missing))
                known |= {row.seq: GrantAbout.of(row) for row in connection.execute(found)}
            if rows or after is None:
                yield ExportedPage(head, rows, [known[seq] for seq in wanted if seq in known])
            if len(rows) < _PAGE:
                return
            after = RowKey.of(rows[-1].row)


def begin_after(store: PolicyStore, tenant: Tenant, position: Position | None) -> Head:
    """The change at this position; None stands for the beginning of the history.

    Raises HistoryLostError if the tenant's history does not hold it.
    """
    if position is None or not position.seq:
        return genesis(tenant)
    with store.reading() as connection:
        of_tenant = changes.c.tenant == tenant, changes.c.seq == position.seq
        hash_ = connection.execute(select(changes.c.hash).where(*of_tenant)).scalar_one_or_none()
    head = Head(position.seq, bytes(hash_)) if hash_ is not None else None
    if head is None or position_of(tenant, head) != position:
        raise HistoryLostError(_lost(tenant, position))
    return head


def changes_after(store: PolicyStore, tenant: Tenant, head: Head) -> PassedChanges:
    """The changes that follow `head`, as many as may be read at once.

    Raises HistoryLostError if `head` is in the tenant's history no more, or what follows does not follow it.
    """
    found: list[PassedChange] = []
    with store.reading() as connection:
        newest = head_of(connection, tenant)
        if newest.seq < head.seq or (newest.seq == head.seq and newest != head):
            raise HistoryLostError(_lost(tenant, position_of(tenant, head)))
        for change in next_changes(connection, tenant, head.seq, newest.seq):
            if not change.follows(head):
                raise HistoryLostError(_lost(tenant, position_of(tenant, head)))
            head = change.head
            if change.kind == ChangeKind.BINDINGS:
                found.append(PassedChange(head, GrantAbout.of(change), _parsed(change)))
    return PassedChanges(head, found)


def _parsed(change: PolicyChange) -> BindingChange:
    try:
        return BindingChange.parse(change.body)
    except ValueError as error:
        raise PolicyStoreError(f"change {change.seq} of tenant `{change.tenant}` is damaged: {error}") from error


def _after(key: RowKey | None) -> Iterable[Any]:
    columns = bindings.c
    return () if key is None else (tuple_(columns.member, columns.holds, columns.scope) > tuple_(*key),)


def _lost(tenant: Tenant, position: Position) -> str:
    return (
        f"position `{position}` is not in the history of tenant `{tenant}`: the policy store has another one, or not all of "
        "it; list the rows anew"
    )
