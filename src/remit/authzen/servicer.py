"""The calls of the AuthZEN API: translates requests to questions, and answers to bodies. It decides nothing."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from remit.authzen.answers import (
    AuthzenAnswer,
    FoundAction,
    FoundEntity,
    decision_body,
    evaluations_body,
    headers_of,
    search_body,
)
from remit.authzen.bodies import ActionSearch, ResourceSearch, SubjectSearch
from remit.authzen.page_token import PlaceInSearch, SearchPages
from remit.authzen.questions import (
    NOTHING,
    FoundPage,
    action_search,
    each_evaluated,
    evaluated,
    resource_search,
    subject_search,
)
from remit.authzen.requests import AskedEvaluation, AskedEvaluations, AskedSearch, evaluation, evaluations, search
from remit.core.authzen import resource_id_of
from remit.core.caller_actions import CallerAction
from remit.core.errors import MalformedQuestionError, violation
from remit.rpc.admission import CallClasses
from remit.rpc.boundary import CallMethod
from remit.rpc.call_context import AtOnce, CallContext
from remit.rpc.query_servicer import MOMENT_NS, SHORT_BATCH, QueryServicer
from remit.rpc.rights import Demand
from remit.service.decision_point import NO_HURRY_NS, PendingAnswer

_SEARCHES: Final[Mapping[str, tuple[Any, Any, CallerAction]]] = {
    "subject": (SubjectSearch, subject_search, CallerAction.WHO),
    "resource": (ResourceSearch, resource_search, CallerAction.LIST),
    "action": (ActionSearch, action_search, CallerAction.LIST),
}


class AuthzenServicer(QueryServicer):
    """Answers parsed requests of the AuthZEN API."""

    def __init__(self, pages: SearchPages, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pages = pages

    def methods(self, classes: CallClasses) -> dict[str, CallMethod]:
        """The calls, by the end of their paths."""
        made = partial(CallMethod, serialize=_itself)
        check = Demand((CallerAction.CHECK,))
        methods = {
            "evaluation": made(
                "AuthZEN/Evaluation",
                self._in_thread(self._evaluation),
                classes.decisions,
                parse=evaluation,
                demand=check,
                at_once=self._quickly(self._evaluation),
            ),
            "evaluations": made(
                "AuthZEN/Evaluations",
                self._in_thread(self._evaluations),
                classes.decisions,
                parse=evaluations(self._batch_limit),
                demand=check,
                at_once=self._quickly(self._evaluations),
                batch=True,
            ),
        }
        for name, (body, ask, action) in _SEARCHES.items():
            methods[f"search/{name}"] = made(
                f"AuthZEN/{name.title()}Search",
                partial(self._search, name, ask),
                classes.queries,
                parse=search(body),
                demand=Demand((action,)),
            )
        return methods

    def _quickly(self, answer: Callable[..., PendingAnswer[AuthzenAnswer]]) -> AtOnce:
        def at_once(request: Any, context: Any) -> PendingAnswer[AuthzenAnswer] | None:
            if len(request.questions) > SHORT_BATCH:
                return None
            return self._slow.answer(request, lambda: answer(request, context, at_once=True))

        return at_once

    def _in_thread(self, answer: Callable[..., PendingAnswer[AuthzenAnswer]]) -> Callable[..., AuthzenAnswer]:
        return lambda request, context: self._point.commit(answer(request, context))

    def _evaluation(
        self, request: AskedEvaluation, context: CallContext, *, at_once: bool = False
    ) -> PendingAnswer[AuthzenAnswer]:
        tenant, terms = self._terms(request, context, at_once=at_once)
        held = self._point.check_as(tenant, partial(evaluated, request.entities), terms)
        decision, decision_id, revision, position = held.answer
        effect, reason, _ = decision.recorded
        headers = headers_of(revision, position, [decision_id])
        return held.with_answer(AuthzenAnswer(headers, decision_body(effect, reason)))

    def _evaluations(
        self, request: AskedEvaluation | AskedEvaluations, context: CallContext, *, at_once: bool = False
    ) -> PendingAnswer[AuthzenAnswer]:
        if isinstance(request, AskedEvaluation):
            return self._evaluation(request, context, at_once=at_once)
        tenant, terms = self._terms(request, context, at_once=at_once)
        within_ns = MOMENT_NS if at_once else NO_HURRY_NS
        held = self._point.batch_as(
            tenant, partial(each_evaluated, request), terms, within_ns=within_ns, stop_at=request.semantic.stop_at
        )
        revision, position, results = held.answer
        ids = [None if isinstance(each, MalformedQuestionError) else each[1] for each in results]
        return held.with_answer(AuthzenAnswer(headers_of(revision, position, ids), evaluations_body(results)))

    def _search(self, name: str, ask: Any, request: AskedSearch[Any], context: CallContext) -> AuthzenAnswer:
        tenant, terms = self._terms(request, context)
        belongs = (name.encode(), request.tenant.encode(), request.page.request)
        place = self._place(request, belongs)
        entities = request.entities
        resource_id = resource_id_of(entities)
        surveyed = self._point.survey_as(tenant, lambda snapshot: (ask(entities, place, snapshot), resource_id), terms)
        found: FoundPage = surveyed.answer or NOTHING
        token: str | None = None
        if request.page.asked or found.more:
            token = ""
            if found.more:
                after = found.keys[-1] if found.keys else place.after
                token = self._pages.token(PlaceInSearch(place.limit, after), *belongs)
        if name == "action":
            result_of: Callable[[str], Any] = FoundAction
        else:
            result_of = partial(FoundEntity, entities.subject_type if name == "subject" else entities.resource_type)
        headers = headers_of(surveyed.revision, surveyed.position, [surveyed.decision_id])
        return AuthzenAnswer(headers, search_body(found, result_of, token))

    def _place(self, request: AskedSearch[Any], belongs: tuple[bytes, ...]) -> PlaceInSearch:
        """Raises MalformedQuestionError for a token that is none, or another limit than the first page had."""
        page = request.page
        if not page.token:
            return PlaceInSearch(page.limit, None)
        place = self._pages.place(page.token, *belongs)
        if page.limit not in {None, place.limit}:
            first = "none" if place.limit is None else str(place.limit)
            raise violation(
                "page.limit", f"is {page.limit}: the first page had {first}, which counts if it is left out"
            )
        return place


def _itself(answer: AuthzenAnswer) -> AuthzenAnswer:
    return answer
