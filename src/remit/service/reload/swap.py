"""Applies changes to the tenants of a running server: to the table, the live policies, the records and the logs."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

import structlog

from remit.audit.errors import JournalUnavailable
from remit.core.names import Principal, Tenant
from remit.engine.snapshot import Snapshot
from remit.fleet.current_release import CurrentRelease, Fork
from remit.fleet.history import TenantPosition
from remit.policy.build.throttle import free_gradually
from remit.policy.live import LivePolicies, TenantPolicy
from remit.service.errors import LoadingError
from remit.service.metrics import Metrics
from remit.service.reload.overlays import OverlayRefusedError, Overlays
from remit.service.reload.tenants import Change, Outcome, Tenants

_SHOWN: Final = 5
"""Rows named in a line of the log."""

_log = structlog.get_logger("remit")


class OtherReleaseError(OverlayRefusedError):
    """The files are from another release than the one whose rows are known: together they would be no state that the tenant
    ever had. What serves goes on, until the files or the rows of the same release are here."""


class PolicySwap:
    """Applies one change after another. No revision serves before its record is written."""

    def __init__(
        self, live: LivePolicies, metrics: Metrics, clock_us: Callable[[], int], overlays: Overlays | None = None
    ) -> None:
        """Without `overlays`, no rows are granted at run time."""
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
        self._overlays = overlays
        self._bases: dict[Tenant, Snapshot | None] = {}
        """The policies of the files that serve, without rows of run time."""
        self._told: dict[Tenant, str] = {}
        """The revision that was last recorded as serving."""
        self._waiting: set[Tenant] = set()
        """Tenants whose rows of run time do not serve yet."""
        self._replaced: list[Iterator[None]] = []
        """Rows of policies that the present change has replaced, to be freed after it."""

    @contextmanager
    def changing(self, timeout_s: float = -1) -> Iterator[None]:
        """Holds the lock of changes. Raises LoadingError if another change holds it for `timeout_s`."""
        if not self._mutex.acquire(timeout=timeout_s):
            raise LoadingError(f"another change has been in the works for {timeout_s:g} s; try again")
        try:
            yield
        finally:
            # Each change frees what it has replaced itself: no other change waits for that.
            replaced, self._replaced = self._replaced, []
            self._mutex.release()
            for each in replaced:
                for _ in each:
                    pass

    def apply(self, change: Change | None, undo: Callable[[], None] = lambda: None) -> None:
        """Records and applies a change. Call it within `changing`.

        Raises JournalUnavailable; then nothing has changed, and `undo` was called.
        """
        if change is None:
            return
        if change.outcome is not None:
            self._record(change.outcome, undo, serves=change.swap is not None)
            if change.outcome.kind in {"POLICY_LOADED", "POLICY_CHECKED", "POLICY_REFUSED"}:
                self._metrics.loaded(change.outcome.tenant, refused=change.outcome.kind == "POLICY_REFUSED")
        self.tenants = change.after
        if change.tenant is None:
            for tenant in self.live.tenants:
                self._put(tenant)
        elif change.tenant in change.after.files:
            if change.swap is not None:
                self._show(change.tenant, change.swap.snapshot)
            else:
                self._put(change.tenant)
        else:
            self.live.remove(change.tenant)
            self._bases.pop(change.tenant, None)
        if change.log is not None:
            level, event, fields = change.log
            getattr(_log, level)(event, **fields)

    def _record(self, outcome: Outcome, undo: Callable[[], None], *, serves: bool) -> None:
        try:
            if serves:
                self.live.record_begins()
            self.record(outcome)
        except JournalUnavailable:
            self.live.record_ended()
            undo()
            raise

    def place(self, release: CurrentRelease, recorded: Fork | None = None) -> list[Tenant]:
        """From now on, the rows of run time are those of this release, and what serves its files has its position. While a
        tenant's files are loaded, its new rows wait that give something: they were granted over those files. Call it within
        `changing`.
        `recorded` is the fork of which there is a record already. Returns the tenants with new changes of rows whose
        files were not loaded yet: somebody may wait for them.

        Raises JournalUnavailable if a fork is not recorded; then nothing has changed. Raises OSError and ValueError if the
        rows cannot be read.
        """
        # Not `passed`: to compare it reads a file of each tenant.
        if self._release is not None and release[:4] == self._release[:4] and not self._waiting:
            return []
        if release.fork is not None and release.fork != recorded:
            text, seq, hash_ = release.fork
            detail = {"fork": text, "release": seq, "hash": hash_}
            self.record(Outcome("POLICY_FORK", "", "", detail))
        before = self._release.tenants if self._release is not None else {}
        moved = {tenant for tenant, position in release.tenants.items() if before.get(tenant) != position}
        changed: set[Tenant] = set()
        if self._overlays is not None:
            changed = self._overlays.read(release, moved)
        self._release = release
        self.live.passed = release.passed
        for tenant in moved | changed | self._waiting:
            policy = self.live.get(tenant)
            if policy is None:
                continue
            if tenant in changed or tenant in self._waiting:
                self._put(tenant)
            elif self._placed(tenant, policy.snapshot) is not policy.snapshot:
                self.live.put(self._policy(tenant, policy.snapshot))
        return [tenant for tenant in moved if self._is_urgent(tenant, release.tenants[tenant], before.get(tenant))]

    def _is_urgent(self, tenant: Tenant, position: TenantPosition, before: TenantPosition | None) -> bool:
        files = self.tenants.files.get(tenant)
        is_loaded = files is None or files.pin is not None or files.revision == position.revision
        return not is_loaded and (before is None or before.bindings != position.bindings)

    def lifted(self, tenant: Tenant, files: Snapshot | None) -> Collection[Principal]:
        """Who is suspended by a row of run time, and would not be over these files. Call it within `changing`."""
        return self._overlays.lifted(tenant, files) if self._overlays is not None and files is not None else ()

    def end_rows(self) -> None:
        """Rows of run time whose end has passed count no more, and those whose record was not written are tried again. Call it
        within `changing`."""
        if self._overlays is not None:
            for tenant in {*self._overlays.ended(), *(self._waiting & {*self.live.unrecorded})}:
                self._put(tenant)

    def next_end_us(self) -> int | None:
        """When the next row of run time ends; None if none does. Call it within `changing`."""
        return self._overlays.next_end_us() if self._overlays is not None else None

    def _is_ready(self, overlays: Overlays, release: CurrentRelease, tenant: Tenant) -> bool:
        """Whether the tenant's files of the release were loaded or refused, or do not serve for another reason. Before the
        first rows serve, nothing waits: somebody may be suspended by one."""
        files = self.tenants.files.get(tenant)
        if self.tenants.wrong or not overlays.serves(tenant):
            return True
        return files is not None and (files.pin is not None or files.revision == release.tenants[tenant].revision)

    def _placed(self, tenant: Tenant, snapshot: Snapshot | None) -> Snapshot | None:
        release, base = self._release, self._bases.get(tenant)
        if snapshot is None or base is None or release is None or tenant in self._waiting:
            return snapshot
        if tenant not in release.tenants or base.revision != release.tenants[tenant].revision:
            return snapshot
        position = release.position(tenant)
        return snapshot if snapshot.position == position else snapshot.at(position)

    def _show(self, tenant: Tenant, base: Snapshot | None) -> None:
        """The files' next policy serves, with the rows of run time over it."""
        before, self._bases[tenant] = self._bases.get(tenant), base
        self._told[tenant] = base.revision if base is not None else ""
        replaced: Iterator[None] | None = None
        if before is not None and (base is None or before.policy is not base.policy):
            replaced = free_gradually(before.policy)
            next(replaced)
        # Rows are freed gradually only if nothing else refers to them.
        del before
        self._put(tenant)
        if replaced is not None:
            self._replaced.append(replaced)

    def _put(self, tenant: Tenant) -> None:
        """The swap: one assignment. If the rows of run time do not fit, or their record is not written, what serves goes
        on, and the next call tries again."""
        base = self._bases.get(tenant)
        snapshot, held = base, tenant in self.live.unrecorded
        try:
            if base is not None and self._overlays is not None:
                snapshot = self._overlaid(self._overlays, tenant, base)
            self._waiting.discard(tenant)
            outdated = False
        except OtherReleaseError:
            snapshot, outdated = self._wait(tenant), held
        except JournalUnavailable as error:
            snapshot, outdated = self._wait(tenant, error if not held else None), True
        except (OverlayRefusedError, OSError, ValueError) as error:
            snapshot, outdated = self._wait(tenant, error), False
        self.live.put(self._policy(tenant, snapshot))
        self.live.hold(tenant, on=outdated)
        self.live.record_ended()

    def _wait(self, tenant: Tenant, error: Exception | None = None) -> Snapshot | None:
        """The tenant's newest rows do not serve yet. Returns what does."""
        self._waiting.add(tenant)
        if error is not None:
            _log.error("rows of run time do not serve", tenant=tenant, error=str(error))
        return self._present(tenant)

    def _overlaid(self, overlays: Overlays, tenant: Tenant, base: Snapshot) -> Snapshot:
        """Raises OverlayRefusedError and JournalUnavailable, and what `Overlays.read` raises."""
        release, present = self._release, self._present(tenant)
        ready = release is None or tenant not in release.tenants or self._is_ready(overlays, release, tenant)
        position = release.tenants.get(tenant) if release is not None else None
        if release is not None and position is not None:
            overlays.read(release, [tenant])
        if not ready and present is not None and not overlays.is_over(tenant, base):
            raise OtherReleaseError
        over_others = position is not None and position.revision != base.revision
        snapshot = overlays.over(tenant, base, granted_over_others=over_others, only_taking=not ready)
        if snapshot.revision != self._told[tenant]:
            archive = overlays.archive(tenant)
            needs = [each for each in (archive.files, archive.after) if each] if archive is not None else []
            detail = {"needs": needs, "replaces": self._told[tenant], "rows": overlays.count(tenant)}
            content = archive.content if archive is not None else b""
            if over_others and (left_out := overlays.left_out(tenant)):
                texts = [each.text for each in left_out[:_SHOWN]]
                _log.warning("rows of run time do not fit these files", tenant=tenant, rows=len(left_out), first=texts)
            self.live.record_begins()
            self.record(Outcome("BINDINGS_APPLIED", tenant, snapshot.revision, detail, content))
            if archive is not None:
                overlays.stored(tenant, archive)
            self._told[tenant] = snapshot.revision
        if not ready and snapshot.position is None and present is not None:
            # It has what was before that position, and what takes away since.
            return snapshot.at(present.position)
        return snapshot

    def _present(self, tenant: Tenant) -> Snapshot | None:
        """What serves."""
        policy = self.live.get(tenant)
        return policy.snapshot if policy is not None else None

    def _policy(self, tenant: Tenant, snapshot: Snapshot | None) -> TenantPolicy:
        snapshot = self._placed(tenant, snapshot)
        policy, before = self.tenants.policy(tenant, self._clock_us(), snapshot), self.live.get(tenant)
        same = before is not None and (before.state, before.revision) == (policy.state, policy.revision)
        return self.tenants.policy(tenant, before.since_us, snapshot) if before and same else policy
