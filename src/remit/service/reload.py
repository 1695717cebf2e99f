from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Final, NamedTuple

import structlog

from remit.audit.errors import JournalUnavailable
from remit.core.diagnostics import Diagnostic
from remit.core.errors import RemitError
from remit.core.files import make_private
from remit.core.names import Tenant
from remit.engine.snapshot import Snapshot
from remit.policy.archive import KeptRevision, NotKeptError
from remit.policy.cell import Cell, TenantPolicy, TenantState
from remit.policy.kept import Kept, Pin
from remit.policy.lint.finding import Severity
from remit.policy.look import NOTHING, Begun, Built, Found, Known, Look, Recall, RootRead, carry_out
from remit.policy.pace import let_go, resting
from remit.policy.source import Stamp, UnsettledError, stamp
from remit.policy.watch import changes
from remit.policy.worker import Worker, WorkerEndedError
from remit.service.errors import StartupError
from remit.service.metrics import Metrics
from remit.service.settings import Settings

_AGAIN_S: Final = 1.0
_PIN_SETTLE_S: Final = 0.05
_RECORDED: Final = 20
"""Diagnostics in a record; the status has all."""

_log = structlog.get_logger("remit")

CarryOut = Callable[[Look | Recall], Iterator[Found]]


class PinError(RemitError):
    """There is nothing to pin or to unpin: the message says what is missing."""


class LoadingError(RemitError):
    """Policies are being loaded just now; the call may be tried again."""


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

    known: Known = NOTHING
    revision: str = ""
    refused: bool = True
    diagnostics: tuple[Diagnostic, ...] = ()
    pin: Pin | None = None


