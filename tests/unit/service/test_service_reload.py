"""What a reloader does when what it leans on fails: the audit store, the process that loads."""

import shutil
from collections.abc import Callable, Generator
from itertools import count
from pathlib import Path
from threading import Thread

import pytest
from support.fleet import allows, publish
from support.loading import InProcess
from support.trees import write
from tools.faults.promise import until

from remit.audit.errors import JournalUnavailable
from remit.core.names import Tenant
from remit.engine.pacing import Pacing
from remit.fleet.journal import ReleaseJournal
from remit.fleet.puller import Puller
from remit.fleet.store import PolicyStore
from remit.policy.build.build_process import BuildProcess
from remit.policy.build.scan import BuildStarted, RestoreRequest, ScanRequest, ScanResult
from remit.policy.live import LivePolicies, TenantState, TenantUnavailableError
from remit.policy.revisions.store import Pin
from remit.process.errors import ChildEndedError
from remit.service.errors import LoadingError, PinError
from remit.service.metrics import Metrics
from remit.service.reload.reloader import Reloader
from remit.service.reload.tenants import Outcome
from remit.service.settings import Settings

ACME, GLOBEX = Tenant("acme"), Tenant("globex")
FILES = {
    "vocabulary.yaml": b"kinds: {FLOW: {class: namespace, actions: [VIEW]}}\n",
    "acme/roles.csv": b"p, user:bob, acme, a, FLOW, VIEW, allow\n",
    "globex/roles.csv": b"p, user:eve, globex, a, FLOW, VIEW, allow\n",
}
EDIT = b"p, user:bob, acme, **, FLOW, VIEW, allow\n"


class Audit:
    """Takes records, unless it is full; knows what served when each came."""

    def __init__(self, live: LivePolicies) -> None:
        self._live = live
        self.full = False
        self.told: list[tuple[Outcome, str]] = []

    def tell(self, outcome: Outcome) -> None:
        if self.full:
            raise JournalUnavailable("no space")
        serving = self._live.tenants.get(Tenant(outcome.tenant))
        self.told.append((outcome, serving.revision if serving is not None else ""))


class Here(InProcess):
    """Loads in this process. At the tenant `ends_at` it ends as a killed process does; `meanwhile` happens once, while a
    tenant or a kept revision is being loaded."""

    ends_at: Tenant | None = None
    meanwhile: Callable[[], object] | None = None

    def run(self, order: ScanRequest | RestoreRequest, pacing: Pacing) -> Generator[ScanResult, None, None]:
        for found in super().run(order, pacing):
            yield found
            if isinstance(found, BuildStarted) and found.tenant == self.ends_at:
                raise ChildEndedError("killed")
            if isinstance(found, BuildStarted) or isinstance(order, RestoreRequest):
                happens, self.meanwhile = self.meanwhile, None
                if happens is not None:
                    happens()


class Watched:
    """A reloader over `FILES`, loaded, that scans on request."""

    def __init__(self, folder: Path) -> None:
        self.directory = write(folder / "policies", FILES)
        settings = Settings(policies=self.directory, revisions=str(folder / "revisions"), watch=False)
        self.live = LivePolicies()
        ticks = count()
        self.loader = Here()
        self.reloader = Reloader(settings, self.live, Metrics(), lambda: next(ticks), lambda: self.loader)
        self.reloader.load()
        self.audit = Audit(self.live)
        self.reloader._swap.record = self.audit.tell

    def look_until_done(self) -> None:
        """A second look at files waits until they have rested."""
        until(self.reloader.scan, "all is taken over")

    def serving(self, tenant: Tenant = ACME) -> str:
        return self.live.tenants[tenant].revision


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_no_revision_serves_before_its_record(watched: Watched) -> None:
    """While the audit takes no records, edits wait, and what they replace answers nothing."""
    before = watched.serving()
    write(watched.directory, {"acme/roles.csv": EDIT})
    watched.audit.full = True
    look = Thread(target=watched.reloader.scan)
    look.start()
    until(lambda: ACME in watched.live.unrecorded, "the edit waits for its record")
    assert (before, TenantState.SERVING) == (watched.serving(), watched.live.tenants[ACME].state)
    with pytest.raises(TenantUnavailableError, match="has no record of the change yet"):
        watched.live.snapshot(ACME)
    watched.audit.full = False
    look.join()
    ((outcome, served_meanwhile),) = watched.audit.told
    assert ("POLICY_LOADED", watched.serving()) == (outcome.kind, outcome.revision)
    assert before == served_meanwhile != watched.serving()
    assert watched.live.snapshot(ACME) is not None


