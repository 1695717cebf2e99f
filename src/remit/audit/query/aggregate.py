"""Sums over the decision counts, which are written in the same transaction as the records."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select, tuple_

from remit.audit.errors import NotCountedError
from remit.audit.query.filter import DecisionFilter, at_or_below
from remit.audit.query.minute_index import known_tenants
from remit.audit.schema.tables import ALL, CALLER, HOUR_US, NAMESPACE, PRINCIPAL, QUESTION, REVISION, counts

DAY_US: Final = 24 * HOUR_US


class Grouping(StrEnum):
    TENANT = "tenant"
    PRINCIPAL = "principal"
    NAMESPACE = "namespace"
    REVISION = "revision"
    CALLER = "caller"
    QUESTION = "question"
    EFFECT = "effect"
    REASON = "reason"
    NODE = "node"
    HOUR = "hour"
    DAY = "day"
    """Days in UTC."""


class Count(NamedTuple):
    group: tuple[str | int, ...]
    """One value per grouping. The value of an hour or a day is its start, in microseconds since the Unix epoch."""
    recorded: int
    unrecorded: int
    """Decisions that sampling left out."""


_DIMENSIONS: Final = (PRINCIPAL, NAMESPACE, REVISION, CALLER, QUESTION)
TIMES: Final[Mapping[str, ColumnElement[int]]] = {
    Grouping.HOUR: counts.c.hour_us,
    Grouping.DAY: counts.c.hour_us - counts.c.hour_us % DAY_US,
}
"""Groupings whose values are times."""


def whole_hours(where: DecisionFilter) -> tuple[int | None, int | None]:
    """The time range that is counted: `since_us` and `until_us`, rounded outwards to whole hours."""
    since, until = where.since_us, where.until_us
    return None if since is None else since - since % HOUR_US, None if until is None else until + -until % HOUR_US


def count_decisions(
    connection: Connection,
    where: DecisionFilter,
    by: Sequence[Grouping],
    *,
    after: tuple[str | int, ...] | None,
    limit: int,
    most_first: bool,
) -> list[Count]:
    """Sums the counts by group and orders them by group.

    Starts after the group `after`. `most_first` returns the largest sums first.
    """
    dimension = _dimension(where, by)
    keys = [_key(each) for each in by]
    recorded, unrecorded = func.sum(counts.c.recorded), func.sum(counts.c.unrecorded)
    statement = select(*keys, recorded, unrecorded).where(*_conditions(connection, where, dimension))
    if after is not None and keys:
        statement = statement.where(tuple_(*keys) > tuple_(*after))
    if keys:
        order = [(recorded + unrecorded).desc(), *keys] if most_first else keys
        statement = statement.group_by(*keys).order_by(*order)
    rows = connection.execute(statement.limit(limit))
    return [Count(tuple(group), int(kept or 0), int(left or 0)) for *group, kept, left in rows]


def _dimension(where: DecisionFilter, by: Sequence[Grouping]) -> str:
    """Raises NotCountedError if the query combines two dimensions."""
    asked = [name for name in _DIMENSIONS if name in where.selects or name in by]
    if len(asked) > 1:
        raise NotCountedError(
            f"decisions are not counted by {' and '.join(asked)} together: name one of {', '.join(_DIMENSIONS)}"
        )
    return asked[0] if asked else ALL


def _key(grouping: Grouping) -> ColumnElement[Any]:
    if grouping in TIMES:
        return TIMES[grouping]
    return counts.c.value if grouping in _DIMENSIONS else counts.c[grouping]


def _conditions(connection: Connection, where: DecisionFilter, dimension: str) -> list[ColumnElement[bool]]:
    columns = counts.c
    equal = where.equal
    tenants = [equal["tenant"]] if "tenant" in equal else known_tenants(connection)
    found = [columns.tenant.in_(tenants), columns.dimension == dimension]
    found += [columns[name] == equal[name] for name in ("effect", "reason", "node") if name in equal]
    if dimension in equal:
        found.append(columns.value == equal[dimension])
    if where.namespace:
        found.append(at_or_below(columns.value, where.namespace))
    since_us, until_us = whole_hours(where)
    if since_us is not None:
        found.append(columns.hour_us >= since_us)
    if until_us is not None:
        found.append(columns.hour_us < until_us)
    return found
