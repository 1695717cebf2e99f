"""The group commit writer: the thread that writes batches, retries after a failure and releases callers."""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Final

from remit.audit.batch import RecordBatch
from remit.audit.errors import AuditStoreError, RecordRefused
from remit.audit.journal.pending import PendingWrite, WriteState
from remit.audit.journal.queue import AdmissionQueue
from remit.audit.journal.sink import RecordSink
from remit.audit.record import DecisionRecord, LifecycleRecord

CLOSING_RETRY_S: Final = 0.1

OnCommit = Callable[[int, float], None]
"""Called with the rows and the seconds of each commit."""
OnRecords = Callable[[Sequence[DecisionRecord], Sequence[LifecycleRecord]], None]
"""Called with the records of each commit."""

_log = logging.getLogger("remit.audit")


class GroupCommitWriter:
    """The thread that writes: one transaction for all writes that are queued when it begins.

    While the store fails, the writer probes it every `probe_s` seconds, or retries accepted writes.
    """

    def __init__(
        self,
        store: RecordSink,
        queue: AdmissionQueue,
        *,
        probe_s: float,
        on_commit: OnCommit | None = None,
        on_records: OnRecords | None = None,
    ) -> None:
        self._store = store
        self._queue = queue
        self._probe_s = probe_s
        self._on_commit = on_commit
        self._on_records = on_records
        self._next_try = 0.0
        self._give_up_at: float | None = None
        self._thread = Thread(target=self._run, name="remit-journal", daemon=True)
        self._thread.start()

    def retry(self) -> None:
        """Retries a failing store at once, instead of after `probe_s`."""
        with self._queue.mutex:
            self._next_try = 0.0
            self._queue.delay.wake(sys.maxsize)

    def fail(self, batch: Sequence[PendingWrite], error: str) -> None:
        """Reports a failure of the store: see `AdmissionQueue.fail`."""
        now = time.monotonic()
        for write in batch:
            write.retried = True
        self._next_try = now + (self._probe_s if self._give_up_at is None else CLOSING_RETRY_S)
        self._queue.fail(batch, error, give_up=self._give_up_at is not None and now >= self._give_up_at)

    def drain(self, timeout_s: float) -> None:
        """Closes the queue, and ends once it is empty. Until the time is up, accepted writes are retried."""
        with self._queue.mutex:
            if not self._queue.closed:
                self._queue.close()
                self._give_up_at = time.monotonic() + timeout_s
        self.retry()
        self.join(timeout_s + CLOSING_RETRY_S)

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            if batch is None:
                return
            if batch:
                self._write(batch)
                self._queue.in_flight = []
            else:
                self._probe()

    def _next_batch(self) -> list[PendingWrite] | None:
        """The writes of the next batch; [] when it is time to probe; None when all is done."""
        queue, delay = self._queue, self._queue.delay
        while True:
            with queue.mutex:
                now = time.monotonic()
                ready = queue.queued and not (queue.error and now < self._next_try)
                delay_s = delay.left_s(len(queue.queued)) if ready and not queue.waiting_for_room else 0.0
                if ready and delay_s <= 0:
                    return queue.take()
                if queue.closed and not queue.queued:
                    return None
                if queue.error and now >= self._next_try:
                    return []
                sleep_s = delay_s if ready else max(self._next_try - now, 0.0) if queue.error else -1.0
                delay.prepare(delaying=bool(ready))
            delay.sleep(sleep_s)

    def _write(self, batch: list[PendingWrite]) -> bool:
        """Returns False if the store failed."""
        try:
            self._commit(batch)
        except RecordRefused as error:
            if len(batch) > 1:
                return self._write_one_by_one(batch)
            return self._refuse(batch[0], str(error))
        except Exception as error:  # noqa: BLE001 (callers get every error of the store, and the writer goes on)
            self.fail(batch, str(error) or repr(error))
            return False
        return True

    def _write_one_by_one(self, batch: list[PendingWrite]) -> bool:
        """One transaction for each write: a bad record of one caller must not fail the others."""
        for position, write in enumerate(batch):
            if not self._write([write]):
                self.fail(batch[position + 1 :], self._queue.error)
                return False
        return True

    def _commit(self, batch: list[PendingWrite]) -> None:
        queue = self._queue
        began, worked = time.monotonic(), time.thread_time()
        decided = RecordBatch.joined(write.decided for write in batch)
        happened = [record for write in batch for record in write.happened]
        unrecorded = RecordBatch.joined(write.unrecorded for write in batch)
        revisions = [archived for write in batch for archived in write.revisions]
        self._store.append(decided, happened, unrecorded, revisions)
        seconds = time.monotonic() - began
        queue.recover()
        queue.end(batch, WriteState.COMMITTED, seconds=seconds)
        callers = len(batch) + len(queue.queued) if batch[0].awaited else 0
        queue.delay.begin(callers, time.thread_time() - worked)
        try:
            if self._on_commit is not None:
                self._on_commit(len(decided) + len(happened), seconds)
            if self._on_records is not None:
                self._on_records(decided, happened)
        except Exception:  # noqa: BLE001 (an error of a meter must not stop the journal)
            _log.exception("the hook on audit commits failed")

    def _refuse(self, write: PendingWrite, error: str) -> bool:
        """The store works but does not take these rows. Returns False if it fails when asked once more."""
        try:
            written = write.retried and self._already_written(write)
        except AuditStoreError as failure:
            self.fail([write], str(failure))
            return False
        if written:
            self._queue.end([write], WriteState.COMMITTED)
            if self._on_records is not None:
                self._on_records(write.decided, write.happened)
        elif not write.awaited:
            self._queue.end([write], WriteState.LOST, error)
        else:
            _log.error("the audit store refuses a record: %s", error)
            self._queue.end([write], WriteState.REFUSED, error)
        return True

    def _already_written(self, write: PendingWrite) -> bool:
        """True if an earlier transaction was committed after all and only its confirmation was lost."""
        stored = (self._store.decision(record.id) == record for record in write.decided)
        return bool(write.decided) and all(stored)

    def _probe(self) -> None:
        try:
            self._store.probe()
        except Exception as error:  # noqa: BLE001 (as in _write)
            with self._queue.mutex:
                self._queue.error = str(error) or repr(error)
                self._next_try = time.monotonic() + self._probe_s
        else:
            self._queue.recover()
