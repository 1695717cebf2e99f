"""`remit`, run by its path, on a machine that is not well. The first argument says what ails it:

slow:MS   the disk: each commit to SQLite takes so many milliseconds longer
clock:S   the clock: each SIGUSR1 moves it by so many seconds
"""

import signal
import sqlite3
import sys
import time
from functools import partial
from importlib import import_module
from typing import Any


class SlowConnection(sqlite3.Connection):
    delay_s = 0.0

    def commit(self) -> None:
        time.sleep(self.delay_s)
        super().commit()


def slow(milliseconds: float) -> None:
    SlowConnection.delay_s = milliseconds / 1000
    connect: Any = partial(sqlite3.connect, factory=SlowConnection)
    sqlite3.connect = sqlite3.dbapi2.connect = connect


def clock(step_s: float) -> None:
    told_ns, shift_ns = time.time_ns, 0

    def step(_number: int, _frame: object) -> None:
        nonlocal shift_ns
        shift_ns += int(step_s * 1e9)

    signal.signal(signal.SIGUSR1, step)
    time.time_ns = lambda: told_ns() + shift_ns
    time.time = lambda: time.time_ns() / 1e9


if __name__ == "__main__":
    ailment, _, degree = sys.argv.pop(1).partition(":")
    {"slow": slow, "clock": clock}[ailment](float(degree))
    # Only now: it takes hold of the clock when it is imported.
    import_module("remit.cli").main()
