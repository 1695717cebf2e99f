"""Bulk inserts, by the fastest method on each database (`bench.postgresql`)."""

import json
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, Protocol

from sqlalchemy import (
    JSON,
    ColumnElement,
    Dialect,
    TableClause,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import sqlite

from remit.audit.batch import CallFields
from remit.audit.chain.chain import LinkedCall, Row
from remit.audit.schema.tables import counts, decisions_by_call, lifecycle, revisions

_PARTS: Final = re.compile(r"(?P<begin>.*? VALUES )(?P<row>\(.*?\))(?P<end>( ON CONFLICT .*)?)", re.DOTALL)
# 128 rows of 23 columns are 2,944 variables; SQLite allows 32,766.
_ROWS_PER_STATEMENT: Final = 128
# A call with fewer rows shares a statement with other calls.
_ROWS_OF_A_BATCH: Final = 8

Rows = Sequence[Row]


class Insert(Protocol):
    def __call__(self, cursor: Any, rows: Rows, /) -> int:
        """Inserts rows with all columns of a table. Returns the row count that the database reports."""


class InsertCalls(Protocol):
    def __call__(self, cursor: Any, calls: Sequence[LinkedCall], /) -> int:
        """Inserts the records of calls. Returns the row count that the database reports."""


def insert_statement(table: TableClause, dialect: Dialect) -> Any:
    """The insert of one row, with support for `ON CONFLICT`, which Core leaves to its dialects."""
    return _insert(table, dialect).values({column.name: bindparam(column.name) for column in table.columns})


def _insert(table: TableClause, dialect: Dialect) -> Any:
    if dialect.name == "sqlite":
        return sqlite.insert(table)
    # A server over SQLite needs none of it.
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415

    return postgresql.insert(table)


def decision_insert(dialect: Dialect) -> InsertCalls:
    return CopyCalls(decisions_by_call) if dialect.name != "sqlite" else InsertManyCalls(decisions_by_call, dialect)


def lifecycle_insert(dialect: Dialect) -> Insert:
    return Copy(lifecycle) if dialect.name != "sqlite" else InsertMany(insert_statement(lifecycle, dialect), dialect)


def revision_insert(dialect: Dialect) -> Insert:
    """Inserts into table `revisions`. If the archive is stored already, renews `kept_us`: a purge then keeps it until a
    record names it."""
    statement = insert_statement(revisions, dialect)
    again = {"kept_us": statement.excluded.kept_us}
    return InsertMany(statement.on_conflict_do_update(index_elements=list(revisions.primary_key), set_=again), dialect)


def rollup_insert(dialect: Dialect) -> Insert:
    """Inserts into table `counts`. If the key has a row, adds to its sums and sets further minutes in it."""
    table = counts
    names = [column.name for column in table.columns]
    statement: Any = insert_statement(table, dialect)
    if dialect.name != "sqlite":
        element = func.json_array_elements(cast(bindparam("rows", type_=Text), JSON)).column_valued("element")
        values = [
            cast(element.op("->>")(literal_column(str(at))), column.type) for at, column in enumerate(table.columns)
        ]
        statement = _insert(table, dialect).from_select(names, select(*values))
    added: dict[str, ColumnElement[Any]] = {
        name: table.c[name] + statement.excluded[name] for name in ("recorded", "unrecorded")
    }
    added["minutes"] = table.c.minutes.bitwise_or(statement.excluded.minutes)
    statement = statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=added)
    return InsertMany(statement, dialect) if dialect.name == "sqlite" else InsertFromJson(statement, dialect)