def test_no_refusal_and_no_removal_is_shown_before_its_record(watched: Watched) -> None:
    write(watched.directory, {"acme/roles.csv": b"p\n"})
    (watched.directory / "globex" / "roles.csv").unlink()
    (watched.directory / "globex").rmdir()
    watched.audit.full = True
    assert not watched.reloader.scan()
    assert {TenantState.SERVING} == {each.state for each in watched.live.tenants.values()}
    watched.audit.full = False
    assert watched.reloader.scan()
    assert {ACME: TenantState.STALE} == {each.tenant: each.state for each in watched.live.tenants.values()}
    assert {"POLICY_REFUSED", "POLICY_REMOVED"} == {outcome.kind for outcome, _ in watched.audit.told}


def test_pin_that_cannot_be_recorded_has_no_effect(watched: Watched) -> None:
    first = watched.serving()
    write(watched.directory, {"acme/roles.csv": EDIT})
    watched.reloader.scan()
    second = watched.serving()
    watched.audit.full = True
    with pytest.raises(JournalUnavailable):
        watched.reloader.pins.pin(ACME, first, "ops", 1.0)
    assert (second, TenantState.SERVING) == (watched.serving(), watched.live.tenants[ACME].state)
    assert watched.reloader._revisions is not None
    assert watched.reloader._revisions.pinned(ACME) is None


def test_unpin_that_cannot_be_recorded_has_no_effect(watched: Watched) -> None:
    first = watched.serving()
    watched.reloader.pins.pin(ACME, first, "ops", 1.0)
    watched.audit.full = True
    with pytest.raises(JournalUnavailable):
        watched.reloader.pins.unpin(ACME, "ops", 1.0)
    assert (first, TenantState.PINNED) == (watched.serving(), watched.live.tenants[ACME].state)
    assert watched.reloader._revisions is not None
    pin = watched.reloader._revisions.pinned(ACME)
    assert pin is not None
    assert first == pin.revision


def test_folder_that_kills_the_build_process_twice_is_refused_and_the_others_load(watched: Watched) -> None:
    """One crash may have another cause. A new edit of the folder is tried again."""

    before = watched.serving(), watched.serving(GLOBEX)
    # The smaller folder comes first.
    write(watched.directory, {"acme/roles.csv": b"# ", "globex/roles.csv": FILES["globex/roles.csv"] + b"# more\n"})
    watched.loader.ends_at = ACME
    assert [False, False, True] == [watched.reloader.scan() for _ in range(3)]
    acme, globex = (watched.live.tenants[tenant] for tenant in (ACME, GLOBEX))
    assert (TenantState.STALE, before[0]) == (acme.state, acme.revision)
    assert ["brings down"] == [each.message[:11] for each in acme.diagnostics]
    assert (TenantState.SERVING, True) == (globex.state, globex.revision != before[1])
    watched.loader.ends_at = None
    write(watched.directory, {"acme/roles.csv": EDIT})
    assert watched.reloader.scan()
    assert TenantState.SERVING == watched.live.tenants[ACME].state


def test_loader_crash_refuses_the_folder_that_caused_it(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_: object, **__: object) -> None:
        raise RecursionError("too deep")

    before = watched.serving()
    monkeypatch.setattr("remit.policy.build.scan.load_tenant", raises)
    write(watched.directory, {"acme/roles.csv": EDIT})
    assert watched.reloader.scan()
    acme = watched.live.tenants[ACME]
    assert (TenantState.STALE, before) == (acme.state, acme.revision)
    assert "a defect in remit" in acme.diagnostics[0].message
    assert TenantState.SERVING == watched.live.tenants[GLOBEX].state


def test_pin_during_a_load_stays(watched: Watched) -> None:
    """The pin does not wait for the load, which is discarded; the files are checked again."""
    first = watched.serving()
    write(watched.directory, {"acme/roles.csv": EDIT})
    watched.loader.meanwhile = lambda: watched.reloader.pins.pin(ACME, first, "ops", 1.0)
    watched.look_until_done()
    acme = watched.live.tenants[ACME]
    assert (TenantState.PINNED, first) == (acme.state, acme.revision)
    assert acme.files_revision != first
    assert ["POLICY_PINNED", "POLICY_CHECKED"] == [outcome.kind for outcome, _ in watched.audit.told]


