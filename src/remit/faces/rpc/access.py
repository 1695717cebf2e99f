import re

import grpc

from remit import wire
from remit.audit.ids import format_id
from remit.core.errors import FieldViolation, MalformedQuestionError
from remit.core.names import Tenant, parse_principal, parse_tenant
from remit.engine.explain import summary
from remit.faces.rpc.calls import caller, named, violation
from remit.service.point import Asked, DecisionPoint, Origin
from remit.v1 import access_service_pb2 as messages
from remit.v1 import access_service_pb2_grpc

_REVISION = re.compile(r"[0-9a-f]{64}").fullmatch
_TRACE_ID = re.compile(r"[!-~]{1,64}").fullmatch


class AccessFace(access_service_pb2_grpc.AccessServiceServicer):
    """The access plane over gRPC."""

    def __init__(self, point: DecisionPoint, *, batch_limit: int, call_timeout_s: float) -> None:
        self._point = point
        self._batch_limit = batch_limit
        self._call_timeout_s = call_timeout_s

    def Check(self, request: messages.CheckRequest, context: grpc.ServicerContext) -> messages.CheckResponse:
        tenant, asked, origin, required = _single(request)
        try:
            answer = self._point.check(tenant, asked, origin, required, self._time_for(context))
        except MalformedQuestionError as error:
            raise _below("question", error) from None
        decision, decision_id, revision = answer
        response = messages.CheckResponse(revision=revision)
        wire.fill_decision(response.decision, decision, format_id(decision_id))
        return response

    def Explain(self, request: messages.ExplainRequest, context: grpc.ServicerContext) -> messages.ExplainResponse:
        tenant, asked, origin, required = _single(request)
        try:
            answer, explanation = self._point.explain(tenant, asked, origin, required, self._time_for(context))
        except MalformedQuestionError as error:
            raise _below("question", error) from None
        told = summary(explanation)
        return wire.explanation_to(explanation, format_id(answer.decision_id), answer.revision, told)

    def BatchCheck(
        self, request: messages.BatchCheckRequest, context: grpc.ServicerContext
    ) -> messages.BatchCheckResponse:
        tenant = named("tenant", parse_tenant, request.tenant)
        origin = _origin(request.origin)
        count = len(request.questions)
        if count == 0 or count > self._batch_limit:
            raise violation("questions", f"holds {count} questions: expected 1 to {self._batch_limit}")
        if request.principal:
            named("principal", parse_principal, request.principal)
        items = [_item(question, request.principal) for question in request.questions]
        revision, results = self._point.batch(
            tenant, items, origin, _revision(request.revision), self._time_for(context)
        )
        response = messages.BatchCheckResponse(revision=revision)
        for result in results:
            message = response.results.add()
            if isinstance(result, MalformedQuestionError):
                message.error.field_violations.extend(wire.violations_to(result.violations))
            else:
                wire.fill_decision(message.decision, result.decision, format_id(result.decision_id))
        return response

    def _time_for(self, context: grpc.ServicerContext) -> float:
        # Infinite where the caller set no deadline.
        return min(context.time_remaining(), self._call_timeout_s)


def _single(request: messages.CheckRequest | messages.ExplainRequest) -> tuple[Tenant, Asked, Origin, str]:
    tenant = named("tenant", parse_tenant, request.tenant)
    origin = _origin(request.origin)
    required = _revision(request.revision)
    try:
        return tenant, Asked(*wire.question_from(request.question)), origin, required
    except MalformedQuestionError as error:
        raise _below("question", error) from None


def _item(question: messages.Question, principal: str) -> Asked | MalformedQuestionError:
    try:
        return Asked(*wire.question_from(question, principal))
    except MalformedQuestionError as error:
        return error


def _below(field: str, error: MalformedQuestionError) -> MalformedQuestionError:
    return MalformedQuestionError(
        *(FieldViolation(f"{field}.{each.field}", each.description) for each in error.violations)
    )


def _origin(message: messages.Origin) -> Origin:
    if message.on_behalf_of:
        named("origin.on_behalf_of", parse_principal, message.on_behalf_of)
    if message.trace_id and not _TRACE_ID(message.trace_id):
        raise violation("origin.trace_id", "expected at most 64 printable ASCII characters without blanks")
    return Origin(caller.get(), message.on_behalf_of, message.trace_id)


def _revision(text: str) -> str:
    if text and not _REVISION(text):
        raise violation("revision", "expected 64 lower-case hexadecimal digits")
    return text
