"""The service `envoy.service.auth.v3.Authorization`, which Envoy asks about each request."""

from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import grpc

from remit.audit.batch import EMPTY_BATCH
from remit.core.errors import MalformedQuestionError
from remit.core.gateway import HttpRequest, RefusedPathError, is_method
from remit.core.names import Tenant
from remit.envoy import answers
from remit.envoy.context_extensions import routes_in
from remit.envoy.principals import principal_of
from remit.envoy.request import EnvoyRequest, header
from remit.envoy.v1 import ext_authz_pb2 as messages
from remit.rpc.call_context import AtOnce
from remit.rpc.query_servicer import SlowTenants, call_terms, is_trace_id
from remit.rpc.server import Server
from remit.rpc.traceparent import TRACEPARENT, trace_id_in
from remit.service.decision_point import DecisionPoint, PendingAnswer
from remit.service.errors import ForbiddenError
from remit.service.gateways import PrincipalSource, parse_hosts, parse_principal_sources
from remit.service.node import ServerNode
from remit.service.refused_calls import RefusedCalls

SERVICE: Final = "envoy.service.auth.v3.Authorization"
_METHOD: Final = "Authorization/Check"
_REQUEST_ID: Final = "x-request-id"


def serve_envoy(node: ServerNode, server: Server) -> None:
    """Adds the service to a server that does not answer yet."""
    settings = node.settings
    servicer = AuthorizationServicer(
        node.point,
        node.refused_calls,
        parse_principal_sources(settings.envoy_principal),
        call_timeout_s=settings.call_timeout_s,
    )
    server.decide_by(SERVICE, partial(add_authorization, parse_hosts(settings.envoy_hosts)), servicer)


def add_authorization(hosts: Mapping[str, Tenant], servicer: "AuthorizationServicer", server: Any) -> None:
    """Does what a generated function `add_..._to_server` does, under Envoy's own name of the service."""

    def parse(message: bytes) -> EnvoyRequest:
        return EnvoyRequest(messages.CheckRequest.FromString(message).attributes, hosts)

    check = grpc.unary_unary_rpc_method_handler(
        servicer.Check,
        request_deserializer=parse,
        response_serializer=messages.CheckResponse.SerializeToString,
    )
    server.add_registered_method_handlers(SERVICE, {"Check": check})


class AuthorizationServicer:
    """Decides requests. Every answer is an allow or a deny; only an outage is an error of the call, to which Envoy
    applies its own failure mode."""

    def __init__(
        self,
        point: DecisionPoint,
        refused_calls: RefusedCalls,
        sources: Sequence[PrincipalSource],
        *,
        call_timeout_s: float,
    ) -> None:
        self._point = point
        self._refused_calls = refused_calls
        self._sources = sources
        self._call_timeout_s = call_timeout_s
        self._slow = SlowTenants()

    @property
    def at_once(self) -> Mapping[str, AtOnce]:
        return {"Check": lambda request, context: self._slow.answer(request, lambda: self._answered(request, context))}

    def Check(self, request: EnvoyRequest, context: grpc.ServicerContext) -> messages.CheckResponse:
        return self._point.commit(self._answered(request, context))

    def _answered(self, request: EnvoyRequest, context: grpc.ServicerContext) -> PendingAnswer[messages.CheckResponse]:
        try:
            return self._decided(request, context)
        except ForbiddenError as error:
            self._refused_calls.add(_METHOD, error)
            status, text = HTTPStatus.FORBIDDEN, "the gateway may not ask about this tenant"
        except _NobodyError:
            status, text = HTTPStatus.UNAUTHORIZED, "no verified credential names who sends the request"
        except (MalformedQuestionError, RefusedPathError, _MalformedRequestError) as error:
            status, text = HTTPStatus.BAD_REQUEST, str(error)
        return PendingAnswer(answers.refused(status, text, request.tenant), EMPTY_BATCH, {}, self._call_timeout_s)

    def _decided(self, request: EnvoyRequest, context: grpc.ServicerContext) -> PendingAnswer[messages.CheckResponse]:
        """Raises what `_answered` catches, and what DecisionPoint raises."""
        attributes = request.attributes
        if not attributes.request.HasField("http"):
            raise _MalformedRequestError("the call describes no HTTP request")
        if not request.tenant:
            raise _MalformedRequestError("neither the route nor the host names a tenant")
        if request.refusal is not None:
            raise request.refusal
        http = attributes.request.http
        method = http.method.decode("ascii", "replace")
        if not is_method(method):
            raise _MalformedRequestError("the method of the request is none")
        routes = routes_in(attributes.context_extensions)
        principal = principal_of(attributes, self._sources)
        if principal is None:
            raise _NobodyError
        terms = call_terms(context, self._call_timeout_s, trace_id=_trace_id(http))
        tenant = Tenant(request.tenant)
        held = self._point.check_request(tenant, principal, HttpRequest(method, http.path), routes, terms)
        return held.with_answer(answers.decided(tenant, principal, held.answer))


class _MalformedRequestError(Exception):
    """Envoy describes no request that can be decided."""


class _NobodyError(Exception):
    """Nothing that Envoy has verified names the principal."""


def _trace_id(http: messages.HttpRequest) -> str:
    """That of the request, if Envoy passes it on; else ''."""
    traced = trace_id_in([(TRACEPARENT, header(http, TRACEPARENT).decode("ascii", "replace"))])
    request_id = header(http, _REQUEST_ID).decode("ascii", "replace")
    return traced or (request_id if is_trace_id(request_id) else "")
