import json
import threading
import time
from dataclasses import dataclass
from typing import Any, Final, Self

import structlog

from remit.audit.errors import AuditStoreError, JournalUnavailable, UnmigratedError
from remit.audit.ids import DecisionIds
from remit.audit.journal import Journal
from remit.audit.record import LifecycleRecord
from remit.audit.store import AuditStore
from remit.policy.cell import Cell
from remit.service.errors import StartupError
from remit.service.metrics import Metrics
from remit.service.past import Past
from remit.service.point import DecisionPoint
from remit.service.reload import Reloader
from remit.service.settings import Settings
from remit.service.shadow import Shadow
from remit.service.version import VERSION

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
    past: Past
    started_us: int
    _stopping: threading.Event

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
        past = Past(store, cell, settings.limits)
        node = cls(settings, cell, store, journal, metrics, point, reloader, past, now_us(), threading.Event())
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
                self.store.keep_revision(tenant, revision, time_us, archive)
            except AuditStoreError as error:
                raise JournalUnavailable(str(error)) from error
        told = json.dumps(detail or {}, sort_keys=True)
        record = LifecycleRecord(record_id, time_us, self.settings.node, kind, tenant, revision, told)
        self.journal.lifecycle(record, timeout_s)

    def stop(self) -> None:
        """Records the stop, drains the journal and closes the store. Call it when no call is in flight any more."""
        self._stopping.set()
        self.reloader.stop()
        self.past.stop()
        if self.point.shadow is not None:
            self.point.shadow.stop()
        try:
            self.remember("SERVER_STOPPED", detail={"version": VERSION})
        except JournalUnavailable as error:
            _log.warning("the stop is not in the audit log", error=str(error))
        drained = self.journal.close(self.settings.grace_s)
        self.store.close()
        _log.info("audit drained", written=drained.written, unwritten=drained.unwritten)

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
        store = AuditStore(settings.audit, max_bytes=settings.audit_max_bytes or None)
        if store.is_new() or settings.audit_migrate:
            store.migrate()
        return store.open()
    except (AuditStoreError, UnmigratedError, OSError) as error:
        raise StartupError(str(error)) from error
