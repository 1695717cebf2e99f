"""A pending write: the records of one call, the state of that write and the callback of its caller."""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from threading import Lock
from typing import Final

from remit.audit.batch import EMPTY_BATCH, RecordBatch
from remit.audit.errors import NO_RECORDS, JournalUnavailable
from remit.audit.record import DecisionRecord, LifecycleRecord

Callback = Callable[[JournalUnavailable | None], None]
"""Called once the records are on disk, with None, or once they will not be, with the cause. It must not wait: it runs
in the thread that writes."""


class WriteState(Enum):
    QUEUED = auto()
    IN_FLIGHT = auto()
    COMMITTED = auto()
    """On disk."""
    REFUSED = auto()
    """Not on disk, and its caller hears so."""
    LOST = auto()
    """Not on disk, although its caller was told that it was accepted."""


_OPEN: Final = (WriteState.QUEUED, WriteState.IN_FLIGHT)


class PendingWrite:
    """The records of one caller: written whole, in one transaction.

    A caller that awaits the commit blocks a thread of its own, or leaves a callback. `_done` is a raw lock, held until
    the write ends: the cheapest way to wake a thread, a fifth of an Event.
    """

    __slots__ = (
        "_callback",
        "_done",
        "awaited",
        "decided",
        "error",
        "happened",
        "retried",
        "rows",
        "state",
        "unrecorded",
    )

    def __init__(
        self,
        decided: Sequence[DecisionRecord],
        happened: Sequence[LifecycleRecord],
        *,
        awaited: bool,
        callback: Callback | None = None,
        unrecorded: Sequence[DecisionRecord] = EMPTY_BATCH,
    ) -> None:
        self.decided = RecordBatch.of(decided)
        self.happened = happened
        self.unrecorded = RecordBatch.of(unrecorded)
        """Decisions that are counted and not stored. They take room in the queue as the others do."""
        self.rows = len(self.decided) + len(happened) + len(self.unrecorded)
        self.awaited = awaited
        """Whether the caller hears how it ends. If not, it was accepted when it was queued."""
        self._callback = callback
        self._done: Lock | None = None
        if awaited and callback is None:
            self._done = Lock()
            self._done.acquire()
        self.state = WriteState.QUEUED
        self.error = ""
        self.retried = False
        """Whether a transaction with it failed, and may have been committed all the same."""

    @property
    def ended(self) -> bool:
        return self.state not in _OPEN

    def resolve(self, state: WriteState, error: str = "") -> bool:
        """Ends the write, once: False if it has ended. Call it with the queue's mutex held, and `wake` without."""
        if self.ended:
            return False
        self.state, self.error = state, error
        return True

    def wake(self) -> None:
        """Wakes the caller of a write that has ended. Call it once."""
        if self._done is not None:
            self._done.release()
        elif self._callback is not None:
            self._callback(JournalUnavailable(NO_RECORDS, self.error) if self.error else None)

    def wait(self, timeout_s: float) -> bool:
        """False if it does not end in time; a negative time is no limit."""
        assert self._done is not None
        return self._done.acquire(timeout=timeout_s)
