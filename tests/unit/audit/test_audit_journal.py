import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import pytest
from sqlalchemy import func, select
from support.audit_records import decision, decision_at, happened
from support.waiting import DEADLINE_S, until

from remit.audit.errors import AuditStoreError, JournalUnavailable
from remit.audit.journal.journal import Journal
from remit.audit.journal.stats import Drained
from remit.audit.record import ArchivedRevision, DecisionRecord, LifecycleRecord
from remit.audit.schema.tables import REVISION, counts
from remit.audit.store.store import AuditStore

FULL = "disk is full"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


def new_store(path: Path, *, busy_timeout_s: float = DEADLINE_S, max_bytes: int | None = None) -> AuditStore:
    store = AuditStore(f"sqlite:///{path}", busy_timeout_s=busy_timeout_s, max_bytes=max_bytes)
    store.migrate()
    return store.open()


@pytest.fixture
def store(path: Path) -> Iterator[AuditStore]:
    """Waits for another's write lock as long as it takes."""
    with new_store(path) as opened:
        yield opened


@pytest.fixture
def hasty(path: Path) -> Iterator[AuditStore]:
    """Fails nearly at once while another holds the write lock."""
    with new_store(path, busy_timeout_s=0.02) as opened:
        yield opened


@contextmanager
def locked(path: Path) -> Iterator[Callable[[], None]]:
    """Another program holds the database's write lock, until the end or until told to let go."""
    other = sqlite3.connect(path, isolation_level=None, timeout=DEADLINE_S, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    def release() -> None:
        other.execute("ROLLBACK")

    try:
        yield release
    finally:
        other.close()


def stored(store: AuditStore) -> list[DecisionRecord]:
    return store.decisions(limit=1_000_000, newest_first=False)


def fill(store: AuditStore) -> list[DecisionRecord]:
    """Appends until the store has no room for one more."""
    written: list[DecisionRecord] = []
    size = 64
    while size:
        batch = [decision_at(1_000_000 + n, trace_id="x" * 300) for n in range(len(written), len(written) + size)]
        try:
            store.append(batch)
        except AuditStoreError:
            size //= 2
        else:
            written += batch
    return sorted(written)


def test_an_offer_before_answer_returns_only_when_its_record_is_on_disk(store: AuditStore, path: Path) -> None:
    journal = Journal(store)
    record = decision()
    with ThreadPoolExecutor() as pool, locked(path) as release:
        offer = pool.submit(journal.offer, [record])
        until(lambda: journal.stats().queued == 1)
        assert stored(store) == []
        assert not offer.done()
        release()
        offer.result(DEADLINE_S)
        assert [record] == stored(store)
    assert journal.stats().committed == 1
    journal.close()


def test_all_waiting_calls_share_one_commit(store: AuditStore, path: Path) -> None:
    commits: list[int] = []
    journal = Journal(store, on_commit=lambda rows, _: commits.append(rows))
    with ThreadPoolExecutor(40) as pool, locked(path) as release:
        first = pool.submit(journal.offer, [decision()])
        until(lambda: journal.queue.in_flight != [])
        rest = [pool.submit(journal.offer, [decision(), decision()]) for _ in range(39)]
        until(lambda: journal.stats().queued == 1 + 2 * 39)
        # The writer holds the first alone; whatever came later goes together.
        release()
        for offer in (first, *rest):
            offer.result(DEADLINE_S)
    journal.close()
    assert commits == [1, 78]


def test_a_busy_journal_forms_batches_by_itself_and_loses_nothing(store: AuditStore) -> None:
    commits: list[int] = []
    journal = Journal(store, on_commit=lambda rows, _: commits.append(rows))
    acknowledged: list[list[DecisionRecord]] = [[] for _ in range(64)]

    def serve(thread: int) -> None:
        for position in range(30):
            record = decision(batch_index=position)
            journal.offer([record])
            acknowledged[thread].append(record)

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(serve, range(64)))
    journal.close()
    assert sorted(record for records in acknowledged for record in records) == stored(store)
    assert sum(commits) == 64 * 30
    assert max(commits) >= 20
    assert sum(commits) / len(commits) > 4


