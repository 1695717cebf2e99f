"""The calls of the access plane: how to build each request and read its response. See the client's methods."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from remit import wire
from remit.client.answers import Answer, OperationAnswer, Part
from remit.client.call import ClientCall, Response
from remit.client.decode import answer_of, newer, recorded, results_of
from remit.client.errors import AccessDenied, DecisionUnavailable
from remit.client.questions import Asked
from remit.core.rows import Effect
from remit.v1 import access_service_pb2 as messages
from remit.v1 import decision_pb2, status_service_pb2

_Answered = TypeVar("_Answered", bound=Answer)


def guarded(call: ClientCall[Response, _Answered]) -> ClientCall[Response, _Answered]:
    """The call, whose `read` raises AccessDenied if the answer is a deny."""

    def read(response: Response) -> _Answered:
        answer = call.read(response)
        if not answer.allowed:
            raise AccessDenied(answer)
        return answer

    return replace(call, read=read)


def check(
    tenant: str,
    principal: str,
    action: str,
    kind: str,
    namespace: str = "",
    *,
    resource_id: str = "",
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> ClientCall[messages.CheckResponse, Answer]:
    return ClientCall(
        lambda: messages.CheckRequest(
            tenant=tenant,
            question=_question(Asked(principal, action, kind, namespace, resource_id)),
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
            at_least=at_least,
        ),
        lambda response: answer_of(response.decision, response.revision, response.position),
        cacheable=True,
    )


def batch_check(
    tenant: str,
    questions: Sequence[Asked],
    *,
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> ClientCall[messages.BatchCheckResponse, list[Answer | DecisionUnavailable]]:
    asked: list[messages.Question] = []

    def request() -> messages.BatchCheckRequest:
        asked.extend(map(_question, questions))
        origin = decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id)
        return messages.BatchCheckRequest(
            tenant=tenant, questions=asked, origin=origin, revision=revision, at_least=at_least
        )

    return ClientCall(
        request,
        lambda response: results_of(response, len(asked)),
    )


def explain(
    tenant: str,
    principal: str,
    action: str,
    kind: str,
    namespace: str = "",
    *,
    resource_id: str = "",
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> ClientCall[messages.ExplainResponse, messages.ExplainResponse]:
    return ClientCall(
        lambda: messages.ExplainRequest(
            tenant=tenant,
            question=_question(Asked(principal, action, kind, namespace, resource_id)),
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
            at_least=at_least,
        ),
        recorded,
    )


def check_operation(
    tenant: str,
    principal: str,
    operation: str,
    namespace: str = "",
    *,
    resource_id: str = "",
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> ClientCall[messages.CheckOperationResponse, OperationAnswer]:
    return ClientCall(
        lambda: messages.CheckOperationRequest(
            tenant=tenant,
            principal=principal,
            operation=operation,
            namespace=namespace,
            resource_id=resource_id,
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
            at_least=at_least,
        ),
        _operation_answer,
    )


def status(
    tenant: str = "",
) -> ClientCall[status_service_pb2.GetStatusResponse, status_service_pb2.GetStatusResponse]:
    return ClientCall(
        lambda: status_service_pb2.GetStatusRequest(tenant=tenant),
        lambda response: response,
    )


def _question(asked: Asked) -> messages.Question:
    return messages.Question(
        principal=asked.principal,
        action=asked.action,
        kind=asked.kind,
        namespace=asked.namespace,
        resource_id=asked.resource_id,
    )


def _operation_answer(response: messages.CheckOperationResponse) -> OperationAnswer:
    effect = wire.EFFECT_OF.get(response.effect)
    if effect is None:
        raise newer()
    parts = tuple(
        Part(each.kind, each.action, each.namespace, answer_of(each.decision, response.revision, response.position))
        for each in response.parts
    )
    refused = [each for each in parts if not each.answer.allowed]
    if not parts or (effect is Effect.ALLOW) == bool(refused):
        raise DecisionUnavailable("INTERNAL", "the server's answer and its parts contradict one another")
    first = (refused or parts)[0].answer
    return OperationAnswer(
        effect, first.reason, first.decision_id, response.revision, parts, position=response.position
    )
