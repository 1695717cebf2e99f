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
from remit.core.diagnostics import PolicyError
from remit.core.names import Tenant
from remit.policy.cell import Cell, TenantPolicy, TenantState
from remit.policy.load import LoadedTenant, load_tree
from remit.service.errors import StartupError
from remit.service.metrics import Metrics
from remit.service.point import DecisionPoint
from remit.service.settings import Settings
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
    started_us: int
    _stopping: threading.Event

    @classmethod
    def start(cls, settings: Settings) -> Self:
        """Raises StartupError where anything is unsure: bad root files, an unmigrated database, a store that fails."""
        ids = DecisionIds()
        cell = Cell()
        loaded = _load(settings, cell)
        store = _open_store(settings)
        metrics = Metrics()
        journal = Journal(
            store,
            delivery=settings.audit_delivery,
            queue_limit=settings.audit_queue,
            wait_s=settings.audit_wait_s,
            on_commit=metrics.committed,
        )
        metrics.watch(cell, journal, store, now_us)
        point = DecisionPoint(settings.node, cell, journal, ids, metrics, settings.revision_wait_s)
        node = cls(settings, cell, store, journal, metrics, point, now_us(), threading.Event())
        try:
            node.remember("SERVER_STARTED", detail={"version": VERSION, "tree_revision": cell.tree_revision})
            for each in loaded:
                node.remember(*_loading(each))
        except JournalUnavailable as error:
            journal.close(0)
            raise StartupError(f"the audit store takes no records: {error}") from error
        threading.Thread(target=node._watch_space, name="remit-space", daemon=True).start()
        return node

    def remember(self, kind: str, tenant: str = "", revision: str = "", detail: dict[str, Any] | None = None) -> None:
        """Writes a lifecycle record. Raises JournalUnavailable where it is not on disk."""
        time_us, (record_id,) = self.point.ids.stamp(1)
        told = json.dumps(detail or {}, sort_keys=True)
        self.journal.lifecycle(LifecycleRecord(record_id, time_us, self.settings.node, kind, tenant, revision, told))

    def stop(self) -> None:
        """Records the stop, drains the journal and closes the store. Call it when no call is in flight any more."""
        self._stopping.set()
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


def _load(settings: Settings, cell: Cell) -> list[LoadedTenant]:
    try:
        tree = load_tree(settings.policies, settings.limits)
    except PolicyError as error:
        raise StartupError(f"the root files of `{settings.policies}` do not load:\n{error}") from None
    except OSError as error:
        raise StartupError(f"policy directory `{settings.policies}` cannot be read: {error.strerror}") from None
    loaded = list(tree.tenants.values())
    if not loaded:
        raise StartupError(f"policy directory `{settings.policies}` has no tenant's folder")
    for each in loaded:
        if each.snapshot is None:
            _log.error("tenant refused", tenant=each.tenant, diagnostics=[str(found) for found in each.diagnostics])
        else:
            _log.info(
                "tenant loaded",
                tenant=each.tenant,
                revision=each.revision,
                rows=each.rows,
                cases=len(each.cases),
                witnessed=each.witnessed,
                seconds=round(each.seconds, 3),
            )
    since = now_us()
    cell.install({each.tenant: _serving(each, since) for each in loaded}, tree.tree_revision)
    return loaded


def _serving(loaded: LoadedTenant, since_us: int) -> TenantPolicy:
    state = TenantState.SERVING if loaded.snapshot is not None else TenantState.UNAVAILABLE
    return TenantPolicy(loaded.tenant, state, since_us, loaded.snapshot, loaded.diagnostics)


def _loading(loaded: LoadedTenant) -> tuple[str, Tenant, str, dict[str, Any]]:
    """The lifecycle record of a load or a refusal."""
    if loaded.snapshot is None:
        diagnostics = [str(each) for each in loaded.diagnostics[:20]]
        return "POLICY_REFUSED", loaded.tenant, loaded.revision, {"diagnostics": diagnostics}
    detail = {"rows": loaded.rows, "cases": len(loaded.cases), "witnessed": loaded.witnessed}
    return "POLICY_LOADED", loaded.tenant, loaded.revision, detail


def _open_store(settings: Settings) -> AuditStore:
    try:
        store = AuditStore(settings.audit, max_bytes=settings.audit_max_bytes or None)
        if store.is_new() or settings.audit_migrate:
            store.migrate()
        return store.open()
    except (AuditStoreError, UnmigratedError, OSError) as error:
        raise StartupError(str(error)) from error