def test_offer_after_answer_returns_while_the_store_is_blocked(store: AuditStore, path: Path) -> None:
    journal = Journal(store, delivery="after_answer")
    records = [decision() for _ in range(10)]
    with locked(path):
        for record in records:
            journal.offer([record])
        assert stored(store) == []
    until(lambda: journal.stats().committed == 10)
    assert records == stored(store)
    assert Drained(0, 0) == journal.close()


def counted(store: AuditStore) -> tuple[int, int]:
    """Decisions recorded and unrecorded, as the counts say."""
    with store._reading.connect() as connection:
        columns = (func.sum(counts.c.recorded), func.sum(counts.c.unrecorded))
        recorded, unrecorded = connection.execute(select(*columns).where(counts.c.dimension == REVISION)).one()
    return (recorded or 0, unrecorded or 0)


def test_an_unrecorded_decision_is_counted_before_its_answer(store: AuditStore, path: Path) -> None:
    """Alone and beside recorded ones; it is no record, and waits as one."""
    rows: list[int] = []
    journal = Journal(store, on_commit=lambda number, _: rows.append(number))
    with ThreadPoolExecutor() as pool, locked(path) as release:
        offers = [pool.submit(journal.offer, [], None, [decision()])]
        until(lambda: journal.queue.in_flight != [])
        offers.append(pool.submit(journal.offer, [record := decision()], None, [decision(), decision()]))
        until(lambda: journal.stats().queued == 4)
        assert not any(offer.done() for offer in offers)
        release()
        for offer in offers:
            offer.result(DEADLINE_S)
    assert [record] == stored(store)
    assert (1, 3) == counted(store) == (journal.stats().committed, journal.stats().unrecorded)
    journal.close()
    assert [0, 1] == rows


def test_unrecorded_decisions_take_room_in_the_queue(store: AuditStore, path: Path) -> None:
    journal = Journal(store, delivery="after_answer", queue_limit=3, wait_s=0.01)
    with locked(path):
        journal.offer([], unrecorded=[decision()])
        until(lambda: journal.queue.in_flight != [])
        journal.offer([], unrecorded=[decision(), decision()])
        with pytest.raises(JournalUnavailable, match="full"):
            journal.offer([], unrecorded=[decision()])
    journal.close()
    assert (0, 3) == counted(store)


def test_an_unrecorded_decision_that_cannot_be_counted_has_no_answer(hasty: AuditStore, path: Path) -> None:
    journal = Journal(hasty)
    with locked(path), pytest.raises(JournalUnavailable, match="locked"):
        journal.offer([], unrecorded=[decision()])
    assert (0, 0) == counted(hasty)
    journal.close()


def test_accepted_records_outlast_a_failing_store(hasty: AuditStore, path: Path) -> None:
    """Accepted before and during the failure, more than one commit holds, all written once."""
    journal = Journal(hasty, delivery="after_answer", probe_s=0.01)
    records = [decision() for _ in range(6_000)]
    with locked(path):
        for start in range(0, 5_000, 50):
            journal.offer(records[start : start + 50])
        until(lambda: not journal.healthy)
        for record in records[5_000:]:
            journal.offer([record])
        assert "locked" in journal.error
        assert journal.stats().queued == 6_000
    until(lambda: journal.healthy and journal.stats().queued == 0)
    assert records == stored(hasty)
    assert (journal.stats().committed, journal.stats().lost) == (6_000, 0)
    journal.close()


def test_full_disk_fails_the_caller_and_recovers_without_traffic(path: Path) -> None:
    with new_store(path, max_bytes=400_000) as store:
        kept = fill(store)
        journal = Journal(store, probe_s=0.01)
        for _ in range(3):
            with pytest.raises(JournalUnavailable, match=FULL):
                journal.offer([decision(trace_id="y" * 5_000)])
        assert (journal.healthy, journal.stats().queued, journal.stats().committed) == (False, 0, 0)
        assert FULL in journal.error
        assert kept == stored(store)
        store.purge(2_000_000)
        until(lambda: journal.healthy)
        assert journal.error == ""
        journal.offer([record := decision(trace_id="y" * 5_000)])
        assert [record] == stored(store)
        journal.close()


