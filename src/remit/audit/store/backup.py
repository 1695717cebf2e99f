"""Backs up a SQLite store to one file while servers write to it, and restores a store from such a file: that of the audit, and
the policy store."""

import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import URL

from remit.audit.errors import AuditStoreError
from remit.audit.schema.engines import reading_uri
from remit.audit.schema.migrate import known_versions, planted_in_sqlite, refusal
from remit.audit.store.shards import stores_of
from remit.files import make_private, sync_folder

Progress = Callable[[int, int], None]
"""Receives the number of pages copied and the total."""


class StoreKind(NamedTuple):
    """What a store is to a backup."""

    name: str
    files: Callable[[Path], list[Path]]
    """The files of a store that exist and are not empty."""
    version_table: str
    known_versions: Callable[[], Collection[str]]
    planted: Callable[[Callable[[str], Iterable[Any]], str], Sequence[str]] = lambda *_: ()
    """As `planted_in_sqlite`."""
    verify: Callable[[sqlite3.Connection], object] = lambda _: None
    """Raises AuditStoreError if the content of a store is not what remit wrote."""
    refuse_users: Callable[[sqlite3.Connection], object] = lambda _: None
    """Raises AuditStoreError if a server uses the store that has it open only at times."""


def _audit_files(file: Path) -> list[Path]:
    url = URL.create("sqlite", database=str(file)).render_as_string()
    return [store.file for store in stores_of(url) if store.file is not None]


AUDIT: Final = StoreKind("audit store", _audit_files, "alembic_version", known_versions, planted_in_sqlite)

_PAGES: Final = 1_000
# Synced while the copy grows: one large sync at the end would delay the commits of a server on the same disk.
_PAGES_PER_SYNC: Final = 16_000
_LOCK_S: Final = 5.0


def back_up(source: Path, target: Path, progress: Progress | None = None, kind: StoreKind = AUDIT) -> list[Path]:
    """Writes `target` whole, synced and checked, or not at all. Returns the files written.

    The workers' files beside `source` (`worker_file`) are written beside `target`, under its name. Each file holds
    everything committed before its copying began. Raises AuditStoreError if there is no store, if a target exists, or
    if anything fails.
    """
    with _failures("back up", source), ExitStack() as stack:
        sources = _parts(source, kind)
        targets = {part: target.with_name(f"{target.stem}{part}{target.suffix}") for part in sources}
        for each in targets.values():
            if each.exists():
                raise AuditStoreError(f"`{each}` exists, and a backup never overwrites a file: name another file")
        copies = {
            part: stack.enter_context(_copied(its, target.parent, progress, kind)) for part, its in sources.items()
        }
        with _given_names({copies[part]: its for part, its in targets.items()}):
            return [*targets.values()]


def restore(
    backup: Path, target: Path, *, force: bool = False, progress: Progress | None = None, kind: StoreKind = AUDIT
) -> list[Path]:
    """Makes a store at `target` from a backup and the files beside it, as `back_up` wrote them.

    Raises AuditStoreError if a store exists at `target`, unless `force`: then its files are renamed, and their new
    names are returned. Raises AuditStoreError also if a process has the store open, or if the backup is not a whole
    store of a known schema; nothing has changed then.
    """
    with _failures("restore", backup), ExitStack() as stack:
        sources, present = _parts(backup, kind), [*_parts(target, kind, needed=False).values()]
        if present and not force:
            raise AuditStoreError(f"there is a store at `{present[0]}` already: name another one, or `--force`")
        targets = {part: target.with_name(f"{target.stem}{part}{target.suffix}") for part in sources}
        fresh = {part: its for part, its in targets.items() if its not in present}
        for its in fresh.values():
            log = its.with_name(f"{its.name}-wal")
            if log.exists():
                raise AuditStoreError(f"`{log}` belongs to a store that does not exist: move it away first")
        make_private(target.parent)
        copies = {
            part: stack.enter_context(_copied(its, target.parent, progress, kind)) for part, its in sources.items()
        }
        for each in present:
            stack.enter_context(_alone(each, kind))
        aside = [_set_aside(each) for each in present]
        for its in fresh.values():
            # An empty file is no store.
            its.unlink(missing_ok=True)
        with _given_names({copies[part]: its for part, its in fresh.items()}):
            for part in targets.keys() - fresh.keys():
                copies[part].replace(targets[part])
            for its in {*present} - {*targets.values()}:
                its.unlink()
            sync_folder(target.parent)
        return aside


