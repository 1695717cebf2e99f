"""The search service over gRPC."""

import grpc

from remit.core.errors import named
from remit.core.names import optional_namespace, parse_action, parse_kind, parse_namespace, parse_principal
from remit.engine.queries.search import ANY_WORD, ActionsOf, FilterFor, NamespacesOf, PrincipalsFor
from remit.rpc.encode_answers import actions_to, filter_to, namespaces_to, principals_to
from remit.rpc.page_token import paged
from remit.rpc.query_servicer import QueryServicer
from remit.v1 import search_service_pb2 as messages
from remit.v1 import search_service_pb2_grpc


class SearchServicer(QueryServicer, search_service_pb2_grpc.SearchServiceServicer):
    """Check in reverse, over gRPC."""

    def ListActions(
        self, request: messages.ListActionsRequest, context: grpc.ServicerContext
    ) -> messages.ListActionsResponse:
        tenant, terms = self._terms(request, context)
        inquiry = ActionsOf(
            named("principal", parse_principal, request.principal),
            named("namespace", optional_namespace, request.namespace),
            self._names("kinds", parse_kind, request.kinds),
        )
        return actions_to(self._point.survey(tenant, inquiry, terms))

    def ListNamespaces(
        self, request: messages.ListNamespacesRequest, context: grpc.ServicerContext
    ) -> messages.ListNamespacesResponse:
        tenant, terms = self._terms(request, context)
        inquiry = NamespacesOf(
            named("principal", parse_principal, request.principal),
            named("action", parse_action, request.action) if request.action else ANY_WORD,
            named("kind", parse_kind, request.kind) if request.kind else ANY_WORD,
            self._names("among", parse_namespace, request.among),
        )
        return namespaces_to(self._point.survey(tenant, inquiry, terms))

    def ListPrincipals(
        self, request: messages.ListPrincipalsRequest, context: grpc.ServicerContext
    ) -> messages.ListPrincipalsResponse:
        tenant, terms = self._terms(request, context)
        inquiry = PrincipalsFor(
            named("action", parse_action, request.action),
            named("kind", parse_kind, request.kind),
            named("namespace", optional_namespace, request.namespace),
        )
        size, page = paged(request, "origin")
        surveyed = self._point.survey(tenant, inquiry, terms)
        page.holds_for(surveyed.revision)
        response = principals_to(surveyed, page.after, size)
        shown = response.principals
        if surveyed.answer is not None and shown and shown[-1].principal != surveyed.answer.principals[-1]:
            response.next_page_token = page.next(shown[-1].principal, surveyed.revision)
        return response

    def PlanFilter(
        self, request: messages.PlanFilterRequest, context: grpc.ServicerContext
    ) -> messages.PlanFilterResponse:
        tenant, terms = self._terms(request, context)
        inquiry = FilterFor(
            named("principal", parse_principal, request.principal),
            named("action", parse_action, request.action),
            named("kind", parse_kind, request.kind),
        )
        return filter_to(self._point.survey(tenant, inquiry, terms))
