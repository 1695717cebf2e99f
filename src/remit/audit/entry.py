from collections.abc import Sequence
from threading import Lock

from remit.audit.record import DecisionRecord, LifecycleRecord


class Entry:
    """What one caller offers to the journal: written whole, in one transaction.

    `done` is a raw lock, held until the writer lets the caller go (None when nobody waits): the cheapest way to wake
    one thread, a fifth of an Event.
    """

    __slots__ = ("decided", "done", "error", "happened", "retried", "rows", "settled")

    def __init__(self, decided: Sequence[DecisionRecord], happened: Sequence[LifecycleRecord], *, waits: bool) -> None:
        self.decided = decided
        self.happened = happened
        self.rows = len(decided) + len(happened)
        self.done: Lock | None = None
        if waits:
            self.done = Lock()
            self.done.acquire()
        self.error = ""
        self.retried = False
        self.settled = False
