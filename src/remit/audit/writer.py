"""The hot path: records to rows, by Core-compiled SQL that goes straight to the driver.

CPython's sqlite3 gives up the GIL at every step of a statement, so `executemany` of 60 rows beside 64 busy threads
queues for it 60 times. Statements of many rows, compiled once, queue for it a handful of times: up to twice as fast
beside four busy threads, at worst a fifth slower alone. psycopg's `executemany` is one pipeline already, and three
times as fast there as statements of many rows.
"""

from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from sqlalchemy import Dialect, Engine, Table, insert

from remit.audit.errors import AuditStoreError, RecordRefused
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.audit.tables import decisions, lifecycle

# 64 rows of 19 columns are 1,216 variables; SQLite allows 32,766.
_ROWS_PER_STATEMENT = (64, 16, 4, 1)


class Writer:
    """One driver connection kept for inserts. Not to be shared among threads without a lock."""

    def __init__(self, engine: Engine) -> None:
        self._pooled = engine.raw_connection()
        self._cursor = self._pooled.cursor()
        self._driver: Any = engine.dialect.loaded_dbapi
        self._sqlite = engine.dialect.name == "sqlite"
        dialect_class: Any = type(engine.dialect)
        dialect: Dialect = dialect_class(paramstyle="qmark" if self._sqlite else "format")
        self._decisions = _statements(decisions, dialect)
        self._lifecycle = _statements(lifecycle, dialect)
        self.broken = False

    def append(self, decided: Sequence[DecisionRecord], happened: Sequence[LifecycleRecord]) -> None:
        """One transaction, durable on return. RecordRefused or AuditStoreError, and then nothing is written."""
        try:
            if self._sqlite:
                self._cursor.execute("BEGIN IMMEDIATE")
            self._insert(self._decisions, decided)
            self._insert(self._lifecycle, happened)
            self._pooled.commit()
        except BaseException as error:
            self._roll_back()
            if isinstance(error, (self._driver.IntegrityError, self._driver.DataError, OverflowError, UnicodeError)):
                raise RecordRefused(f"the audit store refuses a record: {error}") from error
            if isinstance(error, self._driver.Error):
                raise AuditStoreError(f"the audit store cannot write: {error}") from error
            raise

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

    def _insert(self, statements: Sequence[tuple[int, str]], rows: Sequence[tuple[Any, ...]]) -> None:
        if not self._sqlite:
            if rows:
                self._cursor.executemany(statements[-1][1], rows)
            return
        start, end = 0, len(rows)
        for size, sql in statements:
            while end - start >= size:
                self._cursor.execute(sql, tuple(chain.from_iterable(rows[start : start + size])))
                start += size


def _statements(table: Table, dialect: Dialect) -> list[tuple[int, str]]:
    names = [column.name for column in table.columns]
    return [
        (rows, str(insert(table).values([dict.fromkeys(names)] * rows).compile(dialect=dialect)))
        for rows in _ROWS_PER_STATEMENT
    ]
