import re
from typing import Any, Final

from sqlalchemy import Dialect, Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite

_PARTS: Final = re.compile(r"(?P<begin>.*? VALUES )(?P<row>\(.*?\))(?P<end>( ON CONFLICT .*)?)", re.DOTALL)


def inserting(table: Table, dialect: Dialect) -> Any:
    """An insert of one row that may say what to do `ON CONFLICT`, which Core leaves to its dialects."""
    insert = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
    return insert(table).values({column.name: bindparam(column.name) for column in table.columns})


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
