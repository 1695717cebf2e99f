import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from support.server import DEADLINE_S


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process holds the store's write lock, so that records, and the calls they belong to, wait: for up to five
    seconds, after which the server takes the store for broken."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=DEADLINE_S)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
