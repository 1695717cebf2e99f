"""The schema version of a database, its migration to the newest one, and what differs from remit's schema.

Alembic takes long to import. So only a migration of a database that has tables, and a version other than the newest,
import it. `newest.sql` is the newest schema of SQLite, as the migrations make it.
"""

import re
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, create_engine, inspect, text

from remit.audit.errors import AuditStoreError, UnmigratedError
from remit.audit.schema.tables import metadata
from remit.core.urls import masked

NEWEST_SQL: Final = Path(__file__).with_name("newest.sql")
_HEAD: Final = "head"
# Any number works if every process that migrates uses the same.
_POSTGRESQL_LOCK = 0x72656D6974
# SQLite creates these tables in ANALYZE.
_STATISTICS: Final = ("sqlite_stat1", "sqlite_stat4")
_VERSION: Final = "SELECT version_num FROM alembic_version"
_SQLITE_OBJECTS: Final = "SELECT type, name, tbl_name, sql FROM sqlite_master"
_POSTGRESQL_OBJECTS: Final = """
    WITH own AS (SELECT c.* FROM pg_class c JOIN unnest(CAST(:names AS text[])) name ON c.oid = to_regclass(name))
    SELECT 'trigger', tgname, own.relname FROM pg_trigger t JOIN own ON t.tgrelid = own.oid WHERE NOT tgisinternal
    UNION ALL
    SELECT 'rule', rulename, own.relname FROM pg_rewrite r JOIN own ON r.ev_class = own.oid WHERE own.relkind = 'r'
    UNION ALL
    SELECT 'row security policy', polname, own.relname FROM pg_policy p JOIN own ON p.polrelid = own.oid
    UNION ALL
    SELECT 'relation that is no plain table,', relname, relname FROM own WHERE relkind <> 'r'
    ORDER BY 1, 2, 3
"""


class _Object(NamedTuple):
    type: str
    name: str
    table: str
    sql: str
    """In lower case, without quotes, with single blanks: the library that writes it may change its style."""

    def __str__(self) -> str:
        on = "" if self.name == self.table else f" on `{self.table}`"
        return f"{self.type} `{self.name}`{on}"


class _Newest(NamedTuple):
    version: str
    objects: frozenset[_Object]


@cache
def _newest() -> _Newest:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(NEWEST_SQL.read_text(encoding="utf-8"))
        (version,) = connection.execute(_VERSION).fetchone()
        return _Newest(version, frozenset(map(_object, connection.execute(_SQLITE_OBJECTS))))


def newest_version() -> str:
    return _newest().version


def current_version(connection: Connection) -> str | None:
    """The schema version. None if the database has no audit tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql(_VERSION).scalar_one_or_none()


def require_newest(connection: Connection) -> None:
    """Checks the schema of a database.

    Raises UnmigratedError if the schema is older or missing, and AuditStoreError if this program does not know it or
    `planted` finds anything.
    """
    require_version(connection)
    refuse_planted(connection)


def require_version(connection: Connection) -> None:
    """Checks the schema version as `require_newest` does, and ignores planted objects."""
    found, needed = current_version(connection), newest_version()
    if found == needed:
        return
    _require_known(connection, found)
    raise UnmigratedError(masked(str(connection.engine.url)), found, needed)


def upgrade(connection: Connection, version: str = _HEAD) -> None:
    """Migrates to `version`, inside the caller's transaction. If several processes try, one of them migrates."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_LOCK})
    found = current_version(connection)
    _require_known(connection, found)
    _refuse(connection, _planted(connection, found))
    if connection.dialect.name == "sqlite" and found is None and version == _HEAD:
        for statement in NEWEST_SQL.read_text(encoding="utf-8").split(";\n"):
            connection.exec_driver_sql(statement)
    else:
        _migrate(connection, version)


def refuse_planted(connection: Connection) -> None:
    """Raises AuditStoreError if `planted` finds anything."""
    _refuse(connection, planted(connection))


def _refuse(connection: Connection, found: Iterable[str]) -> None:
    if found:
        raise AuditStoreError(refusal(f"the audit database `{connection.engine.url.render_as_string()}`", found))


def refusal(where: str, found: Iterable[str]) -> str:
    return (
        f"{where} has a schema that is not remit's: {'; '.join(found)}. It may keep records from being written, or change "
        "them. Find out who made it and keep a copy as evidence; remove it, and run `remit audit verify`"
    )


def planted(connection: Connection) -> list[str]:
    """Differences between the database's schema and the newest version.

    SQLite: added or missing triggers, views, tables and indexes, and tables with another definition. PostgreSQL, whose
    database may hold tables of others: triggers, rules and policies on the audit's tables.
    """
    return _planted(connection, newest_version())


def _planted(connection: Connection, version: str | None) -> list[str]:
    if connection.dialect.name == "sqlite":
        return planted_in_sqlite(lambda sql: connection.exec_driver_sql(sql).all(), version)
    found = connection.execute(text(_POSTGRESQL_OBJECTS), {"names": list(metadata.tables)})
    return [f"{type_} `{name}` on `{table}`" for type_, name, table in found]


def planted_in_sqlite(query: Callable[[str], Iterable[Any]], version: str | None) -> list[str]:
    """As `planted`, for any version and any connection to a SQLite file. None is the version of an empty database."""
    found = {each for each in map(_object, query(_SQLITE_OBJECTS)) if each.name not in _STATISTICS}
    expected = _expected(version)
    names = {each[:3] for each in found} & {each[:3] for each in expected}
    changed = [f"{each} has another definition" for each in sorted(found - expected) if each[:3] in names]
    added = [str(each) for each in sorted(found - expected) if each[:3] not in names]
    missing = [f"{each} is missing" for each in sorted(expected - found) if each[:3] not in names]
    return added + changed + missing


@cache
def _expected(version: str | None) -> frozenset[_Object]:
    """The schema of a version, created in memory. None is the version of an empty database."""
    if version is None:
        return frozenset()
    if version == newest_version():
        return _newest().objects
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        _migrate(connection, version)
        found = connection.exec_driver_sql(_SQLITE_OBJECTS).all()
    engine.dispose()
    return frozenset(map(_object, found))


def _object(row: Iterable[Any]) -> _Object:
    type_, name, table, sql = row
    return _Object(str(type_), str(name), str(table), " ".join(re.sub(r"[\"`\[\]]", "", sql or "").lower().split()))


def _migrate(connection: Connection, version: str) -> None:
    from remit.audit.schema.migrations import run  # noqa: PLC0415 (see the module's docstring)

    run.migrate(connection, version)


def known_versions() -> list[str]:
    """Oldest first."""
    from remit.audit.schema.migrations import run  # noqa: PLC0415 (see the module's docstring)

    return run.known_versions()


def _require_known(connection: Connection, found: str | None) -> None:
    if found is not None and found not in known_versions():
        raise AuditStoreError(
            f"the audit database `{masked(str(connection.engine.url))}` has audit schema `{found}`, which is unknown to "
            f"this remit (it knows {', '.join(f'`{each}`' for each in known_versions())}): use the remit that wrote it, or "
            "restore the store from its backup"
        )
