import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition, Lock, Thread
from typing import Literal, NamedTuple

from remit.audit.batch import EMPTY_BATCH, RecordBatch
from remit.audit.errors import NO_RECORDS, AuditStoreError, JournalUnavailable, RecordRefused
from remit.audit.journal.commit_delay import CommitDelay
from remit.audit.journal.pending import PendingWrite, Then
from remit.audit.journal.sink import RecordSink
from remit.audit.record import DecisionRecord, LifecycleRecord

Delivery = Literal["before_answer", "after_answer"]

# One transaction stays short enough for others to wait for it.
_ROWS_PER_COMMIT = 4096
_CLOSING_RETRY_S = 0.1

_log = logging.getLogger("remit.audit")


class Drained(NamedTuple):
    """Rows, counted from the call of `Journal.close` on."""

    written: int
    unwritten: int


@dataclass(frozen=True, slots=True)
class JournalStats:
    committed: int
    """Rows on disk since the start."""
    unrecorded: int
    """Decisions that were counted, and not recorded, since the start."""
    queued: int
    """Rows accepted and neither on disk nor given up."""
    lost: int
    """Rows given up that a caller was told were accepted. Anything but 0 has been logged."""
    healthy: bool
    error: str
    """Why the journal is not healthy; '' when it is."""
    last_commit_s: float
    """Duration of the last commit, in seconds."""


