"""The hot path: records to rows, by Core-compiled SQL that goes straight to the driver.

CPython's sqlite3 gives up the GIL at every step of a statement, so `executemany` of 60 rows beside 64 busy threads
queues for it 60 times; one statement of 60 rows queues once. psycopg's `executemany` is one pipeline already, and
faster there than statements of many rows.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from sqlalchemy import Dialect, Engine

from remit.audit.chain import DECISIONS, LIFECYCLE, ChainId, Head, Row, link_decisions, link_lifecycle
from remit.audit.counts import counted
from remit.audit.errors import AuditStoreError, RecordRefused
from remit.audit.heads import Heads
from remit.audit.inserting import InsertRows, inserting
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.audit.tables import counts, decisions, lifecycle

# 128 rows of 23 columns are 2,944 variables; SQLite allows 32,766.
_ROWS_PER_STATEMENT = 128

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
        self._decisions = InsertRows(inserting(decisions, dialect), dialect)
        self._lifecycle = InsertRows(inserting(lifecycle, dialect), dialect)
        adding = inserting(counts, dialect)
        sums = {name: counts.c[name] + adding.excluded[name] for name in ("recorded", "unrecorded")}
        minutes = {"minutes": counts.c.minutes.bitwise_or(adding.excluded.minutes)}
        adding = adding.on_conflict_do_update(index_elements=list(counts.primary_key), set_=sums | minutes)
        self._counts = InsertRows(adding, dialect)
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
            self._insert(self._decisions, self._linked(DECISIONS, decided, link_decisions))
            self._insert(self._lifecycle, self._linked(LIFECYCLE, happened, link_lifecycle))
            if decided or unrecorded:
                self._insert(self._counts, counted(decided, unrecorded))
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

    def _insert(self, statement: InsertRows, rows: Sequence[Row]) -> None:
        if not self._sqlite:
            if rows:
                self._cursor.executemany(statement.of(1), rows)
            return
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            some = rows[start : start + _ROWS_PER_STATEMENT]
            self._cursor.execute(statement.of(len(some)), tuple(chain.from_iterable(some)))