def test_a_full_disk_loses_no_accepted_record(path: Path) -> None:
    with new_store(path, max_bytes=400_000) as store:
        kept = fill(store)
        journal = Journal(store, delivery="after_answer", probe_s=0.01)
        records = [decision(trace_id="y" * 5_000) for _ in range(5)]
        for record in records:
            journal.offer([record])
        until(lambda: not journal.healthy)
        assert kept == stored(store)
        store.purge(2_000_000)
        until(lambda: journal.stats().queued == 0)
        assert records == stored(store)
        assert journal.stats().lost == 0
        journal.close()


def test_the_probe_does_not_call_a_full_store_healthy(path: Path) -> None:
    with new_store(path, max_bytes=400_000) as store:
        fill(store)
        with pytest.raises(AuditStoreError, match=FULL):
            store.probe()
        store.purge(2_000_000)
        store.probe()


class CountingStore(AuditStore):
    """Counts the attempts."""

    appends = 0

    def append(
        self,
        records: Sequence[DecisionRecord],
        happened: Sequence[LifecycleRecord] = (),
        unrecorded: Sequence[DecisionRecord] = (),
        revisions: Sequence[ArchivedRevision] = (),
    ) -> None:
        self.appends += 1
        super().append(records, happened, unrecorded, revisions)


@pytest.mark.parametrize("delivery", ["before_answer", "after_answer"])
def test_failing_store_refuses_waiting_calls_at_once(path: Path, delivery: str) -> None:
    """Calls do not wait: only the probe asks the store again, and once it works calls succeed."""
    with CountingStore(f"sqlite:///{path}", busy_timeout_s=0.02) as store:
        store.migrate()
        journal = Journal(store, delivery=delivery, probe_s=3_600)  # type: ignore[arg-type]
        with locked(path), pytest.raises(JournalUnavailable, match="locked"):
            journal.lifecycle([happened()])
        for _ in range(100):
            with pytest.raises(JournalUnavailable, match="locked"):
                journal.lifecycle([happened()])
        assert 1 == store.appends
        journal.writer.retry()
        until(lambda: journal.healthy)
        journal.lifecycle([record := happened()])
        assert [record] == store.lifecycle()
        journal.close()


def test_one_failed_attempt_fails_all_waiting_calls(path: Path) -> None:
    with CountingStore(f"sqlite:///{path}", busy_timeout_s=0.5) as store:
        store.migrate()
        journal = Journal(store, probe_s=3_600)
        with ThreadPoolExecutor(6) as pool, locked(path):
            first = pool.submit(journal.offer, [decision()])
            until(lambda: journal.queue.in_flight != [])
            rest = [pool.submit(journal.offer, [decision() for _ in range(2_000)]) for _ in range(5)]
            for offer in (first, *rest):
                with pytest.raises(JournalUnavailable, match="locked"):
                    offer.result(DEADLINE_S)
        assert (1, 0) == (store.appends, journal.stats().queued)
        journal.close()


def test_full_queue_refuses_callers_at_once_while_the_store_fails(hasty: AuditStore, path: Path) -> None:
    journal = Journal(hasty, delivery="after_answer", queue_limit=1, wait_s=3_600, probe_s=0.01)
    with locked(path):
        journal.offer([decision()])
        until(lambda: not journal.healthy)
        with pytest.raises(JournalUnavailable, match="locked"):
            journal.lifecycle([happened()])
    journal.close()


def test_a_full_queue_makes_the_caller_wait_and_then_refuses(store: AuditStore, path: Path) -> None:
    journal = Journal(store, delivery="after_answer", queue_limit=10, wait_s=0.05)
    records = [decision() for _ in range(10)]
    with locked(path):
        journal.offer(records)
        began = time.monotonic()
        with pytest.raises(JournalUnavailable, match=r"full \(10 records\) for 0\.05 s"):
            journal.offer([decision()])
        assert time.monotonic() - began >= 0.05
    journal.close()
    assert records == stored(store)


