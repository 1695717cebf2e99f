"""Holds calls against the limits of their caller and of their tenant."""

from collections.abc import Callable, Container
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from remit.rpc.admission import Turns
from remit.rpc.errors import LimitError, Refusal
from remit.service.limits import CallLimit, CallLimits, UsageMeter, limit_of

_UNKNOWN: Final = ""
"""All tenants that are not configured. Callers may invent their names."""


class Place(Protocol):
    """What a call holds until it ends."""

    def leave(self, caller: str) -> None: ...


class HasPlaces(Protocol):
    """A call, as what holds places."""

    place: Place | None
    caller: str


@dataclass(slots=True)
class CallPlaces:
    """The places of a call that is no `InlineCall`, or whose `InlineCall` holds some already."""

    caller: str
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class _Counted:
    """A call that a meter counts, in addition to what the call held before."""

    meter: UsageMeter
    name: str
    before: Place | None

    def leave(self, caller: str) -> None:
        self.meter.end(self.name)
        if self.before is not None:
            self.before.leave(caller)


@dataclass(slots=True)
class _InlineTurn:
    """A turn of the receiving thread, in addition to what the call held before."""

    turns: Turns
    questions: int
    before: Place | None

    def leave(self, caller: str) -> None:
        self.turns.leave(caller, self.questions)
        if self.before is not None:
            self.before.leave(caller)


def takes_turn(turns: Turns, questions: int, call: HasPlaces) -> bool:
    """Whether the receiving thread may answer the call. The call then holds its turn until it ends."""
    if not turns.take(call.caller, questions):
        return False
    call.place = _InlineTurn(turns, questions, call.place)
    return True


class LimitedCalls:
    """The limits of callers and tenants. Each process counts for itself."""

    def __init__(
        self,
        limits: Callable[[], CallLimits],
        tenants: Callable[[], Container[str]],
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        """`limits` gives the limits in force, `tenants` the tenants that are configured."""
        self._limits = limits
        self._tenants = tenants
        self._of_callers = UsageMeter(clock_s)
        self._of_tenants = UsageMeter(clock_s)

    def enter_caller(self, caller: str, questions: int, hold: HasPlaces, *, counts: bool) -> None:
        """Counts the call, if it `counts`, until `hold` leaves its place, and charges the questions. Raises LimitError."""
        limit = limit_of(caller, self._limits().callers)
        if limit is None:
            return
        if counts and limit.in_flight is not None:
            _count(self._of_callers, caller, limit, hold, f"`{caller}`")
        if questions:
            self._charge(caller, limit, questions)

    def charge(self, caller: str, questions: int) -> None:
        """Charges a batch, whose length shows only after it is read. Raises LimitError."""
        limit = limit_of(caller, self._limits().callers)
        if limit is not None:
            self._charge(caller, limit, questions)

    def enter_tenant(self, tenant: str, questions: int, hold: HasPlaces, *, counts: bool) -> None:
        """As `enter_caller`, for all callers of the tenant together."""
        limit = limit_of(tenant, self._limits().tenants)
        if limit is None:
            return
        name = tenant if tenant in self._tenants() else _UNKNOWN
        if counts and limit.in_flight is not None:
            _count(self._of_tenants, name, limit, hold, f"all callers together, in `{tenant}`,")
        wait_s = self._of_tenants.charge(name, limit, questions)
        if wait_s:
            text = f"all callers together may ask {limit.rate:g} questions a second in `{tenant}`"
            raise LimitError(Refusal.TENANT_RATE, text, wait_s)

    def _charge(self, caller: str, limit: CallLimit, questions: int) -> None:
        wait_s = self._of_callers.charge(caller, limit, questions)
        if wait_s:
            text = f"`{caller}` may ask {limit.rate:g} questions a second"
            raise LimitError(Refusal.CALLER_RATE, text, wait_s)


def _count(meter: UsageMeter, name: str, limit: CallLimit, hold: HasPlaces, who: str) -> None:
    """Counts a call of `name` until `hold` leaves its place. Raises LimitError."""
    if not meter.begin(name, limit):
        raise LimitError(Refusal.IN_FLIGHT, f"{who} may have {limit.in_flight} calls in flight")
    hold.place = _Counted(meter, name, hold.place)
