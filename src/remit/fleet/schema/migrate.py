"""The schema version of a policy store, and its migration to the newest one."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from remit.core.urls import masked
from remit.fleet.errors import PolicyStoreError

VERSION_TABLE: Final = "policy_store_version"
"""The audit may be in the same database, with a version of its own."""
NEWEST: Final = "0001"
# Any number works if every process that migrates uses the same.
_POSTGRESQL_LOCK: Final = 0x72656D6974706F6C


def current_version(connection: Connection) -> str | None:
    """None if the database has no policy store."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()  # noqa: S608
    return found


def require_newest(connection: Connection) -> None:
    """Raises PolicyStoreError if the schema is not the one that this program was written for."""
    found = current_version(connection)
    if found == NEWEST:
        return
    url = masked(str(connection.engine.url))
    if found is None:
        raise PolicyStoreError(f"`{url}` holds no policy store: `remit publish` with `--migrate` makes one")
    raise PolicyStoreError(
        f"the policy store `{url}` has schema `{found}`, and this program needs `{NEWEST}`: `remit publish` with `--migrate`, of "
        "the newest remit, brings an older one up to date"
    )


def upgrade(connection: Connection) -> None:
    """Migrates to the newest version, inside the caller's transaction. If several processes try, one of them migrates."""
    from alembic import command  # noqa: PLC0415 (it takes long to import)
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util.exc import CommandError  # noqa: PLC0415

    from remit.audit.schema.migrations.run import MIGRATING  # noqa: PLC0415

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        with MIGRATING:
            command.upgrade(config, "head")
    except CommandError as error:
        url = masked(str(connection.engine.url))
        raise PolicyStoreError(f"cannot migrate the policy store `{url}`: {error}") from error
