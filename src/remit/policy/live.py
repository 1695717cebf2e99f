from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from threading import Condition
from time import monotonic
from typing import Final

from remit.core.diagnostics import Diagnostic
from remit.core.errors import RemitError
from remit.core.names import Tenant
from remit.core.position import Position
from remit.engine.snapshot import Snapshot

_PASSED: Final = 256
"""Revisions of a tenant that served before the present one and are remembered."""
_RECORDING_S: Final = 0.5
"""How long what served before answers while the record of a newer policy is written."""


class TenantState(StrEnum):
    SERVING = "SERVING"
    """The newest files serve."""
    STALE = "STALE"
    """The newest files did not load; an older revision serves."""
    UNAVAILABLE = "UNAVAILABLE"
    """The files did not load and there is no older revision."""
    PINNED = "PINNED"
    """A stored revision serves because an operator pinned it; newer files are checked and wait."""


class TenantUnavailableError(RemitError):
    """The tenant is configured, but no policy of it loads, or the newest one waits for its record: no decision is possible, and
    remit makes none up."""


class RevisionNotCurrentError(RemitError):
    """The required revision or position did not become current in time, or cannot any more."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """Which policy of a tenant may answer. If both are given, both must hold."""

    revision: str = ""
    """Only this revision; '' for any."""
    at_least: Position | None = None
    """Only a policy at this position of the tenant's history, or at a later one."""

    def __str__(self) -> str:
        revision = [f"revision `{self.revision}`"] if self.revision else []
        position = [f"position `{self.at_least}`"] if self.at_least is not None else []
        return " and ".join(revision + position)


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """The policy that serves a tenant, and since when."""

    tenant: Tenant
    state: TenantState
    since_us: int
    """Microseconds since the Unix epoch."""
    snapshot: Snapshot | None
    diagnostics: tuple[Diagnostic, ...] = ()
    files_revision: str = ""
    """The revision of the newest files, even if they do not load."""
    pinned_by: str = ""
    """The caller who pinned the revision; '' if it is not pinned."""

    @property
    def revision(self) -> str:
        return self.snapshot.revision if self.snapshot is not None else ""

    @property
    def position(self) -> str:
        """The text of the snapshot's position; '' if it has none."""
        return str(self.snapshot.position) if self.snapshot is not None and self.snapshot.position is not None else ""


