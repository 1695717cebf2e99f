"""Builds the parts of requests from what callers pass. Raises AttributeError, TypeError or ValueError for values that fit
no request."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from remit import wire
from remit.client.call import Terms
from remit.client.questions import Asked, AskedReach, Graph, NamespaceRows, PrincipalRows, RuntimeBinding
from remit.core.policy import ResourceType
from remit.v1 import access_service_pb2 as access_pb2
from remit.v1 import audit_service_pb2 as audit_pb2
from remit.v1 import binding_service_pb2 as binding_pb2
from remit.v1 import policy_service_pb2 as policy_pb2
from remit.v1 import reach_service_pb2 as reach_pb2
from remit.v1 import resource_service_pb2 as resource_pb2
from remit.v1 import search_service_pb2 as search_pb2
from remit.v1 import visibility_service_pb2 as visibility_pb2

FIRST_PAGE: Final = 1_000
"""Files, lines or tests, as many as a server sends at once."""
_IMPORT_ROWS: Final = 2_000
"""Rows of one message of an import."""


def names(texts: Sequence[str]) -> Sequence[str]:
    """Raises TypeError for a single str, which is also a sequence: of names of one character."""
    if isinstance(texts, str):
        raise TypeError(f"expected a list of names, not the text {texts!r}")
    return texts


def question(asked: Asked) -> access_pb2.Question:
    return access_pb2.Question(
        principal=asked.principal,
        action=asked.action,
        kind=asked.kind,
        namespace=asked.namespace,
        resource_id=asked.resource_id,
    )


def reach_question(asked: AskedReach) -> reach_pb2.ReachQuestion:
    return reach_pb2.ReachQuestion(
        caller=asked.caller, owner=asked.owner, relation=asked.relation, resource_id=asked.resource_id
    )


def graph_nodes(graph: Graph) -> Iterator[visibility_pb2.GraphNode]:
    for each in graph.nodes:
        yield visibility_pb2.GraphNode(uid=each.uid, kind=each.kind, namespace=each.namespace, id=each.id)


def graph_edges(graph: Graph) -> Iterator[visibility_pb2.GraphEdge]:
    for each in graph.edges:
        yield visibility_pb2.GraphEdge(source=each.source, target=each.target, relation=each.relation)


def matrix(rows: PrincipalRows | NamespaceRows, request: search_pb2.ListMatrixRequest) -> search_pb2.ListMatrixRequest:
    """The request, with its rows."""
    match rows:
        case PrincipalRows(namespace, principals, holding):
            people = search_pb2.PrincipalRows(namespace=namespace, principals=names(principals), holding=holding)
            request.principals.CopyFrom(people)
        case NamespaceRows(principal, namespaces, below):
            places = search_pb2.NamespaceRows(principal=principal, namespaces=names(namespaces), below=below)
            request.namespaces.CopyFrom(places)
        case _:
            raise TypeError(f"expected PrincipalRows or NamespaceRows, not {rows!r}")
    return request


def past(terms: Terms, time_us: int, request: audit_pb2.ExplainPastRequest) -> audit_pb2.ExplainPastRequest:
    """The request, by the revision of that time unless the terms name one."""
    if bool(time_us) == bool(terms.revision):
        raise ValueError("expected either `time_us` or a tenant client with `revision`")
    if time_us:
        request.time_us = time_us
    return request


def resource_type(resource: str) -> resource_pb2.ResourceType.ValueType:
    return wire.RESOURCE_TYPES[ResourceType(resource)]


def grouping(name: str) -> audit_pb2.CountGrouping.ValueType:
    number: audit_pb2.CountGrouping.ValueType = _value(audit_pb2.CountGrouping, "COUNT_GROUPING_", "group_by", name)
    return number


def name_type(name: str) -> policy_pb2.NameType.ValueType:
    number: policy_pb2.NameType.ValueType = _value(policy_pb2.NameType, "NAME_TYPE_", "what", name)
    return number


def _value(enum: Any, prefix: str, parameter: str, name: str) -> Any:
    try:
        return enum.Value(f"{prefix}{name.upper()}")
    except ValueError:
        expected = (each.removeprefix(prefix).lower() for each in enum.keys()[1:])
        raise ValueError(f"{parameter}: `{name}`: expected one of {', '.join(expected)}") from None


def runtime_rows(rows: Iterable[RuntimeBinding]) -> list[binding_pb2.RuntimeRow]:
    return [
        binding_pb2.RuntimeRow(member=each.member, holds=each.holds, scope=each.scope, expires_us=each.expires_us)
        for each in rows
    ]


def import_requests(
    start: binding_pb2.ImportStart, rows: Iterable[RuntimeBinding]
) -> Iterator[binding_pb2.ImportBindingsRequest]:
    def requests(left: Iterator[RuntimeBinding]) -> Iterator[binding_pb2.ImportBindingsRequest]:
        yield binding_pb2.ImportBindingsRequest(start=start)
        sent = 0
        while part := runtime_rows(islice(left, _IMPORT_ROWS)):
            sent += len(part)
            yield binding_pb2.ImportBindingsRequest(rows=binding_pb2.ImportRows(rows=part))
        yield binding_pb2.ImportBindingsRequest(end=binding_pb2.ImportEnd(rows=sent))

    return requests(iter(rows))
