"""The changes of a tenant's rows of run time on a node's disk: one process appends, all processes read what is new."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from remit.audit.chain.chain import Head
from remit.files import open_private, sync_folder, write_whole
from remit.fleet.bindings import BindingChange
from remit.fleet.change import PolicyChange

NO_BINDINGS: Final = Head(0, b"")
"""Of a tenant whose rows of run time never changed."""


class LoggedChange(NamedTuple):
    seq: int
    hash: bytes
    """Of the change in the tenant's chain."""
    change: BindingChange


class NewChanges(NamedTuple):
    changes: list[LoggedChange]
    anew: bool
    """They are all the changes there are: what was read before counts no more."""


def append(path: Path, changes: Iterable[PolicyChange], *, after: Head | None) -> None:
    """Adds changes, durable on return. `after` is the change before them; without it, they replace all that is there.

    Raises OSError, and ValueError if the log does not go as far as `after`.
    """
    lines = b"".join(json.dumps([each.seq, each.hash.hex(), each.body]).encode() + b"\n" for each in changes)
    if after is None or (after == NO_BINDINGS and not path.exists()):
        write_whole(path, lines)
        return
    with os.fdopen(open_private(path), "r+b") as file:
        content = file.read()
        whole = _whole_lines(content)
        last = content.rfind(b"\n", 0, max(whole - 1, 0)) + 1
        if after.seq > (json.loads(content[last:whole])[0] if whole else 0):
            raise ValueError(_ends_early(path, after))
        file.truncate(whole)
        file.seek(0, os.SEEK_END)
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def _whole_lines(content: bytes) -> int:
    """The bytes without a last line that was torn by a crash."""
    return content.rfind(b"\n") + 1


def _ends_early(path: Path, last: Head) -> str:
    return f"`{path}` does not hold change {last.seq}: a part of it was lost"


class BindingLog:
    """Reads the log of one tenant, each time what is new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._last = NO_BINDINGS

    def read(self, last: Head) -> NewChanges:
        """The changes that were not read yet, up to `last`.

        Raises OSError, and ValueError if `last` is not there or a line is wrong; then the next call tries the same again.
        """
        if last == self._last:
            return NewChanges([], False)
        anew = False
        try:
            changes, offset = self._changes(self._offset, self._last, last)
        except ValueError:
            if not self._offset:
                raise
            # The log may have been replaced.
            anew = True
            changes, offset = self._changes(0, NO_BINDINGS, last)
        self._offset, self._last = offset, last
        return NewChanges(changes, anew)

    def _changes(self, offset: int, read: Head, last: Head) -> tuple[list[LoggedChange], int]:
        """The changes from `offset` on, which follow `read`, and where they end."""
        lines: list[bytes] = []
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(offset)
            lines = file.read().splitlines(keepends=True)
        changes: list[LoggedChange] = []
        for line in lines:
            if not line.endswith(b"\n"):
                break
            seq, hash_, body = json.loads(line)
            if seq > last.seq:
                break
            offset += len(line)
            # After a crash between a change and `release.json`, the change is there twice.
            if seq > read.seq:
                read = Head(seq, bytes.fromhex(hash_))
                changes.append(LoggedChange(seq, read.hash, BindingChange.parse(body)))
        if read != last:
            raise ValueError(_ends_early(self._path, last))
        return changes, offset
