"""The admission queue: the bounded queue of pending writes between the callers and the writer."""

import logging
import sys
from collections import deque
from collections.abc import Iterable
from threading import Condition, Lock
from typing import Final

from remit.audit.errors import NO_RECORDS, JournalUnavailable
from remit.audit.journal.commit_delay import CommitDelay
from remit.audit.journal.pending import PendingWrite, WriteState
from remit.audit.journal.stats import Counters

# A short transaction lets others wait for it.
_ROWS_PER_COMMIT: Final = 4096

_log = logging.getLogger("remit.audit")


class AdmissionQueue:
    """Admitted writes that have not ended, oldest first: QUEUED ones, and behind them those IN_FLIGHT.

    `limit` bounds the rows of both. Every state change of a write happens here, with `mutex` held.
    """

    def __init__(self, limit: int) -> None:
        self.mutex = Lock()
        self.delay = CommitDelay(self.mutex)
        self.counters = Counters()
        self.closed = False
        self.error = ""
        """Why the store takes no write; '' while it does. Meanwhile writes that are awaited are refused."""
        self.waiting_for_room = 0
        self.queued: deque[PendingWrite] = deque()
        self.in_flight: list[PendingWrite] = []
        self._limit = limit
        self._room = Condition(self.mutex)

    def admit(self, write: PendingWrite, wait_s: float) -> bool:
        """Returns False if there is no room within `wait_s`. Raises JournalUnavailable if the queue is closed, or if
        the store fails and the write is awaited.

        A write larger than the whole queue has room when the queue is empty.
        """
        with self.mutex:
            self._require_open(write)
            if self.counters.queued and self.counters.queued + write.rows > self._limit:
                if not self._wait_for_room(write.rows, wait_s):
                    return False
                self._require_open(write)
            self.queued.append(write)
            self.counters.queued += write.rows
            if not self.error:
                self.delay.wake(len(self.queued))
        return True

    def take(self) -> list[PendingWrite]:
        """Puts the oldest writes in flight: as many as one transaction holds. Call it with `mutex` held."""
        batch = [self.queued.popleft()]
        rows = batch[0].rows
        while self.queued and rows + self.queued[0].rows <= _ROWS_PER_COMMIT:
            batch.append(self.queued.popleft())
            rows += batch[-1].rows
        for write in batch:
            write.state = WriteState.IN_FLIGHT
        self.in_flight = batch
        return batch

    def end(self, writes: Iterable[PendingWrite], state: WriteState, error: str = "", *, seconds: float = 0.0) -> int:
        """Ends the writes that have not ended, and wakes their callers. Returns their number of rows."""
        awaited: list[PendingWrite] = []
        rows = unrecorded = 0
        with self.mutex:
            for write in writes:
                if write.resolve(state, error):
                    rows += write.rows
                    unrecorded += len(write.unrecorded)
                    if write.awaited:
                        awaited.append(write)
            self.counters.end(state, rows, unrecorded, closed=self.closed)
            if state is WriteState.COMMITTED:
                self.counters.last_commit_s = seconds
            if self.waiting_for_room:
                self._room.notify_all()
        if state is WriteState.LOST and rows:
            _log.error("LOST %d audit records that had been accepted: %s", rows, error)
        for write in awaited:
            try:
                write.wake()
            except Exception:  # noqa: BLE001 (an error of one caller must not affect the next)
                _log.exception("a caller could not be notified")
        return rows

    def fail(self, batch: Iterable[PendingWrite], error: str, *, give_up: bool) -> None:
        """The store took nothing of `batch` and fails until `recover`. Awaited writes are refused. Accepted ones are
        queued again in their order, or lost if the journal gives up."""
        with self.mutex:
            if not self.error:
                _log.error("the audit store fails: %s", error)
            self.error = error
            writes = [*batch, *self.queued]
            accepted = [write for write in writes if not (write.awaited or write.ended)]
            self.queued = deque(() if give_up else accepted)
            for write in self.queued:
                write.state = WriteState.QUEUED
        self.end([write for write in writes if write.awaited], WriteState.REFUSED, error)
        if give_up:
            self.end(accepted, WriteState.LOST, error)

    def recover(self) -> None:
        """The store takes writes again."""
        if self.error:
            with self.mutex:
                self.error = ""
            _log.warning("the audit store writes again")

    def wake_writer(self) -> None:
        with self.mutex:
            self.delay.wake(sys.maxsize)

    def close(self) -> None:
        """Admits no further write. Call it with `mutex` held."""
        self.closed = True
        self._room.notify_all()

    def abandon(self, error: str) -> None:
        """Ends every write, whatever the store does with those in flight."""
        with self.mutex:
            writes = [*self.in_flight, *self.queued]
            self.queued.clear()
        self.end([write for write in writes if write.awaited], WriteState.REFUSED, error)
        self.end([write for write in writes if not write.awaited], WriteState.LOST, error)

    def _require_open(self, write: PendingWrite) -> None:
        if self.closed:
            raise JournalUnavailable("the journal is closed: the server is stopping")
        if self.error and write.awaited:
            raise JournalUnavailable(NO_RECORDS, self.error)

    def _wait_for_room(self, rows: int, wait_s: float) -> bool:
        """Called with `mutex` held."""
        self.waiting_for_room += 1
        if not self.error:
            self.delay.wake(sys.maxsize)
        try:
            return self._room.wait_for(
                lambda: self.closed or not self.counters.queued or self.counters.queued + rows <= self._limit, wait_s
            )
        finally:
            self.waiting_for_room -= 1
