"""The common base of the services that answer questions."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from time import monotonic, thread_time_ns
from typing import Final, Protocol, TypeVar

import grpc

from remit import wire
from remit.audit.ids import format_id
from remit.core.decision import Decision, Reason
from remit.core.errors import FieldViolation, MalformedQuestionError, each_named, named, violation
from remit.core.names import Tenant, is_revision, parse_principal, parse_tenant
from remit.core.position import Position, parse_position
from remit.core.rows import Effect
from remit.engine.snapshot import Snapshot
from remit.policy.live import Requirement
from remit.rpc.call_context import AtOnce, CallContext, caller
from remit.rpc.traceparent import trace_id_in
from remit.service.decision_point import (
    AskedQuestion,
    CallOrigin,
    CallTerms,
    Decided,
    DecisionPoint,
    MustWaitError,
    OverBudgetError,
    PendingAnswer,
    SeveralAnswers,
)
from remit.service.errors import NoSuchTenantError
from remit.v1 import access_service_pb2, decision_pb2, reach_service_pb2

SHORT_BATCH: Final = 250
"""Questions in a batch that the receiving thread tries itself: usually they take less than MOMENT_NS."""
MOMENT_NS: Final = 2_000_000
"""Longest decision on the thread that receives every call."""
_SLOW_S: Final = 1.0
_SUSPECTS: Final = 1_000
NAMES_LIMIT: Final = 10_000
"""Names in a list that is asked about."""

is_trace_id: Final = re.compile(r"[!-~]{1,64}").fullmatch

_Message = TypeVar("_Message")
_Name = TypeVar("_Name")
_Answer = TypeVar("_Answer")
_Response = TypeVar("_Response", access_service_pb2.BatchCheckResponse, reach_service_pb2.BatchCheckReachResponse)


class Origin(Protocol):
    """The origin that a request names."""

    @property
    def on_behalf_of(self) -> str: ...

    @property
    def trace_id(self) -> str: ...


class TenantRequest(Protocol):
    """A request about a tenant."""

    @property
    def tenant(self) -> str: ...


class PolicyRequest(TenantRequest, Protocol):
    """A request that says which policy of the tenant may answer."""

    @property
    def revision(self) -> str: ...

    @property
    def at_least(self) -> str: ...


class Request(PolicyRequest, Protocol):
    """The fields that every question has."""

    @property
    def origin(self) -> Origin: ...


class SlowTenants:
    """Tenants whose questions take longer than MOMENT_NS: threads answer them for a second, then one is tried again.
    The receiving threads of gRPC and HTTP share it, and change it in single steps of the interpreter.

    A thread that had to wait for the system or another thread looks slow too. So the next answer for a suspect tenant
    is measured by processor time, whose clock costs more than a decision.
    """

    def __init__(self) -> None:
        self._until_s: dict[str, float] = {}
        self._suspects: set[str] = set()

    def __contains__(self, tenant: str) -> bool:
        until_s = self._until_s.get(tenant)
        if until_s is None:
            return False
        if monotonic() < until_s:
            return True
        self._until_s.pop(tenant, None)
        # Still suspect until a measurement shows otherwise.
        self._suspects.add(tenant)
        return False

    def answer(
        self, request: TenantRequest, answer: Callable[[], PendingAnswer[_Answer]]
    ) -> PendingAnswer[_Answer] | None:
        """The answer; None if a thread has to find it, or to wait for the policy that may answer."""
        if self._until_s or self._suspects:
            tenant = request.tenant
            if tenant in self:
                return None
            if tenant in self._suspects:
                return self._measured(tenant, answer)
        try:
            held = answer()
            if held.took_ns <= MOMENT_NS:
                return held
        except MustWaitError:
            return None
        except OverBudgetError:
            held = None
        self._suspect(request.tenant)
        return held

    def _suspect(self, tenant: str) -> None:
        if len(self._suspects) >= _SUSPECTS:
            # Callers may invent names of tenants.
            self._suspects.clear()
        self._suspects.add(tenant)

    def _measured(self, tenant: str, answer: Callable[[], PendingAnswer[_Answer]]) -> PendingAnswer[_Answer] | None:
        began_ns = thread_time_ns()
        try:
            held = answer()
        except MustWaitError:
            return None
        except OverBudgetError:
            held = None
        self._suspects.discard(tenant)
        if thread_time_ns() - began_ns > MOMENT_NS:
            self._until_s[tenant] = monotonic() + _SLOW_S
        return held


class QueryServicer:
    """A gRPC service over the decision point."""

    def __init__(
        self,
        point: DecisionPoint,
        *,
        batch_limit: int,
        max_message_bytes: int,
        call_timeout_s: float,
        names_limit: int = NAMES_LIMIT,
    ) -> None:
        self._point = point
        self._batch_limit = batch_limit
        self._max_message_bytes = max_message_bytes
        self._call_timeout_s = call_timeout_s
        self._names_limit = names_limit
        self._slow = SlowTenants()

    @property
    def at_once(self) -> Mapping[str, AtOnce]:
        """The methods that decide quickly."""
        return {}

    def _terms(
        self, request: Request, context: grpc.ServicerContext | CallContext, *, at_once: bool = False
    ) -> tuple[Tenant, CallTerms]:
        """The tenant and the terms of a call. The thread that receives every call answers `at_once`, and must not wait."""
        tenant = named("tenant", parse_tenant, request.tenant)
        origin = request.origin
        require_origin("origin", origin)
        required = _required(tenant, request)
        return tenant, call_terms(
            context,
            self._call_timeout_s,
            on_behalf_of=origin.on_behalf_of,
            trace_id=origin.trace_id,
            required=required,
            waits=not at_once,
        )

    def _snapshot(self, request: PolicyRequest, context: grpc.ServicerContext | CallContext) -> Snapshot:
        """The policy that a request about the policy itself asks about. Raises NoSuchTenantError."""
        tenant = named("tenant", parse_tenant, request.tenant)
        terms = call_terms(context, self._call_timeout_s, required=_required(tenant, request))
        snapshot = self._point.snapshot(tenant, terms)
        if snapshot is None:
            raise NoSuchTenantError(tenant)
        return snapshot

    def _names(self, field: str, parse: Callable[[str], _Name], texts: Sequence[str]) -> tuple[_Name, ...]:
        """The names of a repeated field. Raises MalformedQuestionError for more than the limit."""
        if len(texts) > self._names_limit:
            raise violation(field, f"holds {len(texts)} names: expected at most {self._names_limit}")
        return each_named(field, parse, texts)

    def _items(
        self, questions: Sequence[_Message], parse: Callable[[_Message], AskedQuestion]
    ) -> list[AskedQuestion | MalformedQuestionError]:
        """The items of a batch; a malformed item is its error."""
        count = len(questions)
        if count == 0 or count > self._batch_limit:
            raise violation("questions", f"holds {count} questions: expected 1 to {self._batch_limit}")
        items: list[AskedQuestion | MalformedQuestionError] = []
        for question in questions:
            try:
                items.append(parse(question))
            except MalformedQuestionError as error:
                items.append(error)
        return items


def require_origin(field: str, origin: Origin) -> None:
    """Raises MalformedQuestionError unless the origin of a request names a principal and a trace, or none."""
    if origin.on_behalf_of:
        named(f"{field}.on_behalf_of", parse_principal, origin.on_behalf_of)
    require_trace_id(f"{field}.trace_id", origin.trace_id)


def require_trace_id(field: str, text: str) -> None:
    """Raises MalformedQuestionError unless it is a trace id, or empty."""
    if text and not is_trace_id(text):
        raise violation(field, "expected at most 64 printable ASCII characters without blanks")


def call_terms(
    context: grpc.ServicerContext | CallContext,
    call_timeout_s: float,
    *,
    on_behalf_of: str = "",
    trace_id: str = "",
    required: Requirement | None = None,
    waits: bool = True,
) -> CallTerms:
    """The terms of the call that is being answered. Without `trace_id`, that of its metadata."""
    asking = caller.get()
    origin = CallOrigin(
        asking.principal, on_behalf_of, trace_id or trace_id_in(context.invocation_metadata()), asking.via
    )
    # Infinite if the caller set no deadline.
    return CallTerms(origin, required, min(context.time_remaining(), call_timeout_s), waits)


def _required(tenant: Tenant, request: PolicyRequest) -> Requirement | None:
    """None if the policy that serves may answer. Raises MalformedQuestionError for a text that is none, and for a
    position in another tenant's history."""
    revision, at_least = request.revision, request.at_least
    if not revision and not at_least:
        return None
    if revision and not is_revision(revision):
        raise violation("revision", "expected 64 lower-case hexadecimal digits")
    position: Position | None = None
    if at_least:
        position = named("at_least", parse_position, at_least)
        if position.tenant != tenant:
            raise violation("at_least", f"is a position of tenant `{position.tenant}`: expected one of `{tenant}`")
    return Requirement(revision, position)