class Journal:
    """The way of records into the store: many callers, one writer thread, one commit for all that wait.

    `before_answer`: `offer` returns when its records are on disk. `after_answer`: it returns when they are queued,
    and they are written again and again until the store takes them; only `close` gives up, and says so.
    `queue_limit` counts rows. Each failure of the store turns `healthy` False until the store takes a write again,
    which is tried every `probe_s` seconds; until then who would wait for a commit is refused at once. `on_commit` hears
    the rows and seconds of each commit, and `on_records` the records, on the writer's thread, after the callers have
    been let go.
    """

    def __init__(
        self,
        store: RecordSink,
        *,
        delivery: Delivery = "before_answer",
        queue_limit: int = 10_000,
        wait_s: float = 1.0,
        probe_s: float = 1.0,
        on_commit: Callable[[int, float], None] | None = None,
        on_records: Callable[[Sequence[DecisionRecord], Sequence[LifecycleRecord]], None] | None = None,
    ) -> None:
        self._store = store
        self._waits = delivery == "before_answer"
        self._limit = queue_limit
        self._wait_s = wait_s
        self._probe_s = probe_s
        self._on_commit = on_commit
        self._on_records = on_records
        self._mutex = Lock()
        self._room = Condition(self._mutex)
        self._short_of_room = 0
        self._pending: deque[PendingWrite] = deque()
        self._queued = 0
        self._committed = 0
        self._unrecorded = 0
        self._lost = 0
        self._error = ""
        self._last_commit_s = 0.0
        self._closed = False
        self._unwritten = 0
        self._give_up_at: float | None = None
        self._in_flight: list[PendingWrite] = []
        self._next_try = 0.0
        self._rest = CommitDelay(self._mutex)
        self._writer = Thread(target=self._run, name="remit-journal", daemon=True)
        self._writer.start()

    @property
    def healthy(self) -> bool:
        return self._error == ""

    @property
    def error(self) -> str:
        return self._error

    def stats(self) -> JournalStats:
        with self._mutex:
            return JournalStats(
                committed=self._committed,
                unrecorded=self._unrecorded,
                queued=self._queued,
                lost=self._lost,
                healthy=self._error == "",
                error=self._error,
                last_commit_s=self._last_commit_s,
            )

    def offer(
        self,
        records: Sequence[DecisionRecord],
        timeout_s: float | None = None,
        unrecorded: Sequence[DecisionRecord] = EMPTY_BATCH,
    ) -> None:
        """Returns when the records are on disk (before_answer) or queued (after_answer); JournalUnavailable otherwise.

        They are written together or not at all. A full queue is waited for up to `wait_s`. `timeout_s` bounds the
        whole wait; None waits as long as the store takes. `unrecorded` are decisions that are counted and not kept.
        """
        if records or unrecorded:
            self._submit(PendingWrite(records, (), waits=self._waits, unrecorded=unrecorded), timeout_s)

    def offer_then(
        self, records: Sequence[DecisionRecord], then: Then, unrecorded: Sequence[DecisionRecord] = EMPTY_BATCH
    ) -> bool:
        """As `offer`, without a wait: `then` hears when its caller would have gone on, from this thread or the
        writer's. False, and nothing is offered, where there is no room."""
        entry = PendingWrite(records, (), waits=self._waits, then=then if self._waits else None, unrecorded=unrecorded)
        if not self._queue(entry, wait_s=0.0):
            return False
        if not self._waits:
            then(None)
        return True

    def lifecycle(self, record: LifecycleRecord, timeout_s: float | None = None) -> None:
        """Returns when the record is on disk, whatever the delivery; JournalUnavailable otherwise."""
        self._submit(PendingWrite(EMPTY_BATCH, (record,), waits=True), timeout_s)

    def check(self) -> None:
        """Looks whether the store is still the one that it was, without a record to write. From any thread."""
        try:
            self._store.check()
        except AuditStoreError as error:
            if not self._error:
                self._fail([], str(error))
                with self._mutex:
                    self._rest.wake(sys.maxsize)

    def close(self, timeout_s: float = 10.0) -> Drained:
        """Refuses new records, writes what is queued, stops the writer. The store stays open.

        Where the store fails, accepted records are tried again until the time is up; then they are lost, logged as
        such and counted.
        """
        with self._mutex:
            committed, unwritten = self._committed, self._unwritten
            if not self._closed:
                self._closed = True
                self._next_try = 0.0
                self._give_up_at = time.monotonic() + timeout_s
            self._room.notify_all()
            self._rest.wake(sys.maxsize)
        self._writer.join(timeout_s + _CLOSING_RETRY_S)
        if self._writer.is_alive():
            self._abandon()
        with self._mutex:
            return Drained(self._committed - committed, self._unwritten - unwritten)

    def _submit(self, entry: PendingWrite, timeout_s: float | None) -> None:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        wait_s = self._wait_s if timeout_s is None else min(self._wait_s, timeout_s)
        if not self._queue(entry, wait_s):
            full = f"the audit queue has been full ({self._limit} records) for {wait_s} s"
            raise JournalUnavailable(full, self._error)
        if not entry.waits:
            return
        left_s = -1.0 if deadline is None else max(deadline - time.monotonic(), 0.0)
        if not entry.wait(left_s):
            raise JournalUnavailable(f"the record was not on disk within {timeout_s} s; it may still be written")
        if entry.error:
            raise JournalUnavailable(NO_RECORDS, entry.error)

    def _queue(self, entry: PendingWrite, wait_s: float) -> bool:
        """False where there is no room for it in time."""
        with self._mutex:
            self._refuse_at_once(entry)
            if self._queued and self._queued + entry.rows > self._limit:
                if not self._has_room(entry.rows, wait_s):
                    return False
                self._refuse_at_once(entry)
            self._pending.append(entry)
            self._queued += entry.rows
            if not self._error:
                self._rest.wake(len(self._pending))
        return True

    def _refuse_at_once(self, entry: PendingWrite) -> None:
        if self._closed:
            raise JournalUnavailable("the journal is closed: the server is stopping")
        if self._error and entry.waits:
            raise JournalUnavailable(NO_RECORDS, self._error)

    def _has_room(self, rows: int, wait_s: float) -> bool:
        """Called with the mutex held. An offer larger than the whole queue has room when the queue is empty."""
        self._short_of_room += 1
        if not self._error:
            self._rest.wake(sys.maxsize)
        try:
            return self._room.wait_for(
                lambda: self._closed or not self._queued or self._queued + rows <= self._limit, wait_s
            )
        finally:
            self._short_of_room -= 1

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            if batch is None:
                return
            if batch:
                self._write(batch)
                self._in_flight = []
            else:
                self._probe()

    def _next_batch(self) -> list[PendingWrite] | None:
        """What to write next; [] when it is time to probe; None when all is done."""
        while True:
            with self._mutex:
                now = time.monotonic()
                waiting = self._pending and not (self._error and now < self._next_try)
                rest_s = self._rest.left_s(len(self._pending)) if waiting and not self._short_of_room else 0.0
                if waiting and rest_s <= 0:
                    self._in_flight = self._take()
                    return self._in_flight
                if self._closed and not self._pending:
                    return None
                if self._error and now >= self._next_try:
                    return []
                sleep_s = rest_s if waiting else max(self._next_try - now, 0.0) if self._error else -1.0
                self._rest.prepare(resting=bool(waiting))
            self._rest.sleep(sleep_s)

    def _take(self) -> list[PendingWrite]:
        batch = [self._pending.popleft()]
        rows = batch[0].rows
        while self._pending and rows + self._pending[0].rows <= _ROWS_PER_COMMIT:
            entry = self._pending.popleft()
            rows += entry.rows
            batch.append(entry)
        return batch

    def _write(self, batch: list[PendingWrite]) -> bool:
        """False where the store failed."""
        try:
            self._commit(batch)
        except RecordRefused as error:
            if len(batch) > 1:
                return self._write_one_by_one(batch)
            return self._refuse(batch[0], str(error))
        except Exception as error:  # noqa: BLE001 (whatever the store does, its callers hear of it and the writer lives)
            self._fail(batch, str(error) or repr(error))
            return False
        return True

    def _write_one_by_one(self, batch: list[PendingWrite]) -> bool:
        """One caller's bad record must not fail the others: each offer gets a transaction of its own."""
        for position, entry in enumerate(batch):
            if not self._write([entry]):
                self._fail(batch[position + 1 :], self._error)
                return False
        return True

    def _commit(self, batch: list[PendingWrite]) -> None:
        began, worked = time.monotonic(), time.thread_time()
        decided = RecordBatch.joined(entry.decided for entry in batch)
        happened = [record for entry in batch for record in entry.happened]
        self._store.append(decided, happened, RecordBatch.joined(entry.unrecorded for entry in batch))
        seconds = time.monotonic() - began
        self._recovered()
        self._settle(batch, committed=True, seconds=seconds)
        self._rest.begin(len(batch) + len(self._pending) if batch[0].waits else 0, time.thread_time() - worked)
        try:
            if self._on_commit is not None:
                self._on_commit(len(decided) + len(happened), seconds)
            if self._on_records is not None:
                self._on_records(decided, happened)
        except Exception:  # noqa: BLE001 (a meter's trouble is not the journal's)
            _log.exception("the hook on audit commits failed")

    def _refuse(self, entry: PendingWrite, error: str) -> bool:
        """The store works and does not take these rows. False where it fails when looked at again."""
        try:
            written = entry.retried and self._already_written(entry)
        except AuditStoreError as failure:
            self._fail([entry], str(failure))
            return False
        if written:
            self._settle([entry], committed=True)
            if self._on_records is not None:
                self._on_records(entry.decided, entry.happened)
        elif not entry.waits:
            self._lose([entry], error)
        else:
            _log.error("the audit store refuses a record: %s", error)
            entry.error = error
            self._settle([entry])
        return True

    def _already_written(self, entry: PendingWrite) -> bool:
        """Whether an earlier attempt was committed after all, and only its confirmation was lost."""
        found = (self._store.decision(record.id) == record for record in entry.decided)
        return bool(entry.decided) and all(found)

    def _fail(self, batch: list[PendingWrite], error: str) -> None:
        """The store fails: all who wait are told, what was accepted stays in the queue."""
        for entry in batch:
            entry.retried = True
        given_up: list[PendingWrite] = []
        with self._mutex:
            if not self._error:
                _log.error("the audit store fails: %s", error)
            self._error = error
            entries = [*batch, *self._pending]
            told = [entry for entry in entries if entry.waits]
            self._pending = deque(entry for entry in entries if not (entry.waits or entry.settled))
            now = time.monotonic()
            self._next_try = now + (self._probe_s if self._give_up_at is None else _CLOSING_RETRY_S)
            if self._give_up_at is not None and now >= self._give_up_at:
                given_up = [*self._pending]
                self._pending.clear()
        for entry in told:
            entry.error = error
        self._settle(told)
        self._lose(given_up, error)

    def _probe(self) -> None:
        try:
            self._store.probe()
        except Exception as error:  # noqa: BLE001 (as in _write)
            with self._mutex:
                self._error = str(error) or repr(error)
                self._next_try = time.monotonic() + self._probe_s
        else:
            self._recovered()

    def _recovered(self) -> None:
        if self._error:
            with self._mutex:
                self._error = ""
            _log.warning("the audit store writes again")

    def _lose(self, entries: list[PendingWrite], error: str) -> None:
        rows = self._settle(entries, lost=True)
        if rows:
            _log.error("LOST %d audit records that had been accepted: %s", rows, error)

    def _settle(
        self, entries: list[PendingWrite], *, committed: bool = False, seconds: float = 0.0, lost: bool = False
    ) -> int:
        """Takes entries off the books, once, and lets their callers go. The number of rows taken off."""
        waiting: list[PendingWrite] = []
        rows = unrecorded = 0
        with self._mutex:
            for entry in entries:
                if entry.settled:
                    continue
                entry.settled = True
                rows += entry.rows
                unrecorded += len(entry.unrecorded)
                if entry.waits:
                    waiting.append(entry)
            self._queued -= rows
            if committed:
                self._committed += rows - unrecorded
                self._unrecorded += unrecorded
                self._last_commit_s = seconds
            elif self._closed:
                self._unwritten += rows
            if lost:
                self._lost += rows
            if self._short_of_room:
                self._room.notify_all()
        for entry in waiting:
            try:
                entry.let_go()
            except Exception:  # noqa: BLE001 (one caller's trouble is not the next one's)
                _log.exception("a caller could not be told of its record")
        return rows

    def _abandon(self) -> None:
        """The store has not returned in time: what it holds and what is queued behind it is given up."""
        error = "the audit store did not return before the journal had to close; the record may still be written"
        with self._mutex:
            entries = [*self._in_flight, *self._pending]
            self._pending.clear()
        told = [entry for entry in entries if entry.waits and not entry.settled]
        for entry in told:
            entry.error = error
        self._settle(told)
        self._lose([entry for entry in entries if not entry.waits], error)
