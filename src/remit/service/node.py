import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self

import structlog

from remit.audit.chain.chain import READS
from remit.audit.chain.signing import AuditKeyError, SigningKey
from remit.audit.checkpoint.checkpointer import Checkpointer, key_in_use, recorded_key
from remit.audit.errors import NO_RECORDS, AuditStoreError, JournalUnavailable
from remit.audit.ids import DecisionIds
from remit.audit.journal.journal import Journal
from remit.audit.journal.stats import Drained
from remit.audit.query.reader import AuditReader
from remit.audit.record import AUDIT_READ, KEY_IN_USE, LifecycleRecord
from remit.audit.spool.spool import Spool
from remit.audit.spool.store_and_forward import StoreAndForward
from remit.audit.store.shards import ShardedStore, migrate
from remit.audit.store.store import AuditStore
from remit.files import secret_problem
from remit.policy.live import LivePolicies
from remit.policy.revisions.store import open_to_others
from remit.service.decision_point import DecisionPoint
from remit.service.disk_space import AuditSpace
from remit.service.errors import StartupError
from remit.service.known_stores import KnownStores, place_of, refuse_gone
from remit.service.metrics import Metrics
from remit.service.otlp.exporter import Otlp
from remit.service.past import Past
from remit.service.reload.reloader import Reloader
from remit.service.retention_job import RetentionRuns
from remit.service.sampling import RecordPolicy
from remit.service.settings import Settings
from remit.service.shadow.shadow import Shadow
from remit.service.version import VERSION
from remit.service.workers.messages import WorkerReport
from remit.service.workers.orphans import left_stores, refuse_left_spools

_SPACE_EVERY_S: Final = 10.0
# For what a collector may still get on a stop: the store has it anyway.
_LAST_RECORDS_S: Final = 3.0

_log = structlog.get_logger("remit")


