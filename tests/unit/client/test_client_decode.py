"""What the client takes for an answer."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.message import Message

from remit.client import Client, DecisionUnavailable, Edge, Graph, Node, TenantClient
from remit.client.call import Terms
from remit.v1 import access_service_pb2 as access_pb2
from remit.v1 import (
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


class Unsent(Exception):  # noqa: N818
    """Raised in place of a call, with its request and how its response is read."""

    def __init__(self, request: Callable[[], Message], read: Callable[[Any], Any], **_: object) -> None:
        self.request = request
        self.read = read


def call(ask: Callable[[TenantClient], object], **terms: str) -> Unsent:
    """What the method sends, and how it reads the answer."""

    def send(*args: Any, **kwargs: Any) -> None:
        raise Unsent(*args, **kwargs)

    with pytest.raises(Unsent) as caught:
        ask(TenantClient(SimpleNamespace(ask=send, walk=send), Terms("acme", **terms)))  # type: ignore[arg-type]
    return caught.value


CHECK = call(lambda acme: acme.check("user:bob", "VIEW", "FLOW", "a"))
EXPLAIN = call(lambda acme: acme.explain("user:bob", "VIEW", "FLOW", "a"))
OPERATION = call(lambda acme: acme.check_operation("user:bob", "upsert_flows", "a"))
ALL = call(lambda acme: acme.check_reach_all("a", ["b"], "KV"))
FILTER = call(lambda acme: acme.plan_filter("user:bob", "VIEW", "FLOW"))
GRAPH = call(lambda acme: acme.visible_graph("user:bob", Graph([Node("1", "FLOW", "a")])))
DEDICATED = call(lambda acme: acme.resolve_dedicated())
SERVED = call(lambda acme: acme.list_served("storage", "s3"))


def operation(effect: Any, *decisions: decision_pb2.Decision) -> access_pb2.CheckOperationResponse:
    return access_pb2.CheckOperationResponse(
        effect=effect, parts=[access_pb2.OperationPart(decision=each) for each in decisions]
    )


@pytest.mark.parametrize(
    ("asked", "response"),
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
def test_response_that_cannot_be_decoded_is_unavailable(asked: Unsent, response: Any) -> None:
    """Empty, of a newer API, or at odds with itself."""
    with pytest.raises(DecisionUnavailable, match="INTERNAL"):
        asked.read(response)


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
    asked = call(lambda acme: acme.resolve_dedicated("a.b", ["worker_group", "storage"], "WEBSERVER")).request()
    assert asked == resource_service_pb2.ResolveDedicatedRequest(
        tenant="acme",
        namespace="a.b",
        resources=["RESOURCE_TYPE_WORKER_GROUP", "RESOURCE_TYPE_STORAGE"],
        service="WEBSERVER",
    )
    with pytest.raises(ValueError, match="disk"):
        call(lambda acme: acme.list_served("disk", "s3")).request()


def test_groups_of_counts_are_asked_for_by_name() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(DecisionUnavailable) as caught:
        next(client.count_records(group_by=["tenent"]))
    assert "group_by: `tenent`: expected one of tenant, principal, " in caught.value.message


def test_a_graph_is_sent_whole() -> None:
    graph = Graph([Node("1", "FLOW", "a", "f")], [Edge("1", "1", "SUBFLOW")])
    asked = call(lambda acme: acme.visible_graph("user:bob", graph, omit=True))
    assert asked.request() == visibility_service_pb2.VisibleGraphRequest(
        tenant="acme",
        principal="user:bob",
        action="VIEW",
        nodes=[visibility_service_pb2.GraphNode(uid="1", kind="FLOW", namespace="a", id="f")],
        edges=[visibility_service_pb2.GraphEdge(source="1", target="1", relation="SUBFLOW")],
        hidden=visibility_service_pb2.HIDDEN_NODES_OMIT,
    )


def test_terms_are_in_each_request_that_has_room_for_them() -> None:
    terms = {"on_behalf_of": "user:eve", "trace_id": "t1", "revision": "r", "at_least": "acme:1:0"}
    asked: Any = call(lambda acme: acme.check("user:bob", "VIEW", "FLOW"), **terms).request()
    assert asked == access_pb2.CheckRequest(
        tenant="acme",
        question=access_pb2.Question(principal="user:bob", action="VIEW", kind="FLOW"),
        origin=decision_pb2.Origin(on_behalf_of="user:eve", trace_id="t1"),
        revision="r",
        at_least="acme:1:0",
    )
    words: Any = call(lambda acme: acme.get_vocabulary(), **terms).request()
    assert ("acme", "r", "acme:1:0") == (words.tenant, words.revision, words.at_least)


@pytest.mark.parametrize("term", ["revision", "at_least"])
def test_request_without_room_for_a_revision_or_a_position_is_refused(term: str) -> None:
    """Else the answer would be of another policy than the caller demands."""
    with pytest.raises(ValueError, match=f"{term}: ListBindingsRequest has none: ask a tenant client without `{term}`"):
        call(lambda acme: acme.list_bindings(), **{term: "x"}).request()


def test_terms_are_replaced_one_by_one() -> None:
    first = call(
        lambda acme: acme.with_terms(at_least="acme:2:0", trace_id="").check("user:bob", "VIEW", "FLOW"),
        trace_id="t1",
        revision="r",
    )
    asked: Any = first.request()
    assert ("acme", "r", "acme:2:0", "") == (asked.tenant, asked.revision, asked.at_least, asked.origin.trace_id)


def test_past_is_asked_by_a_revision_or_by_a_time() -> None:
    def explain(acme: TenantClient, time_us: int) -> object:
        return acme.explain_past("user:bob", "VIEW", "FLOW", time_us=time_us)

    for time_us, revision in ((0, ""), (7, "r")):
        with pytest.raises(ValueError, match="either"):
            call(lambda acme, us=time_us: explain(acme, us), revision=revision).request()
    by_time: Any = call(lambda acme: explain(acme, 7)).request()
    by_revision: Any = call(lambda acme: explain(acme, 0), revision="r").request()
    assert (7, "r") == (by_time.time_us, by_revision.revision)
    assert ("time_us", "revision") == tuple(each.WhichOneof("at") for each in (by_time, by_revision))