def _parts(file: Path, kind: StoreKind, *, needed: bool = True) -> dict[str, Path]:
    """The files of a store. The key is the part that a worker's file name has beyond the store's name."""
    found = {its.name.removeprefix(file.stem).removesuffix(file.suffix): its for its in kind.files(file)}
    if needed and not found:
        raise AuditStoreError(f"there is no {kind.name} at `{file}`")
    return found


@contextmanager
def _copied(source: Path, folder: Path, progress: Progress | None, kind: StoreKind) -> Iterator[Path]:
    """A temporary copy in one file, checked and on disk. It is deleted at the end."""
    try:
        descriptor, name = tempfile.mkstemp(".partial", ".remit-", folder)
    except OSError as error:
        # The error names the temporary file.
        raise AuditStoreError(f"cannot write to the folder `{folder}`: {error.strerror}") from error
    copy = Path(name)
    try:
        with closing(sqlite3.connect(reading_uri(source), uri=True, isolation_level=None)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            _check_schema(connection, source, kind)
            _copy(connection, copy, descriptor, progress)
        with closing(sqlite3.connect(copy)) as connection:
            # One file cannot be separated from its write-ahead log.
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
            found = connection.execute("PRAGMA integrity_check").fetchmany(3)
            if found != [("ok",)]:
                problems = "; ".join(str(each) for (each,) in found)
                raise AuditStoreError(f"`{source}` is damaged: {problems}")
            try:
                kind.verify(connection)
            except AuditStoreError as error:
                raise AuditStoreError(f"`{source}` is damaged: {error}") from error
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

    # A read transaction: without it, each commit of a server would restart the copy.
    source.execute("BEGIN")
    source.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    with closing(sqlite3.connect(copy)) as target:
        target.execute("PRAGMA synchronous = OFF")
        source.backup(target, pages=_PAGES, progress=step)


def _check_schema(connection: sqlite3.Connection, source: Path, kind: StoreKind) -> None:
    try:
        versions = [version for (version,) in connection.execute(f"SELECT version_num FROM {kind.version_table}")]  # noqa: S608
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        versions = []
    if len(versions) != 1 or versions[0] not in kind.known_versions():
        found = f"has schema `{versions[0]}`, unknown to this program" if versions else f"has no {kind.name}"
        raise AuditStoreError(f"`{source}` {found}: expected a store of remit, or a backup of one")
    if planted := kind.planted(connection.execute, versions[0]):
        raise AuditStoreError(refusal(f"`{source}`", planted))


@contextmanager
def _alone(file: Path, kind: StoreKind) -> Iterator[None]:
    """Locks a store against every other process, and turns it into one file without a write-ahead log.

    SQLite would take a log left behind for the log of the new file.
    """
    with closing(sqlite3.connect(file, isolation_level=None, timeout=_LOCK_S)) as connection:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
        except sqlite3.OperationalError as error:
            mode = str(error)
        if mode != "delete":
            raise AuditStoreError(f"the {kind.name} at `{file}` is in use ({mode}): stop what uses it first")
        connection.execute("BEGIN EXCLUSIVE")
        kind.refuse_users(connection)
        yield


def _set_aside(file: Path) -> Path:
    """Gives the file a second name (hard link), which keeps it even if the first name goes."""
    aside = file.with_name(f"{file.name}.replaced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    os.link(file, aside)
    return aside


@contextmanager
def _given_names(names: Mapping[Path, Path]) -> Iterator[None]:
    """Gives every copy its final name, or none. Overwrites nothing."""
    given: list[Path] = []
    try:
        for copy, target in names.items():
            try:
                os.link(copy, target)
            except FileExistsError:
                raise AuditStoreError(f"`{target}` exists now, and remit does not overwrite it") from None
            given.append(target)
            sync_folder(target.parent)
        yield
    except BaseException:
        for target in given:
            target.unlink()
        raise


@contextmanager
def _failures(doing: str, file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise AuditStoreError(f"cannot {doing} `{file}`: {error}") from error
    except OSError as error:
        raise AuditStoreError(f"cannot {doing} `{file}`: {error.strerror}: `{error.filename}`") from error
