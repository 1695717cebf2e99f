import random
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from remit import wire
from remit.client.answers import Answer, Asked
from remit.client.errors import AccessDenied, DecisionUnavailable
from remit.client.methods import METHODS
from remit.client.tls import MutualTls
from remit.core.errors import FieldViolation
from remit.core.policy import ResourceType
from remit.v1 import access_service_pb2 as messages
from remit.v1 import (
    access_service_pb2_grpc,
    decision_pb2,
    resource_service_pb2,
    resource_service_pb2_grpc,
    status_service_pb2,
    status_service_pb2_grpc,
    visibility_service_pb2,
    visibility_service_pb2_grpc,
)

_Response = TypeVar("_Response")

_RETRIED: Final = {
    grpc.StatusCode.UNAVAILABLE,
    # What a server that stops gives to calls that it has not begun.
    grpc.StatusCode.CANCELLED,
}
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
# gRPC's own, up to two minutes between two attempts to connect, is for a server that is away for good.
_CHANNEL_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", int(_LONGEST_PAUSE_S * 1000)),
)


class Client:
    """Asks a remit server. Safe to share between threads; close it, or use it in a `with`.

    Every method raises DecisionUnavailable where there is no answer, and nothing else. An answer is never made up: a
    server that is away is not an allow.
    """

    def __init__(self, target: str, *, timeout_s: float = 5.0, tls: MutualTls | None = None) -> None:
        """`target` is `HOST:PORT`; `timeout_s` the deadline of each call, which is tried again until then where the
        server is not available."""
        self._timeout_s = timeout_s
        self._channel = (
            grpc.insecure_channel(target, _CHANNEL_OPTIONS)
            if tls is None
            else grpc.secure_channel(target, tls.credentials(), _CHANNEL_OPTIONS)
        )
        self._access = access_service_pb2_grpc.AccessServiceStub(self._channel)
        self._resources = resource_service_pb2_grpc.ResourceServiceStub(self._channel)
        self._status = status_service_pb2_grpc.StatusServiceStub(self._channel)
        self._visibility = visibility_service_pb2_grpc.VisibilityServiceStub(self._channel)

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
                origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
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
        asked: list[messages.Question] = []

        def request() -> messages.BatchCheckRequest:
            asked.extend(map(_question, questions))
            origin = decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id)
            return messages.BatchCheckRequest(tenant=tenant, questions=asked, origin=origin, revision=revision)

        response = self._call(self._access.BatchCheck, request)
        results = [_result(each, response.revision) for each in response.results]
        if len(results) != len(asked):
            raise DecisionUnavailable("INTERNAL", f"{len(results)} results for {len(asked)} questions")
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

    def visible_graph(
        self,
        tenant: str,
        principal: str,
        graph: visibility_service_pb2.VisibleGraphRequest,
        *,
        action: str = "VIEW",
        omit: bool = False,
        revision: str = "",
    ) -> visibility_service_pb2.VisibleGraphResponse:
        """The part of `graph` (its nodes and edges) that the principal may see, as the API gives it. With `omit` hidden
        nodes are left out; else they are nameless stubs."""
        hidden = visibility_service_pb2.HIDDEN_NODES_OMIT if omit else visibility_service_pb2.HIDDEN_NODES_STUB
        return self._call(
            self._visibility.VisibleGraph,
            lambda: visibility_service_pb2.VisibleGraphRequest(
                tenant=tenant,
                principal=principal,
                action=action,
                nodes=graph.nodes,
                edges=graph.edges,
                hidden=hidden,
                revision=revision,
            ),
        )

    def ask(self, request: Message) -> Any:
        """The API's response to any of its requests, with this client's deadline, retries and errors."""
        method = METHODS[request.DESCRIPTOR.full_name]
        call: Callable[..., Any] = self._channel.unary_unary(
            method.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=method.response.FromString,
        )
        return self._call(call, lambda: request)

    def check_operation(
        self,
        tenant: str,
        principal: str,
        operation: str,
        namespace: str = "",
        *,
        resource_id: str = "",
        revision: str = "",
    ) -> messages.CheckOperationResponse:
        """A compound operation: each part with its decision, and ALLOW if every one is."""
        return self._call(
            self._access.CheckOperation,
            lambda: messages.CheckOperationRequest(
                tenant=tenant,
                principal=principal,
                operation=operation,
                namespace=namespace,
                resource_id=resource_id,
                revision=revision,
            ),
        )

    def resolve_dedicated(
        self,
        tenant: str,
        namespace: str = "",
        resources: Iterable[str] = (),
        service: str = "",
        *,
        revision: str = "",
    ) -> resource_service_pb2.ResolveDedicatedResponse:
        """What serves a namespace, or the tenant itself. `resources` are `storage`, `secrets` and `worker_group`, all
        three where none is named; with `service`, whether it may touch each."""
        return self._call(
            self._resources.ResolveDedicated,
            lambda: resource_service_pb2.ResolveDedicatedRequest(
                tenant=tenant,
                namespace=namespace,
                resources=map(_resource_type, resources),
                service=service,
                revision=revision,
            ),
        )

    def list_served(
        self, tenant: str, resource: str, name: str, *, revision: str = ""
    ) -> resource_service_pb2.ListServedResponse:
        """What the resource of this type and name serves; in `_instance`, the tenants that it is open to."""
        return self._call(
            self._resources.ListServed,
            lambda: resource_service_pb2.ListServedRequest(
                tenant=tenant, resource=_resource_type(resource), name=name, revision=revision
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
        deadline = time.monotonic() + self._timeout_s
        pause_s = _FIRST_PAUSE_S
        try:
            message = request()
            while True:
                try:
                    return method(message, timeout=max(deadline - time.monotonic(), 0))
                except grpc.RpcError as error:
                    # Not all clients at the same moment.
                    nap_s = pause_s * random.uniform(0.5, 1)
                    if error.code() not in _RETRIED or time.monotonic() + nap_s >= deadline:
                        raise _unavailable(error) from error
                time.sleep(nap_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        except (AttributeError, TypeError, ValueError) as error:
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


def _resource_type(name: str) -> resource_service_pb2.ResourceType.ValueType:
    """Raises ValueError where there is no such type."""
    return wire.RESOURCE_TYPES[ResourceType(name)]


def _answer(decision: decision_pb2.Decision, revision: str) -> Answer:
    effect = wire.EFFECT_OF.get(decision.effect)
    reason = wire.REASON_OF.get(decision.reason)
    if effect is None or reason is None:
        raise DecisionUnavailable("INTERNAL", "the server's answer is of a newer API than this client")
    return Answer(effect, reason, decision.decision_id, revision)


def _result(result: decision_pb2.BatchResult, revision: str) -> Answer | DecisionUnavailable:
    if result.WhichOneof("result") == "decision":
        return _answer(result.decision, revision)
    violations = [FieldViolation(each.field, each.description) for each in result.error.field_violations]
    told = "; ".join(f"{each.field}: {each.description}" for each in violations)
    return DecisionUnavailable("INVALID_ARGUMENT", told, violations)


def _unavailable(error: grpc.RpcError) -> DecisionUnavailable:
    return DecisionUnavailable(error.code().name, error.details() or "no details", _violations(error))


def _violations(error: grpc.RpcError) -> list[FieldViolation]:
    try:
        status = rpc_status.from_call(error)
        for detail in status.details if status is not None else ():
            bad_request = error_details_pb2.BadRequest()
            if detail.Unpack(bad_request):
                return [FieldViolation(each.field, each.description) for each in bad_request.field_violations]
    except (DecodeError, ValueError):
        # Details that contradict their status, or that are none: of a proxy's making, not remit's.
        return []
    return []
