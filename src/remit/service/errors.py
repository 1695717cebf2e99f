from remit.core.caller_actions import CallerAction
from remit.core.errors import RemitError
from remit.service.callers import Caller


class StartupError(RemitError):
    """The server refuses to start. The message says what is wrong and what to set."""


class PinError(RemitError):
    """There is nothing to pin or to unpin: the message says what is missing."""


class LoadingError(RemitError):
    """Another change is being recorded just now; the call may be tried again."""


class StillComputingError(RemitError):
    """The answer is still being found; the call may be tried again."""


class TooManyWaitingError(RemitError):
    """Too many answers wait to be found beside the decisions."""


class NoBindingsError(RemitError):
    """The tenant, or this node, takes no grants at run time. The message says why."""


class BindingRefusedError(RemitError):
    """The granter may not make this change, or the files do not open it. Nothing was changed."""


class BindingConflictError(RemitError):
    """The tenant is not as the request expects it. Nothing was changed."""


class ForbiddenError(RemitError):
    """The caller may not ask this. The error does not say whether the tenant exists, or in which state it is."""

    def __init__(self, caller: Caller, action: CallerAction, tenant: str) -> None:
        where = f"in `{tenant}`" if tenant else "across tenants"
        super().__init__(f"`{caller.principal}` may not {action} {where}")
        self.caller = caller
        self.action = action
        self.tenant = tenant


class NoSuchTenantError(RemitError):
    """The tenant is not configured, and the caller may know that."""

    def __init__(self, tenant: str) -> None:
        super().__init__(f"there is no tenant `{tenant}`")
