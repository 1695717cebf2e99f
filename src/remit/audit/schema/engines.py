"""Database engines that refuse a connection unless its commits are durable."""

import math
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Pool, create_engine, event

from remit.audit.errors import AuditStoreError
from remit.audit.schema.tables import metadata
from remit.core.urls import masked

_SYNCHRONOUS_FULL = 2
_DURABILITY = {"journal_mode": "WAL", "synchronous": "FULL"}
# One statement for each number of rows that the appender inserts at once, and the statements of reads.
_STATEMENTS = 256
_CACHE_KIB = 32 * 1024
# A burst may leave a large write-ahead log. SQLite truncates it to this size at the next checkpoint.
_WAL_KEPT_BYTES = 64 * 1024 * 1024
_BEGIN = "sqlite_begin"
_JOINED = "sqlite_joined"
_JOINED_BUSY_S = 5.0
_AGAIN_S = 0.01
AUDIT = "the audit database"
MOST_JOINED = 11
"""SQLite attaches ten files to one, unless its build raises the limit."""


def sqlite_engine(
    url: URL,
    *,
    max_bytes: int | None,
    busy_timeout_s: float,
    opened: Callable[[], None] = lambda: None,
    what: str = AUDIT,
    pool: type[Pool] | None = None,
) -> Engine:
    """An engine for a SQLite file whose commits are durable.

    Raises AuditStoreError, at each connect, if SQLite does not grant WAL with synchronous FULL. The file must exist:
    SQLite creates none. With NullPool as `pool`, a file that was replaced is noticed. `opened` is called after each connect, and refuses it with an exception.
    """
    assert url.database is not None
    existing = f"{Path(url.database).absolute().as_uri()}?mode=rw"
    arguments = {"check_same_thread": False, "cached_statements": _STATEMENTS}
    engine = create_engine(url, connect_args=arguments, poolclass=pool)

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> Any:
        return dialect.loaded_dbapi.connect(existing, uri=True, **parameters)

    @event.listens_for(engine, "connect")
    def configure(driver: Any, _record: Any) -> None:
        driver.isolation_level = None
        cursor = driver.cursor()
        pragmas: dict[str, Any] = {
            "busy_timeout": int(busy_timeout_s * 1000),
            **_DURABILITY,
            "cache_size": -_CACHE_KIB,
            "journal_size_limit": _WAL_KEPT_BYTES,
            # A foreign schema object can then call only functions that are harmless.
            "trusted_schema": "OFF",
        }
        for name, value in pragmas.items():
            _at_rest(busy_timeout_s, lambda: cursor.execute(f"PRAGMA {name} = {value}").fetchall())  # noqa: B023
        mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        synchronous = cursor.execute("PRAGMA synchronous").fetchone()[0]
        if mode != "wal" or synchronous < _SYNCHRONOUS_FULL:
            raise AuditStoreError(
                f"{what} `{masked(str(url))}` reports journal_mode `{mode}` and synchronous "
                f"`{synchronous}`: expected `wal` and `2` (FULL), without which a record may be lost after its answer"
            )
        if max_bytes is not None:
            page_bytes = cursor.execute("PRAGMA page_size").fetchone()[0]
            cursor.execute(f"PRAGMA max_page_count = {max(max_bytes // page_bytes, 1)}").fetchall()
        cursor.close()
        opened()

    event.listen(engine, "begin", _begin)
    return engine


