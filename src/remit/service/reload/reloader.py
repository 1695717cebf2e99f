"""Keeps the live policies equal to the policy files: watches the files and starts loads.

The module is long because every way to start a load shares its locks and its process.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Final

import structlog

from remit.audit.errors import JournalUnavailable
from remit.core.diagnostics import Diagnostic
from remit.core.names import Tenant
from remit.engine.pacing import Pacing, unpaced
from remit.fleet.errors import PolicyStoreError
from remit.fleet.journal import ReleaseJournal
from remit.policy.build.build_process import BuildProcess, SlowLoadError
from remit.policy.build.scan import (
    NO_FINGERPRINT,
    BuildStarted,
    CutShort,
    Deferred,
    RestoreRequest,
    RootRead,
    ScanRequest,
    ScanResult,
    TenantBuilt,
)
from remit.policy.build.throttle import throttled
from remit.policy.build.watch import changes
from remit.policy.lint.finding import LintSeverity
from remit.policy.live import LivePolicies
from remit.policy.read.tree import SHARED, Stamp, UnsettledError, stamp
from remit.policy.revisions.store import RevisionStore
from remit.process.errors import ChildEndedError
from remit.service.directory.source_state import SourceState
from remit.service.errors import StartupError
from remit.service.metrics import Metrics
from remit.service.reload.overlays import Overlays
from remit.service.reload.pins import Pins
from remit.service.reload.slow import QUICK_S, SlowLoads
from remit.service.reload.swap import PolicySwap
from remit.service.reload.tenants import Outcome
from remit.service.settings import Settings

_AGAIN_S: Final = 1.0
_FEW: Final = 16
"""Tenants that are loaded one by one after an edit, without a look at the others."""
_PIN_SETTLE_S: Final = 0.05
_LOOK_S: Final = 0.5
"""A row of run time that was granted meanwhile may end as soon as this."""
_FIRST_SLOW_S: Final = 5.0
"""The same limit at a start, until the first slow tenant: nothing serves yet that a large tenant would delay."""
_SLICE_S: Final = 1.0
"""After this time of loading, the files are scanned again."""
_RECORD_AGAIN_S: Final = 0.1
"""Pause between two tries to write the record of a policy: nothing is answered meanwhile."""
_IDLE_S: Final = 60.0
"""The process for slow tenants ends after this time without one."""

_log = structlog.get_logger("remit")


@dataclass(slots=True)
class _Lane:
    """A process that loads one tenant after another."""

    loader: BuildProcess
    suspect: str = ""
    """The signature of the files at which the process last ended."""
    restless: frozenset[str] = frozenset()
    """Folders that the last scan could not read because they kept changing."""


class _After(IntEnum):
    """What follows a scan."""

    NOTHING = 0
    RETRY = 1
    """Another scan after a pause."""
    ANOTHER = 2
    """Another scan at once."""


class Reloader:
    """Loads one tenant at a time, completely or not at all. A refused tenant keeps its last good revision."""

    def __init__(
        self,
        settings: Settings,
        live: LivePolicies,
        metrics: Metrics,
        clock_us: Callable[[], int],
        loader: Callable[[], BuildProcess] = BuildProcess,
    ) -> None:
        self._settings = settings
        # The absolute path at the start: stored revisions belong to it.
        self._directory = settings.policy_directory.absolute()
        self._journal = settings.journal
        # A release is whole when its link is switched: nobody edits its files.
        self._settle_s = 0.0 if self._journal is not None else settings.settle_s
        self._revisions = (
            RevisionStore(Path(settings.revisions), settings.revisions_kept, str(self._directory))
            if settings.revisions
            else None
        )
        overlays = None
        if self._journal is not None:
            overlays = Overlays(self._journal, clock_us, settings.policy_max_question_rows)
        self._clock_us = clock_us
        self._swap = PolicySwap(live, metrics, clock_us, overlays)
        self.pins = Pins(self._revisions, self._swap, clock_us, recall=self._recall, load=self._load_within)
        self._new_loader = loader
        self._loaders: set[BuildProcess] = set()
        self._stopping = Event()
        self._switched = Event()
        """Another release is current, or this server stops."""
        self._until_stop = ExitStack()
        self._lane = _Lane(self._until_stop.enter_context(self._loader()))
        self._threads: list[Thread] = []
        """Empty before `begin`."""
        self._slow = SlowLoads()
        self._root: Mapping[str, bytes] = {}
        self._stamp: Stamp = None

    def load(self) -> list[Outcome]:
        """The first load. Returns the outcome for each tenant, because the audit is not open yet. A slow tenant loads
        later; meanwhile its stored revision serves, if there is one.

        Raises StartupError if the files cannot serve and no stored revision may replace them.
        """
        with ExitStack() as done:
            done.callback(self._lane.loader.close)
            self._load_first()
            if self._settings.watch:
                done.pop_all()
        return self._swap.outcomes

    def begin(self, record: Callable[[Outcome], None]) -> None:
        """From now on outcomes are recorded at once and files are watched."""
        self._swap.record = record
        self._swap.outcomes.clear()
        settings = self._settings
        runs = [self._run_slow]
        if settings.watch:
            runs.append(partial(self._follow, self._policy_changes(), self.scan))
        if self._journal is not None:
            runs += [partial(self._follow_news, self._journal), self._end_rows]
        if self._revisions is not None and settings.workers > 1:
            pinned = changes(self._revisions.directory, _PIN_SETTLE_S, settings.watch_every_s, self._stopping)
            runs.append(partial(self._follow, pinned, self.pins.take))
        self._threads = [Thread(target=run, name="remit-reload", daemon=True) for run in runs]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the watch and the loads in progress. The live policies keep serving."""
        self._stopping.set()
        self._switched.set()
        self._slow.wanted.set()
        for loader in list(self._loaders):
            loader.end()
        if self._journal is not None:
            self._journal.tell()
        for thread in self._threads:
            thread.join(_AGAIN_S)
        self._until_stop.close()

    def scan(self) -> bool:
        """Applies the current files; False if it must be retried."""
        after = self._scan()
        while after is _After.ANOTHER and not self._stopping.is_set():
            # A change made during the load must settle too before it is read.
            after = self._scan(self._settle_s)
        return after is not _After.RETRY

    def _policy_changes(self) -> Iterator[None]:
        every_s = self._settings.watch_every_s
        if self._journal is None:
            yield from changes(self._directory, self._settle_s, every_s, self._stopping)
        self._switched.clear()
        while not self._stopping.is_set():
            yield
            self._switched.wait(every_s)
            self._switched.clear()

    def _follow(self, events: Iterator[None], take: Callable[[], bool]) -> None:
        for _ in events:
            while not self._stopping.is_set() and not take():
                self._stopping.wait(_AGAIN_S)

    def _follow_news(self, journal: ReleaseJournal) -> None:
        """Another release must be scanned. Rows of run time need no scan."""
        release = None
        for _ in journal.changes(self._stopping):
            self._read_release()
            if (current := journal.target) != release:
                release = current
                self._switched.set()

    def _end_rows(self) -> None:
        """Ends rows of run time at their time."""
        while True:
            with self._swap.changing():
                self._swap.end_rows()
                end_us = self._swap.next_end_us()
            wait_s = _RECORD_AGAIN_S if self._swap.live.unrecorded else _LOOK_S
            if end_us is not None:
                wait_s = min(max((end_us - self._clock_us()) / 1e6, 0), wait_s)
            if self._stopping.wait(wait_s):
                return

    def _run_slow(self) -> None:
        with self._loader() as loader:
            lane = _Lane(loader)
            while not self._stopping.is_set():
                if not self._slow.wanted.wait(_IDLE_S):
                    loader.close()
                elif (tenant := self._slow.next(self._swap.tenants.files)) is not None:
                    after = self._load_alone(lane, tenant, settle_s=self._settle_s)
                    self._slow.done()
                    if after is not _After.NOTHING:
                        self._slow.add(tenant)
                    if after is _After.RETRY:
                        self._stopping.wait(_AGAIN_S)

    def _load_first(self) -> None:
        settings, swap = self._settings, self._swap
        root = self.pins.remember()
        self._read_release()
        self._root = {} if settings.strict else root
        seen = self._seen()
        try:
            while (after := self._first_scan()) is _After.ANOTHER or self._lane.suspect:
                pass
        except ChildEndedError as error:
            raise StartupError(str(error)) from None
        except (OSError, UnsettledError) as error:
            if settings.strict or not swap.tenants.files:
                raise StartupError(self._unreadable(error)) from None
            swap.apply(swap.tenants.root_checked((Diagnostic(".", 0, 0, self._unreadable(error)),)))
        else:
            self._stamp = seen if after is _After.NOTHING else None
        if not swap.tenants.files or (swap.tenants.wrong and settings.strict):
            raise StartupError(f"policy directory `{settings.policy_directory}` has no tenant's folder")
        self.pins.prepare()
        for tenant, files in swap.tenants.files.items():
            if not files.known.signature:
                swap.apply(swap.tenants.unread(tenant))
                self._slow.add(tenant)
            if files.pin is not None or not settings.strict:
                self.pins.restore(tenant)
        self._read_release()

    def _first_scan(self) -> _After:
        within_s = QUICK_S if self._slow.wanted.is_set() else _FIRST_SLOW_S
        return self._take(self._lane, replace(self._order(), within_s=within_s))

    def _scan(self, settle_s: float = 0) -> _After:
        """Applies the current files of all tenants except the slow ones."""
        self._read_release()
        seen = self._seen()
        if seen is not None and seen == self._stamp:
            return _After.NOTHING
        edited = self._edited() if self._stamp is not None else None
        self._stamp = None
        if edited is not None:
            after = max((self._load_edited(each) for each in edited), default=_After.NOTHING)
        else:
            with self._swap.changing():
                order = replace(self._order(), within_s=QUICK_S, slice_s=_SLICE_S, settle_s=settle_s)
            after = self._taken(self._lane, order)
        if after is _After.NOTHING:
            self._stamp = seen
        return after

    def _released(self) -> set[Tenant]:
        """The tenants of the current release. A folder that is about to be exchanged is not there for a moment."""
        current = self._journal.current() if self._journal is not None else None
        return {each for each, it in current.tenants.items() if it.revision} if current is not None else set()

    def _edited(self) -> list[Tenant] | None:
        """The tenants whose files are other ones in the current release, if they are few and nothing else has changed; else
        None."""
        if self._journal is None:
            return None
        with self._swap.changing():
            current, files = self._journal.current(), self._swap.tenants.files
            wrong = self._swap.tenants.wrong
        released = (
            {each: it.revision for each, it in current.tenants.items() if it.revision} if current is not None else {}
        )
        if wrong or released.keys() != files.keys() or not all(each.known.signature for each in files.values()):
            return None
        edited = [tenant for tenant, revision in released.items() if files[tenant].revision != revision]
        # Other root files are an edit of all tenants.
        return edited if len(edited) <= _FEW and len(edited) < len(files) else None

    def _load_edited(self, tenant: Tenant) -> _After:
        if tenant in self._slow.apart()[0]:
            self._slow.add(tenant)
            return _After.NOTHING
        return self._load_alone(self._lane, tenant, within_s=QUICK_S)

    def _read_release(self) -> None:
        """Finds out which positions the revisions of the newest release have."""
        if self._journal is None:
            return
        try:
            current = self._journal.current()
            if current is not None:
                with self._swap.changing():
                    urgent = self._swap.place(current, self._journal.recorded_fork())
                if urgent and self._threads:
                    # The others may take minutes, and a change that takes something away must not wait for them.
                    self._slow.add(*urgent)
                # Before `begin`, what happened is not recorded yet.
                if current.fork is not None and self._threads:
                    self._journal.record_fork(current.fork)
            if self._settings.publishes_directory and self._swap.tenants.files:
                self._take_source(SourceState.read(self._journal))
        except (PolicyStoreError, JournalUnavailable, OSError, ValueError, KeyError, TypeError) as error:
            _log.error("release not taken over", error=str(error))

    def _take_source(self, state: SourceState) -> None:
        """Shows what is wrong with the directory from which this server makes the releases."""
        swap = self._swap
        with swap.changing():
            before = swap.tenants.source.tenants
            swap.apply(swap.tenants.source_checked(state.wrong))
            for tenant in sorted(before.keys() | state.tenants.keys()):
                swap.apply(swap.tenants.source_refused(tenant, state.tenants.get(tenant)))
                files = swap.tenants.files.get(tenant)
                if tenant not in state.tenants and files is not None and not files.known.signature:
                    # Its folder may be gone: the next scan says so.
                    self._stamp = None
                    self._switched.set()

    def _seen(self) -> Stamp:
        if self._journal is not None:
            # Nobody edits the files of a release.
            return {SHARED: frozenset({(str(self._journal.target),)})}
        try:
            return stamp(self._directory, self._pacing)
        except OSError:
            # The loading process may have a resource that this process lacks.
            return None

    def _load_alone(self, lane: _Lane, tenant: Tenant, *, settle_s: float = 0, within_s: float = math.inf) -> _After:
        with self._swap.changing():
            order = replace(self._order(tenant), settle_s=settle_s, within_s=within_s)
        return self._taken(lane, order)

    def _load_within(self, tenant: Tenant, within_s: float) -> None:
        with self._loader() as loader:
            after = self._load_alone(_Lane(loader), tenant, within_s=within_s)
        if after is not _After.NOTHING:
            self._slow.add(tenant)

    def _recall(self, revisions: RevisionStore, tenant: Tenant, revision: str) -> TenantBuilt:
        """Restores a revision. A running server uses a new process, which does not wait for other loads."""
        order = RestoreRequest(revisions, self._settings.limits, tenant, revision)
        with self._loader() if self._threads else nullcontext(self._lane.loader) as loader:
            (result,) = loader.run(order, self._pacing)
        assert isinstance(result, TenantBuilt)
        return result

    @contextmanager
    def _loader(self) -> Iterator[BuildProcess]:
        """A new process for the block; `stop` ends it too."""
        loader = self._new_loader()
        self._loaders.add(loader)
        try:
            if self._stopping.is_set():
                loader.end()
            yield loader
        finally:
            loader.close()
            self._loaders.discard(loader)

    @property
    def _pacing(self) -> Pacing:
        """At a start there are no calls that need processor time."""
        return throttled if self._threads else unpaced

    def _order(self, only: Tenant | None = None) -> ScanRequest:
        tenants, (apart, took_s) = self._swap.tenants.files, self._slow.apart()
        return ScanRequest(
            self._directory,
            self._settings.limits,
            self._revisions,
            self._root,
            {tenant: files.known for tenant, files in tenants.items() if only in {None, tenant}},
            frozenset(tenant for tenant, files in tenants.items() if files.pin is not None),
            None if self._settings.policy_lint == "off" else LintSeverity(self._settings.policy_lint),
            only,
            apart if only is None else frozenset(),
            took_s,
        )

    def _taken(self, lane: _Lane, order: ScanRequest) -> _After:
        """Like `_take`, for a running server: reports a failure, which is retried."""
        try:
            try:
                return self._take(lane, order)
            except OSError as error:
                return self._not_read(order, error)
        except UnsettledError as error:
            _log.warning("policies not read yet", error=str(error))
        except (ChildEndedError, JournalUnavailable) as error:
            _log.error("policies not taken over", error=str(error))
        return _After.RETRY

    def _not_read(self, order: ScanRequest, error: OSError) -> _After:
        text = self._unreadable(error)
        if order.only is not None:
            # The scan of all tenants reports it, and reports its end.
            _log.warning("tenant not read yet", tenant=order.only, error=text)
            return _After.RETRY
        with self._swap.changing():
            self._swap.apply(self._swap.tenants.root_checked((Diagnostic(".", 0, 0, text),)))
        # The watch notices when a missing directory appears.
        return _After.NOTHING if isinstance(error, FileNotFoundError | NotADirectoryError) else _After.RETRY

    def _unreadable(self, error: OSError | UnsettledError) -> str:
        reason = error.strerror if isinstance(error, OSError) else error
        return f"policy directory `{self._settings.policy_directory}` cannot be read: {reason}"

    def _take(self, lane: _Lane, order: ScanRequest) -> _After:
        """Raises OSError, UnsettledError or JournalUnavailable, and ChildEndedError if no tenant's files caused it."""
        wanted, begun = {_After.NOTHING}, None
        try:
            with closing(lane.loader.run(order, self._pacing)) as answer:
                for result in answer:
                    begun = result if isinstance(result, BuildStarted) else None
                    wanted.add(self._take_result(lane, order, result))
        except SlowLoadError:
            if begun is not None:
                _log.info("tenant is slow to load; the others go on", tenant=begun.tenant, processor_s=order.within_s)
                self._slow.add(begun.tenant, took_s=order.within_s)
            return _After.ANOTHER
        except ChildEndedError as error:
            if not self._stopping.is_set():
                self._child_ended(lane, begun, error)
            return _After.RETRY
        lane.suspect = ""
        return max(wanted)

    def _take_result(self, lane: _Lane, order: ScanRequest, result: ScanResult) -> _After:
        match result:
            case RootRead():
                return self._take_root(lane, order, result)
            case Deferred():
                self._slow.add(*result.tenants)
            case TenantBuilt():
                return self._take_built(result, order)
            case CutShort():
                return _After.ANOTHER
        return _After.NOTHING

    def _take_root(self, lane: _Lane, order: ScanRequest, result: RootRead) -> _After:
        if order.only is None:
            with self._swap.changing():
                self._take_folders(result)
        restless = result.unsettled if order.only is None else result.unsettled & {order.only}
        if restless - lane.restless:
            _log.warning("tenants not read yet: their files keep changing", tenants=sorted(restless))
        lane.restless = restless
        return _After.RETRY if restless else _After.NOTHING

    def _take_folders(self, result: RootRead) -> None:
        swap, wrong = self._swap, result.diagnostics
        if not result.root and not swap.live.tenants:
            texts = "\n".join(map(str, wrong))
            raise StartupError(f"the root files of `{self._settings.policy_directory}` do not load:\n{texts}")
        self._root = result.root or self._root
        swap.live.tree_revision = result.tree_revision
        if not wrong and not result.tenants and swap.tenants.files:
            # A volume that is not mounted looks like this; no edit removes all tenants.
            wrong = (Diagnostic(".", 0, 0, "no tenant's folder is there any more"),)
        swap.apply(swap.tenants.root_checked(wrong, result.tree_revision))
        swap.tenants = swap.tenants.folders_listed(result.tenants)
        # While the root does not load, a missing folder may be about to appear.
        here = result.tenants | swap.tenants.source.tenants.keys() | self._released()
        for tenant in () if wrong else swap.tenants.files.keys() - here:
            swap.apply(swap.tenants.folder_removed(tenant))
            if tenant not in swap.tenants.files:
                self._slow.took(tenant, 0.0)
                self.pins.forget(tenant)

    def _take_built(self, result: TenantBuilt, order: ScanRequest) -> _After:
        """Changes nothing if the tenant was pinned, unpinned, removed or loaded elsewhere meanwhile. Waits for the audit to take
        the record."""
        tenant, told = result.tenant, False
        while True:
            try:
                with self._swap.changing():
                    files = self._swap.tenants.files.get(tenant)
                    if files is None or files.known != order.known.get(tenant, NO_FINGERPRINT):
                        return _After.ANOTHER
                    if (files.pin is not None) != (tenant in order.check_only):
                        return _After.ANOTHER
                    self._swap.apply(self._swap.tenants.built(result))
                    self._slow.took(tenant, result.processor_s)
                break
            except JournalUnavailable as error:
                if not result.refused and tenant not in order.check_only:
                    self._swap.live.hold(tenant)
                if not told:
                    _log.error("policies not taken over", tenant=tenant, error=str(error))
                told = True
                if self._stopping.wait(_RECORD_AGAIN_S):
                    raise
        if result.not_kept:
            _log.error("revision not kept", tenant=tenant, revision=result.revision, error=result.not_kept)
        return _After.NOTHING

    def _child_ended(self, lane: _Lane, begun: BuildStarted | None, error: ChildEndedError) -> None:
        """The first end may have another cause. If the process ends again at the same files, they are refused, so that
        other tenants load."""
        suspect, lane.suspect = lane.suspect, begun.signature if begun is not None else ""
        if begun is None:
            raise error
        _log.error("policies not taken over", error=str(error), tenant=begun.tenant)
        if begun.signature != suspect:
            return
        text = "brings down the process that loads policies, or keeps it from ending; the log has more"
        wrong = (Diagnostic(begun.tenant, 0, 0, text),)
        refused = TenantBuilt(begun.tenant, begun.revision, begun.signature, "", None, refused=True, diagnostics=wrong)
        with self._swap.changing():
            if begun.tenant in self._swap.tenants.files:
                self._swap.apply(self._swap.tenants.built(refused))
