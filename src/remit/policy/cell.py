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
    """The newest files are serving."""
    STALE = "STALE"
    """The newest files did not load; an older revision is serving."""
    UNAVAILABLE = "UNAVAILABLE"
    """The files did not load and there is no older revision."""


class TenantUnavailableError(RemitError):
    """The tenant is configured and has no policy that loads: no decision is possible, and none is made up."""


class RevisionNotCurrentError(RemitError):
    """The required revision did not become current in time."""


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """What serves a tenant, and since when."""

    tenant: Tenant
    state: TenantState
    since_us: int
    """Microseconds since the Unix epoch."""
    snapshot: Snapshot | None
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def revision(self) -> str:
        return self.snapshot.revision if self.snapshot is not None else ""


class Cell:
    """The live policies of all tenants. Readers take one reference; a change is one assignment."""

    def __init__(self) -> None:
        self._tenants: Mapping[Tenant, TenantPolicy] = {}
        self._changed = Condition()
        self.tree_revision = ""

    @property
    def tenants(self) -> Mapping[Tenant, TenantPolicy]:
        return self._tenants

    def install(self, tenants: Mapping[Tenant, TenantPolicy], tree_revision: str) -> None:
        """Replaces every tenant's policy at once."""
        with self._changed:
            self._tenants = dict(tenants)
            self.tree_revision = tree_revision
            self._changed.notify_all()

    def snapshot(self, tenant: Tenant) -> Snapshot | None:
        """What serves the tenant now; None where no such tenant is configured.

        Raises TenantUnavailableError where it is configured and nothing loaded.
        """
        policy = self._tenants.get(tenant)
        if policy is None:
            return None
        if policy.snapshot is None:
            raise TenantUnavailableError(f"tenant `{tenant}` has no policy that loads; `remit status` says why")
        return policy.snapshot

    def snapshot_at(self, tenant: Tenant, revision: str, wait_s: float) -> Snapshot:
        """The tenant's snapshot once `revision` is the current one.

        Raises RevisionNotCurrentError where it is not so within `wait_s` seconds.
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