def results_in(response: type[_Response], answered: SeveralAnswers[Decided | MalformedQuestionError]) -> _Response:
    """The response to a batch.

    Joins encoded results and parses them: filling one message per result would cost as much as deciding it.
    """
    parts: list[bytes] = []
    for result in answered.answers:
        if isinstance(result, MalformedQuestionError):
            error = decision_pb2.ItemError(field_violations=wire.violations_to(result.violations))
            parts.append(response(results=[decision_pb2.BatchResult(error=error)]).SerializeToString())
        else:
            decision, decision_id = result
            effect, reason, _ = decision.recorded
            parts += _decided(effect, reason), format_id(decision_id).encode()
    message = response.FromString(b"".join(parts))
    message.revision = answered.revision
    message.position = answered.position
    return message


@cache
def _decided(effect: str, reason: str) -> bytes:
    """An encoded response with one result, up to the decision's id, which is the last field. It fits both planes,
    because results have the same field number in both."""
    no_id = format_id(bytes(16))
    result = decision_pb2.BatchResult()
    wire.fill_decision(result.decision, Decision(Effect(effect), Reason(reason)), no_id)
    return access_service_pb2.BatchCheckResponse(results=[result]).SerializeToString().removesuffix(no_id.encode())


def below(field: str, error: MalformedQuestionError) -> MalformedQuestionError:
    """The same error, with its fields below `field`."""
    return MalformedQuestionError(
        *(FieldViolation(f"{field}.{each.field}", each.description) for each in error.violations)
    )


def each_once(field: str, names: Iterable[_Name]) -> tuple[_Name, ...]:
    """The names. A repeated name is a violation at its index: it would be answered twice."""
    once: dict[_Name, None] = {}
    for position, name in enumerate(names):
        if name in once:
            raise violation(f"{field}[{position}]", f"`{name}` is named twice")
        once[name] = None
    return tuple(once)
