"""The reach service over gRPC."""

from collections.abc import Mapping

import grpc

from remit import wire
from remit.audit.ids import format_id
from remit.core.errors import MalformedQuestionError, named
from remit.core.names import parse_namespace, parse_relation
from remit.core.question import QuestionType
from remit.engine.explain.reach import ReachExplainer, reach_summary, unknown_tenants_reach
from remit.engine.queries.reachable import ReachableFrom, ReachesAll
from remit.rpc.call_context import AtOnce
from remit.rpc.encode_answers import all_reached_to, reachable_to
from remit.rpc.query_servicer import (
    MOMENT_NS,
    SHORT_BATCH,
    QueryServicer,
    below,
    each_once,
    results_in,
)
from remit.service.decision_point import NO_HURRY_NS, PendingAnswer
from remit.v1 import reach_service_pb2 as messages
from remit.v1 import reach_service_pb2_grpc


class ReachServicer(QueryServicer, reach_service_pb2_grpc.ReachServiceServicer):
    """The reach plane over gRPC."""

    @property
    def at_once(self) -> Mapping[str, AtOnce]:
        return {
            "CheckReach": lambda request, context: self._slow.answer(
                request, lambda: self._check(request, context, at_once=True)
            ),
            "BatchCheckReach": lambda request, context: (
                None
                if len(request.questions) > SHORT_BATCH
                else self._slow.answer(request, lambda: self._batch(request, context, at_once=True))
            ),
        }

    def CheckReach(
        self, request: messages.CheckReachRequest, context: grpc.ServicerContext
    ) -> messages.CheckReachResponse:
        return self._point.commit(self._check(request, context))

    def BatchCheckReach(
        self, request: messages.BatchCheckReachRequest, context: grpc.ServicerContext
    ) -> messages.BatchCheckReachResponse:
        return self._point.commit(self._batch(request, context))

    def CheckReachAll(
        self, request: messages.CheckReachAllRequest, context: grpc.ServicerContext
    ) -> messages.CheckReachAllResponse:
        tenant, terms = self._terms(request, context)
        inquiry = ReachesAll(
            named("caller", parse_namespace, request.caller),
            named("relation", parse_relation, request.relation),
            self._names("owners", parse_namespace, request.owners),
        )
        return all_reached_to(self._point.survey(tenant, inquiry, terms))

    def ExplainReach(
        self, request: messages.ExplainReachRequest, context: grpc.ServicerContext
    ) -> messages.ExplainReachResponse:
        tenant, terms = self._terms(request, context)
        try:
            question, resource_id = wire.reach_question_from(request.question)
        except MalformedQuestionError as error:
            raise below("question", error) from None
        surveyed = self._point.survey(tenant, ReachExplainer(question), terms, resource_id)
        explanation = surveyed.answer or unknown_tenants_reach(tenant, question)
        return wire.reach_explanation_to(
            explanation,
            format_id(surveyed.decision_id),
            surveyed.revision,
            reach_summary(explanation),
            surveyed.position,
        )

    def ListReachable(
        self, request: messages.ListReachableRequest, context: grpc.ServicerContext
    ) -> messages.ListReachableResponse:
        tenant, terms = self._terms(request, context)
        inquiry = ReachableFrom(
            named("namespace", parse_namespace, request.namespace),
            each_once("relations", self._names("relations", parse_relation, request.relations)),
            self._names("among", parse_namespace, request.among),
        )
        return reachable_to(self._point.survey(tenant, inquiry, terms))

    def _check(
        self, request: messages.CheckReachRequest, context: grpc.ServicerContext, *, at_once: bool = False
    ) -> PendingAnswer[messages.CheckReachResponse]:
        tenant, terms = self._terms(request, context, at_once=at_once)
        try:
            asked = wire.reach_question_from(request.question)
        except MalformedQuestionError as error:
            raise below("question", error) from None
        held = self._point.check(tenant, asked, terms)
        decision, decision_id, revision, position = held.answer
        response = messages.CheckReachResponse(revision=revision)
        if position:
            response.position = position
        wire.fill_decision(response.decision, decision, format_id(decision_id))
        return held.with_answer(response)

    def _batch(
        self, request: messages.BatchCheckReachRequest, context: grpc.ServicerContext, *, at_once: bool = False
    ) -> PendingAnswer[messages.BatchCheckReachResponse]:
        tenant, terms = self._terms(request, context, at_once=at_once)
        caller = request.caller
        if caller:
            named("caller", parse_namespace, caller)
        items = self._items(request.questions, lambda question: wire.reach_question_from(question, caller))
        within_ns = MOMENT_NS if at_once else NO_HURRY_NS
        held = self._point.batch(tenant, items, terms, QuestionType.REACH, within_ns=within_ns)
        return held.with_answer(results_in(messages.BatchCheckReachResponse, held.answer))
