import json
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from remit import wire
from remit.client.answers import Answer, Asked
from remit.client.errors import AccessDenied, DecisionUnavailable
from remit.client.tls import MutualTls
from remit.core.errors import FieldViolation
from remit.v1 import access_service_pb2 as messages
from remit.v1 import access_service_pb2_grpc, status_service_pb2, status_service_pb2_grpc

_Response = TypeVar("_Response")

# gRPC's own retries, inside the deadline: UNAVAILABLE says that nothing was answered.
_SERVICE_CONFIG: Final = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": "remit.v1.AccessService"}, {"service": "remit.v1.StatusService"}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


class Client:
    """Asks a remit server. Safe to share between threads; close it, or use it in a `with`.

    Every method raises DecisionUnavailable where there is no answer, and nothing else. An answer is never made up: a
    server that is away is not an allow.
    """

    def __init__(self, target: str, *, timeout_s: float = 5.0, tls: MutualTls | None = None) -> None:
        """`target` is `HOST:PORT`; `timeout_s` the deadline of each call, retries included."""
        options = [("grpc.enable_retries", 1), ("grpc.service_config", _SERVICE_CONFIG)]
        self._timeout_s = timeout_s
        self._channel = (
            grpc.insecure_channel(target, options)
            if tls is None
            else grpc.secure_channel(target, tls.credentials(), options)
        )
        self._access = access_service_pb2_grpc.AccessServiceStub(self._channel)
        self._status = status_service_pb2_grpc.StatusServiceStub(self._channel)

    def check(
        self,
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
    ) -> Answer:
        """The answer, allow or deny. With `revision`, by that revision or not at all."""
        response = self._call(
            self._access.Check,
            lambda: messages.CheckRequest(
                tenant=tenant,
                question=_question(Asked(principal, action, kind, namespace, resource_id)),
                origin=messages.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
                revision=revision,
            ),
        )
        return _answer(response.decision, response.revision)

    def guard(
        self,
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
    ) -> Answer:
        """Returns where the answer is an allow, raises AccessDenied where it is a deny and DecisionUnavailable where
        there is none; nothing else."""
        answer = self.check(
            tenant,
            principal,
            action,
            kind,
            namespace,
            resource_id=resource_id,
            on_behalf_of=on_behalf_of,
            trace_id=trace_id,
            revision=revision,
        )
        if not answer.allowed:
            raise AccessDenied(answer)
        return answer

    def batch_check(
        self,
        tenant: str,
        questions: Sequence[Asked],
        *,
        on_behalf_of: str = "",
        trace_id: str = "",
        revision: str = "",
    ) -> list[Answer | DecisionUnavailable]:
        """One result a question, in order, all of one revision. A malformed question is a DecisionUnavailable in its
        place, returned and not raised: it does not fail the others."""
        response = self._call(
            self._access.BatchCheck,
            lambda: messages.BatchCheckRequest(
                tenant=tenant,
                questions=map(_question, questions),
                origin=messages.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
                revision=revision,
            ),
        )
        results = [_result(each, response.revision) for each in response.results]
        if len(results) != len(questions):
            raise DecisionUnavailable("INTERNAL", f"{len(results)} results for {len(questions)} questions")
        return results

    def explain(
        self, tenant: str, principal: str, action: str, kind: str, namespace: str = "", *, revision: str = ""
    ) -> messages.ExplainResponse:
        """The answer with its grounds, as the API gives it: rule, chain, near misses, remedy, and a summary in words."""
        return self._call(
            self._access.Explain,
            lambda: messages.ExplainRequest(
                tenant=tenant, question=_question(Asked(principal, action, kind, namespace)), revision=revision
            ),
        )

    def status(self, tenant: str = "") -> status_service_pb2.GetStatusResponse:
        """What the server serves, and how well."""
        return self._call(self._status.GetStatus, lambda: status_service_pb2.GetStatusRequest(tenant=tenant))

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: Callable[..., _Response], request: Callable[[], Any]) -> _Response:
        try:
            return method(request(), timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise _unavailable(error) from error
        except (TypeError, ValueError) as error:
            # No text where one belongs, or a closed channel: not a question, so not an answer.
            raise DecisionUnavailable("INVALID_ARGUMENT", str(error)) from error


def _question(asked: Asked) -> messages.Question:
    return messages.Question(
        principal=asked.principal,
        action=asked.action,
        kind=asked.kind,
        namespace=asked.namespace,
        resource_id=asked.resource_id,
    )


def _answer(decision: messages.Decision, revision: str) -> Answer:
    effect = wire.EFFECT_OF.get(decision.effect)
    reason = wire.REASON_OF.get(decision.reason)
    if effect is None or reason is None:
        raise DecisionUnavailable("INTERNAL", "the server's answer is of a newer API than this client")
    return Answer(effect, reason, decision.decision_id, revision)


def _result(result: messages.BatchResult, revision: str) -> Answer | DecisionUnavailable:
    if result.WhichOneof("result") == "decision":
        return _answer(result.decision, revision)
    violations = [FieldViolation(each.field, each.description) for each in result.error.field_violations]
    told = "; ".join(f"{each.field}: {each.description}" for each in violations)
    return DecisionUnavailable("INVALID_ARGUMENT", told, violations)


def _unavailable(error: grpc.RpcError) -> DecisionUnavailable:
    violations: list[FieldViolation] = []
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(bad_request):
            violations = [FieldViolation(each.field, each.description) for each in bad_request.field_violations]
    return DecisionUnavailable(error.code().name, error.details() or "no details", violations)
