import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from remit.audit.errors import AuditStoreError, StoreChangedError
from remit.audit.record import ArchivedRevision, DecisionRecord, LifecycleRecord
from remit.audit.schema.engines import sqlite_engine
from remit.audit.schema.open_files import OpenFiles
from remit.audit.spool.entry_codec import SpoolEntry
from remit.files import make_private

_FORMAT: Final = 0x72730001
"""`PRAGMA application_id`: the kind of file, and in its last digits the format of its entries."""
_SCHEMA: Final = (
    "CREATE TABLE waiting (position INTEGER PRIMARY KEY, records INTEGER, size INTEGER, hash BLOB, content BLOB)",
    "CREATE TABLE ends (name TEXT PRIMARY KEY, position INTEGER, hash BLOB)",
    "INSERT INTO ends VALUES ('gone', 0, x''), ('last', 0, x'')",
    "CREATE TABLE probe (filler BLOB)",
    f"PRAGMA application_id = {_FORMAT}",
)
_DECISIONS_OF_AN_ENTRY: Final = 128
_PROBE_BYTES: Final = 64 * 1024
_LOCKED_S: Final = 1.0
_MOVE: Final = "UPDATE ends SET position = ?, hash = ? WHERE name = ?"


class SpoolPosition(NamedTuple):
    position: int
    hash: bytes

    def next(self, content: bytes) -> "SpoolPosition":
        position = self.position + 1
        return SpoolPosition(position, sha256(self.hash + position.to_bytes(8) + content).digest())


class SpooledEntry(NamedTuple):
    place: SpoolPosition
    size: int
    """The size of its content, in bytes."""
    waiting: SpoolEntry


