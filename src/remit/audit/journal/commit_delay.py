import time
from threading import Lock
from typing import Final

_MOST_SHARES: Final = 8
# A commit that brings the log back into the database works for long, and makes for no long rest.
_LONGEST_S: Final = 0.002
# Entries, where nobody waits: a queue that fills would make callers wait after all.
_ENOUGH_FOR_NOBODY: Final = 32


class CommitDelay:
    """When the journal's writer sleeps, and what wakes it.

    Where several wait for commits it rests before the next one, so that more of them share it: a commit costs as much of
    the core as many a decision, and most who were let go come again at once. It rests until half of those that are in
    flight wait, so that the others are decided while these wait for the disk, and no longer than the last commit kept
    the core busy, that as often as there were further callers: waiting for the disk is no work, so a slow one makes for no
    longer rests. One caller alone never waits, and where nobody does the rest is the longest.
    """

    def __init__(self, mutex: Lock) -> None:
        """`mutex` is the journal's: `prepare` and `wake` are called with it held, all but `wake` by the writer alone."""
        self._mutex = mutex
        self._until = 0.0
        self._enough = 1
        # How many must wait for the sleeper to wake; 0 while it is awake.
        self._wakes_at = 0
        # A raw lock as a one-shot signal: the writer sleeps in `acquire`, and whoever clears `_wakes_at` releases it once.
        self._signal = Lock()
        self._signal.acquire()

    def begin(self, in_flight: int, worked_s: float) -> None:
        """After a commit for some of those in flight (0: nobody waits) that took so much of the core."""
        self._enough = (in_flight + 1) // 2 if in_flight else _ENOUGH_FOR_NOBODY
        shares = min(in_flight - 1, _MOST_SHARES) if in_flight else _MOST_SHARES
        self._until = time.monotonic() + min(shares * worked_s, _LONGEST_S)

    def left_s(self, waiting: int) -> float:
        """0 or less where that many are enough."""
        return self._until - time.monotonic() if waiting < self._enough else 0.0

    def prepare(self, *, resting: bool) -> None:
        """What follows is `sleep`, until enough wait or, not `resting`, anybody does."""
        self._wakes_at = self._enough if resting else 1

    def wake(self, waiting: int) -> bool:
        """Wakes the writer where it sleeps and that many are enough. Whether it did."""
        if not 0 < self._wakes_at <= waiting:
            return False
        self._wakes_at = 0
        self._signal.release()
        return True

    def sleep(self, timeout_s: float) -> None:
        """Until `wake`, or until the time is up; -1 is for ever."""
        woken = self._signal.acquire(timeout=timeout_s)
        with self._mutex:
            if not woken and not self._wakes_at:
                self._signal.acquire()
            self._wakes_at = 0
