"""The database's schema version, and the way to the newest: Alembic, driven from code."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from remit.audit.errors import AuditStoreError, UnmigratedError
from remit.core.urls import masked

_MIGRATIONS = Path(__file__).parent / "migrations"
# Any number will do, as long as every process that migrates takes the same.
_POSTGRESQL_LOCK = 0x72656D6974


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def newest_version() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def current_version(connection: Connection) -> str | None:
    """None where the database has no audit tables."""
    return MigrationContext.configure(connection).get_current_revision()


def require_newest(connection: Connection) -> None:
    """UnmigratedError for an older schema or none, AuditStoreError for one that this program does not know."""
    found, needed = current_version(connection), newest_version()
    if found == needed:
        return
    _require_known(connection, found)
    raise UnmigratedError(masked(str(connection.engine.url)), found, needed)


def upgrade(connection: Connection) -> None:
    """To the newest version, inside the caller's transaction. Of several processes that try, one does it."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_LOCK})
    _require_known(connection, current_version(connection))
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def known_versions() -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _require_known(connection: Connection, found: str | None) -> None:
    if found is not None and found not in known_versions():
        raise AuditStoreError(
            f"the audit database `{masked(str(connection.engine.url))}` has audit schema `{found}`, which is "
            f"unknown to this program (its newest is `{newest_version()}`): use the newer remit that wrote it"
        )