class Reloader:
    """Keeps the cell at what the policy files say: a tenant at a time, loaded whole or refused whole.

    What is refused leaves the last good revision serving. No revision serves before the record of it is written.
    """

    def __init__(self, settings: Settings, cell: Cell, metrics: Metrics, clock_us: Callable[[], int]) -> None:
        self._settings = settings
        # As it is named now: where it goes on, so does what was kept of it.
        self._directory = Path(settings.policies).absolute()
        self._cell = cell
        self._metrics = metrics
        self._clock_us = clock_us
        self._kept = (
            Kept(Path(settings.revisions), settings.revisions_kept, str(self._directory))
            if settings.revisions
            else None
        )
        self._worker = Worker()
        self._carry_out: CarryOut = carry_out
        self._outcomes: list[Outcome] = []
        self._tell: Callable[[Outcome], None] = self._outcomes.append
        self._mutex = Lock()
        self._stopping = Event()
        self._thread: Thread | None = None
        self._tenants: dict[Tenant, _Tenant] = {}
        self._root: Mapping[str, bytes] = {}
        self._wrong: tuple[Diagnostic, ...] = ()
        """What is wrong with all of the newest files: the root's, or the directory itself."""
        self._stamp: Stamp = None
        self._begun: Begun | None = None
        self._fell = ""
        """The signature of the files at which the worker ended last."""

    def load(self) -> list[Outcome]:
        """The first load, in this thread: what became of each tenant, for the audit that is not open yet.

        Raises StartupError where the files cannot serve and nothing kept may stand in.
        """
        self._remember()
        seen = stamp(self._directory)
        try:
            self._take(self._order())
        except (OSError, UnsettledError) as error:
            self._start_without(error)
        self._stamp = seen
        if not self._tenants or (self._wrong and self._settings.strict):
            raise StartupError(f"policy directory `{self._settings.policies}` has no tenant's folder")
        for tenant, each in self._tenants.items():
            if each.pin is not None or not self._settings.strict:
                self._stand_in(tenant)
        return self._outcomes

    def begin(self, tell: Callable[[Outcome], None]) -> None:
        """From now on loads are carried out by a process of their own and told as they happen; files are watched."""
        self._tell = tell
        self._outcomes.clear()
        self._carry_out = self._worker.carry_out
        if self._settings.watch:
            self._thread = Thread(target=self._run, name="remit-reload", daemon=True)
            self._thread.start()
        if self._kept is not None and self._settings.workers > 1:
            Thread(target=self._follow_pins, args=(self._kept,), name="remit-pins", daemon=True).start()

    def stop(self) -> None:
        """Ends the watch and whatever is being loaded; what serves, serves on."""
        self._stopping.set()
        self._worker.end()
        if self._thread is not None:
            self._thread.join(_AGAIN_S)

    def look(self) -> bool:
        """Takes over what the files say now; False where it has to be tried again."""
        with self._mutex:
            return self._look()

    def revisions(self, tenant: Tenant) -> list[KeptRevision]:
        """Those kept of a tenant, newest first."""
        return self._kept.revisions(tenant) if self._kept is not None else []

    def pin(self, tenant: Tenant, prefix: str, caller: str, timeout_s: float) -> str:
        """Serves the kept revision that begins with `prefix` until it is unpinned, whatever the files say. Returns the
        revision that served before.

        Raises NotKeptError, PinError, LoadingError, JournalUnavailable, WorkerEndedError or OSError; then nothing has
        changed.
        """
        with self._alone(timeout_s):
            kept, _ = self._pinnable(tenant)
            revision = kept.find(tenant, prefix)
            recalled = self._recalled(kept, tenant, revision)
            pin = Pin(revision, caller, self._clock_us())
            take_back = kept.pin(tenant, pin)
            try:
                return self._pinned(tenant, pin, recalled)
            except JournalUnavailable:
                take_back()
                raise

    def unpin(self, tenant: Tenant, caller: str, timeout_s: float) -> None:
        """Serves what the files say again, or the last good revision where they do not load. Raises as `pin`."""
        with self._alone(timeout_s):
            kept, each = self._pinnable(tenant)
            # Another worker may just have been told to pin it.
            self._take_pin(kept, tenant)
            if each.pin is None:
                raise PinError(f"tenant `{tenant}` is not pinned")
            self._tell(Outcome("POLICY_UNPINNED", tenant, each.pin.revision, {"caller": caller}))
            kept.unpin(tenant, caller, self._clock_us())
            self._unpinned(tenant, caller)

    def take_pins(self, kept: Kept) -> bool:
        """Takes over what other workers of this node pinned and unpinned; False where it has to be tried again."""
        with self._mutex:
            taken = [self._take_pin(kept, tenant) for tenant in kept.tenants()]
        return all(taken)

    def _run(self) -> None:
        settings = self._settings
        for _ in changes(self._directory, settings.settle_s, settings.watch_every_s, self._stopping):
            while not self._stopping.is_set() and not self.look():
                self._stopping.wait(_AGAIN_S)

    def _follow_pins(self, kept: Kept) -> None:
        settings = self._settings
        for _ in changes(kept.directory, _PIN_SETTLE_S, settings.watch_every_s, self._stopping):
            while not self._stopping.is_set() and not self.take_pins(kept):
                self._stopping.wait(_AGAIN_S)

    def _take_pin(self, kept: Kept, tenant: Tenant) -> bool:
        each = self._tenants.get(tenant)
        try:
            word = kept.last_word(tenant)
        except NotKeptError as error:
            _log.error("pin not readable", tenant=tenant, error=str(error))
            return True
        if each is None:
            # Its folder is yet to be read.
            return not word.revision
        try:
            if word.revision and word != each.pin:
                self._pinned(tenant, word, self._recalled_or_not(kept, tenant, word))
            elif each.pin is not None and not word.revision:
                self._tell(Outcome("POLICY_UNPINNED", tenant, each.pin.revision, {"caller": word.caller}))
                self._unpinned(tenant, word.caller)
        except (JournalUnavailable, WorkerEndedError) as error:
            _log.error("pin of another worker not taken over", tenant=tenant, error=str(error))
            return False
        return True

    def _pinned(self, tenant: Tenant, pin: Pin, recalled: Built | None) -> str:
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
        each.known = Known("", each.known.folder)
        # Until they are: should the look break off, this is what is so.
        waiting = Diagnostic(tenant, 0, 0, "its files have not been loaded since it was unpinned")
        each.refused, each.diagnostics = True, (waiting,)
        self._serve(tenant, self._snapshot(tenant))
        self._stamp = None
        self._look()
        if each.refused and tenant in self._tenants:
            self._stand_in(tenant)

    def _look(self) -> bool:
        seen = stamp(self._directory, resting)
        if seen is not None and seen == self._stamp:
            return True
        self._stamp = None
        try:
            self._take(self._order())
        except OSError as error:
            told = f"policy directory `{self._settings.policies}` cannot be read: {error.strerror}"
            return self._judge_all((Diagnostic(".", 0, 0, told),))
        except UnsettledError as error:
            _log.warning("policies not read yet", error=str(error))
            return False
        except WorkerEndedError as error:
            return self._worker_ended(error)
        except JournalUnavailable as error:
            _log.error("policies not taken over: the audit store takes no records", error=str(error))
            return False
        self._stamp = seen
        return True

    def _order(self) -> Look:
        return Look(
            self._directory,
            self._settings.limits,
            self._kept,
            self._root,
            {tenant: each.known for tenant, each in self._tenants.items()},
            frozenset(tenant for tenant, each in self._tenants.items() if each.pin is not None),
            None if self._settings.policy_lint == "off" else Severity(self._settings.policy_lint),
        )

    def _take(self, order: Look) -> None:
        for found in self._carry_out(order):
            match found:
                case RootRead():
                    self._take_root(found)
                case Begun():
                    self._begun = found
                case Built():
                    self._begun = None
                    self._take_tenant(found)
        self._fell = ""

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

    def _take_tenant(self, found: Built) -> None:
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
        each.known = Known(found.signature, each.known.folder if found.refused else found.folder)
        each.revision, each.refused, each.diagnostics = found.revision, found.refused, found.diagnostics
        takes_over = not found.refused and each.pin is None
        self._serve(tenant, found.snapshot if takes_over else self._snapshot(tenant))

    def _take_away(self, tenant: Tenant) -> None:
        each = self._tenants[tenant]
        gone = Diagnostic(tenant, 0, 0, "the folder is gone")
        if each.pin is not None:
            each.refused, each.diagnostics, each.revision = True, (gone,), ""
            each.known = Known("", each.known.folder)
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
            self._judge(wrong)
        except JournalUnavailable as error:
            _log.error("policies not taken over: the audit store takes no records", error=str(error))
            return False
        return True

    def _worker_ended(self, error: WorkerEndedError) -> bool:
        """Once may be somebody else's doing; files at which it ends again are refused, so that the others get on."""
        begun, self._begun = self._begun, None
        if self._stopping.is_set():
            return True
        _log.error("policies not taken over", error=str(error), tenant=begun.tenant if begun is not None else "")
        if begun is not None and begun.signature == self._fell:
            told = "brings down the process that loads policies, or keeps it from ending; the log has more"
            wrong = (Diagnostic(begun.tenant, 0, 0, told),)
            refusal = Built(begun.tenant, begun.revision, begun.signature, "", None, refused=True, diagnostics=wrong)
            try:
                self._take_tenant(refusal)
            except JournalUnavailable:
                return False
        self._fell = begun.signature if begun is not None else ""
        return False

    def _serve(self, tenant: Tenant, snapshot: Snapshot | None) -> None:
        """The swap: one assignment."""
        before = self._snapshot(tenant)
        shown = self._shown(tenant, snapshot)
        if before is None or before is snapshot:
            self._cell.put(shown)
            return
        leaving = let_go(before.policy)
        next(leaving)
        del before
        self._cell.put(shown)
        for _ in leaving:
            pass

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
        try:
            make_private(kept.directory)
        except OSError as error:
            raise StartupError(
                f"`revisions` is `{kept.directory}`, which cannot be made: {error.strerror}; name a directory that this "
                "node may write, or none to keep no revisions"
            ) from None
        newest: list[tuple[int, Mapping[str, bytes]]] = []
        for tenant in kept.tenants():
            each = _Tenant()
            try:
                each.pin = kept.pinned(tenant)
            except NotKeptError as error:
                _log.error("pin not readable", tenant=tenant, error=str(error))
                each.pin = Pin("", "unknown", 0)
            last = kept.newest(tenant)
            if last is not None:
                try:
                    tree = kept.read(tenant, last.revision)
                except NotKeptError as error:
                    _log.warning("kept revision ignored", tenant=tenant, error=str(error))
                else:
                    each.known = Known("", tree.tenants[tenant].digest)
                    newest.append((last.kept_us, tree.root.files))
            if last is not None or each.pin is not None:
                self._tenants[tenant] = each
        if newest and not self._settings.strict:
            self._root = max(newest, key=lambda found: found[0])[1]

    def _start_without(self, error: OSError | UnsettledError) -> None:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        told = f"policy directory `{self._settings.policies}` cannot be read: {reason}"
        if self._settings.strict or not self._tenants:
            raise StartupError(told) from None
        self._judge((Diagnostic(".", 0, 0, told),))

    def _stand_in(self, tenant: Tenant) -> None:
        """What was kept serves where the files must not or cannot: the pinned revision, else the last good one."""
        kept, each = self._kept, self._tenants[tenant]
        if kept is None or (each.pin is None and not each.refused):
            return
        last = kept.newest(tenant) if each.pin is None else each.pin
        if last is None:
            return
        recalled = self._recalled_or_not(kept, tenant, last)
        if recalled is None:
            if each.pin is not None:
                self._serve(tenant, None)
            return
        _log.warning("kept revision serves", tenant=tenant, revision=recalled.revision, pinned=each.pin is not None)
        detail = {"pinned_by": each.pin.caller} if each.pin is not None else {}
        self._tell(Outcome("POLICY_RESTORED", tenant, recalled.revision, detail, recalled.archive))
        self._serve(tenant, recalled.snapshot)

    def _recalled_or_not(self, kept: Kept, tenant: Tenant, wanted: KeptRevision | Pin) -> Built | None:
        try:
            return self._recalled(kept, tenant, wanted.revision)
        except NotKeptError as error:
            _log.error("kept revision ignored", tenant=tenant, error=str(error))
            if isinstance(wanted, Pin):
                each = self._tenants[tenant]
                told = f"is pinned to a revision that cannot be served: {error}"
                each.diagnostics = (Diagnostic(tenant, 0, 0, told), *each.diagnostics)
            return None

    def _recalled(self, kept: Kept, tenant: Tenant, revision: str) -> Built:
        for found in self._carry_out(Recall(kept, self._settings.limits, tenant, revision)):
            if isinstance(found, Built) and found.snapshot is not None:
                return found
        raise AssertionError("a recall gives a snapshot or raises")

    def _pinnable(self, tenant: Tenant) -> tuple[Kept, _Tenant]:
        if self._kept is None:
            raise PinError("this server keeps no revisions: set `revisions` to a directory of this node")
        each = self._tenants.get(tenant)
        if each is None:
            raise PinError(f"there is no tenant `{tenant}`")
        return self._kept, each

    @contextmanager
    def _alone(self, timeout_s: float) -> Iterator[None]:
        if not self._mutex.acquire(timeout=timeout_s):
            raise LoadingError(f"policies have been loading for {timeout_s:g} s; try again")
        try:
            yield
        finally:
            self._mutex.release()