class Spool:
    """Records that wait for their store, in the order they came, in a SQLite file that only this process uses.

    Each entry holds SHA-256 over the previous entry's hash, its position and its content. The spool therefore detects a
    damaged, lost or moved entry before it returns any later one, and then takes no more records. Not thread-safe.
    Raises AuditStoreError for every failure.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        """`max_bytes` limits the size of the file, without its write-ahead log."""
        self.path = path
        self.max_bytes = max_bytes
        self.records = 0
        """The number of waiting records, including those that are only counted."""
        self.size = 0
        url = URL.create("sqlite", database=str(path))
        self._files = OpenFiles("the audit spool", path)
        self._engine = sqlite_engine(url, max_bytes=max_bytes, busy_timeout_s=_LOCKED_S, opened=self._files.check)
        self._driver_error: type[Exception] = self._engine.dialect.loaded_dbapi.Error
        self._connection: Any = None
        self._cursor: Any = None
        # The last entry that was dropped, and the last that was put.
        self._gone = self._last = SpoolPosition(0, b"")
        self._damage = ""

    def open(self) -> Self:
        """Raises AuditStoreError if the file is no spool, or if another process has it open."""
        with ExitStack() as failed, self._errors("open"):
            failed.callback(self.close)
            make_private(self.path.parent)
            # Closing an existing file would release the locks that this process may hold on it.
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, 0o600))
            self._files.hold()
            self._connection = self._engine.raw_connection()
            self._cursor = self._connection.cursor()
            # Two processes would both forward the same records.
            self._cursor.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
            with self._transaction("EXCLUSIVE"):
                self._find()
                self._files.hold_log()
            failed.pop_all()
        return self

    def put(
        self,
        decided: Sequence[DecisionRecord],
        happened: Sequence[LifecycleRecord] = (),
        unrecorded: Sequence[DecisionRecord] = (),
        revisions: Sequence[ArchivedRevision] = (),
    ) -> None:
        """Writes an entry in one transaction, durable on return.

        Raises RecordRefused if the store would never take a record.
        """
        if not (decided or happened or unrecorded or revisions):
            return
        decided, last, rows = [*decided], self._last, []
        for start in range(0, max(len(decided), 1), _DECISIONS_OF_AN_ENTRY):
            some = decided[start : start + _DECISIONS_OF_AN_ENTRY]
            waiting = SpoolEntry(some, happened, unrecorded, revisions) if start == 0 else SpoolEntry(some, (), ())
            content = waiting.written()
            last = last.next(content)
            rows.append((last.position, waiting.records, len(content), last.hash, content))
        with self._errors("write to"), self._transaction():
            self._cursor.executemany("INSERT INTO waiting VALUES (?, ?, ?, ?, ?)", rows)
            self._cursor.execute(_MOVE, (*last, "last"))
        self._last = last
        self.records += sum(count for _, count, *_ in rows)
        self.size += sum(size for _, _, size, *_ in rows)

    def first(self, records: int) -> list[SpooledEntry]:
        """The oldest entries, until they hold that many records."""
        found: list[SpooledEntry] = []
        place = self._gone
        with self._errors("read"), closing(self._connection.cursor()) as rows:
            rows.execute("SELECT position, hash, content FROM waiting ORDER BY position")
            for position, hash_, content in rows:
                place = place.next(content)
                if place != SpoolPosition(position, hash_):
                    raise self._damaged(f"the entry at {position} does not follow the one before it")
                waiting = SpoolEntry.read(content)
                found.append(SpooledEntry(place, len(content), waiting))
                records -= waiting.records
                if records <= 0:
                    break
        return found

    def drop(self, entries: Sequence[SpooledEntry]) -> None:
        """Deletes entries that `first` returned. They are stored elsewhere now."""
        place = entries[-1].place
        with self._errors("write to"), self._transaction():
            self._cursor.execute("DELETE FROM waiting WHERE position <= ?", (place.position,))
            self._cursor.execute(_MOVE, (*place, "gone"))
        self._gone = place
        self.records -= sum(entry.waiting.records for entry in entries)
        self.size -= sum(entry.size for entry in entries)

    def probe(self) -> None:
        """Writes 64 KiB durably and deletes them."""
        with self._errors("write to"):
            with self._transaction():
                self._cursor.execute("INSERT INTO probe VALUES (?)", (os.urandom(_PROBE_BYTES),))
            with self._transaction():
                self._cursor.execute("DELETE FROM probe")

    def check(self) -> None:
        """Raises AuditStoreError if the spool's file is not the one that was opened, or if the spool is damaged."""
        with self._errors("use"):
            if self._damage:
                raise AuditStoreError(self._damage)
            self._files.check()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection = None
        self._engine.dispose()
        self._files.release_log()

    def _find(self) -> None:
        (found,) = self._cursor.execute("PRAGMA application_id").fetchone()
        tables = self._cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        if not tables:
            for statement in _SCHEMA:
                self._cursor.execute(statement)
        elif found != _FORMAT:
            raise AuditStoreError("it is a database of another kind: expected a spool, or no file")
        ends = self._cursor.execute("SELECT name, position, hash FROM ends").fetchall()
        places = {name: SpoolPosition(position, hash_) for name, position, hash_ in ends}
        self._gone, self._last = places["gone"], places["last"]
        newest = self._cursor.execute("SELECT position, hash FROM waiting ORDER BY position DESC LIMIT 1").fetchone()
        if self._last != (newest or self._gone):
            raise self._damaged(f"its last entry, at {self._last.position}, is not there")
        sums = "SELECT coalesce(sum(records), 0), coalesce(sum(size), 0) FROM waiting"
        self.records, self.size = self._cursor.execute(sums).fetchone()

    def _damaged(self, what: str) -> AuditStoreError:
        self._damage = f"it is damaged: {what}. Keep the file as evidence, and start with another"
        return AuditStoreError(self._damage)

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        if self._damage:
            raise AuditStoreError(self._damage)
        self._cursor.execute(f"BEGIN {kind}")
        try:
            yield
            self._cursor.execute("COMMIT")
            self._files.check()
        except StoreChangedError as error:
            self._damage = str(error)
            raise
        except BaseException:
            with suppress(self._driver_error):
                self._cursor.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (self._driver_error, SQLAlchemyError, AuditStoreError, OSError) as error:
            cause = "another process has it open" if "locked" in str(error) else error
            raise AuditStoreError(f"cannot {doing} the audit spool `{self.path}`: {cause}") from error