def test_waiting_offers_get_room(store: AuditStore, path: Path) -> None:
    journal = Journal(store, delivery="after_answer", queue_limit=10, wait_s=3_600)
    with ThreadPoolExecutor(3) as pool, locked(path) as release:
        journal.offer([decision() for _ in range(10)])
        waiting = [pool.submit(journal.offer, [decision() for _ in range(6)]) for _ in range(3)]
        until(lambda: journal.queue.waiting_for_room == 3)
        release()
        for offer in waiting:
            offer.result(DEADLINE_S)
    journal.close()
    assert len(stored(store)) == 28


def test_an_offer_larger_than_the_queue_waits_until_the_queue_is_empty(store: AuditStore, path: Path) -> None:
    journal = Journal(store, delivery="after_answer", queue_limit=10, wait_s=3_600)
    with ThreadPoolExecutor() as pool, locked(path) as release:
        journal.offer([decision()])
        large = pool.submit(journal.offer, [decision() for _ in range(50)])
        until(lambda: journal.queue.waiting_for_room == 1)
        release()
        large.result(DEADLINE_S)
    journal.close()
    assert len(stored(store)) == 51


def test_an_offer_larger_than_the_queue_is_taken_when_the_queue_is_empty(store: AuditStore) -> None:
    journal = Journal(store, queue_limit=10)
    journal.offer(records := [decision() for _ in range(50)])
    assert records == stored(store)
    journal.close()


@pytest.mark.parametrize("delivery", ["before_answer", "after_answer"])
def test_a_caller_s_timeout_bounds_the_wait(store: AuditStore, path: Path, delivery: str) -> None:
    journal = Journal(store, delivery=delivery, queue_limit=1, wait_s=3_600)  # type: ignore[arg-type]
    with locked(path):
        if delivery == "after_answer":
            journal.offer([decision()])
        with pytest.raises(JournalUnavailable, match=r"0\.05 s"):
            journal.offer([decision()], timeout_s=0.05)
    journal.close()


def test_a_record_whose_caller_gave_up_may_still_be_written(store: AuditStore, path: Path) -> None:
    journal = Journal(store)
    with locked(path), pytest.raises(JournalUnavailable, match="may still be written"):
        journal.offer([record := decision()], timeout_s=0.05)
    journal.close()
    assert [record] == stored(store)


def test_one_caller_s_bad_record_does_not_fail_the_others(store: AuditStore, path: Path) -> None:
    store.append([taken := decision()])
    journal = Journal(store)
    good = [decision() for _ in range(5)]
    with ThreadPoolExecutor(7) as pool, locked(path) as release:
        first = pool.submit(journal.offer, good[:1])
        until(lambda: journal.queue.in_flight != [])
        offers: list[Future[None]] = [pool.submit(journal.offer, [record]) for record in good[1:3]]
        bad = pool.submit(journal.offer, [decision(), taken])
        until(lambda: journal.stats().queued == 5)
        offers += [pool.submit(journal.offer, [record]) for record in good[3:]]
        until(lambda: journal.stats().queued == 7)
        release()
        for offer in (first, *offers):
            offer.result(DEADLINE_S)
        with pytest.raises(JournalUnavailable, match="refuses"):
            bad.result(DEADLINE_S)
    assert sorted([taken, *good]) == stored(store)
    assert journal.healthy
    assert journal.stats().queued == 0
    journal.close()


