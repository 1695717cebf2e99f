from pathlib import Path
from typing import Annotated

import typer

from remit.audit.errors import AuditStoreError
from remit.audit.store.backup import AUDIT
from remit.audit.store.store import AuditStore
from remit.cli.audit.options import STORE_DEFAULT, StoreOption
from remit.cli.common import backups
from remit.cli.common.as_json import JsonOption
from remit.cli.common.output import Exit, fail


def backup(
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="A file that does not exist yet.")],
    as_json: JsonOption = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """Copy a SQLite audit store into a file while servers write to it; with several workers, into one file each.

    The copy holds what was committed when it began. It gets its name after it is synced and checked. For PostgreSQL,
    use `pg_dump`.

    Example: `remit audit backup --to backup.db`
    """
    source = _file_of(audit, "pg_dump --format=custom --file=audit.dump DATABASE")
    backups.back_up(source, to, AUDIT, as_json=as_json)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `remit audit backup` wrote.")],
    force: Annotated[bool, typer.Option("--force", help="If a store exists there, rename it first.")] = False,
    as_json: JsonOption = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """Make a SQLite audit store from a backup, completely or not at all. Stop the servers that use it first.

    Example: `remit audit restore backup.db --audit sqlite:///var/restored.db`
    """
    target = _file_of(audit, "pg_restore --dbname=DATABASE audit.dump")
    backups.restore(file, target, AUDIT, force=force, as_json=as_json)


def _file_of(url: str, instead: str) -> Path:
    try:
        found = AuditStore(url).file
    except AuditStoreError as error:
        fail(Exit.USAGE, str(error))
    return backups.require_file(found, url, instead, "docs/how-to/back-up.md")
