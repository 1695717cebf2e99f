"""The minute index: table `counts` tells in which minutes a filter can match, without reading a record."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, select, text, true

from remit.audit.query.filter import DecisionFilter, at_or_below
from remit.audit.schema.tables import ALL, CALLER, HOUR_US, MINUTE_US, NAMESPACE, PRINCIPAL, QUESTION, REVISION, counts

_WINDOWS: Final = (4, 16, 64, 256, 1024, 4096)
"""Hours that one statement reads. The first statements read few hours: most wanted records are near the start."""
_EQUAL: Final = {PRINCIPAL, REVISION, CALLER, QUESTION}
_SHARED: Final = {"effect", "reason", "node"}
"""Columns that every row of the counts has."""
_TENANTS: Final = text(
    """
    WITH RECURSIVE known(tenant) AS (
      SELECT min(tenant) FROM counts
      UNION ALL
      SELECT (SELECT min(tenant) FROM counts WHERE tenant > known.tenant) FROM known WHERE known.tenant IS NOT NULL
    )
    SELECT tenant FROM known WHERE tenant IS NOT NULL
    """
)
"""Reads each tenant once, with one look-up per tenant."""


class Interval(NamedTuple):
    """A time range in whole minutes, microseconds since the Unix epoch."""

    from_us: int
    """Inclusive."""
    to_us: int
    """Exclusive."""


def known_tenants(connection: Connection) -> list[str]:
    """The tenants that any decision names, sorted."""
    return list(connection.execute(_TENANTS).scalars())


class MinuteIndex:
    """The minutes that may hold a record that a filter selects. It never omits a minute that holds one."""

    def __init__(self, connection: Connection, where: DecisionFilter, *, by_hour: bool = False) -> None:
        """With `by_hour`, ranges are whole hours: fewer ranges, for a caller that walks few records in each."""
        self._connection = connection
        self._by_hour = by_hour
        tenants = [where.tenant] if where.tenant is not None else known_tenants(connection)
        shared = [counts.c[name] == value for name, value in where.equal.items() if name in _SHARED]
        self._shared: list[ColumnElement[bool]] = [counts.c.tenant.in_(tenants), *shared]
        self._dimensions = list(_dimensions(where))

    def between(
        self, first_us: int, last_us: int, *, newest_first: bool
    ) -> Iterator[tuple[list[Interval], int | None]]:
        """Yields the ranges found between two times, in the requested order, one window of hours at a time.

        With each window it yields the time up to which it has searched, or None for the last window.
        """
        for hours in _windows(first_us, last_us, newest_first=newest_first):
            found = self._minutes(hours)
            runs = (
                _hours(found) if self._by_hour else [run for each in sorted(found) for run in _runs(each, found[each])]
            )
            if newest_first:
                runs.reverse()
            begin_us, end_us = hours[0], hours[-1] + HOUR_US
            if newest_first:
                yield runs, begin_us if begin_us > first_us else None
            else:
                yield runs, end_us if end_us <= last_us else None

    def _minutes(self, hours: Sequence[int]) -> dict[int, int]:
        """The minute bits of each hour that has any, combined over all dimensions (bitwise and)."""
        first, *others = self._dimensions
        found = self._of(*first, hours)
        for dimension in others:
            if not found:
                break
            other = self._of(*dimension, list(found))
            both = ((hour_us, bits & other.get(hour_us, 0)) for hour_us, bits in found.items())
            found = {hour_us: bits for hour_us, bits in both if bits}
        return found

    def _of(self, dimension: str, value: ColumnElement[bool], hours: Sequence[int]) -> dict[int, int]:
        columns = counts.c
        statement = select(columns.hour_us, columns.minutes).where(
            *self._shared, columns.dimension == dimension, columns.hour_us.in_(hours), value
        )
        found: dict[int, int] = {}
        for hour_us, bits in self._connection.execute(statement).all():
            found[hour_us] = found.get(hour_us, 0) | bits
        return {hour_us: bits for hour_us, bits in found.items() if bits}


def _dimensions(where: DecisionFilter) -> Iterable[tuple[str, ColumnElement[bool]]]:
    """The condition on each dimension. The cheapest comes first: the others are then looked up in few hours."""
    value = counts.c.value
    equal = [(name, word) for name, word in where.equal.items() if name in _EQUAL]
    yield from ((name, value == word) for name, word in equal)
    if not equal and (where.equal.keys() & _SHARED or not where.namespace):
        yield ALL, true()
    if where.namespace:
        yield NAMESPACE, at_or_below(value, where.namespace)


def _windows(first_us: int, last_us: int, *, newest_first: bool) -> Iterator[range]:
    """All hours between the two times, in the requested order, in windows of growing size."""
    begin, end = first_us - first_us % HOUR_US, last_us - last_us % HOUR_US + HOUR_US
    sizes = iter(_WINDOWS)
    size = 0
    while begin < end:
        size = next(sizes, size)
        if newest_first:
            middle = max(end - size * HOUR_US, begin)
            yield range(middle, end, HOUR_US)
            end = middle
        else:
            middle = min(begin + size * HOUR_US, end)
            yield range(begin, middle, HOUR_US)
            begin = middle


def _hours(found: Iterable[int]) -> list[Interval]:
    merged: list[Interval] = []
    for hour_us in sorted(found):
        begin_us = merged.pop().from_us if merged and merged[-1].to_us == hour_us else hour_us
        merged.append(Interval(begin_us, hour_us + HOUR_US))
    return merged


def _runs(hour_us: int, bits: int) -> list[Interval]:
    """Merges consecutive minutes of an hour into ranges."""
    found: list[Interval] = []
    minute = 0
    while bits >> minute:
        begin = minute
        while bits >> minute & 1:
            minute += 1
        if minute > begin:
            found.append(Interval(hour_us + begin * MINUTE_US, hour_us + minute * MINUTE_US))
        minute += 1
    return found