def _at_rest(seconds: float, step: Callable[[], object]) -> None:
    """Does `step` again while SQLite says that the file is locked, for at most `seconds`.

    SQLite does not wait its busy_timeout when two connections change a new file to WAL at the same time: one of them
    is refused at once.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            step()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            time.sleep(_AGAIN_S)
        else:
            return


def sqlite_reading_engine(url: URL, *, busy_timeout_s: float) -> Engine:
    """An engine that only reads, and leaves the file's journal mode unchanged.

    Raises AuditStoreError, at each connect, as `reading_uri` does.
    """
    assert url.database is not None
    file = Path(url.database)
    engine = create_engine(url, connect_args={"check_same_thread": False, "cached_statements": _STATEMENTS})

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> Any:
        return dialect.loaded_dbapi.connect(reading_uri(file), uri=True, **parameters)

    @event.listens_for(engine, "connect")
    def configure(driver: Any, _record: Any) -> None:
        driver.isolation_level = None
        pragmas = {
            "busy_timeout": int(busy_timeout_s * 1000),
            "cache_size": -_CACHE_KIB,
            "trusted_schema": "OFF",
            "query_only": "ON",
        }
        for name, value in pragmas.items():
            driver.execute(f"PRAGMA {name} = {value}").fetchall()

    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get(_BEGIN, 'DEFERRED')}")


def reading_uri(file: Path) -> str:
    """The URI that opens an existing SQLite file for reading, also on a read-only disk.

    Raises AuditStoreError if the file cannot be read there, because newer records are only in its write-ahead log.
    """
    uri = file.absolute().as_uri()
    if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK):
        return f"{uri}?mode=rw"
    log, index = (file.with_name(file.name + ending) for ending in ("-wal", "-shm"))
    if index.exists() and log.exists():
        return f"{uri}?mode=ro"
    if log.exists() and log.stat().st_size:
        raise AuditStoreError(
            f"`{log}` holds records, and SQLite reads it only where it can write beside it: copy `{file}` and its log to a "
            "folder that can be written"
        )
    # Without `immutable`, SQLite creates an index of the log beside the file.
    return f"{uri}?mode=ro&immutable=1"


def joined_engine(files: Sequence[Path], *, readonly: bool = False) -> Engine:
    """An engine that reads the tables of several SQLite files as one.

    Raises AuditStoreError, at each connect, if there are more than `MOST_JOINED` files, or as `sqlite_engine` does.
    With `readonly`, it behaves as `sqlite_reading_engine`.
    """
    first, *others = files
    url = URL.create("sqlite", database=str(first))
    if readonly:
        engine = sqlite_reading_engine(url, busy_timeout_s=_JOINED_BUSY_S)
    else:
        engine = sqlite_engine(url, max_bytes=None, busy_timeout_s=_JOINED_BUSY_S)

    @event.listens_for(engine, "connect")
    def join(driver: Any, _record: Any) -> None:
        if len(files) > MOST_JOINED:
            raise AuditStoreError(
                f"there are {len(files)} audit files beside `{first}`, and SQLite reads at most {MOST_JOINED} as one"
            )
        names = ["main", *(f"w{number}" for number in range(1, len(files)))]
        for name, file in zip(names[1:], others, strict=True):
            uri = reading_uri(file) if readonly else f"{file.absolute().as_uri()}?mode=rw"
            driver.execute(f"ATTACH ? AS {name}", (uri,))
        driver.execute("PRAGMA query_only = OFF")
        for table in metadata.tables:
            # SQLite finds a temporary view before a table of the same name.
            union = " UNION ALL ".join(f"SELECT * FROM {name}.{table}" for name in names)  # noqa: S608 (our own names)
            driver.execute(f"CREATE TEMP VIEW {table} AS {union}")
        driver.execute("PRAGMA query_only = ON")

    return engine.execution_options(**{_JOINED: True})


def is_one_file(connection: Connection) -> bool:
    """Whether the database is SQLite and its tables are not views over several files."""
    return connection.dialect.name == "sqlite" and not connection.get_execution_options().get(_JOINED)


def writing(engine: Engine) -> Engine:
    """The same connections. On SQLite, a transaction takes the write lock at its beginning, never halfway."""
    return engine.execution_options(**{_BEGIN: "IMMEDIATE"})


def postgresql_engine(
    url: URL, *, timeout_s: float, hurried: bool = False, pooled: bool = False, what: str = AUDIT
) -> Engine:
    """An engine for PostgreSQL. Raises AuditStoreError, at each connect, if a commit may return before it is durable.

    Connecting takes at most `timeout_s`. With `hurried`, each statement and each commit takes at most that too, even if
    the server's host or network is silently gone. Timeouts in the URL take precedence. With `pooled`, the engine also works
    behind a pooler that lends out connections for one transaction: it prepares no statements.
    """
    from remit.audit.schema.postgres_timeout import ImpatientConnection  # noqa: PLC0415 (psycopg comes with an extra)

    engine = create_engine(url, pool_pre_ping=True)
    limits = {"connect_timeout": math.ceil(timeout_s), "keepalives_idle": 10, "keepalives_interval": 5}
    limits |= {"keepalives_count": 3, "tcp_user_timeout": int(timeout_s * 1000)}

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> Any:
        connection = ImpatientConnection.connect(**limits | parameters)
        connection.timeout_s = timeout_s if hurried else None
        if pooled:
            connection.prepare_threshold = None
        return connection

    @event.listens_for(engine, "connect")
    def check(driver: Any, _record: Any) -> None:
        cursor = driver.cursor()
        for setting, refused in (("synchronous_commit", "off"), ("fsync", "off")):
            found = cursor.execute(f"SHOW {setting}").fetchone()[0]
            if found == refused:
                raise AuditStoreError(
                    f"{what} `{masked(str(url))}` has {setting} `{found}`: "
                    "with it a record may be lost after its answer; expected `on`"
                )
        encoding = cursor.execute("SHOW server_encoding").fetchone()[0]
        if encoding != "UTF8":
            raise AuditStoreError(f"{what} `{masked(str(url))}` has server_encoding `{encoding}`: expected `UTF8`")
        if hurried:
            # Slightly shorter than the client's timeout: no statement then keeps running in the server after the client
            # gives up. A client that stops in the middle of a transaction must not block other writers.
            for setting, share in (("statement_timeout", 0.8), ("idle_in_transaction_session_timeout", 1.0)):
                cursor.execute("SELECT set_config(%s, %s, false)", (setting, f"{int(timeout_s * share * 1000)}ms"))
            driver.commit()
        else:
            driver.rollback()
        cursor.close()

    return engine
