"""The commit delay: how long a group commit waits for more records before it writes a batch."""

import time
from threading import Lock
from typing import Final

_MOST_SHARES: Final = 8
# A commit that checkpoints the write-ahead log takes long; it must not cause a long delay.
_LONGEST_S: Final = 0.002
# The number of writes if no caller waits: a full queue would make callers wait after all.
_ENOUGH_UNAWAITED: Final = 32


class CommitDelay:
    """How long the journal's writer waits for more writes before it commits, and what wakes it (PostgreSQL's
    `commit_delay` and `commit_siblings`).

    A commit costs as much processor time as many decisions, and most callers that it wakes return at once. So the
    writer waits until half of the calls in flight are queued; the other half is decided during the disk write. The wait
    is at most the processor time of the last commit times the number of further callers. Waiting for the disk takes no
    processor time, so a slow disk does not lengthen the delay. A single caller is never delayed. If no caller waits,
    the delay is the longest.
    """

    def __init__(self, mutex: Lock) -> None:
        """`mutex` is the queue's. Hold it to call `prepare` and `wake`. Only the writer calls the other methods."""
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
        """Starts the delay after a commit of `worked_s` processor time, with this many calls in flight (0: no caller
        waits)."""
        self._enough = (in_flight + 1) // 2 if in_flight else _ENOUGH_UNAWAITED
        shares = min(in_flight - 1, _MOST_SHARES) if in_flight else _MOST_SHARES
        self._until = time.monotonic() + min(shares * worked_s, _LONGEST_S)

    def left_s(self, queued: int) -> float:
        """Seconds of delay that remain; 0 or less if this number of writes is enough."""
        return self._until - time.monotonic() if queued < self._enough else 0.0

    def prepare(self, *, delaying: bool) -> None:
        """Announces `sleep`: until enough writes are queued if `delaying`, else until one is."""
        self._wakes_at = self._enough if delaying else 1

    def wake(self, queued: int) -> bool:
        """Wakes the writer if it sleeps and this number of writes is enough. Returns True if it did."""
        if not 0 < self._wakes_at <= queued:
            return False
        self._wakes_at = 0
        self._signal.release()
        return True

    def sleep(self, timeout_s: float) -> None:
        """Returns after `wake`, or when the time is up; -1 means no limit."""
        woken = self._signal.acquire(timeout=timeout_s)
        with self._mutex:
            if not woken and not self._wakes_at:
                self._signal.acquire()
            self._wakes_at = 0
