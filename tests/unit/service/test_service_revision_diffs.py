"""Comparisons of kept revisions: shared, remembered, bounded."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from support.server import until
from support.trees import tree_of

from remit.audit.record import ArchivedRevision
from remit.audit.store.store import AuditStore
from remit.core.names import Tenant
from remit.engine.diff import TenantDiff
from remit.policy.live import LivePolicies
from remit.policy.read.limits import Limits
from remit.policy.revisions.archive import Archive, RevisionNotStoredError, StoredRevision
from remit.policy.revisions.differ import RevisionArchive, RevisionDiff, RevisionDiffer
from remit.service.beside_decisions import ALL, KEPT, WAITING
from remit.service.errors import StillComputingError, TooManyWaitingError
from remit.service.kept_revisions import KeptRevisions
from remit.service.revision_diffs import RevisionDiffs

ACME, GLOBEX = Tenant("acme"), Tenant("globex")
PATIENCE_S = 30.0


class SlowDiffer(RevisionDiffer):
    """Compares nothing, and not before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = Event()
        self.pairs: list[tuple[str, str]] = []

    def diff(
        self, tenant: Tenant, old: RevisionArchive, new: RevisionArchive, limits: Limits, timeout_s: float
    ) -> RevisionDiff:
        del limits, timeout_s
        self.pairs.append((old.revision, new.revision))
        assert self.may.wait(PATIENCE_S)
        return RevisionDiff(old.revision, new.revision, TenantDiff(tenant))


class NothingOnDisk:
    def revisions(self, tenant: Tenant, /) -> list[StoredRevision]:
        del tenant
        return []

    def archive(self, tenant: Tenant, revision: str, /) -> bytes | None:
        del tenant, revision


class OnDisk(NothingOnDisk):
    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def revisions(self, tenant: Tenant, /) -> list[StoredRevision]:
        return [self._archive.about] if tenant == ACME else []

    def archive(self, tenant: Tenant, revision: str, /) -> bytes | None:
        return self._archive.content if (tenant, revision) == (ACME, self._archive.about.revision) else None


def archive_of(number: int) -> Archive:
    files = {"vocabulary.yaml": b"kinds: {}\n", "acme/bindings.csv": b"#\n" * number}
    return Archive.of(tree_of(files), ACME, 7, "/policies", "")


def globex_of(number: int) -> Archive:
    files = {"vocabulary.yaml": b"kinds: {}\n", "globex/bindings.csv": b"#\n" * number}
    return Archive.of(tree_of(files), GLOBEX, 7, "/policies", "")


REVISIONS = [archive_of(number).about.revision for number in range(KEPT + 2)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AuditStore]:
    with AuditStore(f"sqlite:///{tmp_path / 'audit.db'}") as opened:
        opened.migrate()
        for number, revision in enumerate(REVISIONS):
            opened.append([], revisions=[ArchivedRevision(ACME, revision, 7, archive_of(number).content)])
        yield opened


@pytest.fixture
def differ() -> SlowDiffer:
    return SlowDiffer()


@pytest.fixture
def diffs(store: AuditStore, differ: SlowDiffer) -> Iterator[RevisionDiffs]:
    made = RevisionDiffs(KeptRevisions(store, LivePolicies(), NothingOnDisk(), Limits()), Limits(), differ)
    made.begin()
    yield made
    differ.may.set()
    made.stop()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(WAITING) as pool:
        yield pool


def asked(diffs: RevisionDiffs, threads: ThreadPoolExecutor) -> Callable[[int], Future[RevisionDiff]]:
    return lambda number: threads.submit(diffs.diff, ACME, REVISIONS[0], REVISIONS[number], PATIENCE_S)


def test_equal_calls_share_one_comparison_and_its_result_is_kept(
    diffs: RevisionDiffs, differ: SlowDiffer, threads: ThreadPoolExecutor
) -> None:
    calls = [asked(diffs, threads)(1) for _ in range(WAITING)]
    until(lambda: differ.pairs, "the comparison runs")
    differ.may.set()
    assert 1 == len({id(each.result()) for each in calls})
    assert calls[0].result() is diffs.diff(ACME, REVISIONS[0], REVISIONS[1], 0.0)
    assert [(REVISIONS[0], REVISIONS[1])] == differ.pairs


def test_a_call_that_cannot_wait_finds_the_result_later(diffs: RevisionDiffs, differ: SlowDiffer) -> None:
    with pytest.raises(StillComputingError, match="ask again"):
        diffs.diff(ACME, REVISIONS[0], REVISIONS[1], 0.0)
    differ.may.set()
    diffs.diff(ACME, REVISIONS[0], REVISIONS[1], PATIENCE_S)
    assert 1 == len(differ.pairs)