def test_unpin_during_a_check_serves_the_checked_files(watched: Watched) -> None:
    first = watched.serving()
    watched.reloader.pins.pin(ACME, first, "ops", 1.0)
    write(watched.directory, {"acme/roles.csv": EDIT})
    watched.loader.meanwhile = lambda: watched.reloader.pins.unpin(ACME, "ops", 1.0)
    watched.look_until_done()
    acme = watched.live.tenants[ACME]
    assert (TenantState.SERVING, acme.files_revision) == (acme.state, acme.revision)
    assert acme.revision != first
    assert ["POLICY_PINNED", "POLICY_UNPINNED", "POLICY_LOADED"] == [outcome.kind for outcome, _ in watched.audit.told]


@pytest.mark.parametrize("unpinned", [False, True])
def test_pin_of_another_worker_is_taken_over_once(watched: Watched, *, unpinned: bool) -> None:
    """Also if a call takes it over, or ends it, while its revision is being read."""
    first, store, pins = watched.serving(), watched.reloader._revisions, watched.reloader.pins
    assert store is not None
    store.pin(ACME, Pin(first, "ops", 1))
    watched.loader.meanwhile = (lambda: pins.unpin(ACME, "ops", 1.0)) if unpinned else pins.take
    pins.take()
    assert (TenantState.SERVING if unpinned else TenantState.PINNED) == watched.live.tenants[ACME].state
    assert ["POLICY_PINNED"] == [outcome.kind for outcome, _ in watched.audit.told if outcome.kind == "POLICY_PINNED"]


def test_tenant_removed_during_a_pin_is_no_tenant(watched: Watched) -> None:
    first = watched.serving()

    def remove() -> None:
        shutil.rmtree(watched.directory / "acme")
        assert watched.reloader.scan()

    watched.loader.meanwhile = remove
    with pytest.raises(PinError, match="there is no tenant `acme`"):
        watched.reloader.pins.pin(ACME, first, "ops", 1.0)
    assert ACME not in watched.live.tenants


def test_scan_continues_until_all_tenants_are_loaded(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """It restarts after each tenant. An edit that has not settled waits for the next scan."""
    monkeypatch.setattr("remit.service.reload.reloader._SLICE_S", -1)
    before = watched.serving(), watched.serving(GLOBEX)
    write(watched.directory, {"acme/roles.csv": EDIT, "globex/roles.csv": FILES["globex/roles.csv"] + b"# more\n"})
    watched.look_until_done()
    assert watched.serving() != before[0]
    assert watched.serving(GLOBEX) != before[1]


def test_files_of_a_release_need_not_settle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its link is switched when all are there."""
    monkeypatch.setattr("remit.service.reload.reloader._SLICE_S", -1)
    url = f"sqlite:///{tmp_path / 'store.db'}"
    settings = Settings(policy_store=url, releases=tmp_path / "releases", revisions="", settle_s=60)
    journal = ReleaseJournal(settings.releases)
    journal.begin()
    with PolicyStore(url) as store:
        store.migrate()
        puller = Puller(
            store, journal, node="one", version="1", trust=settings.trust, poll_s=1, most_bytes=settings.limits.bytes
        )
        live = LivePolicies()
        reloader = Reloader(settings, live, Metrics(), lambda: 0, Here)
        for seq, who in enumerate(("ann", "bob")):
            publish(store, seq, acme=allows(who), globex=allows(who, "globex"))
            puller.first()
            assert reloader.load() if seq == 0 else reloader.scan()
        current = journal.current()
    journal.end()
    assert current is not None
    served = {tenant: each.revision for tenant, each in live.tenants.items()}
    assert served == {tenant: place.revision for tenant, place in current.tenants.items()}


def test_change_waits_for_another_change_only_until_the_callers_deadline(watched: Watched) -> None:
    first = watched.serving()
    with watched.reloader._swap.changing(), pytest.raises(LoadingError, match="try again"):
        watched.reloader.pins.pin(ACME, first, "ops", 0.01)


@pytest.mark.parametrize("begun", [True, False])
def test_a_stop_leaves_no_process_behind(tmp_path: Path, begun: bool) -> None:
    """Neither of the files that are watched, nor of slow tenants."""
    made: list[BuildProcess] = []

    def loader() -> BuildProcess:
        made.append(BuildProcess())
        return made[-1]

    settings = Settings(policies=write(tmp_path / "policies", FILES), revisions="")
    reloader = Reloader(settings, LivePolicies(), Metrics(), lambda: 0, loader)
    reloader.load()
    assert [True] == [each._child._process is not None for each in made]
    if begun:
        reloader.begin(lambda _: None)
        reloader._slow.add(ACME)
        until(lambda: len(made) == 2 and made[1]._child._process is not None, "the process for slow ones has started")
    reloader.stop()
    assert {None} == {each._child._process for each in made}
    assert {None} == {each._child._channel for each in made}
    assert not [each for each in reloader._threads if each.is_alive()]
