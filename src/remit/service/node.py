"""A server process without its protocols.

The module is long because the order in which components start and stop is in one place.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import structlog

from remit.audit.chain.chain import READS
from remit.audit.chain.signing import AuditKeyError, SigningKey
from remit.audit.checkpoint.checkpointer import Checkpointer, key_in_use, recorded_key
from remit.audit.errors import AuditStoreError, JournalUnavailable
from remit.audit.ids import DecisionIds
from remit.audit.journal.journal import Journal
from remit.audit.journal.stats import Drained
from remit.audit.query.reader import AuditReader
from remit.audit.record import BY_CALLERS, KEY_IN_USE, ArchivedRevision, LifecycleRecord
from remit.audit.spool.spool import Spool
from remit.audit.spool.store_and_forward import StoreAndForward
from remit.audit.store.shards import ShardedStore, migrate
from remit.audit.store.store import AuditStore
from remit.clock import now_us
from remit.core.addresses import is_loopback, split_address
from remit.core.names import CALLERS, Tenant
from remit.files import secret_problem
from remit.fleet.current_release import CurrentRelease
from remit.fleet.errors import PolicyStoreError
from remit.fleet.journal import ReleaseJournal
from remit.fleet.store import PolicyStore
from remit.policy.live import LivePolicies, TenantPolicy
from remit.policy.revisions.store import open_to_others
from remit.service.bindings.imports import STATEMENT_S
from remit.service.bindings.services import BindingServices
from remit.service.caller_rights import CallerRights
from remit.service.callers_starter import starter_text
from remit.service.decision_point import DecisionPoint
from remit.service.disk_space import AuditSpace
from remit.service.errors import StartupError
from remit.service.history import PastExplainer
from remit.service.identities.live import LiveIdentities
from remit.service.identities.live_tokens import LiveTokens
from remit.service.kept_revisions import KeptRevisions
from remit.service.known_stores import KnownStores, place_of, refuse_gone
from remit.service.limits_hit import LimitsHit
from remit.service.metrics import Metrics
from remit.service.metrics_at_scrape import watch_keys, watch_policies_and_audit, watch_policy_store, watch_shadow
from remit.service.name_indexes import NameIndexes
from remit.service.otlp.exporter import Otlp
from remit.service.policy_store import PolicyPuller, behind, is_too_old
from remit.service.refused_calls import RefusedCalls
from remit.service.reload.reloader import Reloader
from remit.service.reload.tenants import Outcome
from remit.service.retention_job import RetentionRuns
from remit.service.revision_diffs import RevisionDiffs
from remit.service.revision_tests import RevisionTests
from remit.service.revision_texts import RevisionTexts
from remit.service.sampling import RecordPolicy
from remit.service.settings import Settings
from remit.service.shadow.shadow import Shadow
from remit.service.version import VERSION
from remit.service.workers.messages import WorkerReport
from remit.service.workers.orphans import left_stores, refuse_left_spools
from remit.service.workers.process_settings import ProcessSettings

_OUTCOMES: Final = 100
"""Records of a start that one transaction writes, with the archives of their files."""
_SPACE_EVERY_S: Final = 10.0
# The time to send the last records to a collector at the stop. The store has these records anyway.
_LAST_RECORDS_S: Final = 3.0

_log = structlog.get_logger("remit")


class ServerNode:
    """One server process without its protocols: policies loaded, audit open, decision point ready.

    Components start in the order of their dependencies, and stop in the reverse order.
    """

    def __init__(
        self,
        process: ProcessSettings,
        live: LivePolicies,
        metrics: Metrics,
        audit: "_Audit",
        record_policy: RecordPolicy,
    ) -> None:
        self._process = process
        self.settings = settings = process.own
        self.rights = CallerRights(settings, live)
        self.refused_calls = RefusedCalls(self.remember, live)
        self.limits_hit = LimitsHit()
        self.live = live
        self.metrics = metrics
        self.store = audit.store
        self.spooling = audit.spool
        self.records = audit.records
        self.journal = audit.journal
        self.space = AuditSpace(audit.store, audit.spool, audit.journal)
        self.past = PastExplainer(audit.records, live, settings.limits)
        self.started_us = now_us()
        self.workers: list[WorkerReport] = []
        """The last report of every worker of this node, also of this worker. Empty for a server without workers."""
        self.shadow = _shadow(settings, record_policy)
        self.point = DecisionPoint(
            settings.node,
            live,
            audit.journal,
            DecisionIds(),
            metrics,
            settings.revision_wait_s,
            record_policy,
            self.shadow,
        )
        self.release_journal = settings.journal
        """The releases of the policy store on this node; None without one."""
        self.bindings: BindingServices | None = None
        """Changes rows of run time; None without a policy store."""
        self.reloader: Reloader
        self.kept: KeptRevisions
        self.diffs: RevisionDiffs
        self.names: NameIndexes
        self.tests: RevisionTests
        self.sources: RevisionTexts
        self.identities: LiveIdentities
        self.tokens: LiveTokens
        self.checkpointer: Checkpointer | None = None
        self._behind = _Behind(None, {}, ())
        self._stopping = threading.Event()
        self._stop = ExitStack()
        self._drained = Drained(0, 0)

    @classmethod
    def start(cls, process: ProcessSettings) -> Self:
        """Starts every component. If that fails, nothing is left running.

        Raises StartupError if anything is unsure: bad root files, a database without the newest schema, a store that
        fails.
        """
        settings = process.own
        _refuse_open_to_others(settings)
        key = _audit_key(settings)
        store = _audit_store(settings)
        record_policy = RecordPolicy(settings.redaction, settings.audit_sample_allows)
        identities = LiveIdentities(settings.identities, settle_s=settings.settle_s)
        identities.load()
        live, metrics = LivePolicies(), Metrics()
        # Streams look again who their caller is.
        identities.subscribe(lambda _: live.wake())
        otlp = Otlp(settings.audit_otlp, settings.node, metrics) if settings.audit_otlp else None
        reloader = Reloader(settings, live, metrics, now_us)
        with ExitStack() as stop, ExitStack() as failed:
            failed.callback(reloader.stop)
            tokens = LiveTokens(identities)
            stop.callback(tokens.close)
            puller = PolicyPuller.start(settings) if process.number == 0 else None
            if puller is not None:
                failed.callback(puller.stop)
            outcomes = reloader.load()
            _refuse_without_rights(settings, live)
            audit = _Audit.open(store, process, metrics, otlp, stop)
            node = cls(process, live, metrics, audit, record_policy)
            node.reloader = reloader
            node.kept = kept = KeptRevisions(audit.records, live, reloader.pins, settings.limits)
            node.diffs = RevisionDiffs(kept, settings.limits)
            node.names = NameIndexes()
            node.tests = RevisionTests(kept, settings.limits)
            node.sources = RevisionTexts(kept, settings.limits)
            node.identities, node.tokens = identities, tokens
            watch_keys(metrics.registry, tokens.ages_s)
            watch_policies_and_audit(
                metrics.registry, live, node.journal, node.space, spooling=node.spooling, clock_us=now_us
            )
            if node.release_journal is not None:
                live.wanted = node.release_journal.ask_for_news
                node.bindings = _bindings(node, node.release_journal, stop)
                watch_policy_store(metrics.registry, node.release_journal)
            if key is not None:
                node.checkpointer = Checkpointer(
                    node.store, key, settings.node, settings.audit_checkpoint_s, now_us, tenants=lambda: live.tenants
                )
                stop.callback(node.checkpointer.stop, settings.grace_s)
            if node.spooling is not None:
                stop.callback(node._close_spool, node.spooling)
            stop.callback(node._close_journal)
            node._record_start(key, outcomes)
            stop.callback(node._record_stop)
            node._begin(stop, key)
            if puller is not None:
                puller.begin(node.behind)
                stop.callback(puller.stop)
            failed.pop_all()
            node._stop = stop.pop_all()
        return node

    def remember(
        self,
        kind: str,
        tenant: str = "",
        revision: str = "",
        detail: dict[str, Any] | None = None,
        archive: bytes = b"",
        *,
        timeout_s: float | None = None,
    ) -> None:
        """Writes a lifecycle record, and with it the files of its revision, if `archive` holds them.

        Raises JournalUnavailable if the record or the files are not on disk.
        """
        self._remember([Outcome(kind, tenant, revision, detail or {}, archive)], timeout_s)

    def _remember(self, outcomes: Sequence[Outcome], timeout_s: float | None = None) -> None:
        """The same for several, in one transaction."""
        time_us, ids = self.point.ids.stamp(len(outcomes))
        records, archives = [], []
        for record_id, (kind, tenant, revision, detail, archive) in zip(ids, outcomes, strict=True):
            text = json.dumps(detail, sort_keys=True)
            node = self.settings.node + READS if kind in BY_CALLERS else self.settings.node
            records.append(LifecycleRecord(record_id, time_us, node, kind, tenant, revision, text))
            if archive:
                archives.append(ArchivedRevision(tenant, revision, time_us, archive))
        self.journal.lifecycle(records, timeout_s, archives)

    def report(self) -> WorkerReport:
        stats = self.journal.stats()
        tenants = sorted(self.live.tenants.items())
        policies = "\n".join(f"{tenant} {policy.state} {policy.revision}" for tenant, policy in tenants)
        return WorkerReport(
            self.settings.node,
            serving=True,
            started_us=self.started_us,
            policies=sha256(policies.encode()).hexdigest(),
            committed=stats.committed,
            error=stats.error,
            behind=self.behind(),
            limits_hit=self.limits_hit.counts(),
        )

    def behind(self) -> tuple[str, ...]:
        """The tenants that serve something else than the newest release on this node, and why."""
        if self.release_journal is None:
            return ()
        try:
            current = self.release_journal.current()
        except PolicyStoreError as error:
            return (str(error),)
        tenants = self.live.tenants
        if current is not self._behind.release or tenants is not self._behind.tenants:
            self._behind = _Behind(current, tenants, behind(current, tenants))
        return self._behind.texts

    @property
    def healthy(self) -> bool:
        """Whether decisions are recorded, and the policies are not older than `policy_max_age_s` allows."""
        return self.journal.healthy and not is_too_old(self.settings)

    def stop(self) -> Drained:
        """Records the stop, drains the journal and closes the store. Call it after the last call has ended."""
        self._stop.close()
        drained = self._drained
        waiting, committed = drained.written + drained.unwritten, self.journal.stats().committed
        _log.info("audit drained", committed=committed, waiting=waiting, unwritten=drained.unwritten)
        return drained

    def _begin(self, stop: ExitStack, key: SigningKey | None) -> None:
        """Starts the components that run in threads, the reloader last."""
        settings = self.settings
        stop.callback(self.past.stop)
        self.tests.begin()
        stop.callback(self.tests.stop)
        self.names.begin()
        stop.callback(self.names.stop)
        self.diffs.begin()
        stop.callback(self.diffs.stop)
        self.refused_calls.begin()
        stop.callback(self.refused_calls.stop)
        if self.checkpointer is not None:
            self.checkpointer.begin()
        if self.shadow is not None:
            watch_shadow(self.metrics.registry, self.shadow)
            self.shadow.begin(self.kept.archive)
            stop.callback(self.shadow.stop)
        # If several servers share a database, only one of them runs the retention.
        if settings.retention is not None and (self._process.is_first or self.store.file is not None):
            stores = {settings.node: self.store} | left_stores(self._process)
            every_s = settings.audit_retention_every_s
            retention = RetentionRuns(stores, settings.retention, self.metrics, every_s=every_s, key=key)
            retention.begin()
            stop.callback(retention.stop, settings.grace_s)
        stop.callback(self._stopping.set)
        threading.Thread(target=self._watch_space, name="remit-space", daemon=True).start()
        stop.callback(self.identities.stop)
        self.identities.begin(self.remember)
        self.reloader.begin(lambda outcome: self.remember(*outcome))
        stop.callback(self.reloader.stop)

    def _record_start(self, key: SigningKey | None, outcomes: Sequence[Outcome]) -> None:
        try:
            self.remember("SERVER_STARTED", detail={"version": VERSION, "tree_revision": self.live.tree_revision})
            in_use = key_in_use(key)
            if self._recorded_key() != in_use["key_id"]:
                self.remember(KEY_IN_USE, detail=in_use)
            for start in range(0, len(outcomes), _OUTCOMES):
                self._remember(outcomes[start : start + _OUTCOMES])
        except JournalUnavailable as error:
            raise StartupError(str(error)) from error

    def _recorded_key(self) -> str | None:
        """The id of the key that this node last recorded.

        None if the store cannot be read: the node then records its key again.
        """
        try:
            return recorded_key(self.store, self.settings.node)
        except AuditStoreError:
            return None

    def _record_stop(self) -> None:
        try:
            self.remember("SERVER_STOPPED", detail={"version": VERSION})
        except JournalUnavailable as error:
            _log.warning("the stop is not in the audit log", error=str(error))

    def _close_journal(self) -> None:
        self._drained = self.journal.close(self.settings.grace_s)

    def _close_spool(self, spool: StoreAndForward) -> None:
        left = spool.close(self.settings.grace_s)
        if left:
            _log.warning("records are left in the spool", records=left, spool=str(self.settings.audit_spool))

    def _watch_space(self) -> None:
        low = False
        while True:
            free = self.space.free()
            was_low, low = low, free is not None and free < self.settings.audit_low_space_bytes
            # Without calls, only this check notices that the store is gone.
            self.journal.check()
            if low and not was_low:
                _log.warning("low space for the audit store", free_bytes=free, store_bytes=self.space.taken())
            if self._stopping.wait(_SPACE_EVERY_S):
                return


class _Behind(NamedTuple):
    """What `behind` found, and of which release and tenants."""

    release: CurrentRelease | None
    tenants: Mapping[Tenant, TenantPolicy]
    texts: tuple[str, ...]


class _Audit(NamedTuple):
    store: AuditStore
    spool: StoreAndForward | None
    """The spool before the store, if one is configured."""
    records: AuditReader
    """Reads the audit of all workers of this node."""
    journal: Journal

    @classmethod
    def open(
        cls, store: AuditStore, process: ProcessSettings, metrics: Metrics, otlp: Otlp | None, stop: ExitStack
    ) -> Self:
        """Opens store, spool and journal. `stop` ends `otlp` first, then closes the reader and the store."""
        settings = process.own
        spool = _open_store(store, process)
        stop.callback(store.close)
        records: AuditReader = store
        if store.file is not None:
            records = ShardedStore(process.node.audit)
            stop.callback(records.close)
        if otlp is not None:
            otlp.begin()
            stop.callback(otlp.stop, min(settings.grace_s, _LAST_RECORDS_S))
        journal = Journal(
            spool or store,
            delivery=settings.audit_delivery,
            queue_limit=settings.audit_queue,
            wait_s=settings.audit_wait_s,
            on_commit=metrics.committed,
            on_records=otlp.offer if otlp is not None else None,
        )
        return cls(store, spool, records, journal)


def _bindings(node: ServerNode, journal: ReleaseJournal, stop: ExitStack) -> BindingServices:
    settings = node.settings
    key = settings.signing_key
    store, patient = (
        PolicyStore(settings.policy_store, timeout_s=timeout_s, key=key)
        for timeout_s in (settings.call_timeout_s, STATEMENT_S)
    )
    for each in (store, patient):
        stop.callback(each.close)
    return BindingServices.of(
        store,
        patient,
        journal,
        node.live,
        node.point,
        record=node.remember,
        limits=settings.limits,
        wait_s=settings.revision_wait_s,
        signs=key is not None or not settings.binding_keys,
    )


def _shadow(settings: Settings, record_policy: RecordPolicy) -> Shadow | None:
    if settings.shadow is None:
        return None
    return Shadow(settings.shadow, settings.limits, settings.shadow_share, record_policy.redaction)


def _refuse_without_rights(settings: Settings, live: LivePolicies) -> None:
    """Raises StartupError if nothing says what callers may ask. On loopback they may ask everything."""
    callers = live.tenants.get(CALLERS)
    if settings.tls is None or (callers is not None and callers.snapshot is not None):
        return
    if callers is not None:
        texts = "\n".join(map(str, callers.diagnostics))
        raise StartupError(f"`{CALLERS}`, which says what callers may ask, does not load:\n{texts}")
    if not is_loopback(split_address("listen", settings.listen)[0]):
        raise StartupError(
            f"`listen` is `{settings.listen}`, which others reach, and no folder `{settings.policy_directory / CALLERS}` says what "
            "each caller may ask. `remit callers init` writes this one, in which nobody is bound yet:\n\n"
            f"{starter_text()}"
        )


def _refuse_open_to_others(settings: Settings) -> None:
    checks: list[tuple[str, Path | None, Callable[[Path], str]]] = [
        ("revisions", Path(settings.revisions) if settings.revisions else None, open_to_others),
        ("tls_key", settings.tls_key, secret_problem),
    ]
    for name, path, problem in checks:
        try:
            refusal = "" if path is None else problem(path)
        except OSError as error:
            raise StartupError(f"setting `{name}` is `{path}`, which cannot be read: {error.strerror}") from error
        if refusal:
            raise StartupError(f"setting `{name}`: {refusal}")


def _audit_key(settings: Settings) -> SigningKey | None:
    try:
        return None if settings.audit_key is None else SigningKey.read(settings.audit_key)
    except AuditKeyError as error:
        raise StartupError(f"setting `audit_key`: {error}") from error


def _audit_store(settings: Settings) -> AuditStore:
    """The store, not opened. Raises StartupError if the URL is none."""
    try:
        return AuditStore(
            settings.audit, max_bytes=settings.audit_max_bytes or None, busy_timeout_s=settings.audit_timeout_s
        )
    except AuditStoreError as error:
        raise StartupError(str(error)) from error


def _open_store(store: AuditStore, process: ProcessSettings) -> StoreAndForward | None:
    settings = process.own

    def ready() -> None:
        refuse_gone(settings, store)
        if settings.audit_migrate:
            migrate(settings.audit)
        if store.is_new():
            store.migrate()
        store.open()
        KnownStores(settings).add(place_of(store))

    refuse_left_spools(process)
    try:
        if settings.audit_spool is None:
            ready()
            return None
        return _open_spool(settings.audit_spool, settings, store, ready)
    except AuditStoreError as error:
        raise StartupError(str(error)) from error
    except OSError as error:
        raise StartupError(
            f"cannot open the audit database `{store.url}`: `{error.filename}`: {error.strerror}"
        ) from error


def _open_spool(path: Path, settings: Settings, store: AuditStore, ready: Callable[[], None]) -> StoreAndForward:
    known, place = KnownStores(settings), str(path.absolute())
    try:
        if not path.exists():
            known.require_new("audit_spool", place)
    except OSError as error:
        raise StartupError(f"setting `audit_spool` is `{path}`, which cannot be reached: {error.strerror}") from error
    spooling = StoreAndForward(store, Spool(path, max_bytes=settings.audit_spool_max_bytes), ready).open()
    known.add(place)
    return spooling
