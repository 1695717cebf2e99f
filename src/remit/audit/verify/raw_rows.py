import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Select

from remit.audit.chain.chain import Row

_BATCH: Final = 1_000


def batches(connection: Connection, statement: Select[Any]) -> Iterator[list[Row]]:
    """The driver's rows as they are, in the order that the statement gives them, a batch in memory at a time.

    Of a SQLite file that somebody has written to, text may be no UTF-8: it comes with surrogates, of which no hash can
    be made.
    """
    done = 0
    try:
        for batch in _fetched(connection, statement):
            yield batch
            done += len(batch)
    except sqlite3.OperationalError as error:
        if "decode to UTF-8" not in str(error):
            raise
        with _lenient(connection):
            yield from _fetched(connection, statement.offset(done))


def _fetched(connection: Connection, statement: Select[Any]) -> Iterator[list[Row]]:
    compiled = statement.compile(connection)
    values = compiled.params
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        cursor, parameters = driver.cursor(), [values[name] for name in compiled.positiontup or ()]
    else:
        # A cursor with a name is one of the server's: the others bring all rows at once.
        cursor, parameters = driver.cursor(f"remit_{id(statement):x}", binary=True), values
    with closing(cursor):
        cursor.execute(str(compiled), parameters)
        while batch := cursor.fetchmany(_BATCH):
            yield batch


@contextmanager
def _lenient(connection: Connection) -> Iterator[None]:
    driver: Any = connection.connection.driver_connection
    driver.text_factory = lambda text: text.decode(errors="surrogateescape")
    try:
        yield
    finally:
        driver.text_factory = str
