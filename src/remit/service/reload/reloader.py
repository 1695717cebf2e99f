import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Final, NamedTuple, Protocol

import structlog

from remit.audit.errors import JournalUnavailable
from remit.core.diagnostics import Diagnostic
from remit.core.errors import RemitError
from remit.core.names import Tenant
from remit.engine.pacing import Pacing, unpaced
from remit.engine.snapshot import Snapshot
from remit.files import make_private
from remit.policy.build.build_process import BuildProcess, SlowLoadError
from remit.policy.build.scan import (
    NO_FINGERPRINT,
    BuildStarted,
    CutShort,
    Deferred,
    Fingerprint,
    Found,
    RestoreRequest,
    RootRead,
    ScanRequest,
    TenantBuilt,
)
from remit.policy.build.throttle import free_gradually, throttled
from remit.policy.build.watch import changes
from remit.policy.lint.finding import LintSeverity
from remit.policy.live import LivePolicies, TenantPolicy, TenantState
from remit.policy.read.tree import Stamp, UnsettledError, stamp
from remit.policy.revisions.archive import RevisionNotStoredError, StoredRevision
from remit.policy.revisions.store import Pin, RevisionStore
from remit.process.errors import ChildEndedError
from remit.service.errors import StartupError
from remit.service.metrics import Metrics
from remit.service.settings import Settings

_AGAIN_S: Final = 1.0
_PIN_SETTLE_S: Final = 0.05
_QUICK_S: Final = 2.0
"""A tenant that takes more processor time to load is slow: a process of its own loads it, and the others get on."""
_FIRST_SLOW_S: Final = 5.0
"""The same at a start, until there is a slow one: nothing serves yet that a large tenant would hold up."""
_SLICE_S: Final = 1.0
"""Tenants are loaded for so long before their files are looked at again."""
_IDLE_S: Final = 60.0
"""The process for slow tenants ends when there has been none for so long."""
_RECORDED: Final = 20
"""Diagnostics in a record; the status has all."""

_log = structlog.get_logger("remit")


class Loader(Protocol):
    """What carries out orders, in a process of its own; `remit.policy.build.build_process.Worker` says how."""

    def carry_out(self, order: ScanRequest | RestoreRequest, pace: Pacing) -> Generator[Found, None, None]: ...

    def end(self) -> None: ...

    def close(self) -> None: ...


class PinError(RemitError):
    """There is nothing to pin or to unpin: the message says what is missing."""


class LoadingError(RemitError):
    """Another change is being recorded just now; the call may be tried again."""


class Outcome(NamedTuple):
    """What became of an edit, or of an operator's act: a lifecycle record without its id and time."""

    kind: str
    tenant: str
    revision: str
    detail: dict[str, Any]
    archive: bytes = b""
    """The files of a revision that is about to serve."""


@dataclass(slots=True)
class _Tenant:
    """What the newest files of a tenant are, and whether they may serve."""

    known: Fingerprint = NO_FINGERPRINT
    revision: str = ""
    refused: bool = True
    diagnostics: tuple[Diagnostic, ...] = ()
    pin: Pin | None = None
    took_s: float = 0.0
    """What it took to load last time, in seconds of processor time."""


@dataclass(slots=True)
class _Lane:
    """A process that loads one tenant after the other, and what it is doing."""

    loader: Loader
    begun: BuildStarted | None = None
    fell: str = ""
    """The signature of the files at which it ended last."""
    restless: frozenset[str] = frozenset()
    """Folders that could not be read last time, for they kept changing."""


class _After(IntEnum):
    """What is to follow a look."""

    NOTHING = 0
    RETRY = 1
    """Another look in a moment."""
    ANOTHER = 2
    """Another look at once."""


