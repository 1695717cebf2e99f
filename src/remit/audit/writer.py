"""The hot path: records to rows, by Core-compiled SQL that goes straight to the driver."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Dialect, Engine

from remit.audit.chain import CALL_FIELDS, DECISIONS, LIFECYCLE, ChainId, Head, Row, link_decisions, link_lifecycle
from remit.audit.counts import counted
from remit.audit.errors import AuditStoreError, RecordRefused
from remit.audit.heads import Heads
from remit.audit.inserting import adding_counts, adding_records
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.audit.tables import decisions, lifecycle

_Record = TypeVar("_Record", DecisionRecord, LifecycleRecord)
_Link = Callable[[Iterable[_Record], Head], tuple[Head, list[Row]]]


class Writer:
    """One driver connection kept for inserts. Not to be shared among threads without a lock."""

    def __init__(self, engine: Engine) -> None:
        self._pooled = engine.raw_connection()
        self._cursor = self._pooled.cursor()
        self._driver: Any = engine.dialect.loaded_dbapi
        self._sqlite = engine.dialect.name == "sqlite"
        dialect_class: Any = type(engine.dialect)
        dialect: Dialect = dialect_class(paramstyle="qmark" if self._sqlite else "format")
        self._add_decisions = adding_records(decisions, dialect, CALL_FIELDS)
        self._add_lifecycle = adding_records(lifecycle, dialect)
        self._add_counts = adding_counts(dialect)
        self._heads = Heads(self._cursor, dialect)
        self.broken = False

    def append(
        self,
        decided: Sequence[DecisionRecord],
        happened: Sequence[LifecycleRecord],
        unrecorded: Sequence[DecisionRecord] = (),
    ) -> None:
        """One transaction, durable on return. RecordRefused or AuditStoreError, and then nothing is written.

        `unrecorded` are decisions that are counted and not kept.
        """
        try:
            if self._sqlite:
                self._cursor.execute("BEGIN IMMEDIATE")
            self._add_decisions(self._cursor, self._linked(DECISIONS, decided, link_decisions))
            self._add_lifecycle(self._cursor, self._linked(LIFECYCLE, happened, link_lifecycle))
            self._add_counts(self._cursor, counted(decided, unrecorded))
            self._pooled.commit()
        except BaseException as error:
            self._heads.forget()
            self._roll_back()
            if isinstance(error, (self._driver.IntegrityError, self._driver.DataError, OverflowError, UnicodeError)):
                raise RecordRefused(f"the audit store refuses a record: {error}") from error
            if isinstance(error, self._driver.Error):
                raise AuditStoreError(f"the audit store cannot write: {error}") from error
            raise

    def _linked(self, table: str, records: Sequence[_Record], link: _Link[_Record]) -> list[Row]:
        """The rows of records, each at the end of its chain."""
        by_chain: dict[ChainId, list[_Record]] = defaultdict(list)
        for record in records:
            by_chain[ChainId(table, record.tenant, record.node)].append(record)
        rows: list[Row] = []
        # In order, so that two processes that move the same chains never wait for each other.
        for chain_id, its in sorted(by_chain.items()):
            rows += self._heads.move(chain_id, partial(link, its))
        return rows

    def _roll_back(self) -> None:
        try:
            self._pooled.rollback()
        except self._driver.Error:
            self.broken = True

    def discard(self) -> None:
        """Closes the connection and keeps it out of the pool."""
        with suppress(self._driver.Error):
            self._cursor.close()
        self._pooled.invalidate()

    def close(self) -> None:
        self._cursor.close()
        self._pooled.close()