def now_us() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class ServerNode:
    """Everything behind the faces of one server process, wired: policies loaded, audit open, decision point ready."""

    settings: Settings
    cell: LivePolicies
    store: AuditStore
    records: AuditReader
    """The audit of all workers of this node, to be read."""
    spooling: StoreAndForward | None
    """What stands before the store, if anything does."""
    space: AuditSpace
    journal: Journal
    metrics: Metrics
    point: DecisionPoint
    reloader: Reloader
    checkpointer: Checkpointer | None
    past: Past
    retention: RetentionRuns | None
    otlp: Otlp | None
    started_us: int
    _stopping: threading.Event
    workers: list[WorkerReport] = field(default_factory=list, compare=False)
    """How the workers of this node were a moment ago, this one included; empty for a server without any."""

    @classmethod
    def start(cls, settings: Settings) -> Self:
        """Raises StartupError where anything is unsure: bad root files, an unmigrated database, a store that fails."""
        _refuse_open_to_others(settings)
        key = _audit_key(settings)
        keeping = RecordPolicy(settings.redaction, settings.audit_sample_allows)
        ids = DecisionIds()
        cell = LivePolicies()
        metrics = Metrics()
        otlp = Otlp(settings.audit_otlp, settings.node, metrics) if settings.audit_otlp else None
        reloader = Reloader(settings, cell, metrics, now_us)
        outcomes = reloader.load()
        store, spooling = _open_store(settings)
        journal = Journal(
            spooling or store,
            delivery=settings.audit_delivery,
            queue_limit=settings.audit_queue,
            wait_s=settings.audit_wait_s,
            on_commit=metrics.committed,
            on_records=otlp.offer if otlp is not None else None,
        )
        space = AuditSpace(store, spooling, journal)
        metrics.watch(cell, journal, space, spooling, now_us)
        shadow = None
        if settings.shadow is not None:
            shadow = Shadow(settings.shadow, settings.limits, settings.shadow_share, keeping.redaction)
            metrics.watch_shadow(shadow)
        point = DecisionPoint(settings.node, cell, journal, ids, metrics, settings.revision_wait_s, keeping, shadow)
        every_s = settings.audit_checkpoint_s
        checkpointer = (
            None
            if key is None
            else Checkpointer(store, key, settings.node, every_s, now_us, tenants=lambda: cell.tenants)
        )
        retention = None
        # A database that is everybody's is seen to by one.
        if settings.retention is not None and (settings.is_first or store.file is not None):
            every_s = settings.audit_retention_every_s
            stores = {settings.node: store} | left_stores(settings)
            retention = RetentionRuns(stores, settings.retention, metrics, every_s=every_s, key=key)
        records = store if store.file is None else ShardedStore(settings.named.audit)
        node = cls(
            settings=settings,
            cell=cell,
            store=store,
            records=records,
            spooling=spooling,
            space=space,
            journal=journal,
            metrics=metrics,
            point=point,
            reloader=reloader,
            checkpointer=checkpointer,
            past=Past(records, cell, settings.limits),
            retention=retention,
            otlp=otlp,
            started_us=now_us(),
            _stopping=threading.Event(),
        )
        try:
            node.remember("SERVER_STARTED", detail={"version": VERSION, "tree_revision": cell.tree_revision})
            node._remember_key(key)
            for outcome in outcomes:
                node.remember(*outcome)
        except JournalUnavailable as error:
            journal.close(0)
            raise StartupError(str(error)) from error
        threading.Thread(target=node._watch_space, name="remit-space", daemon=True).start()
        if checkpointer is not None:
            checkpointer.begin()
        reloader.begin(lambda outcome: node.remember(*outcome))
        if shadow is not None:
            shadow.begin()
        if retention is not None:
            retention.begin()
        if otlp is not None:
            otlp.begin()
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
        """Writes a lifecycle record, and before it the files of the revision that it names, where they are given. Raises
        JournalUnavailable where they are not on disk."""
        time_us, (record_id,) = self.point.ids.stamp(1)
        if archive:
            try:
                (self.spooling or self.store).keep_revision(tenant, revision, time_us, archive)
            except AuditStoreError as error:
                raise JournalUnavailable(NO_RECORDS, str(error)) from error
        told = json.dumps(detail or {}, sort_keys=True)
        node = self.settings.node + READS if kind == AUDIT_READ else self.settings.node
        record = LifecycleRecord(record_id, time_us, node, kind, tenant, revision, told)
        self.journal.lifecycle(record, timeout_s)

    def report(self) -> WorkerReport:
        stats = self.journal.stats()
        tenants = sorted(self.cell.tenants.items())
        policies = "\n".join(f"{tenant} {policy.state} {policy.revision}" for tenant, policy in tenants)
        return WorkerReport(
            self.settings.node,
            serving=True,
            started_us=self.started_us,
            policies=sha256(policies.encode()).hexdigest(),
            committed=stats.committed,
            error=stats.error,
        )

    def stop(self) -> Drained:
        """Records the stop, drains the journal and closes the store. Call it when no call is in flight any more."""
        self._stopping.set()
        self.reloader.stop()
        self.past.stop()
        if self.point.shadow is not None:
            self.point.shadow.stop()
        if self.retention is not None:
            self.retention.stop(self.settings.grace_s)
        try:
            self.remember("SERVER_STOPPED", detail={"version": VERSION})
        except JournalUnavailable as error:
            _log.warning("the stop is not in the audit log", error=str(error))
        drained = self.journal.close(self.settings.grace_s)
        if self.spooling is not None:
            left = self.spooling.close(self.settings.grace_s)
            if left:
                _log.warning("records are left in the spool", records=left, spool=str(self.settings.audit_spool))
        if self.checkpointer is not None:
            self.checkpointer.stop(self.settings.grace_s)
        if self.otlp is not None:
            self.otlp.stop(min(self.settings.grace_s, _LAST_RECORDS_S))
        if isinstance(self.records, ShardedStore):
            self.records.close()
        self.store.close()
        waiting, committed = drained.written + drained.unwritten, self.journal.stats().committed
        _log.info("audit drained", committed=committed, waiting=waiting, unwritten=drained.unwritten)
        return drained

    def _remember_key(self, key: SigningKey | None) -> None:
        """Records the key where it is another one than last time."""
        in_use = key_in_use(key)
        try:
            known = recorded_key(self.store, self.settings.node)
        except AuditStoreError:
            known = None  # told once too often, where the store cannot be read
        if known != in_use["key_id"]:
            self.remember(KEY_IN_USE, detail=in_use)

    def _watch_space(self) -> None:
        low = False
        while True:
            free = self.space.free()
            was_low, low = low, free is not None and free < self.settings.audit_low_space_bytes
            # So that a server that nobody asks says it too.
            self.journal.check()
            if low and not was_low:
                _log.warning("low space for the audit store", free_bytes=free, store_bytes=self.space.taken())
            if self._stopping.wait(_SPACE_EVERY_S):
                return


def _refuse_open_to_others(settings: Settings) -> None:
    checks: list[tuple[str, Path | None, Callable[[Path], str]]] = [
        ("revisions", Path(settings.revisions) if settings.revisions else None, open_to_others),
        ("tls_key", settings.tls_key, secret_problem),
    ]
    for name, path, problem in checks:
        try:
            told = "" if path is None else problem(path)
        except OSError as error:
            raise StartupError(f"setting `{name}` is `{path}`, which cannot be read: {error.strerror}") from error
        if told:
            raise StartupError(f"setting `{name}`: {told}")


def _audit_key(settings: Settings) -> SigningKey | None:
    try:
        return None if settings.audit_key is None else SigningKey.read(settings.audit_key)
    except AuditKeyError as error:
        raise StartupError(f"setting `audit_key`: {error}") from error


def _open_store(settings: Settings) -> tuple[AuditStore, StoreAndForward | None]:
    def ready() -> None:
        refuse_gone(settings, store)
        if settings.audit_migrate:
            migrate(settings.audit)
        if store.is_new():
            store.migrate()
        store.open()
        KnownStores(settings).add(place_of(store))

    refuse_left_spools(settings)
    try:
        store = AuditStore(
            settings.audit, max_bytes=settings.audit_max_bytes or None, busy_timeout_s=settings.audit_timeout_s
        )
        if settings.audit_spool is None:
            ready()
            return store, None
        return store, _open_spool(settings.audit_spool, settings, store, ready)
    except (AuditStoreError, OSError) as error:
        raise StartupError(str(error)) from error


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
