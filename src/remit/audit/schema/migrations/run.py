"""Runs the migrations with Alembic."""

from pathlib import Path
from threading import Lock
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection

from remit.audit.errors import AuditStoreError
from remit.core.urls import masked

_HERE: Final = Path(__file__).parent
MIGRATING: Final = Lock()
"""Held during a migration: Alembic runs it in a context that the whole process shares."""


def config(folder: Path = _HERE) -> Config:
    """The migrations in a folder."""
    made = Config()
    made.set_main_option("script_location", str(folder).replace("%", "%%"))
    return made


def migrate(connection: Connection, version: str) -> None:
    made = config()
    made.attributes["connection"] = connection
    try:
        with MIGRATING:
            command.upgrade(made, version)
    except CommandError as error:
        url = masked(str(connection.engine.url))
        raise AuditStoreError(f"cannot migrate the audit database `{url}`: {error}") from error


def known_versions(folder: Path = _HERE) -> list[str]:
    """Oldest first."""
    return sorted(script.revision for script in ScriptDirectory.from_config(config(folder)).walk_revisions())
