import json
import threading
import time
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Self

import structlog

from remit.audit.errors import AuditStoreError, JournalUnavailable, UnmigratedError
from remit.audit.ids import DecisionIds
from remit.audit.journal import Drained, Journal
from remit.audit.many import migrate
from remit.audit.record import LifecycleRecord
from remit.audit.store import AuditStore
from remit.policy.cell import Cell
from remit.service.errors import StartupError
from remit.service.metrics import Metrics
from remit.service.point import DecisionPoint
from remit.service.reload import Reloader
from remit.service.settings import Settings
from remit.service.shadow import Shadow
from remit.service.version import VERSION
from remit.service.workers import WorkerReport

_SPACE_EVERY_S: Final = 10.0

_log = structlog.get_logger("remit")


def now_us() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Node:
    """Everything behind the faces of one server process, wired: policies loaded, audit open, decision point ready."""

    settings: Settings
    cell: Cell
    store: AuditStore
    journal: Journal
    metrics: Metrics
    point: DecisionPoint
    reloader: Reloader
    started_us: int
    _stopping: threading.Event
    workers: list[WorkerReport] = field(default_factory=list, compare=False)
    """How the workers of this node were a moment ago, this one included; empty for a server without any."""

    @classmethod
    def start(cls, settings: Settings) -> Self:
        """Raises StartupError where anything is unsure: bad root files, an unmigrated database, a store that fails."""
        ids = DecisionIds()
        cell = Cell()
        metrics = Metrics()
        reloader = Reloader(settings, cell, metrics, now_us)
        outcomes = reloader.load()
        store = _open_store(settings)
        journal = Journal(
            store,
            delivery=settings.audit_delivery,
            queue_limit=settings.audit_queue,
            wait_s=settings.audit_wait_s,
            on_commit=metrics.committed,
        )
        metrics.watch(cell, journal, store, now_us)
        shadow = None
        if settings.shadow is not None:
            shadow = Shadow(settings.shadow, settings.limits, settings.shadow_share)
            metrics.watch_shadow(shadow)
        point = DecisionPoint(settings.node, cell, journal, ids, metrics, settings.revision_wait_s, shadow)
        node = cls(settings, cell, store, journal, metrics, point, reloader, now_us(), threading.Event())
        try:
            node.remember("SERVER_STARTED", detail={"version": VERSION, "tree_revision": cell.tree_revision})
            for outcome in outcomes:
                node.remember(*outcome)
        except JournalUnavailable as error:
            journal.close(0)
            raise StartupError(f"the audit store takes no records: {error}") from error
        threading.Thread(target=node._watch_space, name="remit-space", daemon=True).start()
        reloader.begin(lambda outcome: node.remember(*outcome))
        if shadow is not None:
            shadow.begin()
        return node

    def remember(self, kind: str, tenant: str = "", revision: str = "", detail: dict[str, Any] | None = None) -> None:
        """Writes a lifecycle record. Raises JournalUnavailable where it is not on disk."""
        time_us, (record_id,) = self.point.ids.stamp(1)
        told = json.dumps(detail or {}, sort_keys=True)
        self.journal.lifecycle(LifecycleRecord(record_id, time_us, self.settings.node, kind, tenant, revision, told))

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
        if self.point.shadow is not None:
            self.point.shadow.stop()
        try:
            self.remember("SERVER_STOPPED", detail={"version": VERSION})
        except JournalUnavailable as error:
            _log.warning("the stop is not in the audit log", error=str(error))
        drained = self.journal.close(self.settings.grace_s)
        self.store.close()
        _log.info("audit drained", written=drained.written, unwritten=drained.unwritten)
        return drained

    def _watch_space(self) -> None:
        low = False
        while True:
            free = self.store.free_bytes()
            was_low, low = low, free is not None and free < self.settings.audit_low_space_bytes
            if low and not was_low:
                _log.warning("low space for the audit store", free_bytes=free, store_bytes=self.store.size_bytes())
            if self._stopping.wait(_SPACE_EVERY_S):
                return


def _open_store(settings: Settings) -> AuditStore:
    try:
        if settings.audit_migrate:
            migrate(settings.audit)
        store = AuditStore(settings.audit, max_bytes=settings.audit_max_bytes or None)
        if store.is_new():
            store.migrate()
        return store.open()
    except (AuditStoreError, UnmigratedError, OSError) as error:
        raise StartupError(str(error)) from error
