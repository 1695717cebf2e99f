"""Runs `remit` with a fault of the machine. Run it by its path. The first argument names the fault:

slow:MS   a slow disk: each commit to SQLite takes MS milliseconds longer
clock:S   a clock that steps: each SIGUSR1 moves the clock by S seconds
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
    # Import it only now: its modules bind the clock at their import.
    import_module("remit.cli").main()
