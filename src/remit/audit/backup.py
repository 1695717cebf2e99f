"""A SQLite store as one file, copied while servers write to it, and a store made of such a file again."""

import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from remit.audit.errors import AuditStoreError
from remit.audit.schema import known_versions

Progress = Callable[[int, int], None]
"""Hears how many pages are copied, and of how many."""

_PAGES: Final = 1_000
# Written back as it grows: one large sync at the end would hold up the commits of a server on the same disk.
_PAGES_PER_SYNC: Final = 16_000
_LOCK_S: Final = 5.0


def back_up(source: Path, target: Path, progress: Progress | None = None) -> None:
    """Writes `target` whole, synced and checked, or not at all.

    It holds all that was committed when the copying began. AuditStoreError where there is no store, `target` exists or
    anything fails.
    """
    if target.exists():
        raise AuditStoreError(f"`{target}` exists, and a backup is never written over: name another file")
    with _failures("back up", source), _copied(source, target.parent, progress) as copy:
        _give_name(copy, target)


def restore(backup: Path, target: Path, *, force: bool = False, progress: Progress | None = None) -> Path | None:
    """Makes a store at `target` of a backup, whole or not at all.

    Where there is one already, AuditStoreError, unless `force`: then it is taken out of the way, and its new name is
    returned. AuditStoreError too where a process has it open, or the backup is no whole store of a schema that is known.
    """
    exists = target.exists() and target.stat().st_size > 0
    if exists and not force:
        raise AuditStoreError(f"there is an audit store at `{target}` already: name another one, or `--force`")
    if not exists:
        for log in (target.with_name(f"{target.name}{end}") for end in ("-wal", "-journal")):
            if log.exists():
                raise AuditStoreError(f"`{log}` belongs to a store that is not there: move it away first")
    with _failures("restore", backup):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _copied(backup, target.parent, progress) as copy:
            if not exists:
                target.unlink(missing_ok=True)
                _give_name(copy, target)
                return None
            return _replace(copy, target)


@contextmanager
def _copied(source: Path, folder: Path, progress: Progress | None) -> Iterator[Path]:
    """A copy without a name of its own yet: one whole file, checked and on disk. Gone at the end."""
    if not source.is_file():
        raise AuditStoreError(f"there is no audit store at `{source}`")
    descriptor, name = tempfile.mkstemp(".partial", ".remit-", folder)
    copy = Path(name)
    try:
        with closing(
            sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        ) as connection:
            _check_schema(connection, source)
            _copy(connection, copy, descriptor, progress)
        with closing(sqlite3.connect(copy)) as connection:
            # One file, that whoever keeps it cannot tear apart.
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
            found = connection.execute("PRAGMA integrity_check").fetchmany(3)
            if found != [("ok",)]:
                told = "; ".join(str(each) for (each,) in found)
                raise AuditStoreError(f"`{source}` is damaged: {told}")
        os.fsync(descriptor)
        yield copy
    finally:
        os.close(descriptor)
        copy.unlink(missing_ok=True)


def _copy(source: sqlite3.Connection, copy: Path, descriptor: int, progress: Progress | None) -> None:
    unsynced = 0

    def step(_status: int, remaining: int, total: int) -> None:
        nonlocal unsynced
        unsynced += _PAGES
        if unsynced >= _PAGES_PER_SYNC:
            os.fdatasync(descriptor)
            unsynced = 0
        if progress is not None:
            progress(total - remaining, total)

    # A transaction that reads: without it, each commit of a server would begin the copy anew.
    source.execute("BEGIN")
    source.execute("SELECT count(*) FROM alembic_version").fetchall()
    with closing(sqlite3.connect(copy)) as target:
        target.execute("PRAGMA synchronous = OFF")
        source.backup(target, pages=_PAGES, progress=step)


def _check_schema(connection: sqlite3.Connection, source: Path) -> None:
    try:
        versions = [version for (version,) in connection.execute("SELECT version_num FROM alembic_version")]
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        versions = []
    if len(versions) != 1 or versions[0] not in known_versions():
        found = f"has schema `{versions[0]}`, unknown to this program" if versions else "has no audit tables"
        raise AuditStoreError(f"`{source}` {found}: expected a store of remit, or a backup of one")


def _replace(copy: Path, target: Path) -> Path:
    """What was there keeps its content under another name."""
    aside = target.with_name(f"{target.name}.replaced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    with closing(sqlite3.connect(target, isolation_level=None, timeout=_LOCK_S)) as connection:
        # Brings the log back into the file and removes it, which succeeds only where nobody else has the store open: a
        # log that is left would be taken for one of the new file.
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        except sqlite3.OperationalError as error:
            mode = str(error)
        if mode != "delete":
            raise AuditStoreError(f"the audit store at `{target}` is in use ({mode}): stop what uses it first")
        connection.execute("BEGIN EXCLUSIVE")
        os.link(target, aside)
        copy.replace(target)
        _sync(target.parent)
    return aside


def _give_name(copy: Path, target: Path) -> None:
    try:
        os.link(copy, target)
    except FileExistsError:
        raise AuditStoreError(f"`{target}` exists by now: nothing is written over it") from None
    _sync(target.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _failures(doing: str, file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise AuditStoreError(f"cannot {doing} `{file}`: {error}") from error
    except OSError as error:
        raise AuditStoreError(f"cannot {doing} `{file}`: {error.strerror}: `{error.filename}`") from error
