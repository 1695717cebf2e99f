from functools import partial

import grpc

from remit import wire
from remit.audit.ids import format_id
from remit.core.errors import MalformedQuestionError, named
from remit.core.names import optional_namespace, parse_principal, parse_word
from remit.engine.explain import Why, summary, unknown_tenant
from remit.engine.operations import Compound
from remit.faces.rpc.asking import AskingFace, below, results_to
from remit.service.point import Asked
from remit.v1 import access_service_pb2 as messages
from remit.v1 import access_service_pb2_grpc


class AccessFace(AskingFace, access_service_pb2_grpc.AccessServiceServicer):
    """The access plane over gRPC."""

    def Check(self, request: messages.CheckRequest, context: grpc.ServicerContext) -> messages.CheckResponse:
        tenant, terms = self._terms(request, context)
        try:
            asked = Asked(*wire.question_from(request.question))
            decision, decision_id, revision = self._point.check(tenant, asked, terms)
        except MalformedQuestionError as error:
            raise below("question", error) from None
        response = messages.CheckResponse(revision=revision)
        wire.fill_decision(response.decision, decision, format_id(decision_id))
        return response

    def Explain(self, request: messages.ExplainRequest, context: grpc.ServicerContext) -> messages.ExplainResponse:
        tenant, terms = self._terms(request, context)
        try:
            question, resource_id = wire.question_from(request.question)
            surveyed = self._point.survey(tenant, Why(question), terms, resource_id)
        except MalformedQuestionError as error:
            raise below("question", error) from None
        explanation = surveyed.answer or unknown_tenant(tenant, question)
        return wire.explanation_to(
            explanation, format_id(surveyed.decision_id), surveyed.revision, summary(explanation)
        )

    def BatchCheck(
        self, request: messages.BatchCheckRequest, context: grpc.ServicerContext
    ) -> messages.BatchCheckResponse:
        tenant, terms = self._terms(request, context)
        if request.principal:
            named("principal", parse_principal, request.principal)
        items = self._items(request.questions, lambda question: Asked(*wire.question_from(question, request.principal)))
        revision, results = self._point.batch(tenant, items, terms)
        response = messages.BatchCheckResponse(revision=revision)
        results_to(results, response.results.add)
        return response

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
        revision, parts = self._point.operation(tenant, compound, resource_id, terms)
        told = ((part, answer.decision, format_id(answer.decision_id)) for part, answer in parts)
        return wire.operation_to(told, revision)