def test_only_so_many_pairs_wait(diffs: RevisionDiffs, differ: SlowDiffer) -> None:
    for number in range(1, WAITING + 1):
        with pytest.raises(StillComputingError):
            diffs.diff(ACME, REVISIONS[0], REVISIONS[number], 0.0)
    with pytest.raises(TooManyWaitingError, match=f"{WAITING} others wait"):
        diffs.diff(ACME, REVISIONS[0], REVISIONS[WAITING + 1], 0.0)
    # One that waits already takes no further place.
    with pytest.raises(StillComputingError):
        diffs.diff(ACME, REVISIONS[0], REVISIONS[1], 0.0)
    differ.may.set()
    # The last one that waits.
    diffs.diff(ACME, REVISIONS[0], REVISIONS[WAITING], PATIENCE_S)
    assert diffs.diff(ACME, REVISIONS[0], REVISIONS[WAITING + 1], PATIENCE_S).new == REVISIONS[WAITING + 1]


def test_a_tenant_that_asks_much_does_not_keep_its_neighbours_out(
    diffs: RevisionDiffs, differ: SlowDiffer, store: AuditStore
) -> None:
    """They take turns."""
    globex = [globex_of(number) for number in range(3)]
    for each in globex:
        store.append([], revisions=[ArchivedRevision(GLOBEX, each.about.revision, 7, each.content)])
    for number in range(1, WAITING + 1):
        with pytest.raises(StillComputingError):
            diffs.diff(ACME, REVISIONS[0], REVISIONS[number], 0.0)
        until(lambda: differ.pairs, "the first comparison runs")
    first, *others = (each.about.revision for each in globex)
    for revision in others:
        with pytest.raises(StillComputingError):
            diffs.diff(GLOBEX, first, revision, 0.0)
    differ.may.set()
    diffs.diff(GLOBEX, first, others[-1], PATIENCE_S)
    # One was being compared already.
    assert [REVISIONS[1], REVISIONS[2], others[0], REVISIONS[3], others[1]] == [new for _, new in differ.pairs[:5]]


def test_only_so_many_pairs_of_all_tenants_wait(diffs: RevisionDiffs, differ: SlowDiffer) -> None:
    """Whoever may ask about any tenant may invent one."""
    for tenant in [ACME, *(Tenant(f"t{number}") for number in range(1, ALL))]:
        with pytest.raises(StillComputingError):
            diffs.diff(tenant, REVISIONS[0], REVISIONS[1], 0.0)
        until(lambda: differ.pairs, "the first comparison runs")
    with pytest.raises(TooManyWaitingError, match=f"{ALL} others wait"):
        diffs.diff(GLOBEX, REVISIONS[0], REVISIONS[1], 0.0)


def test_the_oldest_result_is_forgotten(diffs: RevisionDiffs, differ: SlowDiffer) -> None:
    differ.may.set()
    for number in [*range(1, KEPT + 2), 1]:
        diffs.diff(ACME, REVISIONS[0], REVISIONS[number], PATIENCE_S)
    assert (REVISIONS[0], REVISIONS[1]) == differ.pairs[0] == differ.pairs[-1]
    assert KEPT + 2 == len(differ.pairs)


def test_an_error_is_not_kept(diffs: RevisionDiffs, differ: SlowDiffer, store: AuditStore) -> None:
    differ.may.set()
    late = archive_of(100)
    with pytest.raises(RevisionNotStoredError, match="is not kept"):
        diffs.diff(ACME, REVISIONS[0], late.about.revision, PATIENCE_S)
    store.append([], revisions=[ArchivedRevision(ACME, late.about.revision, 7, late.content)])
    assert late.about.revision == diffs.diff(ACME, REVISIONS[0], late.about.revision, PATIENCE_S).new


def test_another_tenants_revision_is_not_kept(diffs: RevisionDiffs, differ: SlowDiffer) -> None:
    differ.may.set()
    with pytest.raises(RevisionNotStoredError, match="is not kept"):
        diffs.diff(Tenant("globex"), REVISIONS[0], REVISIONS[1], PATIENCE_S)


def test_a_revision_on_disk_needs_no_store(store: AuditStore, differ: SlowDiffer) -> None:
    differ.may.set()
    only = archive_of(100)
    diffs = RevisionDiffs(KeptRevisions(store, LivePolicies(), OnDisk(only), Limits()), Limits(), differ)
    diffs.begin()
    try:
        assert only.about.revision == diffs.diff(ACME, REVISIONS[0], only.about.revision[:8], PATIENCE_S).new
    finally:
        diffs.stop()
