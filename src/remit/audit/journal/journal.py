"""The audit journal: takes the records of every call and writes them by group commit."""

import time
from collections.abc import Sequence
from typing import Final, Literal

from remit.audit.batch import EMPTY_BATCH
from remit.audit.errors import NO_RECORDS, AuditStoreError, JournalUnavailable
from remit.audit.journal.pending import Callback, PendingWrite
from remit.audit.journal.queue import AdmissionQueue
from remit.audit.journal.sink import RecordSink
from remit.audit.journal.stats import Drained, JournalStats
from remit.audit.journal.writer import GroupCommitWriter, OnCommit, OnRecords
from remit.audit.record import ArchivedRevision, DecisionRecord, LifecycleRecord

Delivery = Literal["before_answer", "after_answer"]

_NOT_RETURNED: Final = "the audit store did not return before the journal had to close; the record may still be written"


class Journal:
    """Puts records into the store by group commit: many callers, one writer thread, one transaction for all queued
    writes.

    With `before_answer`, `offer` returns when its records are on disk. With `after_answer`, it returns when they are
    queued; the journal retries them until the store takes them. Only `close` gives up, and logs it. `queue_limit`
    counts rows. A failure of the store turns `healthy` False until the store takes a write again. The journal retries
    every `probe_s` seconds; meanwhile it refuses a caller that would wait for a commit. The writer's thread calls
    `on_commit` and `on_records` after it woke the callers.
    """

    def __init__(
        self,
        store: RecordSink,
        *,
        delivery: Delivery = "before_answer",
        queue_limit: int = 10_000,
        wait_s: float = 1.0,
        probe_s: float = 1.0,
        on_commit: OnCommit | None = None,
        on_records: OnRecords | None = None,
    ) -> None:
        self._store = store
        self._awaited = delivery == "before_answer"
        self._limit = queue_limit
        self._wait_s = wait_s
        self.queue = AdmissionQueue(queue_limit)
        self.writer = GroupCommitWriter(store, self.queue, probe_s=probe_s, on_commit=on_commit, on_records=on_records)

    @property
    def healthy(self) -> bool:
        return self.queue.error == ""

    @property
    def error(self) -> str:
        return self.queue.error

    def stats(self) -> JournalStats:
        with self.queue.mutex:
            return self.queue.counters.snapshot(self.queue.error)

    def offer(
        self,
        records: Sequence[DecisionRecord],
        timeout_s: float | None = None,
        unrecorded: Sequence[DecisionRecord] = EMPTY_BATCH,
    ) -> None:
        """Returns when the records are on disk (before_answer) or queued (after_answer). Raises JournalUnavailable.

        The records are written together or not at all. If the queue is full, the call waits up to `wait_s`. `timeout_s`
        bounds the whole wait; None waits without a limit. `unrecorded` are decisions that are counted and not stored.
        """
        if records or unrecorded:
            self._submit(PendingWrite(records, (), awaited=self._awaited, unrecorded=unrecorded), timeout_s)

    def offer_then(
        self, records: Sequence[DecisionRecord], callback: Callback, unrecorded: Sequence[DecisionRecord] = EMPTY_BATCH
    ) -> bool:
        """Like `offer`, without a wait: this thread or the writer's calls `callback` when `offer` would have returned.
        Returns False, and offers nothing, if there is no room."""
        when_written = callback if self._awaited else None
        write = PendingWrite(records, (), awaited=self._awaited, callback=when_written, unrecorded=unrecorded)
        if not self.queue.admit(write, wait_s=0.0):
            return False
        if not self._awaited:
            callback(None)
        return True

    def lifecycle(
        self,
        records: Sequence[LifecycleRecord],
        timeout_s: float | None = None,
        revisions: Sequence[ArchivedRevision] = (),
    ) -> None:
        """Returns when the records, and the files of revisions, are on disk, whatever the delivery mode. Raises
        JournalUnavailable."""
        self._submit(PendingWrite(EMPTY_BATCH, tuple(records), awaited=True, revisions=revisions), timeout_s)

    def check(self) -> None:
        """Checks that the store is still the same one, without a record to write. Thread-safe."""
        try:
            self._store.check()
        except AuditStoreError as error:
            if self.healthy:
                self.writer.fail([], str(error))
                self.queue.wake_writer()

    def close(self, timeout_s: float = 10.0) -> Drained:
        """Refuses new records, writes the queued ones and stops the writer. The store stays open.

        While the store fails, accepted records are retried until the time is up. Then they are lost, logged and
        counted.
        """
        counters = self.queue.counters
        with self.queue.mutex:
            committed, unwritten = counters.committed, counters.unwritten
        self.writer.drain(timeout_s)
        if self.writer.running:
            self.queue.abandon(_NOT_RETURNED)
        with self.queue.mutex:
            return Drained(counters.committed - committed, counters.unwritten - unwritten)

    def _submit(self, write: PendingWrite, timeout_s: float | None) -> None:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        wait_s = self._wait_s if timeout_s is None else min(self._wait_s, timeout_s)
        if not self.queue.admit(write, wait_s):
            full = f"the audit queue has been full ({self._limit} records) for {wait_s} s"
            raise JournalUnavailable(full, self.queue.error)
        if not write.awaited:
            return
        left_s = -1.0 if deadline is None else max(deadline - time.monotonic(), 0.0)
        if not write.wait(left_s):
            raise JournalUnavailable(f"the record was not on disk within {timeout_s} s; it may still be written")
        if write.error:
            raise JournalUnavailable(NO_RECORDS, write.error)
