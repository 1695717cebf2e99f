import re
from collections.abc import Sequence
from itertools import count
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Dialect, Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite

_PARTS: Final = re.compile(r"(?P<begin>.*? VALUES )(?P<row>\(.*?\))(?P<end>( ON CONFLICT .*)?)", re.DOTALL)


def inserting(table: Table, dialect: Dialect) -> Any:
    """An insert of one row that may say what to do `ON CONFLICT`, which Core leaves to its dialects."""
    insert = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
    return insert(table).values({column.name: bindparam(column.name) for column in table.columns})


class InsertCalls:
    """The SQL of an SQLite insert of rows that have some columns in common, which are bound once: half of what an insert
    of many rows costs is to bind its values."""

    def __init__(self, table: Table, common: Sequence[str]) -> None:
        names = [column.name for column in table.columns]
        self._own = [name for name in names if name not in common]
        self._common = len(common)
        numbers = {name: f"?{number}" for number, name in enumerate(common, 1)}
        self._cells = [numbers.get(name, "") for name in names]
        self.of_call = itemgetter(*map(names.index, common))
        self.of_row = itemgetter(*map(names.index, self._own))
        self._begin = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES "  # noqa: S608 (our own names)
        self._known: dict[int, str] = {}

    def of(self, rows: int) -> str:
        """Its parameters are the common values, then those of each row's own columns in the table's order."""
        sql = self._known.get(rows)
        if sql is None:
            numbers = count(self._common + 1)
            written = (", ".join(cell or f"?{next(numbers)}" for cell in self._cells) for _ in range(rows))
            sql = self._known[rows] = self._begin + ", ".join(f"({row})" for row in written)
        return sql


class InsertRows:
    """The SQL of an insert for each number of rows."""

    def __init__(self, one: Any, dialect: Dialect) -> None:
        """`one` is the insert of one row. Compiling another for each number of rows takes milliseconds."""
        parts = _PARTS.fullmatch(str(one.compile(dialect=dialect)))
        assert parts is not None
        self._begin, self._row, self._end = parts["begin"], parts["row"], parts["end"]
        self._known: dict[int, str] = {}

    def of(self, rows: int) -> str:
        sql = self._known.get(rows)
        if sql is None:
            sql = self._known[rows] = self._begin + ", ".join([self._row] * rows) + self._end
        return sql
