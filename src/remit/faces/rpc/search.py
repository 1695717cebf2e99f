from bisect import bisect_right
from functools import partial

import grpc

from remit import wire
from remit.core.names import parse_namespace, parse_principal, parse_word
from remit.engine.search import ANY_WORD, ActionsOf, FilterFor, NamespacesOf, PrincipalsFor
from remit.faces.rpc.asking import NAMESPACES_LIMIT, AskingFace, names_in, optional_namespace, receipt_of
from remit.faces.rpc.calls import named, violation
from remit.faces.rpc.pages import PAGE_LIMIT, PAGE_SIZE, Page
from remit.v1 import search_service_pb2 as messages
from remit.v1 import search_service_pb2_grpc

_parse_kind = partial(parse_word, "kind")
_parse_action = partial(parse_word, "action")


class SearchFace(AskingFace, search_service_pb2_grpc.SearchServiceServicer):
    """Check in reverse, over gRPC."""

    def ListActions(
        self, request: messages.ListActionsRequest, context: grpc.ServicerContext
    ) -> messages.ListActionsResponse:
        tenant, terms = self._terms(request, context)
        inquiry = ActionsOf(
            named("principal", parse_principal, request.principal),
            named("namespace", optional_namespace, request.namespace),
            names_in("kinds", _parse_kind, request.kinds, NAMESPACES_LIMIT),
        )
        surveyed = self._point.survey(tenant, inquiry, terms)
        response = messages.ListActionsResponse(receipt=receipt_of(surveyed))
        for kind, actions in (surveyed.answer or {}).items():
            response.kinds.add(kind=kind, actions=actions)
        return response

    def ListNamespaces(
        self, request: messages.ListNamespacesRequest, context: grpc.ServicerContext
    ) -> messages.ListNamespacesResponse:
        tenant, terms = self._terms(request, context)
        inquiry = NamespacesOf(
            named("principal", parse_principal, request.principal),
            named("action", _parse_action, request.action) if request.action else ANY_WORD,
            named("kind", _parse_kind, request.kind) if request.kind else ANY_WORD,
            names_in("among", parse_namespace, request.among, NAMESPACES_LIMIT),
        )
        surveyed = self._point.survey(tenant, inquiry, terms)
        response = messages.ListNamespacesResponse(receipt=receipt_of(surveyed))
        if surveyed.answer is not None:
            response.sets.extend(map(wire.set_to, surveyed.answer.sets))
            response.among.extend(surveyed.answer.among)
        return response

    def ListPrincipals(
        self, request: messages.ListPrincipalsRequest, context: grpc.ServicerContext
    ) -> messages.ListPrincipalsResponse:
        tenant, terms = self._terms(request, context)
        inquiry = PrincipalsFor(
            named("action", _parse_action, request.action),
            named("kind", _parse_kind, request.kind),
            named("namespace", optional_namespace, request.namespace),
        )
        size = request.page_size or PAGE_SIZE
        if size > PAGE_LIMIT:
            raise violation("page_size", f"is {size}: expected at most {PAGE_LIMIT}")
        token = request.page_token
        for field in ("page_size", "page_token", "origin"):
            request.ClearField(field)
        page = Page(request, token)
        surveyed = self._point.survey(tenant, inquiry, terms)
        page.holds_for(surveyed.revision)
        response = messages.ListPrincipalsResponse(receipt=receipt_of(surveyed))
        permitted = surveyed.answer
        if permitted is not None:
            start = bisect_right(permitted.principals, page.after) if page.after else 0
            shown = permitted.principals[start : start + size]
            for principal in shown:
                chain = map(wire.row_to, permitted.chain(principal))
                response.principals.add(principal=principal, rule=wire.rule_to(permitted.rule(principal)), chain=chain)
            response.total = len(permitted.principals)
            if start + size < len(permitted.principals):
                response.next_page_token = page.next(surveyed.revision, shown[-1])
        return response

    def PlanFilter(
        self, request: messages.PlanFilterRequest, context: grpc.ServicerContext
    ) -> messages.PlanFilterResponse:
        tenant, terms = self._terms(request, context)
        inquiry = FilterFor(
            named("principal", parse_principal, request.principal),
            named("action", _parse_action, request.action),
            named("kind", _parse_kind, request.kind),
        )
        surveyed = self._point.survey(tenant, inquiry, terms)
        namespaces = wire.set_to(surveyed.answer) if surveyed.answer is not None else None
        return messages.PlanFilterResponse(namespaces=namespaces, receipt=receipt_of(surveyed))
