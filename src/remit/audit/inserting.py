"""Rows into tables, the fastest way there is on each database (`bench.postgresql`)."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final, Protocol

from sqlalchemy import JSON, ColumnElement, Dialect, Table, Text, bindparam, cast, func, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

_PARTS: Final = re.compile(r"(?P<begin>.*? VALUES )(?P<row>\(.*?\))(?P<end>( ON CONFLICT .*)?)", re.DOTALL)
# 128 rows of 23 columns are 2,944 variables; SQLite allows 32,766.
_ROWS_PER_STATEMENT: Final = 128

Rows = Sequence[Sequence[Any]]


class Insert(Protocol):
    def __call__(self, cursor: Any, rows: Rows, /) -> None:
        """Inserts rows of all columns of a table."""


def inserting(table: Table, dialect: Dialect) -> Any:
    """An insert of one row that may say what to do `ON CONFLICT`, which Core leaves to its dialects."""
    insert = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
    return insert(table).values({column.name: bindparam(column.name) for column in table.columns})


def adding_records(table: Table, dialect: Dialect) -> Insert:
    return InsertMany(inserting(table, dialect), dialect) if dialect.name == "sqlite" else Copy(table)


def adding_sums(table: Table, sums: Sequence[str], dialect: Dialect) -> Insert:
    """Where there is a row of that key, these columns are added to what it has."""
    names = [column.name for column in table.columns]
    statement: Any = inserting(table, dialect)
    if dialect.name != "sqlite":
        element = func.json_array_elements(cast(bindparam("rows", type_=Text), JSON)).column_valued("element")
        values = [
            cast(element.op("->>")(literal_column(str(at))), column.type) for at, column in enumerate(table.columns)
        ]
        statement = postgresql.insert(table).from_select(names, select(*values))
    added: Mapping[str, ColumnElement[Any]] = {name: table.c[name] + statement.excluded[name] for name in sums}
    statement = statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=added)
    return InsertMany(statement, dialect) if dialect.name == "sqlite" else InsertFromJson(statement, dialect)


class InsertMany:
    """Statements of many rows.

    CPython's sqlite3 gives up the GIL at every step of a statement, so `executemany` of 60 rows beside 64 busy threads
    queues for it 60 times; one statement of 60 rows queues once.
    """

    def __init__(self, one: Any, dialect: Dialect) -> None:
        """`one` is the insert of one row. Compiling another for each number of rows takes milliseconds."""
        parts = _PARTS.fullmatch(str(one.compile(dialect=dialect)))
        assert parts is not None
        self._begin, self._row, self._end = parts["begin"], parts["row"], parts["end"]
        self._known: dict[int, str] = {}

    def __call__(self, cursor: Any, rows: Rows, /) -> None:
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            some = rows[start : start + _ROWS_PER_STATEMENT]
            cursor.execute(self._of(len(some)), tuple(chain.from_iterable(some)))

    def _of(self, rows: int) -> str:
        sql = self._known.get(rows)
        if sql is None:
            sql = self._known[rows] = self._begin + ", ".join([self._row] * rows) + self._end
        return sql


class Copy:
    """PostgreSQL's COPY: a third of the time, and a quarter of the interpreter's, of psycopg's `executemany`."""

    def __init__(self, table: Table) -> None:
        self._sql = f"COPY {table.name} ({', '.join(column.name for column in table.columns)}) FROM STDIN"

    def __call__(self, cursor: Any, rows: Rows, /) -> None:
        if rows:
            with cursor.copy(self._sql) as copying:
                for row in rows:
                    copying.write_row(row)


class InsertFromJson:
    """PostgreSQL, where a COPY cannot say what to do on a conflict: all rows in one parameter."""

    def __init__(self, statement: Any, dialect: Dialect) -> None:
        self._sql = str(statement.compile(dialect=dialect))

    def __call__(self, cursor: Any, rows: Rows, /) -> None:
        if rows:
            cursor.execute(self._sql, (json.dumps(rows),))
