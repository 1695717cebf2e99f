"""Rows into tables, the fastest way there is on each database (`bench.postgresql`)."""

import json
import re
from collections.abc import Sequence
from itertools import chain, count, groupby
from operator import itemgetter
from typing import Any, Final, Protocol

from sqlalchemy import JSON, ColumnElement, Dialect, Table, Text, bindparam, cast, func, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from remit.audit.tables import counts

_PARTS: Final = re.compile(r"(?P<begin>.*? VALUES )(?P<row>\(.*?\))(?P<end>( ON CONFLICT .*)?)", re.DOTALL)
# 128 rows of 23 columns are 2,944 variables; SQLite allows 32,766.
_ROWS_PER_STATEMENT: Final = 128
# Fewer rows of one call go with those of others into one statement.
_ROWS_OF_A_BATCH: Final = 8

Rows = Sequence[Sequence[Any]]


class Insert(Protocol):
    def __call__(self, cursor: Any, rows: Rows, /) -> None:
        """Inserts rows of all columns of a table."""


def inserting(table: Table, dialect: Dialect) -> Any:
    """An insert of one row that may say what to do `ON CONFLICT`, which Core leaves to its dialects."""
    insert = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
    return insert(table).values({column.name: bindparam(column.name) for column in table.columns})


def adding_records(table: Table, dialect: Dialect, common: Sequence[str] = ()) -> Insert:
    """`common`: columns that many rows in a row have in common."""
    if dialect.name != "sqlite":
        return Copy(table)
    insert = InsertMany(inserting(table, dialect), dialect)
    return InsertCalls(table, common, insert) if common else insert


def adding_counts(dialect: Dialect) -> Insert:
    """Into table `counts`: where there is a row of that key, its sums grow and its minutes become more."""
    table = counts
    names = [column.name for column in table.columns]
    statement: Any = inserting(table, dialect)
    if dialect.name != "sqlite":
        element = func.json_array_elements(cast(bindparam("rows", type_=Text), JSON)).column_valued("element")
        values = [
            cast(element.op("->>")(literal_column(str(at))), column.type) for at, column in enumerate(table.columns)
        ]
        statement = postgresql.insert(table).from_select(names, select(*values))
    added: dict[str, ColumnElement[Any]] = {
        name: table.c[name] + statement.excluded[name] for name in ("recorded", "unrecorded")
    }
    added["minutes"] = table.c.minutes.bitwise_or(statement.excluded.minutes)
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


class InsertCalls:
    """Rows of a call that has many: what they have in common is bound once, for half of what an insert of many rows
    costs is to bind its values."""

    def __init__(self, table: Table, common: Sequence[str], others: Insert) -> None:
        names = [column.name for column in table.columns]
        own = [name for name in names if name not in common]
        self._others = others
        self._common = len(common)
        numbers = {name: f"?{number}" for number, name in enumerate(common, 1)}
        self._cells = [numbers.get(name, "") for name in names]
        self._of_call = itemgetter(*map(names.index, common))
        self._of_row = itemgetter(*map(names.index, own))
        self._begin = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES "  # noqa: S608 (our own names)
        self._known: dict[int, str] = {}

    def __call__(self, cursor: Any, rows: Rows, /) -> None:
        if len(rows) < _ROWS_OF_A_BATCH:
            self._others(cursor, rows)
            return
        others: list[Sequence[Any]] = []
        for call, its in groupby(rows, self._of_call):
            batch = list(its)
            if len(batch) < _ROWS_OF_A_BATCH:
                others += batch
                continue
            for start in range(0, len(batch), _ROWS_PER_STATEMENT):
                own = [self._of_row(row) for row in batch[start : start + _ROWS_PER_STATEMENT]]
                cursor.execute(self._of(len(own)), (*call, *chain.from_iterable(own)))
        self._others(cursor, others)

    def _of(self, rows: int) -> str:
        """Its parameters are the common values, then those of each row's own columns in the table's order."""
        sql = self._known.get(rows)
        if sql is None:
            numbers = count(self._common + 1)
            written = (", ".join(cell or f"?{next(numbers)}" for cell in self._cells) for _ in range(rows))
            sql = self._known[rows] = self._begin + ", ".join(f"({row})" for row in written)
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
