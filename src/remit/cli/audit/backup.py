from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from remit.audit.errors import AuditStoreError
from remit.audit.store import backup as files
from remit.audit.store.store import AuditStore
from remit.cli.audit.options import STORE_DEFAULT, StoreOption
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, fail, out
from remit.cli.common.progress import progress
from remit.core.urls import masked

_COLUMNS = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())


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
    try:
        with progress(*_COLUMNS) as shown:
            task = shown.add_task("copied", total=None)
            written = files.back_up(source, to, lambda done, of: shown.update(task, completed=done, total=of))
    except AuditStoreError as error:
        fail(Exit.UNAVAILABLE, str(error))
    if as_json:
        print_json({"files": [{"file": each, "bytes": each.stat().st_size} for each in written]})
    for each in () if as_json else written:
        out.print(f"`{each}` is whole, {each.stat().st_size} bytes")


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
    try:
        with progress(*_COLUMNS) as shown:
            task = shown.add_task("copied", total=None)
            aside = files.restore(
                file, target, force=force, progress=lambda done, of: shown.update(task, completed=done, total=of)
            )
    except AuditStoreError as error:
        fail(Exit.UNAVAILABLE, str(error))
    if as_json:
        print_json({"store": target, "backup": file, "previous": aside})
        return
    for each in aside:
        out.print(f"the previous file is now `{each}`")
    out.print(f"`{target}` is `{file}` again")


def _file_of(url: str, instead: str) -> Path:
    try:
        found = AuditStore(url).file
    except AuditStoreError as error:
        fail(Exit.USAGE, str(error))
    if found is None:
        fail(Exit.USAGE, f"`{masked(url)}` is no file: PostgreSQL has `{instead}`, see docs/how-to/back-up.md")
    return found
