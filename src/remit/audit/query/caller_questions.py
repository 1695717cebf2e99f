"""What each caller asked about each tenant: the recorded decisions, summed up by the database."""

from typing import Final, NamedTuple

from sqlalchemy import Connection, func, select

from remit.audit.ids import id_time_ms, last_id_at
from remit.audit.query.filter import DecisionFilter
from remit.audit.schema.tables import HOUR_US, decisions

_US_PER_MS: Final = 1000


class CallerQuestions(NamedTuple):
    """The recorded questions of one type, by one caller about one tenant."""

    caller: str
    tenant: str
    """'' for tenants that were not configured."""
    question: str
    records: int
    first_us: int
    last_us: int


def caller_questions(
    connection: Connection, where: DecisionFilter, *, after: bytes
) -> tuple[list[CallerQuestions], bytes | None]:
    """Sums up the first hour of records whose ids are greater than `after`. Returns the sums, and where the next hour
    begins; None if no record is left.

    A sum over all records would keep one transaction open for minutes, and SQLite's write-ahead log grows meanwhile.
    """
    columns = decisions.c
    _, end = where.span
    within = [columns.id > after, columns.id <= end]
    first = connection.execute(select(columns.id).where(*within).order_by(columns.id).limit(1)).scalar()
    if first is None:
        return [], None
    last = min(last_id_at(id_time_ms(first) * _US_PER_MS + HOUR_US), end)
    keys = (columns.caller, columns.tenant, columns.question)
    statement = (
        select(*keys, func.count(), func.min(columns.time_us), func.max(columns.time_us))
        .where(columns.id.between(first, last), *where.conditions(by_id=False))
        .group_by(*keys)
        .order_by(*keys)
    )
    return [CallerQuestions._make(row) for row in connection.execute(statement)], last
