import os
from pathlib import Path
from threading import Lock
from typing import Final

from remit.audit.errors import WHAT_TO_DO, StoreChangedError

# The first bytes of a write-ahead log, without the last bit. SQLite writes them with the log's first page.
_MAGIC: Final = 0x377F0682
_MAGIC_BYTES: Final = 4

# Without this flag, the first read after a write updates the inode: some 30 us of each commit.
_NO_ATIME: Final = getattr(os, "O_NOATIME", 0)

_Identity = tuple[int, int]
"""Device and inode."""


def _open_without_atime(file: str) -> int:
    """Opens a file for reading. The access time changes only if another user owns the file."""
    try:
        return os.open(file, os.O_RDONLY | os.O_CLOEXEC | _NO_ATIME)
    except PermissionError:
        return os.open(file, os.O_RDONLY | os.O_CLOEXEC)


class OpenFiles:
    """The files of a SQLite database that this process has open, compared with the files that their names lead to.

    SQLite keeps writing to a file that was deleted, renamed or replaced, and reports success. The records are lost when
    the last process closes the file. Thread-safe.
    """

    def __init__(self, what: str, file: Path) -> None:
        """Opens nothing yet. `what` is the name in errors."""
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
        """Remembers the database file. Call it before SQLite opens the file. Each of its connections then checks."""
        with self._mutex:
            if self._held is None:
                found = os.stat(self._file)  # noqa: PTH116 (half the time of Path.stat)
                self._held, self._size = (found.st_dev, found.st_ino), found.st_size

    def hold_log(self) -> None:
        """Remembers the write-ahead log.

        Call it in the first transaction of a connection that stays open: while one is open, SQLite creates no other
        log.
        """
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
        """Raises StoreChangedError if a name leads to no file or to another file, or if a file was cut short.

        It takes a few microseconds. Before `hold` there is nothing to check.
        """
        if self._held is not None:
            with self._mutex:
                self._check_file()
                if self._held_log is not None:
                    self._check_log()

    def release_log(self) -> None:
        """Forgets the write-ahead log. Call it when that connection is closed: the next one may find another log."""
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
        # Linux 6.13 and newer note that a process read a file's times. The next write then updates the inode, which
        # costs more than the stat. The path of the open descriptor needs no stat.
        if not self._log_path or self._current_log_path() != self._log_path:
            self._check_log_by_name()
        begin = os.pread(self._log_descriptor, _MAGIC_BYTES, 0)
        # The log is empty before the first commit, and after another program truncates it in a checkpoint.
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
        """The current path of the open log, which Linux updates. Empty if the system has none.

        The path changes if the file or a folder above it is renamed, and ends in ` (deleted)` if the file is deleted or
        replaced.
        """
        try:
            return os.readlink(f"/proc/self/fd/{self._log_descriptor}")  # noqa: PTH115 (half the time of Path.readlink)
        except OSError:
            return ""

    def _changed(self, how: str) -> StoreChangedError:
        return StoreChangedError(
            f"{self._what} `{self._file}` is no longer the file that process {os.getpid()} has open: {how}. {WHAT_TO_DO}"
        )

    def _forget_log(self) -> None:
        if self._log_descriptor >= 0:
            os.close(self._log_descriptor)
        self._log_descriptor, self._held_log = -1, None