class Reloader:
    """Keeps the cell at what the policy files say: a tenant at a time, loaded whole or refused whole.

    What is refused leaves the last good revision serving. No revision serves before the record of it is written.
    """

    def __init__(
        self,
        settings: Settings,
        cell: LivePolicies,
        metrics: Metrics,
        clock_us: Callable[[], int],
        loader: Callable[[], Loader] = BuildProcess,
    ) -> None:
        self._settings = settings
        # As it is named now: where it goes on, so does what was kept of it.
        self._directory = Path(settings.policies).absolute()
        self._cell = cell
        self._metrics = metrics
        self._clock_us = clock_us
        self._kept = (
            RevisionStore(Path(settings.revisions), settings.revisions_kept, str(self._directory))
            if settings.revisions
            else None
        )
        self._new_loader = loader
        self._loaders: set[Loader] = set()
        self._stopping = Event()
        self._lane = _Lane(self._loader())
        self._pace: Pacing = unpaced
        """At a start there are no calls to let pass."""
        self._outcomes: list[Outcome] = []
        self._tell: Callable[[Outcome], None] = self._outcomes.append
        self._mutex = Lock()
        """Held while something is taken over, and never while anything is loaded."""
        self._replaced: deque[Iterator[None]] = deque()
        """Rows of policies that serve no more, to be freed."""
        self._thread: Thread | None = None
        self._tenants: dict[Tenant, _Tenant] = {}
        self._slow: set[Tenant] = set()
        """Tenants that wait for the process for slow ones."""
        self._slow_now: Tenant | None = None
        """The one that it loads."""
        self._slow_wanted = Event()
        self._root: Mapping[str, bytes] = {}
        self._wrong: tuple[Diagnostic, ...] = ()
        """What is wrong with all of the newest files: the root's, or the directory itself."""
        self._stamp: Stamp = None

    def load(self) -> list[Outcome]:
        """The first load: what became of each tenant, for the audit that is not open yet. A slow tenant is left for
        later, and what was kept of it serves, if anything was.

        Raises StartupError where the files cannot serve and nothing kept may stand in.
        """
        try:
            self._load()
        except StartupError:
            self._lane.loader.close()
            raise
        if not self._settings.watch:
            self._lane.loader.close()
        return self._outcomes

    def begin(self, tell: Callable[[Outcome], None]) -> None:
        """From now on what becomes of tenants is told as it happens; files are watched."""
        self._tell = tell
        self._pace = throttled
        self._outcomes.clear()
        Thread(target=self._run_slow, name="remit-reload-slow", daemon=True).start()
        if self._settings.watch:
            self._thread = Thread(target=self._run, name="remit-reload", daemon=True)
            self._thread.start()
        if self._kept is not None and self._settings.workers > 1:
            Thread(target=self._follow_pins, args=(self._kept,), name="remit-pins", daemon=True).start()

    def stop(self) -> None:
        """Ends the watch and whatever is being loaded; what serves, serves on."""
        self._stopping.set()
        self._slow_wanted.set()
        for loader in list(self._loaders):
            loader.end()
        if self._thread is not None:
            self._thread.join(_AGAIN_S)

    def look(self) -> bool:
        """Takes over what the files say now; False where it has to be tried again."""
        after = self._look()
        while after is _After.ANOTHER and not self._stopping.is_set():
            # What changes while tenants are loaded has to rest as well before it is read.
            after = self._look(self._settings.settle_s)
        return after is not _After.RETRY

    def revisions(self, tenant: Tenant) -> list[StoredRevision]:
        """Those kept of a tenant, newest first."""
        return self._kept.revisions(tenant) if self._kept is not None else []

    def pin(self, tenant: Tenant, prefix: str, caller: str, timeout_s: float) -> str:
        """Serves the kept revision that begins with `prefix` until it is unpinned, whatever the files say. Returns the
        revision that served before.

        Raises NotKeptError, PinError, LoadingError, JournalUnavailable, WorkerEndedError or OSError; then nothing has
        changed.
        """
        kept, _ = self._pinnable(tenant)
        recalled = self._recalled(kept, tenant, kept.find(tenant, prefix))
        with self._changing(timeout_s):
            # It may have been removed meanwhile.
            self._pinnable(tenant)
            pin = Pin(recalled.revision, caller, self._clock_us())
            take_back = kept.pin(tenant, pin)
            try:
                return self._pinned(tenant, pin, recalled)
            except JournalUnavailable:
                take_back()
                raise

    def unpin(self, tenant: Tenant, caller: str, timeout_s: float) -> None:
        """Serves what the files say again, or the last good revision where they do not load, or take longer to load than
        there is time. Raises as `pin`."""
        ends_at = time.monotonic() + timeout_s
        kept, _ = self._pinnable(tenant)
        # Another worker may just have been told to pin it.
        self._take_pin(kept, tenant)
        with self._changing(timeout_s):
            _, each = self._pinnable(tenant)
            if each.pin is None:
                raise PinError(f"tenant `{tenant}` is not pinned")
            self._tell(Outcome("POLICY_UNPINNED", tenant, each.pin.revision, {"caller": caller}))
            kept.unpin(tenant, caller, self._clock_us())
            self._unpinned(tenant, caller)
        self._load_unpinned(tenant, max(ends_at - time.monotonic(), 0))

    def take_pins(self, kept: RevisionStore) -> bool:
        """Takes over what other workers of this node pinned and unpinned; False where it has to be tried again."""
        taken = [self._take_pin(kept, tenant) for tenant in kept.tenants()]
        return all(taken)

    def _run(self) -> None:
        settings = self._settings
        for _ in changes(self._directory, settings.settle_s, settings.watch_every_s, self._stopping):
            while not self._stopping.is_set() and not self.look():
                self._stopping.wait(_AGAIN_S)

    def _run_slow(self) -> None:
        lane = _Lane(self._loader())
        while not self._stopping.is_set():
            if not self._slow_wanted.wait(_IDLE_S):
                lane.loader.close()
            elif (tenant := self._next_slow()) is not None:
                after = self._load_alone(lane, tenant, rest_s=self._settings.settle_s)
                self._slow_now = None
                if after is not _After.NOTHING:
                    self._leave_to_slow(tenant)
                if after is _After.RETRY:
                    self._stopping.wait(_AGAIN_S)

    def _next_slow(self) -> Tenant | None:
        with self._changing():
            waiting = [tenant for tenant in self._tenants if tenant in self._slow]
            if not waiting:
                self._slow.clear()
                self._slow_wanted.clear()
                return None
            self._slow_now = min(waiting, key=lambda tenant: self._tenants[tenant].took_s)
            # Edits that are found from now on want another load.
            self._slow.discard(self._slow_now)
            return self._slow_now

    def _leave_to_slow(self, *tenants: Tenant) -> None:
        with self._changing():
            self._slow.update(tenants)
            self._slow_wanted.set()

    def _follow_pins(self, kept: RevisionStore) -> None:
        settings = self._settings
        for _ in changes(kept.directory, _PIN_SETTLE_S, settings.watch_every_s, self._stopping):
            while not self._stopping.is_set() and not self.take_pins(kept):
                self._stopping.wait(_AGAIN_S)

    def _take_pin(self, kept: RevisionStore, tenant: Tenant) -> bool:
        each = self._tenants.get(tenant)
        try:
            word = kept.last_word(tenant)
        except RevisionNotStoredError as error:
            _log.error("pin not readable", tenant=tenant, error=str(error))
            return True
        if each is None:
            # Its folder is yet to be read.
            return not word.revision
        try:
            if word.revision and word != each.pin:
                recalled = self._recalled_or_not(kept, tenant, word)
                with self._changing():
                    if tenant in self._tenants:
                        self._pinned(tenant, word, recalled)
            elif each.pin is not None and not word.revision:
                pin = each.pin
                with self._changing():
                    if self._tenants.get(tenant) is not each or each.pin != pin:
                        return False
                    self._tell(Outcome("POLICY_UNPINNED", tenant, pin.revision, {"caller": word.caller}))
                    self._unpinned(tenant, word.caller)
                self._load_unpinned(tenant, _FIRST_SLOW_S)
        except (JournalUnavailable, ChildEndedError) as error:
            _log.error("pin of another worker not taken over", tenant=tenant, error=str(error))
            return False
        return True

    def _pinned(self, tenant: Tenant, pin: Pin, recalled: TenantBuilt | None) -> str:
        """None where the pinned revision cannot be served: then nothing is."""
        replaced = self._serving(tenant)
        archive = recalled.archive if recalled is not None else b""
        detail = {"caller": pin.caller, "replaces": replaced}
        self._tell(Outcome("POLICY_PINNED", tenant, pin.revision, detail, archive))
        self._tenants[tenant].pin = pin
        _log.warning("tenant pinned", tenant=tenant, revision=pin.revision, caller=pin.caller)
        self._serve(tenant, recalled.snapshot if recalled is not None else None)
        return replaced

    def _unpinned(self, tenant: Tenant, caller: str) -> None:
        each = self._tenants[tenant]
        _log.warning("tenant unpinned", tenant=tenant, revision=self._serving(tenant), caller=caller)
        each.pin = None
        each.known = Fingerprint("", each.known.folder)
        # Until they are: should the load break off, this is what is so.
        waiting = Diagnostic(tenant, 0, 0, "its files have not been loaded since it was unpinned")
        each.refused, each.diagnostics = True, (waiting,)
        self._serve(tenant, self._snapshot(tenant))

    def _load_unpinned(self, tenant: Tenant, within_s: float) -> None:
        with self._own_loader() as loader:
            after = self._load_alone(_Lane(loader), tenant, within_s=within_s)
        if after is not _After.NOTHING:
            self._leave_to_slow(tenant)
        self._stand_in(tenant)

    def _load(self) -> None:
        self._remember()
        seen = self._seen()
        try:
            while (after := self._first_look()) is _After.ANOTHER:
                pass
        except (OSError, UnsettledError) as error:
            self._start_without(error)
        else:
            self._stamp = seen if after is _After.NOTHING else None
        if not self._tenants or (self._wrong and self._settings.strict):
            raise StartupError(f"policy directory `{self._settings.policies}` has no tenant's folder")
        self._make_revisions()
        for tenant, each in list(self._tenants.items()):
            if not each.known.signature:
                each.diagnostics = (Diagnostic(tenant, 0, 0, "its files have not been loaded yet"),)
                self._leave_to_slow(tenant)
            if each.pin is not None or not self._settings.strict:
                self._stand_in(tenant, self._lane.loader)
            if tenant not in self._cell.tenants:
                self._serve(tenant, None)

    def _first_look(self) -> _After:
        lane = self._lane
        order = self._order(within_s=_QUICK_S if self._slow else _FIRST_SLOW_S)
        try:
            return self._take(lane, order)
        except SlowLoadError:
            self._too_slow(lane, order)
        except ChildEndedError as error:
            if lane.begun is None:
                raise StartupError(str(error)) from None
            self._worker_ended(lane, error)
        return _After.ANOTHER

    def _look(self, rest_s: float = 0) -> _After:
        """Takes over what the files say of all tenants but the slow ones."""
        seen = self._seen()
        if seen is not None and seen == self._stamp:
            return _After.NOTHING
        self._stamp = None
        with self._changing():
            order = self._order(within_s=_QUICK_S, slice_s=_SLICE_S, rest_s=rest_s)
        after = self._taken(self._lane, order)
        if after is _After.NOTHING:
            self._stamp = seen
        return after

    def _seen(self) -> Stamp:
        try:
            return stamp(self._directory, self._pace)
        except OSError:
            # The process that loads may have what this one lacks.
            return None

    def _load_alone(self, lane: _Lane, tenant: Tenant, *, rest_s: float = 0, within_s: float = math.inf) -> _After:
        """Takes over what the files say of one tenant."""
        with self._changing():
            order = self._order(only=tenant, rest_s=rest_s, within_s=within_s)
        return self._taken(lane, order)

    def _taken(self, lane: _Lane, order: ScanRequest) -> _After:
        try:
            return self._take(lane, order)
        except SlowLoadError:
            self._too_slow(lane, order)
            return _After.ANOTHER
        except OSError as error:
            told = f"policy directory `{self._settings.policies}` cannot be read: {error.strerror}"
            if order.only is not None:
                # A look at all of them says so, and says when it is over.
                _log.warning("tenant not read yet", tenant=order.only, error=told)
                return _After.RETRY
            judged = self._judge_all((Diagnostic(".", 0, 0, told),))
            # A directory that is not there is watched for.
            gone = isinstance(error, FileNotFoundError | NotADirectoryError)
            return _After.NOTHING if judged and gone else _After.RETRY
        except UnsettledError as error:
            _log.warning("policies not read yet", error=str(error))
        except ChildEndedError as error:
            self._worker_ended(lane, error)
        except JournalUnavailable as error:
            _log.error("policies not taken over", error=str(error))
        return _After.RETRY

    def _order(
        self,
        *,
        only: Tenant | None = None,
        within_s: float = math.inf,
        slice_s: float = math.inf,
        rest_s: float = 0,
    ) -> ScanRequest:
        tenants = self._tenants.items()
        slow = {tenant for tenant, each in tenants if each.took_s >= _QUICK_S or tenant == self._slow_now}
        return ScanRequest(
            self._directory,
            self._settings.limits,
            self._kept,
            self._root,
            {tenant: each.known for tenant, each in tenants},
            frozenset(tenant for tenant, each in tenants if each.pin is not None),
            None if self._settings.policy_lint == "off" else LintSeverity(self._settings.policy_lint),
            only,
            frozenset() if only is not None else frozenset(slow | self._slow),
            {tenant: each.took_s for tenant, each in tenants},
            within_s,
            slice_s,
            rest_s,
        )

    def _take(self, lane: _Lane, order: ScanRequest) -> _After:
        wanted = {_After.NOTHING}
        lane.begun = None
        with closing(lane.loader.carry_out(order, self._pace)) as answer:
            for found in answer:
                match found:
                    case RootRead():
                        wanted.add(self._take_root_read(lane, order, found))
                    case Deferred():
                        self._leave_to_slow(*found.tenants)
                    case BuildStarted():
                        lane.begun = found
                    case TenantBuilt():
                        lane.begun = None
                        if not self._take_built(found, order):
                            wanted.add(_After.ANOTHER)
                    case CutShort():
                        wanted.add(_After.ANOTHER)
        lane.fell = ""
        return max(wanted)

    def _take_root_read(self, lane: _Lane, order: ScanRequest, found: RootRead) -> _After:
        restless = found.unsettled
        if order.only is None:
            with self._changing():
                self._take_root(found)
        else:
            restless &= {order.only}
        if restless - lane.restless:
            _log.warning("tenants not read yet: their files keep changing", tenants=sorted(restless))
        lane.restless = restless
        return _After.RETRY if restless else _After.NOTHING

    def _take_built(self, found: TenantBuilt, order: ScanRequest) -> bool:
        """False where the tenant was pinned, unpinned, removed or loaded elsewhere meanwhile: then nothing is changed."""
        tenant = found.tenant
        with self._changing():
            each = self._tenants.get(tenant)
            if each is None or each.known != order.known.get(tenant, NO_FINGERPRINT):
                return False
            if (each.pin is not None) != (tenant in order.check_only):
                return False
            self._take_tenant(found)
            each.took_s = found.processor_s
        return True

    def _too_slow(self, lane: _Lane, order: ScanRequest) -> None:
        begun, lane.begun = lane.begun, None
        if begun is not None:
            _log.info("tenant is slow to load; the others go on", tenant=begun.tenant, processor_s=order.within_s)
            with self._changing():
                if begun.tenant in self._tenants:
                    each = self._tenants[begun.tenant]
                    each.took_s = max(each.took_s, order.within_s)
            self._leave_to_slow(begun.tenant)

    def _take_root(self, found: RootRead) -> None:
        if not found.root and not self._cell.tenants:
            told = "\n".join(map(str, found.diagnostics))
            raise StartupError(f"the root files of `{self._settings.policies}` do not load:\n{told}")
        self._root = found.root or self._root
        self._cell.tree_revision = found.tree_revision
        wrong = found.diagnostics
        if not wrong and not found.tenants and self._tenants:
            # As a volume looks that is not mounted: nobody takes away all tenants by an edit.
            wrong = (Diagnostic(".", 0, 0, "no tenant's folder is there any more"),)
        self._judge(wrong, found.tree_revision)
        for tenant in found.tenants:
            self._tenants.setdefault(tenant, _Tenant())
        # While the root does not load, a folder that is missing may be about to come.
        for tenant in () if wrong else set(self._tenants) - found.tenants:
            self._take_away(tenant)

    def _take_tenant(self, found: TenantBuilt) -> None:
        tenant, each = found.tenant, self._tenants[found.tenant]
        told = [str(one) for one in found.diagnostics]
        serving = self._serving(tenant)
        self._metrics.loaded(tenant, refused=found.refused)
        if found.refused:
            _log.error("tenant refused", tenant=tenant, revision=found.revision, serving=serving, diagnostics=told)
            detail: dict[str, Any] = {"diagnostics": told[:_RECORDED], "serving": serving}
            self._tell(Outcome("POLICY_REFUSED", tenant, found.revision, detail))
        else:
            detail = {"rows": found.rows, "cases": found.cases, "witnessed": found.witnessed}
            log = _log.warning if told else _log.info
            spite = {"diagnostics": told} if told else {}
            kind, event = ("POLICY_CHECKED", "checked") if each.pin is not None else ("POLICY_LOADED", "loaded")
            seconds = round(found.seconds, 3)
            log(f"tenant {event}", tenant=tenant, revision=found.revision, **detail, seconds=seconds, **spite)
            spite = {"diagnostics": told[:_RECORDED]} if told else {}
            replaces = {"replaces": serving} if serving else {}
            self._tell(Outcome(kind, tenant, found.revision, {**detail, **replaces, **spite}, found.archive))
        if found.not_kept:
            _log.error("revision not kept", tenant=tenant, revision=found.revision, error=found.not_kept)
        each.known = Fingerprint(found.signature, each.known.folder if found.refused else found.folder)
        each.revision, each.refused, each.diagnostics = found.revision, found.refused, found.diagnostics
        takes_over = not found.refused and each.pin is None
        self._serve(tenant, found.snapshot if takes_over else self._snapshot(tenant))

    def _take_away(self, tenant: Tenant) -> None:
        each = self._tenants[tenant]
        gone = Diagnostic(tenant, 0, 0, "the folder is gone")
        if each.pin is not None:
            each.refused, each.diagnostics, each.revision = True, (gone,), ""
            each.known = Fingerprint("", each.known.folder)
            self._serve(tenant, self._snapshot(tenant))
            return
        self._tell(Outcome("POLICY_REMOVED", tenant, self._serving(tenant), {}))
        _log.warning("tenant removed", tenant=tenant, revision=self._serving(tenant))
        if self._kept is not None:
            try:
                self._kept.remove(tenant)
            except OSError as error:
                _log.error("removal not kept", tenant=tenant, error=str(error))
        del self._tenants[tenant]
        self._cell.remove(tenant)

    def _judge(self, wrong: tuple[Diagnostic, ...], tree_revision: str = "") -> None:
        """Says what is wrong with the newest files as a whole, or that nothing is."""
        if wrong == self._wrong:
            return
        if wrong:
            told = [str(each) for each in wrong]
            _log.error("root refused", revision=tree_revision, diagnostics=told)
            self._metrics.loaded("", refused=True)
            self._tell(Outcome("POLICY_REFUSED", "", tree_revision, {"diagnostics": told[:_RECORDED]}))
        else:
            _log.info("root loads again", revision=tree_revision)
            self._metrics.loaded("", refused=False)
            self._tell(Outcome("POLICY_LOADED", "", tree_revision, {}))
        self._wrong = wrong
        self._cell.put(*(self._shown(tenant, policy.snapshot) for tenant, policy in self._cell.tenants.items()))

    def _judge_all(self, wrong: tuple[Diagnostic, ...]) -> bool:
        try:
            with self._changing():
                self._judge(wrong)
        except JournalUnavailable as error:
            _log.error("policies not taken over", error=str(error))
            return False
        return True

    def _worker_ended(self, lane: _Lane, error: ChildEndedError) -> None:
        """Once may be somebody else's doing; files at which it ends again are refused, so that the others get on."""
        begun, lane.begun = lane.begun, None
        if self._stopping.is_set():
            return
        _log.error("policies not taken over", error=str(error), tenant=begun.tenant if begun is not None else "")
        if begun is not None and begun.signature == lane.fell:
            told = "brings down the process that loads policies, or keeps it from ending; the log has more"
            wrong = (Diagnostic(begun.tenant, 0, 0, told),)
            refusal = TenantBuilt(
                begun.tenant, begun.revision, begun.signature, "", None, refused=True, diagnostics=wrong
            )
            try:
                with self._changing():
                    if begun.tenant in self._tenants:
                        self._take_tenant(refusal)
            except JournalUnavailable:
                return
        lane.fell = begun.signature if begun is not None else ""

    def _serve(self, tenant: Tenant, snapshot: Snapshot | None) -> None:
        """The swap: one assignment."""
        before = self._snapshot(tenant)
        shown = self._shown(tenant, snapshot)
        if before is None or before is snapshot:
            self._cell.put(shown)
            return
        replaced = free_gradually(before.policy)
        next(replaced)
        del before
        self._cell.put(shown)
        self._replaced.append(replaced)

    def _shown(self, tenant: Tenant, snapshot: Snapshot | None) -> TenantPolicy:
        each = self._tenants[tenant]
        if snapshot is None:
            state = TenantState.UNAVAILABLE
        elif each.pin is not None:
            state = TenantState.PINNED
        elif each.refused or self._wrong:
            state = TenantState.STALE
        else:
            state = TenantState.SERVING
        since_us = self._clock_us()
        before = self._cell.tenants.get(tenant)
        revision = snapshot.revision if snapshot is not None else ""
        if before is not None and (before.state, before.revision) == (state, revision):
            since_us = before.since_us
        pinned_by = each.pin.caller if each.pin is not None else ""
        diagnostics = (*self._wrong, *each.diagnostics)
        return TenantPolicy(tenant, state, since_us, snapshot, diagnostics, each.revision, pinned_by)

    def _snapshot(self, tenant: Tenant) -> Snapshot | None:
        policy = self._cell.tenants.get(tenant)
        return policy.snapshot if policy is not None else None

    def _serving(self, tenant: Tenant) -> str:
        snapshot = self._snapshot(tenant)
        return snapshot.revision if snapshot is not None else ""

    def _remember(self) -> None:
        """What an earlier process kept: pins, the folders that served, and root files to fall back on."""
        kept = self._kept
        if kept is None:
            return
        newest: list[tuple[int, Mapping[str, bytes]]] = []
        for tenant in kept.tenants():
            each = _Tenant()
            try:
                each.pin = kept.pinned(tenant)
            except RevisionNotStoredError as error:
                _log.error("pin not readable", tenant=tenant, error=str(error))
                each.pin = Pin("", "unknown", 0)
            last = kept.newest(tenant)
            if last is not None:
                try:
                    tree = kept.read(tenant, last.revision)
                except RevisionNotStoredError as error:
                    _log.warning("kept revision ignored", tenant=tenant, error=str(error))
                else:
                    each.known = Fingerprint("", tree.tenants[tenant].digest)
                    newest.append((last.kept_us, tree.root.files))
            if last is not None or each.pin is not None:
                self._tenants[tenant] = each
        if newest and not self._settings.strict:
            self._root = max(newest, key=lambda found: found[0])[1]

    def _make_revisions(self) -> None:
        if self._kept is None:
            return
        try:
            make_private(self._kept.directory)
        except OSError as error:
            raise StartupError(
                f"`revisions` is `{self._kept.directory}`, which cannot be made: {error.strerror}; name a directory that "
                "this node may write, or none to keep no revisions"
            ) from None

    def _start_without(self, error: OSError | UnsettledError) -> None:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        told = f"policy directory `{self._settings.policies}` cannot be read: {reason}"
        if self._settings.strict or not self._tenants:
            raise StartupError(told) from None
        self._judge((Diagnostic(".", 0, 0, told),))

    def _stand_in(self, tenant: Tenant, loader: Loader | None = None) -> None:
        """What was kept serves where the files must not or cannot: the pinned revision, else the last good one."""
        kept, each = self._kept, self._tenants.get(tenant)
        if kept is None or each is None or (each.pin is None and not each.refused):
            return
        pin = each.pin
        last = kept.newest(tenant) if pin is None else pin
        if last is None:
            return
        try:
            recalled = self._recalled_or_not(kept, tenant, last, loader)
        except ChildEndedError as error:
            self._not_recalled(tenant, last, error)
            recalled = None
        with self._changing():
            if self._tenants.get(tenant) is not each or each.pin != pin or (pin is None and not each.refused):
                return
            if recalled is None:
                if pin is not None:
                    self._serve(tenant, None)
                return
            _log.warning("kept revision serves", tenant=tenant, revision=recalled.revision, pinned=pin is not None)
            detail = {"pinned_by": pin.caller} if pin is not None else {}
            self._tell(Outcome("POLICY_RESTORED", tenant, recalled.revision, detail, recalled.archive))
            self._serve(tenant, recalled.snapshot)

    def _recalled_or_not(
        self, kept: RevisionStore, tenant: Tenant, wanted: StoredRevision | Pin, loader: Loader | None = None
    ) -> TenantBuilt | None:
        try:
            return self._recalled(kept, tenant, wanted.revision, loader)
        except RevisionNotStoredError as error:
            self._not_recalled(tenant, wanted, error)
            return None

    def _not_recalled(self, tenant: Tenant, wanted: StoredRevision | Pin, error: RemitError) -> None:
        _log.error("kept revision ignored", tenant=tenant, error=str(error))
        each = self._tenants.get(tenant)
        if isinstance(wanted, Pin) and each is not None:
            told = f"is pinned to a revision that cannot be served: {error}"
            each.diagnostics = (Diagnostic(tenant, 0, 0, told), *each.diagnostics)

    def _recalled(
        self, kept: RevisionStore, tenant: Tenant, revision: str, loader: Loader | None = None
    ) -> TenantBuilt:
        """By a process that waits for nobody, unless one is given."""
        if loader is None:
            with self._own_loader() as own:
                return self._recalled(kept, tenant, revision, own)
        order = RestoreRequest(kept, self._settings.limits, tenant, revision)
        (found,) = loader.carry_out(order, self._pace)
        assert isinstance(found, TenantBuilt)
        return found

    def _pinnable(self, tenant: Tenant) -> tuple[RevisionStore, _Tenant]:
        if self._kept is None:
            raise PinError("this server keeps no revisions: set `revisions` to a directory of this node")
        each = self._tenants.get(tenant)
        if each is None:
            raise PinError(f"there is no tenant `{tenant}`")
        return self._kept, each

    def _loader(self) -> Loader:
        loader = self._new_loader()
        self._loaders.add(loader)
        if self._stopping.is_set():
            loader.end()
        return loader

    @contextmanager
    def _own_loader(self) -> Iterator[Loader]:
        loader = self._loader()
        try:
            yield loader
        finally:
            loader.close()
            self._loaders.discard(loader)

    @contextmanager
    def _changing(self, timeout_s: float = -1) -> Iterator[None]:
        """Nobody else changes what serves meanwhile."""
        if not self._mutex.acquire(timeout=timeout_s):
            raise LoadingError(f"another change has been in the works for {timeout_s:g} s; try again")
        try:
            yield
        finally:
            self._mutex.release()
            while self._replaced:
                for _ in self._replaced.popleft():
                    pass
