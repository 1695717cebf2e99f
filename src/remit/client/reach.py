"""The questions of the reach plane."""

from collections.abc import Sequence

from remit.client.access import guarded
from remit.client.answers import Answer, ReachAllAnswer, RefusedOwner
from remit.client.call import ClientCall, names
from remit.client.decode import answer_of, reason_of, results_of, told
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
) -> ClientCall[messages.CheckReachResponse, Answer]:
    """May work in namespace `caller` use what namespace `owner` owns, by `relation`?"""
    return ClientCall(
        lambda: messages.CheckReachRequest(
            tenant=tenant,
            question=_question(AskedReach(caller, owner, relation, resource_id)),
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
        ),
        lambda response: answer_of(response.decision, response.revision),
        kept=True,
    )


def batch_check_reach(
    tenant: str,
    questions: Sequence[AskedReach],
    *,
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
) -> ClientCall[messages.BatchCheckReachResponse, list[Answer | DecisionUnavailable]]:
    """One result a question, as `batch_check` gives them."""
    asked: list[messages.ReachQuestion] = []

    def request() -> messages.BatchCheckReachRequest:
        asked.extend(map(_question, questions))
        origin = decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id)
        return messages.BatchCheckReachRequest(tenant=tenant, questions=asked, origin=origin, revision=revision)

    return ClientCall(
        request,
        lambda response: results_of(response.results, response.revision, len(asked)),
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
) -> ClientCall[messages.CheckReachAllResponse, ReachAllAnswer]:
    """May `caller` use every one of these owners, 1 to 10,000, and which of them refuse?"""
    return ClientCall(
        lambda: messages.CheckReachAllRequest(
            tenant=tenant,
            caller=caller,
            relation=relation,
            owners=names(owners),
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
        ),
        _reach_all_answer,
    )


guard_reach = guarded(check_reach)
guard_reach_all = guarded(check_reach_all)


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
) -> ClientCall[messages.ExplainReachResponse, messages.ExplainReachResponse]:
    """The answer with its grounds, as the API gives it: row, what came too late, near misses, remedy, a summary."""
    return ClientCall(
        lambda: messages.ExplainReachRequest(
            tenant=tenant,
            question=_question(AskedReach(caller, owner, relation, resource_id)),
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
        ),
        told,
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
) -> ClientCall[messages.ListReachableResponse, messages.ListReachableResponse]:
    """What `namespace` can use and who can use what is its own, by each of `relations` (all where empty): as patterns,
    and as those of the namespaces `among`."""
    return ClientCall(
        lambda: messages.ListReachableRequest(
            tenant=tenant,
            namespace=namespace,
            relations=names(relations),
            among=names(among),
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
        ),
        told,
    )


def _question(asked: AskedReach) -> messages.ReachQuestion:
    return messages.ReachQuestion(
        caller=asked.caller, owner=asked.owner, relation=asked.relation, resource_id=asked.resource_id
    )


def _reach_all_answer(response: messages.CheckReachAllResponse) -> ReachAllAnswer:
    answer = answer_of(response.decision, response.revision)
    refused = tuple(RefusedOwner(each.owner, reason_of(each.reason)) for each in response.refused)
    if answer.allowed and refused:
        raise DecisionUnavailable("INTERNAL", "the server's answer and the owners that refuse contradict one another")
    return ReachAllAnswer(answer.effect, answer.reason, answer.decision_id, answer.revision, refused)
