"""The search service over gRPC."""

import grpc

from remit.core.errors import named, violation
from remit.core.names import (
    optional_namespace,
    parse_action,
    parse_kind,
    parse_namespace,
    parse_principal,
    parse_subject,
)
from remit.engine.queries.held import HeldBy
from remit.engine.queries.matrix import ROWS_LIMIT, MatrixOf, MatrixRows, NamespacesAsRows, PrincipalsAsRows
from remit.engine.queries.search import ANY_WORD, ActionsOf, FilterFor, NamespacesOf, PrincipalsFor
from remit.rpc.encode_answers import actions_to, filter_to, held_to, matrix_to, namespaces_to, principals_to
from remit.rpc.page_token import paged
from remit.rpc.query_servicer import QueryServicer, each_once
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

    def ListHeld(self, request: messages.ListHeldRequest, context: grpc.ServicerContext) -> messages.ListHeldResponse:
        tenant, terms = self._terms(request, context)
        inquiry = HeldBy(named("principal", parse_principal, request.principal))
        size, page = paged(request, "origin")
        start = page.count
        surveyed = self._point.survey(tenant, inquiry, terms)
        page.holds_for(surveyed.revision)
        response = held_to(surveyed, start, size)
        shown = start + len(response.entries)
        if shown < response.total:
            response.next_page_token = page.next(str(shown), surveyed.revision)
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

    def ListMatrix(
        self, request: messages.ListMatrixRequest, context: grpc.ServicerContext
    ) -> messages.ListMatrixResponse:
        tenant, terms = self._terms(request, context)
        rows = self._rows(request)
        kinds = each_once("kinds", self._names("kinds", parse_kind, request.kinds))
        actions = each_once("actions", self._names("actions", parse_action, request.actions))
        size, page = paged(request, "origin", limit=ROWS_LIMIT)
        first = page.number
        surveyed = self._point.survey(tenant, MatrixOf(rows, kinds, actions, first, size), terms)
        page.holds_for(surveyed.revision)
        response = matrix_to(surveyed)
        if first + len(response.rows) < response.total:
            response.next_page_token = page.next(str(first + len(response.rows)), surveyed.revision)
        return response

    def _rows(self, request: messages.ListMatrixRequest) -> MatrixRows:
        """Raises MalformedQuestionError."""
        match request.WhichOneof("rows"):
            case "principals":
                people = request.principals
                if people.principals and people.holding:
                    raise violation("principals.holding", "expected none beside `principals.principals`")
                holding = named("principals.holding", parse_subject, people.holding) if people.holding else None
                if holding is not None and not holding.startswith(("group:", "role:")):
                    raise violation("principals.holding", f"`{holding}` is no group and no role")
                field = "principals.principals"
                return PrincipalsAsRows(
                    named("principals.namespace", optional_namespace, people.namespace),
                    each_once(field, self._names(field, parse_principal, people.principals)),
                    holding,
                )
            case "namespaces":
                places = request.namespaces
                if places.namespaces and places.below:
                    raise violation("namespaces.below", "expected none beside `namespaces.namespaces`")
                field = "namespaces.namespaces"
                return NamespacesAsRows(
                    named("namespaces.principal", parse_principal, places.principal),
                    each_once(field, self._names(field, parse_namespace, places.namespaces)),
                    named("namespaces.below", optional_namespace, places.below),
                )
            case _:
                raise violation("rows", "is missing: expected `principals` or `namespaces`")
