"""Turns to compute: one thread at a time computes for a caller, however many of its calls have threads.

Python runs one thread at a time anyway. If a caller had many of those that want to run, each other caller would wait for
all of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock

_turn: "ContextVar[Lock | None]" = ContextVar("turn", default=None)
"""What the current thread holds while it computes."""


@dataclass(slots=True)
class _CallerTurn:
    lock: Lock = field(default_factory=Lock)
    threads: int = 0
    """Threads that hold the lock or wait for it."""


class ComputeTurns:
    """The turns of all callers."""

    def __init__(self) -> None:
        self._turns: dict[str, _CallerTurn] = {}
        self._mutex = Lock()

    @contextmanager
    def of(self, caller: str) -> Iterator[None]:
        """Waits for the caller's turn, and holds it but while the thread is `waiting`."""
        with self._mutex:
            turn = self._turns.setdefault(caller, _CallerTurn())
            turn.threads += 1
        before = _turn.set(turn.lock)
        try:
            with turn.lock:
                yield
        finally:
            _turn.reset(before)
            with self._mutex:
                turn.threads -= 1
                if not turn.threads:
                    # Names of callers come from outside: keep no idle one.
                    del self._turns[caller]


@contextmanager
def waiting() -> Iterator[None]:
    """Lets another thread of the same caller compute while this one waits for something else."""
    turn = _turn.get()
    if turn is None:
        yield
        return
    turn.release()
    try:
        yield
    finally:
        turn.acquire()
