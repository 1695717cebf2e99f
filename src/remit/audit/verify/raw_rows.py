import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Select

from remit.audit.chain.chain import Row

_BATCH: Final = 1_000


def batches(connection: Connection, statement: Select[Any]) -> Iterator[list[Row]]:
    """Yields the driver's rows unconverted, in the order of the statement, with one batch in memory at a time.

    Text in a SQLite file that someone has changed may not be UTF-8. It is then decoded with surrogates, and no hash can
    be computed of it.
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
        # A named cursor is a server-side cursor. The other cursors fetch all rows at once.
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
