"""Encodes answers to inquiries as messages of the API."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from remit import wire
from remit.audit.ids import format_id
from remit.core.decision import Decision, Reason
from remit.core.dedicated import Dedicated, Served
from remit.core.names import Word
from remit.core.namespace_set import NamespaceSet
from remit.core.rows import Effect
from remit.engine.queries.held import Held
from remit.engine.queries.matrix import Matrix
from remit.engine.queries.reachable import AllReached, Reachable
from remit.engine.queries.search import FoundNamespaces, Permitted
from remit.engine.queries.visibility import Seen
from remit.service.decision_point import InquiryAnswer
from remit.v1 import decision_pb2
from remit.v1 import reach_service_pb2 as reach
from remit.v1 import resource_service_pb2 as resources
from remit.v1 import search_service_pb2 as search
from remit.v1 import visibility_service_pb2 as visibility


def receipt_to(surveyed: InquiryAnswer[Any]) -> decision_pb2.Receipt:
    reason = wire.REASONS[surveyed.reason.value] if surveyed.reason is not None else decision_pb2.REASON_UNSPECIFIED
    return decision_pb2.Receipt(
        decision_id=format_id(surveyed.decision_id),
        revision=surveyed.revision,
        reason=reason,
        position=surveyed.position,
    )


def actions_to(surveyed: InquiryAnswer[Mapping[Word, Sequence[Word]]]) -> search.ListActionsResponse:
    response = search.ListActionsResponse(receipt=receipt_to(surveyed))
    for kind, actions in (surveyed.answer or {}).items():
        response.kinds.add(kind=kind, actions=actions)
    return response


def namespaces_to(surveyed: InquiryAnswer[FoundNamespaces]) -> search.ListNamespacesResponse:
    response = search.ListNamespacesResponse(receipt=receipt_to(surveyed))
    if surveyed.answer is not None:
        response.sets.extend(map(wire.set_to, surveyed.answer.sets))
        response.among.extend(surveyed.answer.among)
    return response


def principals_to(surveyed: InquiryAnswer[Permitted], after: str, size: int) -> search.ListPrincipalsResponse:
    """The first `size` principals after `after`, without the token of the next page."""
    response = search.ListPrincipalsResponse(receipt=receipt_to(surveyed))
    permitted = surveyed.answer
    if permitted is not None:
        response.total = len(permitted.principals)
        start = bisect_right(permitted.principals, after)
        for principal in permitted.principals[start : start + size]:
            chain = map(wire.row_to, permitted.chain(principal))
            response.principals.add(principal=principal, rule=wire.rule_to(permitted.rule(principal)), chain=chain)
    return response


def held_to(surveyed: InquiryAnswer[Held], start: int, size: int) -> search.ListHeldResponse:
    """`size` entries from number `start` on, without the token of the next page."""
    response = search.ListHeldResponse(receipt=receipt_to(surveyed))
    held = surveyed.answer
    if held is None:
        return response
    response.total, response.roles[:], response.shut_out = held.total, held.roles, not held.admitted
    for rule in held.rules[start : start + size]:
        response.entries.add(namespaces=rule.namespaces.text, rule=wire.rule_to(rule))
    begin = max(0, start - len(held.rules))
    for each in held.chains[begin : begin + size - len(response.entries)]:
        chain = [search.HeldRow(row=wire.row_to(row), expires_us=row.expires_us) for row in each.rows]
        response.entries.add(holds=each.holds, namespaces=each.where.text, expires_us=each.expires_us, chain=chain)
    return response


def filter_to(surveyed: InquiryAnswer[NamespaceSet]) -> search.PlanFilterResponse:
    namespaces = wire.set_to(surveyed.answer) if surveyed.answer is not None else None
    return search.PlanFilterResponse(namespaces=namespaces, receipt=receipt_to(surveyed))


def matrix_to(surveyed: InquiryAnswer[Matrix]) -> search.ListMatrixResponse:
    """Without the token of the next page."""
    response = search.ListMatrixResponse(receipt=receipt_to(surveyed))
    matrix = surveyed.answer
    if matrix is not None:
        response.total = matrix.total
        for kind, action in matrix.columns:
            response.columns.add(kind=kind, action=action)
        for name, decisions in matrix.rows:
            add = response.rows.add(name=name).cells.add
            for effect, reason, rule in (each.recorded for each in decisions):
                add(effect=wire.EFFECTS[effect], reason=wire.REASONS[reason], rule=rule)
    return response


def reachable_to(surveyed: InquiryAnswer[tuple[Reachable, ...]]) -> reach.ListReachableResponse:
    response = reach.ListReachableResponse(receipt=receipt_to(surveyed))
    for each in surveyed.answer or ():
        response.relations.add(
            relation=each.relation,
            uses=_sets_to(each.uses),
            used_by=_sets_to(each.used_by),
            uses_among=each.uses_among,
            used_by_among=each.used_by_among,
        )
    return response


def all_reached_to(surveyed: InquiryAnswer[AllReached]) -> reach.CheckReachAllResponse:
    response = reach.CheckReachAllResponse(revision=surveyed.revision, position=surveyed.position)
    decision = surveyed.decision or Decision(Effect.DENY, surveyed.reason or Reason.UNKNOWN_TENANT)
    wire.fill_decision(response.decision, decision, format_id(surveyed.decision_id))
    for owner, reason in surveyed.answer.refused if surveyed.answer is not None else ():
        response.refused.add(owner=owner, reason=wire.REASONS[reason.value])
    return response


def resolved_to(surveyed: InquiryAnswer[tuple[Dedicated, ...]]) -> resources.ResolveDedicatedResponse:
    found = map(_dedicated_to, surveyed.answer or ())
    return resources.ResolveDedicatedResponse(resources=found, receipt=receipt_to(surveyed))


def served_to(surveyed: InquiryAnswer[Served]) -> resources.ListServedResponse:
    response = resources.ListServedResponse(receipt=receipt_to(surveyed))
    if surveyed.answer is not None:
        response.namespaces.extend(map(wire.set_to, surveyed.answer.namespaces))
        response.serves_tenant = surveyed.answer.whole_tenant
        response.tenants.extend(surveyed.answer.tenants)
    return response


def graph_to(surveyed: InquiryAnswer[Seen]) -> visibility.VisibleGraphResponse:
    response = visibility.VisibleGraphResponse(receipt=receipt_to(surveyed))
    if surveyed.answer is not None:
        wire.fill_graph(response, surveyed.answer.graph)
    return response


def _sets_to(sets: Iterable[NamespaceSet]) -> list[decision_pb2.NamespaceSet]:
    return [wire.set_to(each) for each in sets]


def _dedicated_to(dedicated: Dedicated) -> resources.DedicatedResource:
    number = wire.RESOURCE_TYPES[dedicated.resource_type]
    found = dedicated.resolution
    if found is None:
        return resources.DedicatedResource(resource=number, level=resources.RESOURCE_LEVEL_NONE)
    level = resources.RESOURCE_LEVEL_NAMESPACE if found.level else resources.RESOURCE_LEVEL_TENANT
    message = resources.DedicatedResource(
        resource=number,
        name=found.resource.name,
        level=level,
        level_namespace=found.level,
        type=found.resource.type,
        read_only=found.resource.read_only,
        fallback=found.resource.fallback,
        denied_services=sorted(found.resource.denied_services),
        service=wire.EFFECTS[dedicated.service.value] if dedicated.service else decision_pb2.EFFECT_UNSPECIFIED,
    )
    config: Any = found.resource.config
    message.config.update(config)
    return message
