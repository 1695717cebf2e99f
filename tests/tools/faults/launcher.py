"""Runs `remit` with a fault of the machine. Run it by its path. The first argument names the fault:

slow:MS   a slow disk: each commit to SQLite takes MS milliseconds longer
orders    whatever the file `orders.json` in the working directory says, which each SIGUSR1 makes it read again:
          `clock_s`        the clock is wrong by so many seconds
          `dies_at_sync`   at the so manieth sync of a file of the journal from now on, a part of what was written is lost,
                           and the process dies as by kill -9
"""

import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from random import randint
from typing import Any, Final

JOURNAL: Final = Path("var/releases").resolve()


class SlowConnection(sqlite3.Connection):
    delay_s = 0.0

    def commit(self) -> None:
        time.sleep(self.delay_s)
        super().commit()


def slow(milliseconds: float) -> None:
    SlowConnection.delay_s = milliseconds / 1000
    connect: Any = partial(sqlite3.connect, factory=SlowConnection)
    sqlite3.connect = sqlite3.dbapi2.connect = connect


class Orders:
    """Does what the file `orders.json` in the working directory says, at the start and at each SIGUSR1."""

    def __init__(self) -> None:
        self._shift_ns = 0
        self._syncs_left = 0
        self._durable: dict[Path, int] = {}
        """The bytes of files of the journal that a crash leaves."""
        self._sync, self._told_ns = os.fsync, time.time_ns
        self.read()
        signal.signal(signal.SIGUSR1, lambda *_: self.read())
        time.time_ns = lambda: self._told_ns() + self._shift_ns
        time.time = lambda: time.time_ns() / 1e9
        os.fsync = self._synced

    def read(self) -> None:
        orders = json.loads(Path("orders.json").read_text()) if Path("orders.json").exists() else {}
        self._shift_ns = int(orders.get("clock_s", 0) * 1e9)
        self._syncs_left = int(orders.get("dies_at_sync", 0))
        self._durable = dict(_sizes(JOURNAL))

    def _synced(self, fd: Any) -> None:
        descriptor = fd if isinstance(fd, int) else fd.fileno()
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_relative_to(JOURNAL):
            if self._syncs_left == 1:
                if path.is_file():
                    self._tear(descriptor, self._durable.get(path, 0))
                os.kill(os.getpid(), signal.SIGKILL)
            self._syncs_left -= bool(self._syncs_left)
            self._durable[path] = os.fstat(descriptor).st_size
        self._sync(fd)

    @staticmethod
    def _tear(descriptor: int, durable: int) -> None:
        """Any part of what was not synced may be lost."""
        size = os.fstat(descriptor).st_size
        if size > durable:
            os.truncate(f"/proc/self/fd/{descriptor}", randint(durable, size))


def _sizes(folder: Path) -> Iterator[tuple[Path, int]]:
    """Of all files below the folder, in which the server may add and remove some meanwhile."""
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            with suppress(FileNotFoundError):
                if path.is_file():
                    yield path, path.stat().st_size


if __name__ == "__main__":
    ailment, _, degree = sys.argv.pop(1).partition(":")
    if ailment == "slow":
        slow(float(degree))
    else:
        Orders()
    # Import it only now: its modules bind the clock at their import.
    import_module("remit.cli").main()
