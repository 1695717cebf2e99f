"""The access service over gRPC: Check, BatchCheck, Explain and CheckOperation."""

from collections.abc import Mapping
from functools import partial

import grpc

from remit import wire
from remit.audit.ids import format_id
from remit.core.errors import MalformedQuestionError, named
from remit.core.names import optional_namespace, parse_principal, parse_word
from remit.engine.explain.access import AccessExplainer, summary, unknown_tenant
from remit.engine.queries.operations import Compound
from remit.rpc.call_context import AtOnce
from remit.rpc.query_servicer import MOMENT_NS, SHORT_BATCH, QueryServicer, below, results_in
from remit.service.decision_point import NO_HURRY_NS, PendingAnswer
from remit.v1 import access_service_pb2 as messages
from remit.v1 import access_service_pb2_grpc


class AccessServicer(QueryServicer, access_service_pb2_grpc.AccessServiceServicer):
    """The access plane over gRPC."""

    @property
    def at_once(self) -> Mapping[str, AtOnce]:
        return {
            "Check": lambda request, context: self._slow.answer(
                request, lambda: self._check(request, context, at_once=True)
            ),
            "BatchCheck": lambda request, context: (
                None
                if len(request.questions) > SHORT_BATCH
                else self._slow.answer(request, lambda: self._batch(request, context, at_once=True))
            ),
        }

    def Check(self, request: messages.CheckRequest, context: grpc.ServicerContext) -> messages.CheckResponse:
        return self._point.commit(self._check(request, context))

    def BatchCheck(
        self, request: messages.BatchCheckRequest, context: grpc.ServicerContext
    ) -> messages.BatchCheckResponse:
        return self._point.commit(self._batch(request, context))

    def Explain(self, request: messages.ExplainRequest, context: grpc.ServicerContext) -> messages.ExplainResponse:
        tenant, terms = self._terms(request, context)
        try:
            question, resource_id = wire.question_from(request.question)
            surveyed = self._point.survey(tenant, AccessExplainer(question), terms, resource_id)
        except MalformedQuestionError as error:
            raise below("question", error) from None
        explanation = surveyed.answer or unknown_tenant(tenant, question)
        return wire.explanation_to(
            explanation, format_id(surveyed.decision_id), surveyed.revision, summary(explanation), surveyed.position
        )

    def CheckOperation(
        self, request: messages.CheckOperationRequest, context: grpc.ServicerContext
    ) -> messages.CheckOperationResponse:
        tenant, terms = self._terms(request, context)
        compound = Compound(
            named("principal", parse_principal, request.principal),
            named("operation", partial(parse_word, "operation"), request.operation),
            named("namespace", optional_namespace, request.namespace),
        )
        resource_id = wire.resource_id_from(request.resource_id)
        decided = self._point.operation(tenant, compound, resource_id, terms)
        told = ((part, decision, format_id(decision_id)) for part, (decision, decision_id) in decided.answers)
        return wire.operation_to(told, decided.revision, decided.position)

    def _check(
        self, request: messages.CheckRequest, context: grpc.ServicerContext, *, at_once: bool = False
    ) -> PendingAnswer[messages.CheckResponse]:
        tenant, terms = self._terms(request, context, at_once=at_once)
        try:
            held = self._point.check(tenant, wire.question_from(request.question), terms)
        except MalformedQuestionError as error:
            raise below("question", error) from None
        decision, decision_id, revision, position = held.answer
        response = messages.CheckResponse(revision=revision)
        if position:
            response.position = position
        wire.fill_decision(response.decision, decision, format_id(decision_id))
        return held.with_answer(response)

    def _batch(
        self, request: messages.BatchCheckRequest, context: grpc.ServicerContext, *, at_once: bool = False
    ) -> PendingAnswer[messages.BatchCheckResponse]:
        tenant, terms = self._terms(request, context, at_once=at_once)
        principal = request.principal
        if principal:
            named("principal", parse_principal, principal)
        items = self._items(request.questions, lambda question: wire.question_from(question, principal))
        within_ns = MOMENT_NS if at_once else NO_HURRY_NS
        held = self._point.batch(tenant, items, terms, within_ns=within_ns)
        return held.with_answer(results_in(messages.BatchCheckResponse, held.answer))
