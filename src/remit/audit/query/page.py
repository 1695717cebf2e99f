"""One page of decisions: by the primary key, by the index of principals, or with the minute index."""

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, func, select

from remit.audit.ids import first_id_at, id_before, id_time_ms, last_id_at
from remit.audit.query.filter import CLOCK_SLACK_US, DecisionFilter, walking_ids
from remit.audit.query.minute_index import MinuteIndex
from remit.audit.record import DecisionRecord
from remit.audit.schema.engines import is_one_file
from remit.audit.schema.tables import decision_columns, decisions

_US_PER_MS: Final = 1000
_INDEXED: Final = frozenset({"tenant", "principal"})
_IN_INDEX: Final = frozenset({"namespace", "effect"})
"""Further columns that the index holds."""
_SHORT: Final = 3_000
"""If a principal has fewer records than this, the walk reads them all and does not ask the minute index."""
_SHORT_IN_INDEX: Final = 30_000
"""The same limit if the index alone shows which records match."""


class RecordPage(NamedTuple):
    """Records in the order of their ids: `limit` of them, unless no more are left or the time is up."""

    records: list[DecisionRecord]
    beyond: bytes | None
    """The next page begins after this id, which may belong to no record. None if nothing is left."""


def page_of_decisions(
    connection: Connection,
    where: DecisionFilter,
    *,
    after: bytes | None,
    limit: int,
    newest_first: bool,
    budget_s: float | None = None,
) -> RecordPage:
    """Returns one page of decisions. After `budget_s` seconds it returns what it has found so far.

    The index returns a principal's records of a tenant; the primary key returns all records. If most of them may not
    match, the counts show in which minutes (in which hours for a busy principal) there are matches, and only those are
    walked.
    """
    ends_at = None if budget_s is None else time.monotonic() + budget_s
    walk = _PageWalk(connection, where, after, limit, newest_first=newest_first)
    indexed = where.selects >= _INDEXED
    if where.ids or where.selects in {frozenset(), _INDEXED} or (indexed and walk.is_short(where)):
        walk.take(walk.first, walk.last)
        return walk.page(finished=True)
    search = MinuteIndex(connection, where, by_hour=indexed)
    for runs, edge_us in search.between(*walk.times(), newest_first=newest_first):
        for begin_us, end_us in runs:
            went_on = walk.take(first_id_at(begin_us - CLOCK_SLACK_US), last_id_at(end_us + CLOCK_SLACK_US))
            if walk.is_full or (went_on and _is_over(ends_at)):
                return walk.page(finished=False)
        if edge_us is not None:
            walk.leave(edge_us)
            if _is_over(ends_at):
                return walk.page(finished=False)
    return walk.page(finished=True)


def _is_over(ends_at: float | None) -> bool:
    return ends_at is not None and time.monotonic() > ends_at


class _PageWalk:
    """The ids left to walk, and the records found so far."""

    def __init__(
        self, connection: Connection, where: DecisionFilter, after: bytes | None, limit: int, *, newest_first: bool
    ) -> None:
        self._short = _SHORT
        statement, id_ = select(*decision_columns), decisions.c.id
        column: Callable[[str], ColumnElement[Any]] = decisions.c.__getitem__
        if not where.selects >= _INDEXED:
            # SQLite has no statistics: it would use the index and sort all rows of a busy tenant to find fifty.
            column = walking_ids if connection.dialect.name == "sqlite" else column
        elif where.selects & _IN_INDEX and is_one_file(connection):
            # Without the join, SQLite reads the whole row of every index entry to check the namespace or the effect. It
            # joins views by reading all of them.
            entry = decisions.alias("entry")
            statement, id_ = statement.join(entry, entry.c.id == decisions.c.id), entry.c.id
            column = {**decisions.c, **{name: entry.c[name] for name in _INDEXED | _IN_INDEX}}.__getitem__
            self._short = _SHORT_IN_INDEX if where.selects <= _INDEXED | _IN_INDEX else _SHORT
        conditions = where.conditions(column=column, by_id=False)
        self._statement = (
            statement.where(id_ >= bindparam("first"), id_ <= bindparam("last"), *conditions)
            .order_by(id_.desc() if newest_first else id_)
            .limit(bindparam("most"))
        )
        self._connection = connection
        self._limit = limit
        self._newest_first = newest_first
        self._beyond = after
        self._found: list[DecisionRecord] = []
        self.first, self.last = where.span

    @property
    def is_full(self) -> bool:
        return len(self._found) == self._limit

    def is_short(self, where: DecisionFilter) -> bool:
        first, last = self._left()
        columns = decisions.c
        some = select(columns.id).where(
            columns.tenant == where.tenant, columns.principal == where.principal, columns.id.between(first, last)
        )
        number = select(func.count()).select_from(some.limit(self._short).subquery())
        return self._connection.execute(number).scalar_one() < self._short

    def times(self) -> tuple[int, int]:
        """The times between which records may be left, microseconds since the Unix epoch."""
        first, last = self._left()
        ends = (select(decisions.c.id).order_by(order).limit(1) for order in (decisions.c.id, decisions.c.id.desc()))
        oldest, newest = (self._connection.execute(end).scalar() for end in ends)
        if oldest is None or newest is None:
            return 1, 0
        first, last = max(first, oldest), min(last, newest)
        slack_us = CLOCK_SLACK_US + _US_PER_MS
        return id_time_ms(first) * _US_PER_MS - slack_us, id_time_ms(last) * _US_PER_MS + slack_us

    def take(self, first: bytes, last: bytes) -> bool:
        """Reads the remaining records between these ids. Returns False if no id is left there.

        Afterwards nothing before them, in the order of the walk, is left.
        """
        begin, end = self._left()
        first, last = max(first, begin), min(last, end)
        if first > last:
            return False
        bounds = {"first": first, "last": last, "most": self._limit - len(self._found)}
        self._found += map(DecisionRecord._make, self._connection.execute(self._statement, bounds))
        self._beyond = first if self._newest_first else last
        return True

    def leave(self, edge_us: int) -> None:
        """Skips all ids before that time, in the order of the walk."""
        if self._newest_first:
            edge = first_id_at(edge_us + CLOCK_SLACK_US + _US_PER_MS)
            self._beyond = edge if self._beyond is None else min(self._beyond, edge)
        else:
            edge = last_id_at(edge_us - CLOCK_SLACK_US - _US_PER_MS)
            self._beyond = edge if self._beyond is None else max(self._beyond, edge)

    def page(self, *, finished: bool) -> RecordPage:
        if self.is_full:
            return RecordPage(self._found, self._found[-1].id)
        return RecordPage(self._found, None if finished else self._beyond)

    def _left(self) -> tuple[bytes, bytes]:
        """The first and the last id that are left. The first is greater than the last if none is left."""
        if self._beyond is None:
            return self.first, self.last
        if self._newest_first:
            return self.first, min(self.last, id_before(self._beyond))
        return max(self.first, self._beyond + b"\x00"), self.last
