"""The schema version of a policy store, and its migration to the newest one."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from remit.core.urls import masked
from remit.fleet.errors import PolicyStoreError

VERSION_TABLE: Final = "policy_store_version"
"""The audit may be in the same database, with a version of its own."""
NEWEST: Final = "0001"
_MIGRATIONS: Final = Path(__file__).with_name("migrations")
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
    _require_known(connection, found)
    raise PolicyStoreError(
        f"the policy store `{url}` has schema `{found}`, and this program needs `{NEWEST}`: `remit publish` with `--migrate`, of "
        "the newest remit, brings an older one up to date"
    )


def upgrade(connection: Connection) -> None:
    """Migrates to the newest version, inside the caller's transaction. If several processes try, one of them migrates."""
    from alembic import command  # noqa: PLC0415 (it takes long to import)
    from alembic.util.exc import CommandError  # noqa: PLC0415

    from remit.audit.schema.migrations.run import MIGRATING, config  # noqa: PLC0415

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_LOCK})
    _require_known(connection, current_version(connection))
    made = config(_MIGRATIONS)
    made.attributes["connection"] = connection
    try:
        with MIGRATING:
            command.upgrade(made, "head")
    except CommandError as error:
        url = masked(str(connection.engine.url))
        raise PolicyStoreError(f"cannot migrate the policy store `{url}`: {error}") from error


def known_versions() -> list[str]:
    """Oldest first."""
    from remit.audit.schema.migrations import run  # noqa: PLC0415 (Alembic takes long to import)

    return run.known_versions(_MIGRATIONS)


def _require_known(connection: Connection, found: str | None) -> None:
    if found is not None and found not in known_versions():
        raise PolicyStoreError(
            f"the policy store `{masked(str(connection.engine.url))}` has schema `{found}`, which is unknown to this remit (it "
            f"knows {', '.join(f'`{each}`' for each in known_versions())}): use the remit that wrote it, or restore the store "
            "from its backup"
        )
