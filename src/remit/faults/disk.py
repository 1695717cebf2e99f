"""The audit store's files: read from a copy, so that looking changes nothing; on a disk with little room; torn."""

import shutil
import sqlite3
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Final

from remit.audit.store.shards import ShardedStore
from remit.faults.promise import expect

MIB: Final = 1 << 20

_WAL_HEADER: Final = struct.Struct(">IIIIIIII")
_FRAME_HEADER: Final = struct.Struct(">IIIIII")


def copied(source: Path, target: Path) -> Path:
    """The store's files, and no other process's shared memory."""
    target.mkdir(parents=True)
    for file in source.glob("audit.*"):
        if not file.name.endswith("-shm"):
            shutil.copyfile(file, target / file.name)
    return target


def decision_ids(folder: Path) -> set[bytes]:
    """Every decision of the stores in that folder. Raises BrokenPromiseError where a file is not whole."""
    with ShardedStore(f"sqlite:///{folder / 'audit.db'}") as stores:
        files = [each.url.removeprefix("sqlite:///") for each in stores.open().members]
    found: list[bytes] = []
    for file in files:
        with closing(sqlite3.connect(file)) as connection:
            said = connection.execute("PRAGMA integrity_check").fetchall()
            expect(f"SQLite finds `{file}` damaged: {said[:3]}", holds=said == [("ok",)])
            found += [id_ for (id_,) in connection.execute("SELECT id FROM decisions")]
    expect("a decision is there twice", holds=len(found) == len(set(found)))
    return set(found)


class SmallDisk:
    """A folder with little room: a tmpfs of its own, or, where none can be mounted, a cap on the store's file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._filler = folder / "filler"
        command = ["mount", "-t", "tmpfs", "-o", f"size={16 * MIB}", "tmpfs", str(folder)]
        try:
            self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603
        except FileNotFoundError:
            self.mounted = False
        if self.mounted:
            self._filler.write_bytes(bytes(12 * MIB))
        self.flags = () if self.mounted else ("--audit-max-bytes", str(2 * MIB))

    def make_room(self, audit: str) -> None:
        """Where the disk is a cap, by a purge of all decisions."""
        if self.mounted:
            self._filler.unlink()
        else:
            with ShardedStore(audit).open() as stores:
                stores.purge(1 << 62)

    def unmount(self) -> None:
        if self.mounted:
            subprocess.run(["umount", str(self.folder)], check=True)  # noqa: S603, S607


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(folder)
    try:
        yield disk
    finally:
        disk.unmount()


def tear(log: Path, rng: Random) -> None:
    """Writes half a page behind the last whole one of a SQLite write-ahead log, as a kill in the middle of a write
    leaves it: the frame says that it commits, and its page is half new, half what was there before."""
    with log.open("r+b") as file:
        header = file.read(_WAL_HEADER.size)
        if len(header) < _WAL_HEADER.size:
            return
        _, _, page_bytes, _, *salts, _, _ = _WAL_HEADER.unpack(header)
        frame_bytes = _FRAME_HEADER.size + page_bytes
        frame = file.read(frame_bytes)
        whole = _WAL_HEADER.size
        while len(frame) == frame_bytes and list(_FRAME_HEADER.unpack_from(frame)[2:4]) == salts:
            whole += frame_bytes
            frame = file.read(frame_bytes)
        file.seek(whole)
        torn = _FRAME_HEADER.pack(2, 2, *salts, rng.getrandbits(32), rng.getrandbits(32)) + rng.randbytes(page_bytes)
        file.write(torn[: _FRAME_HEADER.size + page_bytes // 2])
