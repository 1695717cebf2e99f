"""The calls of the reach plane: how to build each request and read its response. See the client's methods."""

from collections.abc import Sequence

from remit.client.answers import Answer, ReachAllAnswer, RefusedOwner
from remit.client.call import ClientCall, names
from remit.client.decode import answer_of, reason_of, recorded, results_of
from remit.client.errors import DecisionUnavailable
from remit.client.questions import AskedReach
from remit.v1 import decision_pb2
from remit.v1 import reach_service_pb2 as messages


def check_reach(
    tenant: str,
    caller: str,
    owner: str,
    relation: str,
    *,
    resource_id: str = "",
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> ClientCall[messages.CheckReachResponse, Answer]:
    return ClientCall(
        lambda: messages.CheckReachRequest(
            tenant=tenant,
            question=_question(AskedReach(caller, owner, relation, resource_id)),
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
            at_least=at_least,
        ),
        lambda response: answer_of(response.decision, response.revision, response.position),
        cacheable=True,
    )


def batch_check_reach(
    tenant: str,
    questions: Sequence[AskedReach],
    *,
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> ClientCall[messages.BatchCheckReachResponse, list[Answer | DecisionUnavailable]]:
    asked: list[messages.ReachQuestion] = []

    def request() -> messages.BatchCheckReachRequest:
        asked.extend(map(_question, questions))
        origin = decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id)
        return messages.BatchCheckReachRequest(
            tenant=tenant, questions=asked, origin=origin, revision=revision, at_least=at_least
        )

    return ClientCall(
        request,
        lambda response: results_of(response, len(asked)),
    )


def check_reach_all(
    tenant: str,
    caller: str,
    owners: Sequence[str],
    relation: str,
    *,
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> ClientCall[messages.CheckReachAllResponse, ReachAllAnswer]:
    return ClientCall(
        lambda: messages.CheckReachAllRequest(
            tenant=tenant,
            caller=caller,
            relation=relation,
            owners=names(owners),
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
            at_least=at_least,
        ),
        _reach_all_answer,
    )


def explain_reach(
    tenant: str,
    caller: str,
    owner: str,
    relation: str,
    *,
    resource_id: str = "",
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> ClientCall[messages.ExplainReachResponse, messages.ExplainReachResponse]:
    return ClientCall(
        lambda: messages.ExplainReachRequest(
            tenant=tenant,
            question=_question(AskedReach(caller, owner, relation, resource_id)),
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
            at_least=at_least,
        ),
        recorded,
    )


def list_reachable(
    tenant: str,
    namespace: str,
    *,
    relations: Sequence[str] = (),
    among: Sequence[str] = (),
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> ClientCall[messages.ListReachableResponse, messages.ListReachableResponse]:
    return ClientCall(
        lambda: messages.ListReachableRequest(
            tenant=tenant,
            namespace=namespace,
            relations=names(relations),
            among=names(among),
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
            at_least=at_least,
        ),
        recorded,
    )


def _question(asked: AskedReach) -> messages.ReachQuestion:
    return messages.ReachQuestion(
        caller=asked.caller, owner=asked.owner, relation=asked.relation, resource_id=asked.resource_id
    )


def _reach_all_answer(response: messages.CheckReachAllResponse) -> ReachAllAnswer:
    answer = answer_of(response.decision, response.revision, response.position)
    refused = tuple(RefusedOwner(each.owner, reason_of(each.reason)) for each in response.refused)
    if answer.allowed and refused:
        raise DecisionUnavailable("INTERNAL", "the server's answer and the owners that refuse contradict one another")
    return ReachAllAnswer(
        answer.effect, answer.reason, answer.decision_id, answer.revision, refused, position=answer.position
    )
