"""The calls for graphs and dedicated resources: how to build each request and read its response."""

from collections.abc import Sequence

from remit import wire
from remit.client.call import ClientCall, names
from remit.client.decode import recorded
from remit.client.questions import Graph
from remit.core.policy import ResourceType
from remit.v1 import decision_pb2
from remit.v1 import resource_service_pb2 as resources_pb2
from remit.v1 import visibility_service_pb2 as visibility_pb2


def visible_graph(
    tenant: str,
    principal: str,
    graph: Graph,
    *,
    action: str = "VIEW",
    omit: bool = False,
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> ClientCall[visibility_pb2.VisibleGraphResponse, visibility_pb2.VisibleGraphResponse]:
    return ClientCall(
        lambda: visibility_pb2.VisibleGraphRequest(
            tenant=tenant,
            principal=principal,
            action=action,
            nodes=[
                visibility_pb2.GraphNode(uid=each.uid, kind=each.kind, namespace=each.namespace, id=each.id)
                for each in graph.nodes
            ],
            edges=[
                visibility_pb2.GraphEdge(source=each.source, target=each.target, relation=each.relation)
                for each in graph.edges
            ],
            hidden=visibility_pb2.HIDDEN_NODES_OMIT if omit else visibility_pb2.HIDDEN_NODES_STUB,
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
            at_least=at_least,
        ),
        recorded,
    )


def resolve_dedicated(
    tenant: str,
    namespace: str = "",
    resources: Sequence[str] = (),
    service: str = "",
    *,
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> ClientCall[
    resources_pb2.ResolveDedicatedResponse,
    resources_pb2.ResolveDedicatedResponse,
]:
    return ClientCall(
        lambda: resources_pb2.ResolveDedicatedRequest(
            tenant=tenant,
            namespace=namespace,
            resources=map(_type, names(resources)),
            service=service,
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
            at_least=at_least,
        ),
        recorded,
    )


def list_served(
    tenant: str,
    resource: str,
    name: str,
    *,
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> ClientCall[resources_pb2.ListServedResponse, resources_pb2.ListServedResponse]:
    return ClientCall(
        lambda: resources_pb2.ListServedRequest(
            tenant=tenant,
            resource=_type(resource),
            name=name,
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
            at_least=at_least,
        ),
        recorded,
    )


def _type(resource: str) -> resources_pb2.ResourceType.ValueType:
    """Raises ValueError if the text names no resource type."""
    return wire.RESOURCE_TYPES[ResourceType(resource)]
