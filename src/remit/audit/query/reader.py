from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from sqlalchemy import ColumnElement, Connection, select

from remit.audit.append.policy_archives import stored_revision
from remit.audit.chain.chain import DECISIONS, ChainId
from remit.audit.query.aggregate import Count, Grouping, count_decisions
from remit.audit.query.caller_questions import CallerQuestions, caller_questions
from remit.audit.query.filter import DecisionFilter, in_time
from remit.audit.query.heads import ChainHead, LastVerification, chain_heads, last_verification
from remit.audit.query.page import RecordPage, page_of_decisions
from remit.audit.query.revision_history import ServedRevision, serving
from remit.audit.record import BY_CALLERS, ChainPosition, DecisionRecord, LifecycleRecord
from remit.audit.schema.tables import chains, decisions, lifecycle, lifecycle_columns

_EVERYTHING = DecisionFilter()
_PAGE = 1000


class AuditReader(ABC):
    """The queries that a store of records answers."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL without its password."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Connection]:
        """A connection for reading. Raises AuditStoreError for every failure of the database."""

    def page(
        self,
        where: DecisionFilter = _EVERYTHING,
        *,
        after: bytes | None = None,
        limit: int = 100,
        newest_first: bool = True,
        budget_s: float | None = None,
    ) -> RecordPage:
        """Returns a page of decisions in the order of ids, and where the next page begins.

        `budget_s` limits the search, in seconds: after that, the page holds what was found so far.
        """
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
        """Returns a page in the order of ids.

        The next page begins `after` the last id of this page. A page shorter than `limit` is the last.
        """
        return self.page(where, after=after, limit=limit, newest_first=newest_first).records

    def all_decisions(self, where: DecisionFilter = _EVERYTHING) -> Iterator[DecisionRecord]:
        """Yields all decisions, oldest first, one page in memory at a time. Includes decisions written meanwhile."""
        after: bytes | None = None
        while page := self.decisions(where, after=after, limit=_PAGE, newest_first=False):
            yield from page
            after = page[-1].id

    def decision(self, id_: bytes) -> DecisionRecord | None:
        found = self.decisions(DecisionFilter(ids=(id_,)), limit=1)
        return found[0] if found else None

    def place(self, id_: bytes) -> ChainPosition | None:
        """The position of a decision's record in its chain. None if there is no such record."""
        chain = (chains.c.tenant == decisions.c.tenant, chains.c.node == decisions.c.node)
        head = select(chains.c.seq).where(chains.c.of_table == DECISIONS, *chain).scalar_subquery()
        statement = select(decisions.c.seq, decisions.c.hash, head).where(decisions.c.id == id_)
        with self.reading() as connection:
            found = connection.execute(statement).one_or_none()
        return None if found is None else ChainPosition(found[0], bytes(found[1]), found[2] or 0)

    def counts(
        self,
        where: DecisionFilter = _EVERYTHING,
        by: Sequence[Grouping] = (),
        *,
        after: tuple[str | int, ...] | None = None,
        limit: int = 1000,
        most_first: bool = False,
    ) -> list[Count]:
        """Counts the decisions in the hours that `where` touches, ordered by group.

        The next page comes `after` the last group of this page. `most_first` returns the largest counts, with no
        further page.

        Raises NotCountedError if `where` and `by` name more than one of principal, namespace, revision, caller and
        question.
        """
        with self.reading() as connection:
            return count_decisions(connection, where, by, after=after, limit=limit, most_first=most_first)

    def each_callers_questions(self, where: DecisionFilter = _EVERYTHING) -> Iterator[CallerQuestions]:
        """Yields what callers asked, one sum after the other: those of an hour, then those of the next."""
        after: bytes | None = where.span[0]
        while after is not None:
            with self.reading() as connection:
                found, after = caller_questions(connection, where, after=after)
            yield from found

    def serving(self, tenant: str, at_us: int, node: str | None = None) -> list[ServedRevision]:
        """Which revision served a tenant at that time, on each node or on one node. The newest comes first."""
        with self.reading() as connection:
            return serving(connection, tenant, at_us, node)

    def heads(self, tenant: str | None = None, *, after: ChainId | None = None, limit: int = 100) -> list[ChainHead]:
        """Returns a page of the heads of chains. The next page comes `after` the last chain of this page."""
        with self.reading() as connection:
            return chain_heads(connection, tenant, after, limit)

    def last_verification(self, tenant: str = "") -> LastVerification | None:
        """The last verification of the whole store that left a record; with `tenant`, also of that tenant alone."""
        with self.reading() as connection:
            return last_verification(connection, tenant)

    def revision(self, tenant: str, revision: str, most_bytes: int) -> bytes | None:
        """The files of a tenant's revision, as a zip. None if they are not stored or are larger than `most_bytes`."""
        with self.reading() as connection:
            return stored_revision(connection, tenant, revision, most_bytes)

    def lifecycle(
        self,
        *,
        type_: str | None = None,
        tenant: str | None = None,
        node: str | None = None,
        since_us: int | None = None,
        until_us: int | None = None,
        after: bytes | None = None,
        limit: int = 100,
        newest_first: bool = True,
        without_calls: bool = False,
    ) -> list[LifecycleRecord]:
        """Returns a page of lifecycle records, as `decisions` does. `since_us` is inclusive, `until_us` exclusive.

        `without_calls` leaves out the records that callers can cause at will."""
        columns = lifecycle.c
        conditions: list[ColumnElement[bool]] = in_time(lifecycle, since_us, until_us)
        if type_ is not None:
            conditions.append(columns.type == type_)
        if without_calls:
            conditions.append(columns.type.not_in(BY_CALLERS))
        if tenant is not None:
            conditions.append(columns.tenant == tenant)
        if node is not None:
            conditions.append(columns.node == node)
        if after is not None:
            conditions.append(columns.id < after if newest_first else columns.id > after)
        order = columns.id.desc() if newest_first else columns.id
        statement = select(*lifecycle_columns).where(*conditions).order_by(order).limit(limit)
        with self.reading() as connection:
            return [LifecycleRecord._make(row) for row in connection.execute(statement)]
