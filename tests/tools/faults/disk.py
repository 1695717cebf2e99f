"""Faults of the disk: a disk with little room and a torn write-ahead log. Reads a store's files from a copy."""

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

from .promise import expect

MIB: Final = 1 << 20

_WAL_HEADER: Final = struct.Struct(">IIIIIIII")
_FRAME_HEADER: Final = struct.Struct(">IIIIII")


def copied(source: Path, target: Path) -> Path:
    """Copies the store's files, without the shared memory of another process. Reading the copy changes no store."""
    target.mkdir(parents=True)
    for file in source.glob("audit.*"):
        if not file.name.endswith("-shm"):
            shutil.copyfile(file, target / file.name)
    return target


def decision_ids(folder: Path) -> set[bytes]:
    """The ids of all decisions in the stores of a folder. Raises BrokenPromiseError if a file is damaged."""
    with ShardedStore(f"sqlite:///{folder / 'audit.db'}") as stores:
        files = [each.url.removeprefix("sqlite:///") for each in stores.open().members]
    found: list[bytes] = []
    for file in files:
        with closing(sqlite3.connect(file)) as connection:
            result = connection.execute("PRAGMA integrity_check").fetchall()
            expect(f"SQLite finds `{file}` damaged: {result[:3]}", holds=result == [("ok",)])
            found += [id_ for (id_,) in connection.execute("SELECT id FROM decisions")]
    expect("a decision is there twice", holds=len(found) == len(set(found)))
    return set(found)


class SmallDisk:
    """A folder with little room: a small tmpfs or, if none can be mounted, a cap on the size of the store's file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._filler = folder / "filler"
        command = ["mount", "-t", "tmpfs", "-o", f"size={16 * MIB}", "tmpfs", str(folder)]
        try:
            self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            self.mounted = False
        if self.mounted:
            self._filler.write_bytes(bytes(12 * MIB))
        self.flags = () if self.mounted else ("--audit-max-bytes", str(2 * MIB))

    def make_room(self, audit: str) -> None:
        """Frees space. If the disk is only a cap, it purges all decisions."""
        if self.mounted:
            self._filler.unlink()
        else:
            with ShardedStore(audit).open() as stores:
                stores.purge(1 << 62)

    def unmount(self) -> None:
        if self.mounted:
            subprocess.run(["umount", str(self.folder)], check=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(folder)
    try:
        yield disk
    finally:
        disk.unmount()


def tear(log: Path, rng: Random) -> None:
    """Writes a torn frame after the last whole frame of a SQLite write-ahead log, as a kill during a write leaves it.

    The frame's header says that it commits. Its page is half new and half old.
    """
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
