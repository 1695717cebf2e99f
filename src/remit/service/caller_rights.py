"""The rights of callers: which caller may ask what about which tenant."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import chain, count
from typing import Final, NamedTuple

from remit.core.caller_actions import CallerAction, asked_about
from remit.core.errors import named, violation
from remit.core.names import CALLERS, Principal, Tenant, parse_tenant
from remit.core.policy import Policy
from remit.engine.snapshot import Snapshot
from remit.policy.live import LivePolicies, TenantPolicy
from remit.service.callers import EVERY_TENANT, Caller, parse_auditors, parse_operators
from remit.service.errors import ForbiddenError
from remit.service.settings import Settings

_EVERYTHING: Final = sum(action.bit for action in CallerAction)
_WITHOUT_CALLERS: Final = _EVERYTHING & ~sum(
    action.bit
    for action in (
        CallerAction.READ,
        CallerAction.AUDIT,
        CallerAction.PIN,
        CallerAction.BIND,
        CallerAction.ACT_FOR,
    )
)
"""What every caller may ask if nothing says otherwise: on loopback only."""
_NEVER_FOR_ANOTHER: Final = CallerAction.PIN.bit | CallerAction.BIND.bit | CallerAction.ACT_FOR.bit
"""Rights that nobody has who acts for another: what changes the server takes a credential of one's own."""
_OPERATOR: Final = sum(
    action.bit for action in (CallerAction.STATUS, CallerAction.READ, CallerAction.WATCH, CallerAction.PIN)
)
_AUDITOR: Final = sum(
    action.bit for action in (CallerAction.STATUS, CallerAction.READ, CallerAction.AUDIT, CallerAction.EXPLAIN)
)
_MASKS: Final = 65_536
"""Callers by tenants whose rights are remembered. Callers may invent names of tenants."""


class _KnownRights(NamedTuple):
    """The rights that were computed by one state of `_callers`."""

    callers: TenantPolicy | None
    """None without such a folder."""
    masks: dict[tuple[str, str], int]
    """By principal and tenant."""
    tenants: tuple[Tenant, ...] = ()
    """As `tenants_apart`."""


class CallerRights:
    """What each caller may ask: the policy of the folder `_callers`, and the settings `operators` and `auditors`.

    - Without TLS every caller may do everything.
    - With TLS and without `_callers`, every caller may ask everything but READ, AUDIT, PIN and BIND.
    - With `_callers`, its policy decides.
    - `operators` and `auditors` add rights, so that no policy can lock out who runs the server.
    - A caller that acts for a person has the rights that both have, and changes nothing.
    """

    def __init__(self, settings: Settings, live: LivePolicies) -> None:
        self._live = live
        self._named = settings.tls is not None
        self._settings = _settings_masks(settings)
        self._known = _KnownRights(None, {})

    @property
    def enforced(self) -> bool:
        """Whether the policy of `_callers` decides."""
        return self._named and self._live.get(CALLERS) is not None

    def mask(self, caller: Caller, tenant: str) -> int:
        """The rights of a caller about a tenant, as bits of `CallerAction`. The tenant '' stands for all at once."""
        if caller.actor:
            both = self._mask(caller.principal, tenant) & self._mask(caller.actor, tenant)
            return both & ~_NEVER_FOR_ANOTHER
        return self._mask(caller.principal, tenant)

    def _mask(self, principal: str, tenant: str) -> int:
        if not self._named:
            return _EVERYTHING
        known = self._current()
        key = principal, tenant
        mask = known.masks.get(key)
        if mask is None:
            mask = known.masks[key] = self._computed(known.callers, *key)
        return mask

    def _current(self) -> _KnownRights:
        callers, known = self._live.get(CALLERS), self._known
        if callers is not known.callers or len(known.masks) >= _MASKS:
            snapshot = callers.snapshot if callers is not None else None
            # One assignment: what another thread computes by an older state stays with that state.
            self._known = known = _KnownRights(callers, {}, tenants_apart(snapshot.policy) if snapshot else ())
        return known

    def may(self, caller: Caller, action: CallerAction, tenant: str) -> bool:
        return bool(self.mask(caller, tenant) & action.bit)

    def require(self, caller: Caller, action: CallerAction, tenant: str) -> None:
        """Raises ForbiddenError."""
        if not self.mask(caller, tenant) & action.bit:
            raise ForbiddenError(caller, action, tenant)

    def tenants(self, caller: Caller, action: CallerAction) -> frozenset[Tenant]:
        """The configured tenants about which the caller may ask this. Raises ForbiddenError if there is none."""
        allowed = frozenset(tenant for tenant in self._live.tenants if self.may(caller, action, tenant))
        if not allowed and not self.may(caller, action, EVERY_TENANT):
            raise ForbiddenError(caller, action, EVERY_TENANT)
        return allowed

    def audits_all(self, caller: Caller) -> bool:
        """Whether the caller may read the records of all tenants at once: of those too that were removed, or are to come."""
        everywhere = (EVERY_TENANT, *self._current().tenants)
        return all(self.may(caller, CallerAction.AUDIT, tenant) for tenant in everywhere)

    def audit_tenant(self, caller: Caller, field: str, asked: str) -> str:
        """The tenant whose records a caller reads if it asks for `asked`. '' means all tenants, as argument and result.

        Raises ForbiddenError, and MalformedQuestionError if the caller must name one of several tenants.
        """
        if asked:
            tenant = named(field, parse_tenant, asked)
            self.require(caller, CallerAction.AUDIT, tenant)
            return tenant
        if self.audits_all(caller):
            return EVERY_TENANT
        readable = self.tenants(caller, CallerAction.AUDIT)
        if len(readable) == 1:
            (only,) = readable
            return only
        raise violation(field, f"is missing: expected one of {', '.join(sorted(readable))}")

    def _computed(self, callers: TenantPolicy | None, principal: str, tenant: str) -> int:
        by_tenant = self._settings.get(principal, {})
        by_settings = by_tenant.get(EVERY_TENANT, 0) | by_tenant.get(tenant, 0)
        if callers is None:
            return by_settings | _WITHOUT_CALLERS
        if callers.snapshot is None:
            return by_settings
        return by_settings | granted(callers.snapshot, principal, tenant)


def granted(snapshot: Snapshot, principal: str, tenant: str) -> int:
    """The rights that a policy of `_callers` gives, as bits. The tenant '' stands for all at once."""
    kind, namespace = asked_about(Tenant(tenant) if tenant else None)
    allowed = snapshot.permitted(Principal(principal), namespace)
    return sum(CallerAction(action).bit for name, action in allowed if name == kind)


def tenants_apart(policy: Policy) -> tuple[Tenant, ...]:
    """The tenants that a policy of `_callers` names, and one that it does not name: it gives all others the same rights.

    Whoever has a right about these has it about every tenant, whether it is configured or not.
    """
    patterns = chain((rule.namespaces for rule in policy.rules), (link.scope for link in policy.links))
    names = {pattern.segments[0] for pattern in patterns if pattern.segments} - {"*"}
    other = next(name for name in map("other{}".format, count()) if name not in names)
    return tuple(Tenant(name) for name in (*sorted(names), other))


def _settings_masks(settings: Settings) -> Mapping[str, Mapping[str, int]]:
    """The rights that the settings give, by caller and tenant."""
    masks: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for principal in parse_operators(settings.operators):
        masks[principal][EVERY_TENANT] |= _OPERATOR
    for principal, tenant in parse_auditors(settings.auditors):
        masks[principal][tenant] |= _AUDITOR
    return masks