class LivePolicies:
    """The live policies of all tenants. Readers take one reference; a change is one assignment."""

    def __init__(self) -> None:
        self._tenants: dict[Tenant, TenantPolicy] = {}
        self._copy: Mapping[Tenant, TenantPolicy] | None = None
        """The same for readers; None after a change."""
        self._changed = Condition()
        self._changes = 0
        self._waiters: set[_Waiter] = set()
        self._passed: dict[Tenant, tuple[str, ...]] = {}
        """The last revisions that served each tenant before the present one."""
        self._recording_s: float | None = None
        """Since when a newer policy waits for its record, by the monotonic clock."""
        self._unrecorded: set[Tenant] = set()
        """Tenants with a newer policy whose record was not written."""
        self.tree_revision = ""
        self.wanted: Callable[[], None] | None = None
        """Asks the policy store for its newest changes, and does not wait for them. A call that must wait for a position
        calls it. None without a policy store: then no policy has a position."""
        self.passed: Mapping[Tenant, dict[int, Position]] = {}
        """Positions of each tenant's history in the policy store, by their number, ascending up to the newest. There may be
        gaps."""

    @property
    def tenants(self) -> Mapping[Tenant, TenantPolicy]:
        """All of them as they are now. It is the same object until the next change. To copy them takes time: `get` is for one
        tenant."""
        copy = self._copy
        if copy is None:
            with self._changed:
                copy = self._copy = self._tenants.copy()
        return copy

    def get(self, tenant: Tenant) -> TenantPolicy | None:
        return self._tenants.get(tenant)

    def put(self, *policies: TenantPolicy) -> None:
        """Adds or replaces the policies of these tenants in one step."""
        with self._changed:
            for each in policies:
                self._remember_passed(each)
            self._tenants.update({each.tenant: each for each in policies})
            self._copy = None
            for waiter in self._waiters:
                waiter.look()
            self._notify()

    def remove(self, tenant: Tenant) -> None:
        with self._changed:
            self._tenants.pop(tenant, None)
            self._copy = None
            self._passed.pop(tenant, None)
            self._unrecorded.discard(tenant)
            self._notify()

    def record_begins(self) -> None:
        """A newer policy of a tenant waits for its record, until `record_ended`. If that takes long, nothing is answered: somebody
        may have lost a right. One thread at a time."""
        self._recording_s = monotonic()

    def record_ended(self) -> None:
        self._recording_s = None

    def hold(self, tenant: Tenant, *, on: bool = True) -> None:
        """A newer policy of the tenant has no record yet: what serves answers nothing until it is there."""
        if on:
            self._unrecorded.add(tenant)
        else:
            self._unrecorded.discard(tenant)

    @property
    def unrecorded(self) -> Collection[Tenant]:
        """The tenants about which nothing is answered until a newer policy has its record."""
        return self._unrecorded

    def _is_outdated(self, tenant: Tenant) -> bool:
        since_s = self._recording_s
        return tenant in self._unrecorded or (since_s is not None and monotonic() - since_s > _RECORDING_S)

    def ask_for_news(self) -> None:
        """Makes this node pull from the policy store now, whenever its next poll is. Returns at once."""
        if self.wanted is not None:
            self.wanted()

    def wake(self) -> None:
        """Wakes threads that wait for a change, so that they check if they still need to."""
        with self._changed:
            self._notify()

    @property
    def changes(self) -> int:
        """The number of changes so far."""
        return self._changes

    def changed_since(self, seen: int, timeout_s: float | None = None) -> int:
        """Waits until the number of changes differs from `seen`, at most `timeout_s` seconds, and returns it."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes != seen, timeout_s)
            return self._changes

    def _notify(self) -> None:
        self._changes += 1
        self._changed.notify_all()

    def snapshot(self, tenant: Tenant) -> Snapshot | None:
        """The snapshot that serves the tenant now; None if no such tenant is configured.

        Raises TenantUnavailableError if the tenant is configured but nothing loaded, or what serves may not answer.
        """
        policy = self._tenants.get(tenant)
        if policy is None:
            return None
        if policy.snapshot is None:
            raise TenantUnavailableError(f"tenant `{tenant}` has no policy that loads; `remit status` says why")
        if self._is_outdated(tenant):
            raise TenantUnavailableError(
                f"the policy of tenant `{tenant}` has changed, and the audit has no record of the change yet: until then, ask "
                "another node"
            )
        return policy.snapshot

    def snapshot_as(self, tenant: Tenant, required: Requirement) -> Snapshot | None:
        """The tenant's snapshot if it is as required now; None if a change may make it so.

        Raises RevisionNotCurrentError if waiting would be in vain.
        """
        policy = self._tenants.get(tenant)
        snapshot = policy.snapshot if policy is not None and not self._is_outdated(tenant) else None
        if required.at_least is not None:
            if self.wanted is None:
                raise RevisionNotCurrentError(
                    "this node has no policy store (setting `policy_store`), so its policies have no positions: ask "
                    "without `at_least`"
                )
            if snapshot is None or not self._reaches(snapshot.position, required.at_least):
                return None
        if not required.revision or (snapshot is not None and snapshot.revision == required.revision):
            return snapshot
        # Edits of files that are taken back bring a revision again. Changes in a policy store have positions instead.
        if self.wanted is not None and required.revision in self._passed.get(tenant, ()):
            raise RevisionNotCurrentError(
                f"revision `{required.revision}` of tenant `{tenant}` has served and was replaced: {self._serving(tenant)}; "
                "to require a change or any later one, send its position as `at_least`"
            )
        return None

    def snapshot_at(self, tenant: Tenant, required: Requirement, wait_s: float) -> Snapshot:
        """The tenant's snapshot as soon as it is as required, even if the next one replaces it at once.

        Raises RevisionNotCurrentError if that does not happen within `wait_s` seconds, or cannot happen.
        """
        snapshot = self.snapshot_as(tenant, required)
        if snapshot is not None:
            return snapshot
        waiter = _Waiter(lambda: self.snapshot_as(tenant, required))
        with self._changed:
            waiter.look()
            self._waiters.add(waiter)
        try:
            self.ask_for_news()
            with self._changed:
                self._changed.wait_for(lambda: waiter.snapshot or waiter.error, wait_s)
        finally:
            with self._changed:
                self._waiters.discard(waiter)
        if waiter.error is not None:
            raise waiter.error
        if waiter.snapshot is None:
            raise RevisionNotCurrentError(
                f"{required} of tenant `{tenant}` did not become current within {wait_s:g} s: {self._serving(tenant)}"
            )
        return waiter.snapshot

    def _reaches(self, position: Position | None, wanted: Position) -> bool:
        """Raises RevisionNotCurrentError if the positions belong to two histories."""
        if position is None or position.seq < wanted.seq:
            return False
        passed = self.passed.get(wanted.tenant, {})
        at = passed.get(position.seq)
        if position != at and (at is not None or position.seq > next(reversed(passed), position.seq)):
            # Another history replaced the one that serves. What follows it is about to serve.
            return False
        if (position if position.seq == wanted.seq else passed.get(wanted.seq, wanted)) != wanted:
            raise RevisionNotCurrentError(
                f"position `{wanted}` is of another history than the one that serves, which is at `{position}`: the policy "
                "store was replaced or lost its last changes"
            )
        return True

    def _serving(self, tenant: Tenant) -> str:
        policy = self._tenants.get(tenant)
        if policy is None or policy.snapshot is None:
            return "it has none"
        at = f" at position `{policy.position}`" if policy.position else " without a position" if self.wanted else ""
        return f"it is `{policy.revision}`{at}"

    def _remember_passed(self, policy: TenantPolicy) -> None:
        before = self._tenants.get(policy.tenant)
        if before is not None and before.revision not in {"", policy.revision}:
            self._passed[policy.tenant] = (*self._passed.get(policy.tenant, ()), before.revision)[-_PASSED:]


class _Waiter:
    """A call that waits for a snapshot. It looks at each change, so it misses none that is replaced at once."""

    def __init__(self, snapshot_now: Callable[[], Snapshot | None]) -> None:
        self._snapshot_now = snapshot_now
        self.snapshot: Snapshot | None = None
        self.error: RevisionNotCurrentError | None = None

    def look(self) -> None:
        if self.snapshot is None and self.error is None:
            try:
                self.snapshot = self._snapshot_now()
            except RevisionNotCurrentError as error:
                self.error = error
