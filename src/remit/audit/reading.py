from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager

from sqlalchemy import ColumnElement, Connection, select

from remit.audit.filter import DecisionFilter, in_time
from remit.audit.page import Page, page_of_decisions
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.audit.tables import lifecycle, lifecycle_columns

_EVERYTHING = DecisionFilter()
_PAGE = 1000


class Reading(ABC):
    """What a store of records can be asked."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Connection]:
        """A connection to read by. Every failure of the database is an AuditStoreError."""

    def page(
        self,
        where: DecisionFilter = _EVERYTHING,
        *,
        after: bytes | None = None,
        limit: int = 100,
        newest_first: bool = True,
        budget_s: float | None = None,
    ) -> Page:
        """A page of decisions in the order of ids, and where the next one begins. `budget_s` bounds the search in
        seconds: past it the page is what was found so far."""
        with self.reading() as connection:
            return page_of_decisions(
                connection, where, after=after, limit=limit, newest_first=newest_first, budget_s=budget_s
            )

    def decisions(
        self,
        where: DecisionFilter = _EVERYTHING,
        *,
        after: bytes | None = None,
        limit: int = 100,
        newest_first: bool = True,
    ) -> list[DecisionRecord]:
        """A page in the order of ids. The next page begins `after` the last id of this one; a short page is the last."""
        return self.page(where, after=after, limit=limit, newest_first=newest_first).records

    def each_decision(self, where: DecisionFilter = _EVERYTHING) -> Iterator[DecisionRecord]:
        """All of them, oldest first, a page in memory at a time; those written meanwhile too."""
        after: bytes | None = None
        while page := self.decisions(where, after=after, limit=_PAGE, newest_first=False):
            yield from page
            after = page[-1].id

    def decision(self, id_: bytes) -> DecisionRecord | None:
        found = self.decisions(DecisionFilter(ids=(id_,)), limit=1)
        return found[0] if found else None

    def lifecycle(
        self,
        *,
        type_: str | None = None,
        tenant: str | None = None,
        since_us: int | None = None,
        until_us: int | None = None,
        after: bytes | None = None,
        limit: int = 100,
        newest_first: bool = True,
    ) -> list[LifecycleRecord]:
        """A page of lifecycle records, as `decisions` gives pages. `since_us` is inclusive, `until_us` exclusive."""
        columns = lifecycle.c
        conditions: list[ColumnElement[bool]] = in_time(lifecycle, since_us, until_us)
        if type_ is not None:
            conditions.append(columns.type == type_)
        if tenant is not None:
            conditions.append(columns.tenant == tenant)
        if after is not None:
            conditions.append(columns.id < after if newest_first else columns.id > after)
        order = columns.id.desc() if newest_first else columns.id
        statement = select(*lifecycle_columns).where(*conditions).order_by(order).limit(limit)
        with self.reading() as connection:
            return [LifecycleRecord._make(row) for row in connection.execute(statement)]
