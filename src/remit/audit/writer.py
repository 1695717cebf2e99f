"""The hot path: records to rows, by Core-compiled SQL that goes straight to the driver.

CPython's sqlite3 gives up the GIL at every step of a statement, so `executemany` of 60 rows beside 64 busy threads
queues for it 60 times; one statement of 60 rows queues once. psycopg's `executemany` is one pipeline already, and
faster there than statements of many rows.
"""

from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from sqlalchemy import Dialect, Engine, Table, insert

from remit.audit.errors import AuditStoreError, RecordRefused
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.audit.tables import decisions, lifecycle

# As many rows as one commit of a busy server has, each number with a statement of its own, compiled when first needed.
# 128 rows of 19 columns are 2,432 variables; SQLite allows 32,766.
_ROWS_PER_STATEMENT = 128


class Writer:
    """One driver connection kept for inserts. Not to be shared among threads without a lock."""

    def __init__(self, engine: Engine) -> None:
        self._pooled = engine.raw_connection()
        self._cursor = self._pooled.cursor()
        self._driver: Any = engine.dialect.loaded_dbapi
        self._sqlite = engine.dialect.name == "sqlite"
        dialect_class: Any = type(engine.dialect)
        dialect: Dialect = dialect_class(paramstyle="qmark" if self._sqlite else "format")
        self._decisions = _Statements(decisions, dialect)
        self._lifecycle = _Statements(lifecycle, dialect)
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

    def _insert(self, statements: "_Statements", rows: Sequence[tuple[Any, ...]]) -> None:
        if not self._sqlite:
            if rows:
                self._cursor.executemany(statements.of(1), rows)
            return
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            some = rows[start : start + _ROWS_PER_STATEMENT]
            self._cursor.execute(statements.of(len(some)), tuple(chain.from_iterable(some)))


class _Statements:
    """The insert of a table for each number of rows."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self._table = table
        self._dialect = dialect
        self._known: dict[int, str] = {}

    def of(self, rows: int) -> str:
        sql = self._known.get(rows)
        if sql is None:
            values = [dict.fromkeys(column.name for column in self._table.columns)] * rows
            sql = self._known[rows] = str(insert(self._table).values(values).compile(dialect=self._dialect))
        return sql
