"""Which right each method needs. The boundary asks for it before a servicer sees the request."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple

from remit.core.caller_actions import CallerAction
from remit.core.errors import MalformedQuestionError, named
from remit.core.names import parse_tenant
from remit.service.caller_rights import CallerRights
from remit.service.callers import EVERY_TENANT, Caller
from remit.service.errors import ForbiddenError


class Demand(NamedTuple):
    """The rights that a caller needs about the tenant that a request names."""

    actions: tuple[CallerAction, ...]
    tenant: str = "tenant"
    """The field with the tenant, as a path below the request."""
    across: bool = False
    """Whether the field may be empty. The servicer then leaves out tenants that the caller has no right about."""

    def require(self, rights: CallerRights, caller: Caller, request: Any) -> str:
        """Returns the tenant; '' for all of them. Raises ForbiddenError, and MalformedQuestionError if the tenant is
        none."""
        text = attrgetter(self.tenant)(request)
        if not text and self.across:
            return EVERY_TENANT
        tenant = named(self.tenant, parse_tenant, text)
        for action in self.actions:
            rights.require(caller, action, tenant)
        return tenant


class GatewayDemand(Demand):
    """The demand of a call whose request has a field `refusal` for the error. A client of the gateway may choose the
    host, and so the tenant: the servicer answers with a deny, because some gateways let requests pass on an error."""

    def require(self, rights: CallerRights, caller: Caller, request: Any) -> str:
        try:
            return super().require(rights, caller, request)
        except (ForbiddenError, MalformedQuestionError) as error:
            request.refusal = error
            return EVERY_TENANT


def _demands(action: CallerAction, *methods: str) -> dict[str, Demand | None]:
    return dict.fromkeys(methods, Demand((action,)))


OPEN: Final = None
"""The servicer itself decides what each caller sees."""

DEMANDS: Final[Mapping[str, Demand | None]] = {
    **_demands(CallerAction.CHECK, "AccessService/Check", "AccessService/BatchCheck", "AccessService/CheckOperation"),
    **_demands(
        CallerAction.CHECK, "ReachService/CheckReach", "ReachService/BatchCheckReach", "ReachService/CheckReachAll"
    ),
    **_demands(CallerAction.CHECK, "VisibilityService/VisibleGraph"),
    **_demands(CallerAction.LIST, "SearchService/ListActions", "SearchService/ListNamespaces"),
    **_demands(CallerAction.LIST, "SearchService/PlanFilter", "ReachService/ListReachable"),
    **_demands(CallerAction.WHO, "SearchService/ListPrincipals", "SearchService/ListMatrix"),
    "SearchService/ListHeld": Demand((CallerAction.WHO, CallerAction.READ)),
    **_demands(CallerAction.RESOLVE, "ResourceService/ResolveDedicated", "ResourceService/ListServed"),
    **_demands(CallerAction.EXPLAIN, "AccessService/Explain", "ReachService/ExplainReach"),
    **_demands(CallerAction.STATUS, "PolicyService/ListRevisions"),
    # It spells no row: who may list what somebody may do learns the words anyway, and has to know which there are.
    **_demands(CallerAction.LIST, "PolicyService/GetVocabulary"),
    **_demands(CallerAction.READ, "PolicyService/ListNames", "PolicyService/GetSource", "PolicyService/GetTests"),
    "PolicyService/DiffRevisions": Demand((CallerAction.READ, CallerAction.WHO)),
    **_demands(CallerAction.PIN, "PolicyService/PinRevision", "PolicyService/UnpinRevision"),
    **_demands(CallerAction.BIND, "BindingService/ChangeBindings"),
    "BindingService/ImportBindings": Demand((CallerAction.BIND,), "start.tenant"),
    **_demands(
        CallerAction.WHO, "BindingService/ListBindings", "BindingService/ExportBindings", "BindingService/WatchBindings"
    ),
    "Authorization/Check": GatewayDemand((CallerAction.CHECK,)),
    "StatusService/GetStatus": Demand((CallerAction.STATUS,), across=True),
    "StatusService/GetShadow": Demand((CallerAction.AUDIT,), across=True),
    "PolicyService/WatchRevision": Demand((CallerAction.WATCH,), across=True),
    "AuditService/ListRecords": Demand((CallerAction.AUDIT,), "filter.tenant", across=True),
    "AuditService/FollowRecords": Demand((CallerAction.AUDIT,), "filter.tenant", across=True),
    "AuditService/CountRecords": Demand((CallerAction.AUDIT,), "filter.tenant", across=True),
    "AuditService/ListHeads": Demand((CallerAction.AUDIT,), across=True),
    "AuditService/ListLifecycle": Demand((CallerAction.AUDIT,), across=True),
    "AuditService/ExplainPast": Demand((CallerAction.AUDIT, CallerAction.EXPLAIN)),
    "AuditService/GetRecord": OPEN,
    "Health/Check": OPEN,
    "Health/List": OPEN,
    "Health/Watch": OPEN,
    "ServerReflection/ServerReflectionInfo": OPEN,
}
"""Every method of the server, by the last part of its service's name."""