class InsertMany:
    """Inserts many rows in one statement.

    CPython's sqlite3 releases the GIL at every step of a statement: `executemany` of 60 rows beside 64 busy threads
    waits for the GIL 60 times. One statement of 60 rows waits once.
    """

    def __init__(self, one: Any, dialect: Dialect) -> None:
        """`one` is the insert of one row. Compiling another statement for each number of rows takes milliseconds."""
        parts = _PARTS.fullmatch(str(one.compile(dialect=dialect)))
        assert parts is not None
        self.begin, self._row, self._end = parts["begin"], parts["row"], parts["end"]
        self._known: dict[int, str] = {}

    def __call__(self, cursor: Any, rows: Rows, /) -> int:
        inserted = 0
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            some = rows[start : start + _ROWS_PER_STATEMENT]
            cursor.execute(self._of(len(some)), tuple(chain.from_iterable(some)))
            inserted += cursor.rowcount
        return inserted

    def _of(self, rows: int) -> str:
        sql = self._known.get(rows)
        if sql is None:
            sql = self._known[rows] = self.begin + ", ".join([self._row] * rows) + self._end
        return sql


class InsertManyCalls:
    """Inserts the records of calls as InsertMany does, and binds the shared fields of a large call once.

    Binding its values is half the cost of an insert of many rows.
    """

    def __init__(self, table: TableClause, dialect: Dialect) -> None:
        """`table` has the columns of calls, then the others."""
        self._singly = InsertMany(insert_statement(table, dialect), dialect)
        self._shared = len(CallFields._fields)
        self._own = len(table.columns) - self._shared
        self._into = self._singly.begin.removesuffix(" VALUES ")
        self._known: dict[int, str] = {}

    def __call__(self, cursor: Any, calls: Sequence[LinkedCall], /) -> int:
        inserted = 0
        others: list[Row] = []
        for call, rows in calls:
            if len(rows) < _ROWS_OF_A_BATCH:
                others += [call + row for row in rows]
                continue
            for start in range(0, len(rows), _ROWS_PER_STATEMENT):
                some = rows[start : start + _ROWS_PER_STATEMENT]
                cursor.execute(self._of(len(some)), (*call, *chain.from_iterable(some)))
                inserted += cursor.rowcount
        return inserted + self._singly(cursor, others)

    def _of(self, rows: int) -> str:
        """The statement for this many rows. Its parameters are the fields of the call, then the fields of each row.

        The shared fields do not use `?1`: CPython 3.12.0 to 3.12.3 take it for a name, and warn each time.
        """
        sql = self._known.get(rows)
        if sql is None:
            call, row = (f"({', '.join('?' * columns)})" for columns in (self._shared, self._own))
            every = ", ".join([row] * rows)
            both = f"SELECT * FROM (VALUES {call}) CROSS JOIN (VALUES {every})"  # noqa: S608 (placeholders alone)
            sql = self._known[rows] = f"{self._into} {both}"
        return sql


class Copy:
    """PostgreSQL's COPY: a third of the time of psycopg's `executemany`, and a quarter of its interpreter time."""

    def __init__(self, table: TableClause) -> None:
        self._sql = f"COPY {table.name} ({', '.join(column.name for column in table.columns)}) FROM STDIN"

    def __call__(self, cursor: Any, rows: Rows, /) -> int:
        if not rows:
            return 0
        with cursor.copy(self._sql) as copying:
            for row in rows:
                copying.write_row(row)
        inserted: int = cursor.rowcount
        return inserted


class CopyCalls:
    def __init__(self, table: TableClause) -> None:
        """`table` has the columns of calls, then the others."""
        self._copy = Copy(table)

    def __call__(self, cursor: Any, calls: Sequence[LinkedCall], /) -> int:
        return self._copy(cursor, [call + row for call, rows in calls for row in rows])


class InsertFromJson:
    """Inserts all rows as one JSON parameter, in PostgreSQL, because COPY has no `ON CONFLICT`."""

    def __init__(self, statement: Any, dialect: Dialect) -> None:
        self._sql = str(statement.compile(dialect=dialect))

    def __call__(self, cursor: Any, rows: Rows, /) -> int:
        if not rows:
            return 0
        cursor.execute(self._sql, (json.dumps(rows),))
        inserted: int = cursor.rowcount
        return inserted
