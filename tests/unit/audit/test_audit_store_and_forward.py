"""A store with a spool before it: over a SQLite file that another program locks, so that every write to it fails."""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select
from support.audit_records import decision, happened, linked
from support.waiting import DEADLINE_S, until

from remit.audit.append.policy_archives import stored_revision
from remit.audit.chain.chain import DECISIONS, LIFECYCLE, ChainId, genesis, link_lifecycle
from remit.audit.errors import AuditStoreError, RecordRefused, StoreAwayError
from remit.audit.journal.journal import Journal
from remit.audit.record import ArchivedRevision, DecisionRecord, LifecycleRecord
from remit.audit.schema.tables import counts, decisions, lifecycle
from remit.audit.spool.spool import Spool, SpooledEntry
from remit.audit.spool.store_and_forward import StoreAndForward
from remit.audit.store.store import AuditStore

MIB = 1 << 20


@contextmanager
def away(store: AuditStore) -> Iterator[None]:
    """Another program holds the write lock: the store fails every write."""
    with closing(sqlite3.connect(str(store.url).removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


class World:
    """A store, and whatever spools stand before it one after the other."""

    def __init__(self, folder: Path, kind: type[AuditStore] = AuditStore, spool_kind: type[Spool] = Spool) -> None:
        self.store = kind(f"sqlite:///{folder / 'audit.db'}", busy_timeout_s=0.02)
        self.store.migrate()
        self._path = folder / "spool.db"
        self._spool_kind = spool_kind
        self._opened: list[StoreAndForward] = []

    def spooling(self, ready: Callable[[], object] | None = None) -> StoreAndForward:
        """As a new process would open it."""
        spool = self._spool_kind(self._path, max_bytes=MIB)
        opened = StoreAndForward(self.store, spool, lambda: (ready or self.store.open)() and None, retry_s=0.01).open()
        self._opened.append(opened)
        return opened

    def decided(self) -> list[DecisionRecord]:
        """In the order of their chain, which is whole."""
        return self._chain(DECISIONS)

    def happened(self) -> list[LifecycleRecord]:
        return self._chain(LIFECYCLE)

    def counted(self) -> tuple[int, int]:
        """Decisions by the counts: recorded, and only counted."""
        engine = create_engine(self.store.url)
        with engine.connect() as connection:
            found = connection.execute(select(counts).where(counts.c.dimension == "revision")).all()
        engine.dispose()
        return sum(row.recorded for row in found), sum(row.unrecorded for row in found)

    def close(self) -> None:
        for opened in self._opened:
            opened.close()
        self.store.close()

    def _chain(self, name: str) -> list:
        table, kind, link = {
            DECISIONS: (decisions, DecisionRecord, linked),
            LIFECYCLE: (lifecycle, LifecycleRecord, link_lifecycle),
        }[name]
        engine = create_engine(self.store.url)
        with engine.connect() as connection:
            rows = [tuple(row) for row in connection.execute(select(table).order_by(table.c.seq))]
        engine.dispose()
        records = [kind._make(row[:-2]) for row in rows]
        assert link(records, genesis(ChainId(name, "acme", "node-1")))[1] == rows
        return records


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def drained(spooling: StoreAndForward) -> bool:
    return not spooling.status.spooling


def test_spool_stays_empty_while_the_store_works(world: World) -> None:
    spooling = world.spooling()
    spooling.append([record := decision()], [event := happened()], [decision()])
    spooling.probe()
    assert (False, 0, 0, "") == spooling.status
    assert ([record], [event]) == (world.decided(), world.happened())
    assert record == spooling.decision(record.id)


def test_spooled_records_are_drained_in_order_and_once(world: World) -> None:
    """Decisions, lifecycle records and what is only counted; more than one transaction holds."""
    spooling = world.spooling()
    spooling.append([first := decision()])
    batches = [[decision() for _ in range(size)] for size in (1, 300, 2, 77)]
    events = [happened() for _ in batches]
    with away(world.store):
        for batch, event in zip(batches, events, strict=True):
            spooling.append(batch, [event], [decision()])
        status = spooling.status
        assert (True, 380 + 8, True) == (status.spooling, status.records, "locked" in status.error)
        assert status.size > 50_000
        assert [first] == world.store.decisions()
    until(lambda: drained(spooling))
    spooling.append([last := decision()])
    assert [first, *(record for batch in batches for record in batch), last] == world.decided()
    assert events == world.happened()
    assert (382, 4) == world.counted()
    assert (False, 0, 0, "") == spooling.status


def test_new_records_queue_after_waiting_ones(world: World) -> None:
    """Written all the while: before, during and after the store is away, and while what waits is handed on."""
    spooling = world.spooling()
    written: list[DecisionRecord] = []

    def write(times: int) -> None:
        for _ in range(times):
            batch = [decision() for _ in range(20)]
            spooling.append(batch)
            written.extend(batch)

    write(5)
    with away(world.store):
        write(50)
    while not drained(spooling):
        write(1)
    write(5)
    assert written == world.decided()
    assert len(written) >= 60 * 20


class Forgetful(AuditStore):
    """Loses the line after a commit, before the confirmation arrives, as often as it is told to."""

    forgets = 0

    def append(
        self,
        records: Sequence[DecisionRecord],
        happened: Sequence[LifecycleRecord] = (),
        unrecorded: Sequence[DecisionRecord] = (),
        revisions: Sequence[ArchivedRevision] = (),
    ) -> None:
        super().append(records, happened, unrecorded, revisions)
        if self.forgets:
            self.forgets -= 1
            raise AuditStoreError("the connection was lost")


@pytest.mark.parametrize("forgets", [1, 2])
def test_commit_with_a_lost_outcome_is_not_repeated(tmp_path: Path, forgets: int) -> None:
    """The first past the spool, the second out of it."""
    world = World(tmp_path, Forgetful)
    spooling = world.spooling()
    assert isinstance(world.store, Forgetful)
    world.store.forgets = forgets
    batches = [[decision() for _ in range(200)] for _ in range(4)]
    for batch in batches:
        spooling.append(batch, [happened()], [decision()])
    until(lambda: drained(spooling))
    assert 0 == world.store.forgets
    assert [record for batch in batches for record in batch] == world.decided()
    assert 4 == len(world.happened())
    assert (800, 4) == world.counted()
    world.close()


class Undropped(Spool):
    """Its process is killed after the store's commit and before its own."""

    def drop(self, entries: Sequence[SpooledEntry]) -> None:
        raise AuditStoreError("killed")


def test_records_drained_before_a_kill_are_not_drained_again(tmp_path: Path) -> None:
    world = World(tmp_path, spool_kind=Undropped)
    killed = world.spooling()
    with away(world.store):
        killed.append(records := [decision() for _ in range(500)])
    until(lambda: world.store.decisions() != [])
    killed.close()
    world._spool_kind = Spool
    spooling = world.spooling()
    spooling.append([last := decision()])
    until(lambda: drained(spooling))
    assert [*records, last] == world.decided()
    world.close()


def test_start_drains_the_old_spool_before_new_records(world: World) -> None:
    with away(world.store):
        spooling = world.spooling(ready=lambda: None)
        spooling.append(left := [decision() for _ in range(300)])
        assert 300 == spooling.close()
    again = world.spooling()
    again.append([new := decision()])
    until(lambda: drained(again))
    assert [*left, new] == world.decided()


def test_start_without_the_store_spools_until_the_store_answers(world: World) -> None:
    there: list[bool] = []

    def ready() -> None:
        if not there:
            raise StoreAwayError("no route to host")
        world.store.open()

    spooling = world.spooling(ready)
    assert (True, 0, "no route to host") == (spooling.status.spooling, spooling.status.records, spooling.status.error)
    spooling.append([record := decision()])
    assert [] == world.store.decisions()
    there.append(True)
    until(lambda: drained(spooling))
    assert [record] == world.decided()


def test_wrong_store_refuses_the_start(world: World) -> None:
    def ready() -> None:
        raise AuditStoreError("another schema")

    with pytest.raises(AuditStoreError, match="another schema"):
        world.spooling(ready)
    world.spooling()


def test_a_record_that_the_store_refuses_is_refused_and_not_spooled(world: World) -> None:
    spooling = world.spooling()
    spooling.append([taken := decision()])
    for bad in (taken, decision(detail="\n")):
        with pytest.raises(RecordRefused):
            spooling.append([decision(), bad])
    with away(world.store):
        spooling.append([waits := decision()])
        with pytest.raises(RecordRefused, match="line break"):
            spooling.append([decision(detail="\n")])
    until(lambda: drained(spooling))
    assert [taken, waits] == world.decided()


def test_full_spool_fails_and_takes_records_again_after_it_drains(world: World) -> None:
    """The journal in front of it is healthy while there is room, and again when there is."""
    spooling = world.spooling()
    journal = Journal(spooling, probe_s=0.01)
    written: list[DecisionRecord] = []
    with away(world.store):
        while journal.healthy:
            batch = [decision(trace_id="x" * 400) for _ in range(50)]
            try:
                journal.offer(batch)
            except Exception as error:  # noqa: BLE001 (which one, is looked at below)
                full = str(error)
            else:
                written += batch
        assert "spool.db`: database or disk is full; behind it," in full
        assert "locked" in full
    until(lambda: journal.healthy and drained(spooling))
    journal.offer([last := decision()])
    journal.close()
    assert [*written, last] == world.decided()


def test_probe_succeeds_if_store_or_spool_works_again(tmp_path: Path) -> None:
    class Broken(Spool):
        broken = True

        def put(self, *args: Sequence[DecisionRecord]) -> None:
            if self.broken:
                raise AuditStoreError("no such device")
            super().put(*args)

        def probe(self) -> None:
            if self.broken:
                raise AuditStoreError("no such device")
            super().probe()

    world = World(tmp_path, spool_kind=Broken)
    spooling = world.spooling()
    with away(world.store):
        for use in (lambda: spooling.append([decision()]), spooling.probe):
            with pytest.raises(AuditStoreError, match=r"no such device; behind it, .*locked"):
                use()
        assert not spooling.status.spooling
    spooling.append([first := decision()])
    with away(world.store):
        spooling._spool.broken = False  # type: ignore[attr-defined]
        spooling.probe()
        assert spooling.status.spooling
        spooling.append([second := decision()])
    until(lambda: drained(spooling))
    assert [first, second] == world.decided()
    world.close()


def test_stop_drains_the_spool_within_its_time(world: World) -> None:
    spooling = world.spooling()
    with away(world.store):
        spooling.append(records := [decision() for _ in range(2_000)])
    until(lambda: spooling.status.error == "")
    assert 0 == spooling.close(DEADLINE_S)
    assert records == world.decided()


def test_a_stop_does_not_wait_for_a_store_that_is_away(world: World) -> None:
    spooling = world.spooling()
    with away(world.store):
        spooling.append([decision()])
        began = time.monotonic()
        assert 1 == spooling.close(DEADLINE_S)
        assert time.monotonic() - began < DEADLINE_S / 2


def test_damaged_spool_stops_all_decisions_until_a_new_spool(world: World, tmp_path: Path) -> None:
    """Records after the damage are not drained, and no new record is acknowledged."""
    with away(world.store):
        spooling = world.spooling(ready=lambda: None)
        for _ in range(3):
            spooling.append([decision()])
        spooling.close()
    with closing(sqlite3.connect(tmp_path / "spool.db")) as connection:
        connection.execute("UPDATE waiting SET content = CAST(replace(content, 'allow', 'deny') AS BLOB)")
        connection.commit()
    again = world.spooling()
    until(lambda: "damaged" in again.status.error)
    with pytest.raises(AuditStoreError, match="damaged"):
        again.append([decision()])
    assert [] == world.decided()


def test_log_says_when_spooling_begins_and_ends(world: World, caplog: pytest.LogCaptureFixture) -> None:
    spooling = world.spooling()
    with away(world.store):
        for _ in range(3):
            spooling.append([decision()])
        tried = len(caplog.records)
        until(lambda: spooling.status.error != "")
        assert 1 == tried
    # The line is written after the status says so.
    until(lambda: drained(spooling) and len(caplog.records) > tried)
    told = [(record.levelno, record.getMessage().split(":")[0]) for record in caplog.records]
    assert [
        (logging.ERROR, "audit records go to the spool"),
        (logging.WARNING, "the audit store writes again, the spool is empty"),
    ] == told
    assert "3 records" in caplog.records[-1].getMessage()


def test_the_files_of_a_revision_come_to_the_store_with_the_records_that_name_them(world: World) -> None:
    spooling = world.spooling()
    revisions = ["5e" * 32, "6e" * 32]
    spooling.append([], revisions=[ArchivedRevision("acme", revisions[0], 1, b"PK\x00\xff")])
    with away(world.store):
        spooling.append([], revisions=[ArchivedRevision("acme", revisions[1], 2, b"")])
        spooling.append([], [event := happened(revision=revisions[1])])
        assert 2 == spooling.status.records
    until(lambda: drained(spooling))
    assert [event] == world.happened()
    with world.store.reading() as connection:
        kept = [stored_revision(connection, "acme", revision, MIB) for revision in revisions]
    assert [b"PK\x00\xff", b""] == kept
