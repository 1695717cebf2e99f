"""What the commands print that back up and restore a store."""

from pathlib import Path
from typing import Final

from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from remit.audit.errors import AuditStoreError
from remit.audit.store import backup as files
from remit.cli.common.as_json import print_json
from remit.cli.common.output import Exit, fail, out
from remit.cli.common.progress import progress
from remit.core.urls import masked

_COLUMNS: Final = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())


def back_up(source: Path, to: Path, kind: files.StoreKind, *, as_json: bool) -> None:
    try:
        with progress(*_COLUMNS) as shown:
            task = shown.add_task("copied", total=None)
            written = files.back_up(source, to, lambda done, of: shown.update(task, completed=done, total=of), kind)
    except AuditStoreError as error:
        fail(Exit.UNAVAILABLE, str(error))
    if as_json:
        print_json({"files": [{"file": each, "bytes": each.stat().st_size} for each in written]})
    for each in () if as_json else written:
        out.print(f"`{each}` is whole, {each.stat().st_size} bytes")


def restore(file: Path, target: Path, kind: files.StoreKind, *, force: bool, as_json: bool) -> None:
    try:
        with progress(*_COLUMNS) as shown:
            task = shown.add_task("copied", total=None)
            aside = files.restore(
                file,
                target,
                force=force,
                progress=lambda done, of: shown.update(task, completed=done, total=of),
                kind=kind,
            )
    except AuditStoreError as error:
        fail(Exit.UNAVAILABLE, str(error))
    if as_json:
        print_json({"store": target, "backup": file, "previous": aside})
        return
    for each in aside:
        out.print(f"the previous file is now `{each}`")
    out.print(f"`{target}` is `{file}` again")


def require_file(file: Path | None, url: str, instead: str, page: str) -> Path:
    """Ends the command if a store is no file."""
    if file is None:
        fail(Exit.USAGE, f"`{masked(url)}` is no file: PostgreSQL has `{instead}`, see {page}")
    return file
