from sqlalchemy import Connection, select

from remit.audit.filter import DecisionFilter
from remit.audit.record import DecisionRecord
from remit.audit.tables import decision_columns, decisions


def page_of_decisions(
    connection: Connection, where: DecisionFilter, *, after: bytes | None, limit: int, newest_first: bool
) -> list[DecisionRecord]:
    """One page of decisions, in the order of ids.

    The index (tenant, principal, id) hands out a principal's rows in that order. Without a principal the primary key is
    walked, and SQLite must be kept from the index: it has no statistics, and for a busy tenant would sort millions of
    rows to find fifty.
    """
    walked = connection.dialect.name == "sqlite" and where.principal is None
    conditions = where.conditions(unindexed=frozenset({"tenant"} if walked else ()))
    if after is not None:
        conditions.append(decisions.c.id < after if newest_first else decisions.c.id > after)
    order = decisions.c.id.desc() if newest_first else decisions.c.id
    statement = select(*decision_columns).where(*conditions).order_by(order).limit(limit)
    return [DecisionRecord._make(row) for row in connection.execute(statement)]
