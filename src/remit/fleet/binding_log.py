"""The rows of run time of a tenant on a node's disk: one process appends changes, all processes read what is new.

A file begins with a line that no other file has, and a line with all rows that were in force. A line for each change since
follows. When the changes take more room than the rows, the next append writes the file anew.
"""

import json
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

from remit.audit.chain.chain import Head
from remit.files import open_private, write_whole
from remit.fleet.bindings import BindingChange, GrantedRow, RowKey, apply, packed, unpacked
from remit.fleet.change import PolicyChange

NO_BINDINGS: Final = Head(0, b"")
"""Of a tenant whose rows of run time never changed."""

_FORMAT: Final = "remit bindings 1"
_COMPACT_FROM: Final = 1 << 20
"""Bytes of changes below which no file is written anew."""
_TAIL: Final = 1 << 16


class LoggedChange(NamedTuple):
    seq: int
    hash: bytes
    """Of the change in the tenant's chain."""
    change: BindingChange


class NewChanges(NamedTuple):
    changes: Sequence[LoggedChange]
    anew: bool
    """They are all there is: what was read before counts no more."""
    rows: Sequence[GrantedRow] = ()
    """The rows before these changes, if the file was read from its beginning."""


def append(path: Path, changes: Sequence[PolicyChange], *, after: Head | None) -> None:
    """Adds changes, durable on return if the file's name was. `after` is the change before them; without it, they replace
    all that is there.

    Raises OSError, and ValueError if the log does not go as far as `after`.
    """
    if after is None or (after == NO_BINDINGS and not path.exists()):
        head, rows = NO_BINDINGS, dict[RowKey, GrantedRow]()
        if sum(len(each.body) for each in changes) > _COMPACT_FROM:
            for each in changes:
                apply(rows, each.seq, BindingChange.parse(each.body))
            head, changes = changes[-1].head, ()
        write_whole(path, b"".join([*_beginning(head, rows.values()), *_lines(changes)]))
        return
    lines = _lines(changes)
    with os.fdopen(open_private(path), "r+b") as file:
        whole, last = _last_line(file)
        if after.seq > (json.loads(last)[0] if last else 0):
            raise ValueError(_ends_early(path, after))
        if not _is_long(file, whole):
            file.truncate(whole)
            file.seek(0, os.SEEK_END)
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
            return
    # The rows as they were before: who has not heard of these changes yet reads up to there.
    write_whole(path, b"".join([*_beginning(after, _rows_at(path, after)), *lines]))


def _lines(changes: Sequence[PolicyChange]) -> list[bytes]:
    return [json.dumps([each.seq, each.hash.hex(), each.body]).encode() + b"\n" for each in changes]


def _rows_at(path: Path, head: Head) -> Iterable[GrantedRow]:
    """Raises ValueError if the log does not hold this change."""
    found = BindingLog(path).read(head)
    rows = {RowKey.of(each.row): each for each in found.rows}
    for each in found.changes:
        apply(rows, each.seq, each.change)
    return rows.values()


def _beginning(head: Head, rows: Iterable[GrantedRow]) -> list[bytes]:
    """The first two lines of a file."""
    snapshot = json.dumps([head.seq, head.hash.hex(), packed(rows)]).encode() + b"\n"
    return [json.dumps([_FORMAT, secrets.token_hex(8), len(snapshot)]).encode() + b"\n", snapshot]


def _last_line(file: IO[bytes]) -> tuple[int, bytes]:
    """Where the last whole line ends, and the line. A line that was torn by a crash counts as not there."""
    end, size = file.seek(0, os.SEEK_END), _TAIL
    while True:
        begin = max(end - size, 0)
        file.seek(begin)
        tail = file.read(end - begin)
        whole = tail.rfind(b"\n") + 1
        last = tail.rfind(b"\n", 0, max(whole - 1, 0)) + 1
        if last or not begin:
            return begin + whole, tail[last:whole]
        size *= 8


def _is_long(file: IO[bytes], whole: int) -> bool:
    """Whether the changes take more room than the rows."""
    file.seek(0)
    header = file.readline()
    _, _, rows = json.loads(header)
    return whole - len(header) - int(rows) > max(int(rows), _COMPACT_FROM)


def _ends_early(path: Path, last: Head) -> str:
    return f"`{path}` does not hold change {last.seq}: a part of it was lost"


class BindingLog:
    """Reads the log of one tenant, each time what is new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._header = b""
        self._offset = 0
        self._last = NO_BINDINGS

    def read(self, last: Head) -> NewChanges:
        """The changes that were not read yet, up to `last`.

        Raises OSError, and ValueError if `last` is not there or a line is wrong; then the next call tries the same again.
        """
        if last == self._last:
            return NewChanges((), False)
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            if last != NO_BINDINGS:
                raise ValueError(_ends_early(self._path, last)) from None
            found, self._offset, self._last = NewChanges((), True), 0, last
            return found
        with file:
            header = file.readline()
            # Another file may have taken the place of the one that was read.
            goes_on = self._offset > 0 and header == self._header
            at, rows = self._last, list[GrantedRow]()
            if goes_on:
                file.seek(self._offset)
            else:
                at, rows = self._begun(header, file.readline(), last)
            changes, end = self._changes(file, at, last)
        found = NewChanges(changes, self._offset > 0 and not goes_on, rows)
        self._header, self._offset, self._last = header, end, last
        return found

    def _begun(self, header: bytes, snapshot: bytes, last: Head) -> tuple[Head, list[GrantedRow]]:
        """The rows at the beginning of the file, and the change up to which they count."""
        if not snapshot.endswith(b"\n") or json.loads(header)[0] != _FORMAT:
            raise ValueError(_ends_early(self._path, last))
        seq, hash_, rows = json.loads(snapshot)
        if seq > last.seq:
            raise ValueError(_ends_early(self._path, last))
        return Head(seq, bytes.fromhex(hash_)), list(unpacked(rows))

    def _changes(self, file: IO[bytes], read: Head, last: Head) -> tuple[list[LoggedChange], int]:
        """The changes that follow `read`, and where they end."""
        offset = file.tell()
        changes: list[LoggedChange] = []
        while read.seq < last.seq and (line := file.readline()).endswith(b"\n"):
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
