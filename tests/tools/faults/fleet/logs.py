"""Reads what a policy store holds, for the checker."""

from typing import Final

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from remit.audit.chain.chain import Head
from remit.core.names import Tenant
from remit.core.position import Position
from remit.fleet.change import ChangeKind, PolicyChange, position_of
from remit.fleet.release import Release
from remit.fleet.schema.tables import changes, heads
from remit.fleet.store import PolicyStore

from .history import LoggedPosition, LoggedRelease, LoggedRows, RowGrant, StoreLog

_MOST_RELEASES: Final = 1_000_000


def read_log(store: PolicyStore) -> tuple[StoreLog, list[Release]]:
    releases = [each.release for each in reversed(store.releases(_MOST_RELEASES))]
    with store.engine.connect() as connection:
        found = connection.execute(select(changes).order_by(changes.c.tenant, changes.c.seq))
        rows = [PolicyChange.of(row) for row in found]
    logged: list[LoggedPosition] = []
    for each in rows:
        position, told = position_of(Tenant(each.tenant), each.head), each.members
        if each.kind == ChangeKind.BINDINGS:
            before = logged[-1]
            logged.append(before._replace(position=position, rows=_rows_in(each)))
        else:
            logged.append(LoggedPosition(position, int(told["release"]), str(told["revision"])))
    return StoreLog(
        [LoggedRelease(each.seq, each.message, each.root, each.tenants) for each in releases], logged
    ), releases


def read_positions(store: PolicyStore) -> dict[str, Position] | None:
    """The newest position of each tenant; None if the store does not answer."""
    try:
        with store.engine.connect() as connection:
            rows = connection.execute(select(heads.c.tenant, heads.c.seq, heads.c.hash))
            return {tenant: position_of(Tenant(tenant), Head(seq, bytes(hash_))) for tenant, seq, hash_ in rows}
    except SQLAlchemyError:
        return None


def _rows_in(change: PolicyChange) -> LoggedRows:
    told = change.members
    granted = tuple(RowGrant(who, what, end_us or None) for who, what, _, end_us in told["granted"])
    revoked, ended = (tuple((who, what) for who, what, _ in told[name]) for name in ("revoked", "ended"))
    return LoggedRows(told["reason"], change.time_us, change.hash.hex(), granted, revoked, ended)