def test_accepted_record_that_no_store_can_hold_is_counted_as_lost(
    store: AuditStore, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(store, delivery="after_answer")
    journal.offer([decision(resource_id="\ud800")])
    journal.offer([good := decision()])
    until(lambda: journal.stats().queued == 0)
    journal.close()
    assert [good] == stored(store)
    assert journal.stats().lost == 1
    assert [record.getMessage()[:20] for record in caplog.records] == ["LOST 1 audit records"]


class ForgetfulStore(AuditStore):
    """Loses the line after its first commit, before the confirmation arrives."""

    forgot = False

    def append(
        self,
        records: Sequence[DecisionRecord],
        happened: Sequence[LifecycleRecord] = (),
        unrecorded: Sequence[DecisionRecord] = (),
        revisions: Sequence[ArchivedRevision] = (),
    ) -> None:
        super().append(records, happened, unrecorded, revisions)
        if records and not self.forgot:
            self.forgot = True
            raise AuditStoreError("the connection was lost")


def test_unconfirmed_commit_is_neither_written_twice_nor_reported_as_lost(path: Path) -> None:
    with ForgetfulStore(f"sqlite:///{path}") as store:
        store.migrate()
        journal = Journal(store, delivery="after_answer", probe_s=0.01)
        records = [decision() for _ in range(3)]
        journal.offer(records[:2])
        until(lambda: not journal.healthy)
        journal.offer(records[2:])
        until(lambda: journal.stats().queued == 0)
        journal.close()
        assert records == stored(store)
        assert (journal.stats().committed, journal.stats().lost) == (3, 0)


@pytest.mark.parametrize("delivery", ["before_answer", "after_answer"])
def test_a_lifecycle_record_is_on_disk_when_the_call_returns(store: AuditStore, delivery: str) -> None:
    journal = Journal(store, delivery=delivery)  # type: ignore[arg-type]
    event = happened()
    journal.lifecycle([event])
    assert [event] == store.lifecycle()
    journal.close()


def test_a_lifecycle_record_fails_where_accepted_decisions_wait(hasty: AuditStore, path: Path) -> None:
    journal = Journal(hasty, delivery="after_answer", probe_s=0.01)
    with locked(path):
        journal.offer([record := decision()])
        with pytest.raises(JournalUnavailable, match="locked"):
            journal.lifecycle([happened()])
    until(lambda: journal.stats().queued == 0)
    assert [record] == stored(hasty)
    assert hasty.lifecycle() == []
    journal.close()


def test_close_writes_queued_records_and_refuses_new_ones(store: AuditStore, path: Path) -> None:
    journal = Journal(store, delivery="after_answer")
    records = [decision() for _ in range(200)]
    with ThreadPoolExecutor() as pool, locked(path) as release:
        for record in records:
            journal.offer([record])
        closing = pool.submit(journal.close, DEADLINE_S)
        until(lambda: journal.queue.closed)
        with pytest.raises(JournalUnavailable, match="closed"):
            journal.offer([decision()])
        with pytest.raises(JournalUnavailable, match="closed"):
            journal.lifecycle([happened()])
        release()
        assert Drained(200, 0) == closing.result(DEADLINE_S)
    assert records == stored(store)
    assert Drained(0, 0) == journal.close()


def test_close_retries_until_the_store_takes_the_records(hasty: AuditStore, path: Path) -> None:
    """Long before the next probe, and more than once."""
    journal = Journal(hasty, delivery="after_answer", probe_s=3_600)
    failures: list[str] = []
    append = hasty.append

    def counting(
        records: Sequence[DecisionRecord],
        happened: Sequence[LifecycleRecord] = (),
        unrecorded: Sequence[DecisionRecord] = (),
        revisions: Sequence[ArchivedRevision] = (),
    ) -> None:
        try:
            append(records, happened, unrecorded)
        except AuditStoreError as error:
            failures.append(str(error))
            raise

    hasty.append = counting  # type: ignore[method-assign]
    with ThreadPoolExecutor() as pool, locked(path) as release:
        journal.offer([record := decision()])
        until(lambda: len(failures) == 1)
        closing = pool.submit(journal.close, DEADLINE_S)
        until(lambda: len(failures) == 4)
        release()
        assert Drained(1, 0) == closing.result(DEADLINE_S)
    assert [record] == stored(hasty)


def test_close_reports_lost_records_if_the_store_keeps_failing(
    hasty: AuditStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(hasty, delivery="after_answer", probe_s=0.01)
    with locked(path):
        journal.offer([decision() for _ in range(7)])
        journal.offer([decision() for _ in range(2)])
        until(lambda: not journal.healthy)
        assert Drained(0, 9) == journal.close(timeout_s=0.5)
    assert (journal.stats().lost, journal.stats().queued) == (9, 0)
    losses = [record for record in caplog.records if record.getMessage().startswith("LOST 9 audit records")]
    assert [(record.name, record.levelno) for record in losses] == [("remit.audit", logging.ERROR)]


@pytest.mark.parametrize(("delivery", "lost"), [("before_answer", 0), ("after_answer", 3)])
def test_close_does_not_wait_for_a_store_that_hangs(store: AuditStore, path: Path, delivery: str, lost: int) -> None:
    journal = Journal(store, delivery=delivery)  # type: ignore[arg-type]
    with ThreadPoolExecutor() as pool, locked(path) as release:
        offers = [pool.submit(journal.offer, [decision()]) for _ in range(3)]
        until(lambda: journal.stats().queued == 3)
        assert Drained(0, 3) == journal.close(timeout_s=0.05)
        assert (lost, 0) == (journal.stats().lost, journal.stats().queued)
        for offer in offers:
            if delivery == "before_answer":
                with pytest.raises(JournalUnavailable, match="did not return"):
                    offer.result(DEADLINE_S)
            else:
                offer.result(DEADLINE_S)
        release()
        journal.writer.join(DEADLINE_S)
    assert not journal.writer.running
    assert (lost, 0, 0) == (journal.stats().lost, journal.stats().queued, journal.stats().committed)


class BrokenStore(AuditStore):
    broken = True

    def append(
        self,
        records: Sequence[DecisionRecord],
        happened: Sequence[LifecycleRecord] = (),
        unrecorded: Sequence[DecisionRecord] = (),
        revisions: Sequence[ArchivedRevision] = (),
    ) -> None:
        if self.broken:
            raise ZeroDivisionError
        super().append(records, happened, unrecorded, revisions)


def test_writer_survives_an_unexpected_error_of_the_store(path: Path) -> None:
    with BrokenStore(f"sqlite:///{path}") as store:
        store.migrate()
        journal = Journal(store, probe_s=0.01)
        with pytest.raises(JournalUnavailable, match="ZeroDivisionError"):
            journal.offer([decision()])
        store.broken = False
        until(lambda: journal.healthy)
        journal.offer([record := decision()])
        assert [record] == stored(store)
        journal.close()


def test_failing_hook_fails_no_caller(store: AuditStore, caplog: pytest.LogCaptureFixture) -> None:
    def hook(rows: int, seconds: float) -> None:
        raise ZeroDivisionError

    journal = Journal(store, on_commit=hook)
    journal.offer([decision()])
    journal.offer([decision()])
    journal.close()
    assert (journal.stats().committed, journal.healthy) == (2, True)
    assert len(caplog.records) == 2


def test_hook_gets_every_row_and_its_seconds(store: AuditStore) -> None:
    heard: list[tuple[int, float]] = []
    guard = Lock()

    def hook(rows: int, seconds: float) -> None:
        with guard:
            heard.append((rows, seconds))

    journal = Journal(store, on_commit=hook)
    journal.offer([decision(), decision()])
    journal.lifecycle([happened()])
    journal.close()
    assert [rows for rows, _ in heard] == [2, 1]
    assert all(seconds > 0 for _, seconds in heard)
    assert heard[-1][1] == journal.stats().last_commit_s


def test_empty_offer_does_nothing(store: AuditStore) -> None:
    journal = Journal(store)
    journal.offer([])
    assert Drained(0, 0) == journal.close()


def test_failure_and_recovery_are_logged_once_each(
    hasty: AuditStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(hasty, probe_s=0.01)
    with locked(path):
        for _ in range(3):
            with pytest.raises(JournalUnavailable):
                journal.offer([decision()])
    until(lambda: journal.healthy)
    journal.close()
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "the audit store fails",
        "the audit store writes again",
    ]
