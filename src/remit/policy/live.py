from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from threading import Condition

from remit.core.diagnostics import Diagnostic
from remit.core.errors import RemitError
from remit.core.names import Tenant
from remit.engine.snapshot import Snapshot


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
    """The tenant is configured, but no policy of it loads: no decision is possible, and remit makes none up."""


class RevisionNotCurrentError(RemitError):
    """The required revision did not become current in time."""


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


class LivePolicies:
    """The live policies of all tenants. Readers take one reference; a change is one assignment."""

    def __init__(self) -> None:
        self._tenants: Mapping[Tenant, TenantPolicy] = {}
        self._changed = Condition()
        self._changes = 0
        self.tree_revision = ""

    @property
    def tenants(self) -> Mapping[Tenant, TenantPolicy]:
        return self._tenants

    def put(self, *policies: TenantPolicy) -> None:
        """Adds or replaces the policies of these tenants in one step."""
        with self._changed:
            self._tenants = {**self._tenants, **{each.tenant: each for each in policies}}
            self._notify()

    def remove(self, tenant: Tenant) -> None:
        with self._changed:
            self._tenants = {name: policy for name, policy in self._tenants.items() if name != tenant}
            self._notify()

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

        Raises TenantUnavailableError if the tenant is configured but nothing loaded.
        """
        policy = self._tenants.get(tenant)
        if policy is None:
            return None
        if policy.snapshot is None:
            raise TenantUnavailableError(f"tenant `{tenant}` has no policy that loads; `remit status` says why")
        return policy.snapshot

    def snapshot_at(self, tenant: Tenant, revision: str, wait_s: float) -> Snapshot:
        """The tenant's snapshot as soon as `revision` is current.

        Raises RevisionNotCurrentError if `revision` does not become current within `wait_s` seconds.
        """

        def current() -> Snapshot | None:
            policy = self._tenants.get(tenant)
            return policy.snapshot if policy is not None and policy.revision == revision else None

        with self._changed:
            snapshot = self._changed.wait_for(current, wait_s)
        if snapshot is None:
            now = self._tenants.get(tenant)
            serving = f"it is `{now.revision}`" if now is not None and now.revision else "it has none"
            raise RevisionNotCurrentError(
                f"revision `{revision}` of tenant `{tenant}` did not become current within {wait_s:g} s: {serving}"
            )
        return snapshot
