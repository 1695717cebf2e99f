"""A pending write: the records of one call, the state of that write and the callback of its caller."""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from threading import Lock
from typing import Final

from remit.audit.batch import EMPTY_BATCH, RecordBatch
from remit.audit.errors import NO_RECORDS, JournalUnavailable
from remit.audit.record import ArchivedRevision, DecisionRecord, LifecycleRecord

Callback = Callable[[JournalUnavailable | None], None]
"""Called with None when the records are on disk, or with the cause when they will not be. It must not wait: it runs in
the writer's thread."""


class WriteState(Enum):
    QUEUED = auto()
    IN_FLIGHT = auto()
    COMMITTED = auto()
    """On disk."""
    REFUSED = auto()
    """Not on disk; the caller gets an error."""
    LOST = auto()
    """Not on disk, although the caller was told that it was accepted."""


_OPEN: Final = (WriteState.QUEUED, WriteState.IN_FLIGHT)


class PendingWrite:
    """The records of one call: written together, in one transaction.

    A caller that waits for the commit blocks its own thread, or leaves a callback. `_done` is a raw lock, held until
    the write ends: it wakes a thread at a fifth of the cost of an Event.
    """

    __slots__ = (
        "_callback",
        "_done",
        "awaited",
        "decided",
        "error",
        "happened",
        "retried",
        "revisions",
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
        revisions: Sequence[ArchivedRevision] = (),
    ) -> None:
        self.decided = RecordBatch.of(decided)
        self.happened = happened
        self.revisions = revisions
        self.unrecorded = RecordBatch.of(unrecorded)
        """Decisions that are counted and not stored. They take room in the queue too."""
        self.rows = len(self.decided) + len(happened) + len(self.unrecorded)
        self.awaited = awaited
        """True if the caller waits for the result. If False, the write counted as accepted when it was queued."""
        self._callback = callback
        self._done: Lock | None = None
        if awaited and callback is None:
            self._done = Lock()
            self._done.acquire()
        self.state = WriteState.QUEUED
        self.error = ""
        self.retried = False
        """True if a transaction with this write failed but may have been committed."""

    @property
    def ended(self) -> bool:
        return self.state not in _OPEN

    def resolve(self, state: WriteState, error: str = "") -> bool:
        """Ends the write, once; False if it has already ended. Hold the queue's mutex here, but not for `wake`."""
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
        """Returns False if the write does not end in time; a negative time means no limit."""
        assert self._done is not None
        return self._done.acquire(timeout=timeout_s)
