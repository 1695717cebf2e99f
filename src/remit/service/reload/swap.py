"""Applies changes to the tenants of a running server: to the table, the live policies, the records and the logs."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock

import structlog

from remit.audit.errors import JournalUnavailable
from remit.core.names import Tenant
from remit.core.position import Position
from remit.engine.snapshot import Snapshot
from remit.fleet.journal import CurrentRelease, Fork
from remit.policy.build.throttle import free_gradually
from remit.policy.live import LivePolicies, TenantPolicy
from remit.service.errors import LoadingError
from remit.service.metrics import Metrics
from remit.service.reload.tenants import Change, Outcome, Tenants

_log = structlog.get_logger("remit")


class PolicySwap:
    """Applies one change after another. No revision serves before its record is written."""

    def __init__(self, live: LivePolicies, metrics: Metrics, clock_us: Callable[[], int]) -> None:
        self.tenants = Tenants()
        """Any thread may read it. It is replaced only within `changing`."""
        self.live = live
        self.outcomes: list[Outcome] = []
        self.record: Callable[[Outcome], None] = self.outcomes.append
        """Raises JournalUnavailable. Outcomes wait here until the audit is open."""
        self._metrics = metrics
        self._clock_us = clock_us
        self._mutex = Lock()
        """Held while a change is applied, never during a load."""
        self._release: CurrentRelease | None = None
        """The release that the policy files are from; None for files of no release."""
        self._positions: Mapping[Tenant, tuple[str, Position]] = {}
        self._replaced: deque[Iterator[None]] = deque()
        """Rows of replaced policies that must be freed."""

    @contextmanager
    def changing(self, timeout_s: float = -1) -> Iterator[None]:
        """Holds the lock of changes. Raises LoadingError if another change holds it for `timeout_s`."""
        if not self._mutex.acquire(timeout=timeout_s):
            raise LoadingError(f"another change has been in the works for {timeout_s:g} s; try again")
        try:
            yield
        finally:
            self._mutex.release()
            while self._replaced:
                for _ in self._replaced.popleft():
                    pass

    def apply(self, change: Change | None, undo: Callable[[], None] = lambda: None) -> None:
        """Records and applies a change. Call it within `changing`.

        Raises JournalUnavailable; then nothing has changed, and `undo` was called.
        """
        if change is None:
            return
        if change.outcome is not None:
            try:
                self.record(change.outcome)
            except JournalUnavailable:
                undo()
                raise
            if change.outcome.kind in {"POLICY_LOADED", "POLICY_CHECKED", "POLICY_REFUSED"}:
                self._metrics.loaded(change.outcome.tenant, refused=change.outcome.kind == "POLICY_REFUSED")
        self.tenants = change.after
        if change.tenant is None:
            self.live.put(*(self._policy(tenant, policy.snapshot) for tenant, policy in self.live.tenants.items()))
        elif change.tenant in change.after.files:
            self._show(change.tenant, change.swap.snapshot if change.swap else self._snapshot(change.tenant))
        else:
            self.live.remove(change.tenant)
        if change.log is not None:
            level, event, fields = change.log
            getattr(_log, level)(event, **fields)

    def place(self, release: CurrentRelease, recorded: Fork | None = None) -> None:
        """From now on, what serves the same revision as this release has its position. Call it within `changing`.
        `recorded` is the fork of which there is a record already.

        Raises JournalUnavailable if a fork is not recorded; then nothing has changed.
        """
        if release == self._release:
            return
        if release.fork is not None and release.fork != recorded:
            text, seq, hash_ = release.fork
            detail = {"fork": text, "release": seq, "hash": hash_}
            self.record(Outcome("POLICY_FORK", "", "", detail))
        self._release, self._positions = release, release.positions
        self.live.passed = release.passed
        for tenant, policy in self.live.tenants.items():
            placed = self._placed(tenant, policy.snapshot)
            if placed is not policy.snapshot:
                self.live.put(replace(policy, snapshot=placed))

    def _placed(self, tenant: Tenant, snapshot: Snapshot | None) -> Snapshot | None:
        revision, position = self._positions.get(tenant, ("", None))
        if snapshot is None or snapshot.revision != revision or snapshot.position == position:
            return snapshot
        return snapshot.at(position)

    def _show(self, tenant: Tenant, snapshot: Snapshot | None) -> None:
        """The swap: one assignment."""
        before, policy = self._snapshot(tenant), self._policy(tenant, snapshot)
        if before is None or (snapshot is not None and before.policy is snapshot.policy):
            self.live.put(policy)
            return
        replaced = free_gradually(before.policy)
        next(replaced)
        # Rows are freed gradually only if nothing else refers to them.
        del before
        self.live.put(policy)
        self._replaced.append(replaced)

    def _policy(self, tenant: Tenant, snapshot: Snapshot | None) -> TenantPolicy:
        snapshot = self._placed(tenant, snapshot)
        policy, before = self.tenants.policy(tenant, self._clock_us(), snapshot), self.live.tenants.get(tenant)
        same = before is not None and (before.state, before.revision) == (policy.state, policy.revision)
        return self.tenants.policy(tenant, before.since_us, snapshot) if before and same else policy

    def _snapshot(self, tenant: Tenant) -> Snapshot | None:
        policy = self.live.tenants.get(tenant)
        return policy.snapshot if policy is not None else None
