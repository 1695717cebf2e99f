"""One page of decisions, in the order of ids, by the shortest way that SQLite's planner would not find by itself."""

from dataclasses import replace

from sqlalchemy import ColumnElement, Connection, Select, func, select

from remit.audit.filter import DecisionFilter, id_range
from remit.audit.record import DecisionRecord
from remit.audit.tables import decisions

# Up to here it is cheaper to gather through the index and sort than to walk the primary key past other records.
_FEW = 10_000


def page_of_decisions(
    connection: Connection, where: DecisionFilter, *, after: bytes | None, limit: int, newest_first: bool
) -> list[DecisionRecord]:
    beyond = [] if after is None else [decisions.c.id < after if newest_first else decisions.c.id > after]
    unindexed = _unindexed(connection, where, beyond)
    statement = (
        select(decisions)
        .where(*where.conditions(unindexed=unindexed), *beyond)
        .order_by(decisions.c.id.desc() if newest_first else decisions.c.id)
        .limit(limit)
    )
    return [DecisionRecord._make(row) for row in connection.execute(statement)]


def _unindexed(connection: Connection, where: DecisionFilter, beyond: list[ColumnElement[bool]]) -> frozenset[str]:
    """PostgreSQL keeps statistics and needs no help.

    SQLite without statistics takes any index that fits, and for a busy tenant would sort millions of rows to find
    fifty. (tenant, principal, id) hands out rows in order; elsewhere the index is used only where few rows match.
    """
    if connection.dialect.name != "sqlite" or where.tenant is None:
        return frozenset()
    if where.principal is not None:
        return frozenset({"namespace"})
    in_index = [
        *replace(where, effect=None, reason=None, since_us=None, until_us=None).conditions(),
        *id_range(decisions, where.since_us, where.until_us),
    ]
    few: Select[tuple[bytes]] = select(decisions.c.id).where(*in_index, *beyond).limit(_FEW + 1)
    found = connection.execute(select(func.count()).select_from(few.subquery())).scalar_one()
    return frozenset({"tenant"}) if found > _FEW else frozenset()
