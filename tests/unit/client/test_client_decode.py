"""What the client takes for an answer."""

from typing import Any

import pytest

from remit.client import DecisionUnavailable, Edge, Graph, Node, access, reach, search
from remit.client.audit import count_records
from remit.client.call import ClientCall
from remit.client.resources import list_served, resolve_dedicated, visible_graph
from remit.v1 import access_service_pb2 as access_pb2
from remit.v1 import (
    audit_service_pb2,
    decision_pb2,
    reach_service_pb2,
    resource_service_pb2,
    search_service_pb2,
    visibility_service_pb2,
)

ALLOW: Any = decision_pb2.EFFECT_ALLOW
DENY: Any = decision_pb2.EFFECT_DENY
BY_RULE: Any = decision_pb2.REASON_ALLOWED_BY_RULE
REFUSED: Any = decision_pb2.REASON_NO_MATCHING_RULE
NEWER: Any = 99
RECEIPT = decision_pb2.Receipt(decision_id="id", revision="r")
ALLOWED = decision_pb2.Decision(effect=ALLOW, reason=BY_RULE, decision_id="id")
DENIED = decision_pb2.Decision(effect=DENY, reason=REFUSED, decision_id="id")

CHECK = access.check("acme", "user:bob", "VIEW", "FLOW", "a")
EXPLAIN = access.explain("acme", "user:bob", "VIEW", "FLOW", "a")
OPERATION = access.check_operation("acme", "user:bob", "upsert_flows", "a")
ALL = reach.check_reach_all("acme", "a", ["b"], "KV")
FILTER = search.plan_filter("acme", "user:bob", "VIEW", "FLOW")
GRAPH = visible_graph("acme", "user:bob", Graph([Node("1", "FLOW", "a")]))
DEDICATED = resolve_dedicated("acme")
SERVED = list_served("acme", "storage", "s3")


def operation(effect: Any, *decisions: decision_pb2.Decision) -> access_pb2.CheckOperationResponse:
    return access_pb2.CheckOperationResponse(
        effect=effect, parts=[access_pb2.OperationPart(decision=each) for each in decisions]
    )


@pytest.mark.parametrize(
    ("call", "response"),
    [
        (CHECK, access_pb2.CheckResponse()),
        (CHECK, access_pb2.CheckResponse(decision=decision_pb2.Decision(effect=NEWER, reason=BY_RULE))),
        (CHECK, access_pb2.CheckResponse(decision=decision_pb2.Decision(effect=ALLOW, reason=NEWER))),
        (OPERATION, operation(ALLOW)),
        (OPERATION, operation(ALLOW, ALLOWED, DENIED)),
        (OPERATION, operation(DENY, ALLOWED)),
        (OPERATION, operation(NEWER, ALLOWED)),
        (OPERATION, operation(ALLOW, decision_pb2.Decision(effect=ALLOW, reason=NEWER))),
        (
            ALL,
            reach_service_pb2.CheckReachAllResponse(
                decision=ALLOWED, refused=[reach_service_pb2.RefusedOwner(owner="b", reason=REFUSED)]
            ),
        ),
        (
            ALL,
            reach_service_pb2.CheckReachAllResponse(
                decision=DENIED, refused=[reach_service_pb2.RefusedOwner(owner="b", reason=NEWER)]
            ),
        ),
        (EXPLAIN, access_pb2.ExplainResponse()),
        (
            EXPLAIN,
            access_pb2.ExplainResponse(decision=DENIED, near_misses=[access_pb2.NearMiss(failed=NEWER)]),
        ),
        (FILTER, search_service_pb2.PlanFilterResponse()),
        (FILTER, search_service_pb2.PlanFilterResponse(receipt=decision_pb2.Receipt(decision_id="id", reason=NEWER))),
        (
            FILTER,
            search_service_pb2.PlanFilterResponse(
                receipt=RECEIPT, namespaces=decision_pb2.NamespaceSet(only=["a.[b]"])
            ),
        ),
        (GRAPH, visibility_service_pb2.VisibleGraphResponse()),
        (
            GRAPH,
            visibility_service_pb2.VisibleGraphResponse(
                receipt=RECEIPT, edges=[visibility_service_pb2.VisibleEdge(reach=NEWER)]
            ),
        ),
        (
            DEDICATED,
            resource_service_pb2.ResolveDedicatedResponse(
                receipt=RECEIPT, resources=[resource_service_pb2.DedicatedResource(level=NEWER)]
            ),
        ),
        (SERVED, resource_service_pb2.ListServedResponse()),
    ],
)
def test_response_that_cannot_be_decoded_is_unavailable(call: ClientCall[Any, Any], response: Any) -> None:
    """Empty, of a newer API, or at odds with itself."""
    with pytest.raises(DecisionUnavailable, match="INTERNAL"):
        call.read(response)


def test_message_with_known_words_only_is_read() -> None:
    served = resource_service_pb2.ListServedResponse(receipt=RECEIPT, tenants=["acme"])
    resolved = resource_service_pb2.ResolveDedicatedResponse(
        receipt=RECEIPT, resources=[resource_service_pb2.DedicatedResource(level="RESOURCE_LEVEL_TENANT", service=DENY)]
    )
    resolved.resources[0].config["nothing"] = None
    assert served is SERVED.read(served)
    assert resolved is DEDICATED.read(resolved)
    assert OPERATION.read(operation(ALLOW, ALLOWED, ALLOWED)).allowed
    assert not OPERATION.read(operation(DENY, ALLOWED, DENIED)).allowed


def test_resources_are_asked_for_by_the_words_of_the_files() -> None:
    asked = resolve_dedicated("acme", "a.b", ["worker_group", "storage"], "WEBSERVER").request()
    assert asked == resource_service_pb2.ResolveDedicatedRequest(
        tenant="acme",
        namespace="a.b",
        resources=["RESOURCE_TYPE_WORKER_GROUP", "RESOURCE_TYPE_STORAGE"],
        service="WEBSERVER",
        origin=decision_pb2.Origin(),
    )
    with pytest.raises(ValueError, match="disk"):
        list_served("acme", "disk", "s3").request()


def test_groups_of_counts_are_asked_for_by_name() -> None:
    asked = count_records(group_by=["tenant", "day"])("").request()
    assert asked == audit_service_pb2.CountRecordsRequest(group_by=["COUNT_GROUPING_TENANT", "COUNT_GROUPING_DAY"])
    with pytest.raises(ValueError, match=r"group_by: `tenent`: expected one of tenant, principal, .*, day"):
        count_records(group_by=["tenent"])("").request()


def test_a_graph_is_sent_whole() -> None:
    asked = visible_graph(
        "acme", "user:bob", Graph([Node("1", "FLOW", "a", "f")], [Edge("1", "1", "SUBFLOW")]), omit=True
    )
    assert asked.request() == visibility_service_pb2.VisibleGraphRequest(
        tenant="acme",
        principal="user:bob",
        action="VIEW",
        nodes=[visibility_service_pb2.GraphNode(uid="1", kind="FLOW", namespace="a", id="f")],
        edges=[visibility_service_pb2.GraphEdge(source="1", target="1", relation="SUBFLOW")],
        hidden=visibility_service_pb2.HIDDEN_NODES_OMIT,
        origin=decision_pb2.Origin(),
    )
