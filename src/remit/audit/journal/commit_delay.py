"""The commit delay: how long a group commit waits for more records before it writes a batch."""

import time
from threading import Lock
from typing import Final

_MOST_SHARES: Final = 8
# A commit that checkpoints the write-ahead log takes long, and must not make for a long delay.
_LONGEST_S: Final = 0.002
# Writes, where no caller waits: a queue that fills would make callers wait after all.
_ENOUGH_UNAWAITED: Final = 32


class CommitDelay:
    """How long the journal's writer waits for more writes before it commits, and what wakes it (PostgreSQL's
    `commit_delay` and `commit_siblings`).

    A commit costs as much processor time as many decisions, and most callers that were woken come back at once. So the
    writer waits until half of the calls in flight are queued: the other half is decided while these wait for the disk.
    It waits no longer than the processor time of the last commit, times the number of further callers: waiting for the
    disk takes no processor time, so a slow disk makes no longer delays. A single caller is never delayed. Where no
    caller waits, the delay is the longest.
    """

    def __init__(self, mutex: Lock) -> None:
        """`mutex` is the queue's: `prepare` and `wake` are called with it held, all but `wake` by the writer alone."""
        self._mutex = mutex
        self._until = 0.0
        self._enough = 1
        # How many writes wake the writer; 0 while it is awake.
        self._wakes_at = 0
        # A raw lock as a one-shot signal. The writer sleeps in `acquire`; the thread that clears `_wakes_at` releases
        # the lock once.
        self._signal = Lock()
        self._signal.acquire()

    def begin(self, in_flight: int, worked_s: float) -> None:
        """Starts the delay after a commit that took `worked_s` of processor time, with that many calls in flight (0: no
        caller waits)."""
        self._enough = (in_flight + 1) // 2 if in_flight else _ENOUGH_UNAWAITED
        shares = min(in_flight - 1, _MOST_SHARES) if in_flight else _MOST_SHARES
        self._until = time.monotonic() + min(shares * worked_s, _LONGEST_S)

    def left_s(self, queued: int) -> float:
        """Seconds of delay that are left; 0 or less if that many writes are enough."""
        return self._until - time.monotonic() if queued < self._enough else 0.0

    def prepare(self, *, delaying: bool) -> None:
        """Announces `sleep`: until enough writes are queued if `delaying`, else until any is."""
        self._wakes_at = self._enough if delaying else 1

    def wake(self, queued: int) -> bool:
        """Wakes the writer if it sleeps and that many writes are enough. Whether it did."""
        if not 0 < self._wakes_at <= queued:
            return False
        self._wakes_at = 0
        self._signal.release()
        return True

    def sleep(self, timeout_s: float) -> None:
        """Returns after `wake`, or when the time is up; -1 is no limit."""
        woken = self._signal.acquire(timeout=timeout_s)
        with self._mutex:
            if not woken and not self._wakes_at:
                self._signal.acquire()
            self._wakes_at = 0
