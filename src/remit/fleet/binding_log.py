"""The changes of a tenant's rows of run time on a node's disk: one process appends, all processes read what is new."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from remit.files import open_private, sync_folder, write_whole
from remit.fleet.bindings import BindingChange
from remit.fleet.change import PolicyChange


class LoggedChange(NamedTuple):
    seq: int
    hash: bytes
    """Of the change in the tenant's chain."""
    change: BindingChange


class NewChanges(NamedTuple):
    changes: list[LoggedChange]
    anew: bool
    """They are all the changes there are: what was read before counts no more."""


def append(path: Path, changes: Iterable[PolicyChange], *, anew: bool) -> None:
    """Adds changes, durable on return. With `anew`, they replace all that is there. Raises OSError."""
    lines = b"".join(json.dumps([each.seq, each.hash.hex(), each.body]).encode() + b"\n" for each in changes)
    if anew or not path.exists():
        write_whole(path, lines)
        return
    with os.fdopen(open_private(path), "r+b") as file:
        file.truncate(_whole_lines(file.read()))
        file.seek(0, os.SEEK_END)
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def _whole_lines(content: bytes) -> int:
    """The bytes without a last line that was torn by a crash."""
    return content.rfind(b"\n") + 1


class BindingLog:
    """Reads the log of one tenant, each time what is new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: tuple[int, int] | None = None
        self._offset = 0
        self._seq = 0

    def read(self, upto: int) -> NewChanges:
        """The changes that were not read yet, up to number `upto`. Raises OSError, and ValueError if a line is wrong."""
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                anew = self._file is not None and self._file != (found.st_dev, found.st_ino)
                if self._file is None or anew:
                    self._file, self._offset, self._seq = (found.st_dev, found.st_ino), 0, 0
                file.seek(self._offset)
                lines = file.read().splitlines(keepends=True)
        except FileNotFoundError:
            anew, self._file = self._file is not None, None
            self._offset = self._seq = 0
            return NewChanges([], anew)
        changes: list[LoggedChange] = []
        for line in lines:
            if not line.endswith(b"\n"):
                break
            seq, hash_, body = json.loads(line)
            if seq > upto:
                break
            self._offset += len(line)
            # After a crash between a change and `release.json`, the change is there twice.
            if seq > self._seq:
                self._seq = seq
                changes.append(LoggedChange(seq, bytes.fromhex(hash_), BindingChange.parse(body)))
        return NewChanges(changes, anew)
