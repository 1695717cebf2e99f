import os
from pathlib import Path
from threading import Lock
from typing import Final

from remit.audit.errors import WHAT_TO_DO, StoreChangedError

# What a write-ahead log begins with, but for its last bit. SQLite writes it with the first page of a log.
_MAGIC: Final = 0x377F0682
_MAGIC_BYTES: Final = 4

# The first read after a write would update the inode: some 30 us of each commit.
_NO_ATIME: Final = getattr(os, "O_NOATIME", 0)

_Identity = tuple[int, int]
"""Device and inode."""


def _open_without_atime(file: str) -> int:
    """To read from, which changes the time of its last read only where another user owns the file."""
    try:
        return os.open(file, os.O_RDONLY | os.O_CLOEXEC | _NO_ATIME)
    except PermissionError:
        return os.open(file, os.O_RDONLY | os.O_CLOEXEC)


class OpenFiles:
    """The files of a SQLite database that this process has open, held against what their names lead to.

    SQLite goes on writing to a file that was deleted, renamed or replaced, and reports success: the records are gone
    with the last process that has it open. Safe to share among threads.
    """

    def __init__(self, what: str, file: Path) -> None:
        """Touches nothing yet. `what` is what errors call it."""
        self._what = what
        self._file = str(file)
        self._log = f"{file}-wal"
        self._mutex = Lock()
        self._held: _Identity | None = None
        self._size = 0
        self._held_log: _Identity | None = None
        self._log_descriptor = -1
        self._log_path = ""

    def hold(self) -> None:
        """Remembers which file the name leads to. Call it before SQLite opens it; then each of its connections checks."""
        with self._mutex:
            if self._held is None:
                found = os.stat(self._file)  # noqa: PTH116 (half the time of Path.stat)
                self._held, self._size = (found.st_dev, found.st_ino), found.st_size

    def hold_log(self) -> None:
        """Remembers which write-ahead log the name leads to. Call it in the first transaction of a connection that stays
        open: as long as one is, SQLite makes no other."""
        with self._mutex:
            self._forget_log()
            try:
                self._log_descriptor = _open_without_atime(self._log)
            except OSError as error:
                raise self._changed(f"its write-ahead log `{self._log}` is gone ({error.strerror})") from error
            found = os.fstat(self._log_descriptor)
            self._held_log = found.st_dev, found.st_ino
            self._log_path = self._current_log_path()

    def check(self) -> None:
        """StoreChangedError if a name leads to no file or to another one, or if a file was cut short. It takes a few
        microseconds. Before `hold` there is nothing to check."""
        if self._held is not None:
            with self._mutex:
                self._check_file()
                if self._held_log is not None:
                    self._check_log()

    def release_log(self) -> None:
        """Call it when that connection is closed: the next one may find another log, and nothing is wrong."""
        with self._mutex:
            self._forget_log()

    def _check_file(self) -> None:
        try:
            found = os.stat(self._file)  # noqa: PTH116
        except OSError as error:
            raise self._changed(f"it was deleted or renamed ({error.strerror})") from error
        if (found.st_dev, found.st_ino) != self._held:
            raise self._changed("it was replaced by another file")
        if found.st_size < self._size:
            raise self._changed(f"it was overwritten or cut short, from {self._size} to {found.st_size} bytes")
        self._size = found.st_size

    def _check_log(self) -> None:
        # Linux 6.13 and newer note that somebody read a file's times, and the next write then updates its inode, which
        # costs more than the stat. The kernel knows the path without one.
        if not self._log_path or self._current_log_path() != self._log_path:
            self._check_log_by_name()
        begin = os.pread(self._log_descriptor, _MAGIC_BYTES, 0)
        # Empty before the first commit, and after a checkpoint by another program that truncates it.
        if begin and int.from_bytes(begin) & ~1 != _MAGIC:
            raise self._changed(f"its write-ahead log `{self._log}` was overwritten or cut short")

    def _check_log_by_name(self) -> None:
        try:
            found = os.stat(self._log)  # noqa: PTH116
        except OSError as error:
            raise self._changed(
                f"its write-ahead log `{self._log}` was deleted or renamed ({error.strerror})"
            ) from error
        if (found.st_dev, found.st_ino) != self._held_log:
            raise self._changed(f"its write-ahead log `{self._log}` was replaced by another file")

    def _current_log_path(self) -> str:
        """The path of the log that is open, as Linux keeps it up to date: another one once the file or a folder above it
        was renamed, and one that ends in ` (deleted)` once it was deleted or replaced. Empty where the system has none."""
        try:
            return os.readlink(f"/proc/self/fd/{self._log_descriptor}")  # noqa: PTH115 (half the time of Path.readlink)
        except OSError:
            return ""

    def _changed(self, how: str) -> StoreChangedError:
        return StoreChangedError(
            f"{self._what} `{self._file}` is not the file any more that process {os.getpid()} has open: {how}. {WHAT_TO_DO}"
        )

    def _forget_log(self) -> None:
        if self._log_descriptor >= 0:
            os.close(self._log_descriptor)
        self._log_descriptor, self._held_log = -1, None
