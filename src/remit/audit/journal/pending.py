from collections.abc import Callable, Sequence
from threading import Lock

from remit.audit.batch import EMPTY_BATCH, RecordBatch
from remit.audit.errors import NO_RECORDS, JournalUnavailable
from remit.audit.record import DecisionRecord, LifecycleRecord

Then = Callable[[JournalUnavailable | None], None]
"""What is called once the records are on disk, with None, or once they will not be, with the cause. It must not wait:
it runs in the thread that writes."""


class PendingWrite:
    """What one caller offers to the journal: written whole, in one transaction.

    Who waits for it does so in a thread of its own, or leaves word what is to be done then. `_done` is a raw lock, held
    until the writer lets the thread go: the cheapest way to wake one, a fifth of an Event.
    """

    __slots__ = ("_done", "_then", "decided", "error", "happened", "retried", "rows", "settled", "unrecorded", "waits")

    def __init__(
        self,
        decided: Sequence[DecisionRecord],
        happened: Sequence[LifecycleRecord],
        *,
        waits: bool,
        then: Then | None = None,
        unrecorded: Sequence[DecisionRecord] = EMPTY_BATCH,
    ) -> None:
        self.decided = RecordBatch.of(decided)
        self.happened = happened
        self.unrecorded = RecordBatch.of(unrecorded)
        """Decisions that are counted and not kept. They take room in the queue as the others do."""
        self.rows = len(self.decided) + len(happened) + len(self.unrecorded)
        self.waits = waits
        """Whether anybody is told of the end of it; what nobody waits for has been accepted."""
        self._then = then
        self._done: Lock | None = None
        if waits and then is None:
            self._done = Lock()
            self._done.acquire()
        self.error = ""
        self.retried = False
        self.settled = False

    def wait(self, timeout_s: float) -> bool:
        """False where it is not settled in time; a negative time is none."""
        assert self._done is not None
        return self._done.acquire(timeout=timeout_s)

    def let_go(self) -> None:
        """Lets whoever waits go on. Call it once, without a lock."""
        if self._done is not None:
            self._done.release()
        elif self._then is not None:
            self._then(JournalUnavailable(NO_RECORDS, self.error) if self.error else None)
