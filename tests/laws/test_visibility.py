"""The laws of visibility (policy-language section 7)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from hypothesis import given
from strategies import World, randoms, worlds
from support.trees import snapshot_of
from worldly import questions, reach_questions, snapshots, tenants

from remit import wire
from remit.core.dependency_graph import DependencyGraph, parse_graph
from remit.core.names import Namespace, Principal, Word
from remit.core.question import Question, ReachQuestion
from remit.core.rows import Effect
from remit.engine.queries.visibility import VisibleTo
from remit.engine.snapshot import Snapshot
from remit.v1 import visibility_service_pb2 as messages

Texts = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A graph near a policy's own rows, and who looks at it."""

    principal: Principal
    action: Word
    nodes: Sequence[Texts]
    edges: Sequence[tuple[str, str, str]]

    @property
    def graph(self) -> DependencyGraph:
        return parse_graph(self.nodes, self.edges)

    def asks(self, node: Texts) -> Question:
        return Question(self.principal, self.action, Word(node[1]), Namespace(node[2]))

    def only(self, uids: set[str]) -> "Drawing":
        nodes = [node for node in self.nodes if node[0] in uids]
        return Drawing(
            self.principal, self.action, nodes, [edge for edge in self.edges if edge[0] in uids and edge[1] in uids]
        )


def drawing(snapshot: Snapshot, random: Random) -> Drawing:
    asked = questions(snapshot, random, 12)
    # Somebody who may see something of it, where there is one.
    principal, action, *_ = next((each for each in asked if snapshot.decide(each).allowed), asked[0])
    # Ids that are part of no other text, so that finding one in an answer is finding that node.
    texts = [f"{number:02}-{random.randrange(1 << 60):015x}" for number in range(2 * len(asked))]
    reached = reach_questions(snapshot, random, 4)
    # Half of them where the reach rows are.
    places = [place for each in reached for place in (each.caller, each.owner)]
    nodes = [
        (
            texts[number],
            each.kind,
            random.choice(places) if each.namespace and number % 2 else each.namespace,
            texts[len(asked) + number],
        )
        for number, each in enumerate(asked)
    ]
    relations = [each.relation for each in reached]
    edges = [
        (random.choice(nodes)[0], random.choice(nodes)[0], random.choice(relations))
        for _ in range(random.randint(0, 20))
    ]
    return Drawing(principal, action, nodes, edges)


def seen(snapshot: Snapshot, drawn: Drawing, stubs: Random | None) -> messages.VisibleGraphResponse:
    """The answer as it goes over the wire, its receipt apart."""
    answer = VisibleTo(drawn.principal, drawn.action, drawn.graph, stubs).answer(snapshot)
    response = messages.VisibleGraphResponse()
    wire.fill_graph(response, answer.graph)
    return response


@given(worlds, randoms)
def test_a_node_is_visible_iff_check_allows(world: World, random: Random) -> None:
    """Whole and in request order if it does; else a stub, or nothing."""
    for snapshot in snapshots(world):
        drawn = drawing(snapshot, random)
        visible = [node for node in drawn.nodes if snapshot.decide(drawn.asks(node)).allowed]
        stubs = [(f"?{number}", "", "", "") for number in range(1, len(drawn.nodes) - len(visible) + 1)]
        for stubbing, expected in ((random, visible + stubs), (None, visible)):
            answer = seen(snapshot, drawn, stubbing)
            assert expected == [(each.uid, each.kind, each.namespace, each.id) for each in answer.nodes]


@given(worlds, randoms)
def test_no_name_of_a_hidden_node_leaves(world: World, random: Random) -> None:
    """No uid or id of one is in the answer's bytes; no kind and namespace that a visible node does not have is in it."""
    for snapshot in snapshots(world):
        drawn = drawing(snapshot, random)
        allowed = {node for node in drawn.nodes if snapshot.decide(drawn.asks(node)).allowed}
        for stubbing in (random, None):
            answer = seen(snapshot, drawn, stubbing)
            sent = answer.SerializeToString()
            for uid, _, _, thing in set(drawn.nodes) - allowed:
                assert uid.encode() not in sent
                assert thing.encode() not in sent
            assert {(kind, where) for _, kind, where, _ in allowed} == {
                (each.kind, each.namespace) for each in answer.nodes if not each.uid.startswith("?")
            }
            told = {text for node in allowed for text in node} | {relation for _, _, relation in drawn.edges} | {""}
            texts = [text for each in answer.nodes for text in (each.uid, each.kind, each.namespace, each.id)]
            texts += [text for each in answer.edges for text in (each.edge.source, each.edge.target)]
            texts += [each.edge.relation for each in answer.edges]
            assert {text for text in texts if not text.startswith("?")} <= told


@given(worlds, randoms)
def test_omitted_nodes_leave_no_trace(world: World, random: Random) -> None:
    """The answer is that over the visible part of the graph alone, byte for byte."""
    for snapshot in snapshots(world):
        drawn = drawing(snapshot, random)
        allowed = {node[0] for node in drawn.nodes if snapshot.decide(drawn.asks(node)).allowed}
        whole, part = (seen(snapshot, each, None) for each in (drawn, drawn.only(allowed)))
        assert part.SerializeToString(deterministic=True) == whole.SerializeToString(deterministic=True)


@given(worlds, randoms)
def test_stubs_depend_only_on_the_shape(world: World, random: Random) -> None:
    """Hidden nodes renamed and moved about among themselves give the same answer from the same dice."""
    for snapshot in snapshots(world):
        drawn = drawing(snapshot, random)
        hidden = [number for number, node in enumerate(drawn.nodes) if not snapshot.decide(drawn.asks(node)).allowed]
        if not hidden:
            continue
        (_, kind, where, _) = drawn.nodes[hidden[0]]
        renamed = {drawn.nodes[number][0]: f"n{number}" for number in hidden}
        nodes = [
            (renamed[uid], kind, where, "renamed") if uid in renamed else (uid, its, there, thing)
            for uid, its, there, thing in drawn.nodes
        ]
        edges = [(renamed.get(one, one), renamed.get(two, two), relation) for one, two, relation in drawn.edges]
        other = Drawing(drawn.principal, drawn.action, nodes, edges)
        seed = random.randrange(1 << 30)
        one, two = (seen(snapshot, each, Random(seed)) for each in (drawn, other))
        assert one.SerializeToString(deterministic=True) == two.SerializeToString(deterministic=True)


@given(worlds, randoms)
def test_verdict_of_an_edge_equals_check_reach(world: World, random: Random) -> None:
    """Where both ends are visible and in namespaces; no verdict elsewhere; and no edge is lost or made up."""
    for tenant in tenants(world):
        # Somebody who sees most of it.
        seer = world.with_rows(f"{tenant}/bindings.csv", f"p, user:seer, {tenant}, **, *, *, allow")
        snapshot = snapshot_of(seer.files, tenant)
        drawn = replace(drawing(snapshot, random), principal=Principal("user:seer"))
        nodes = {node[0]: node for node in drawn.nodes}
        shown = {uid for uid, node in nodes.items() if snapshot.decide(drawn.asks(node)).allowed}
        expected = []
        for source, target, relation in drawn.edges:
            if not {source, target} <= shown:
                continue
            ends = Namespace(nodes[source][2]), Namespace(nodes[target][2])
            verdict = snapshot.reach.decide(ReachQuestion(*ends, Word(relation))) if all(ends) else None
            numbers = (wire.EFFECTS[verdict.effect], wire.REASONS[verdict.reason]) if verdict else (0, 0)
            expected.append((source, target, relation, *numbers))
        answer = seen(snapshot, drawn, random)
        told = [(e.edge.source, e.edge.target, e.edge.relation, e.reach, e.reason) for e in answer.edges]
        assert expected == told[: len(expected)]
        assert len(drawn.edges) == len(told)
        assert all("?" in source + target and not reach for source, target, _, reach, _ in told[len(expected) :])
        assert sorted(relation for *_, relation in drawn.edges) == sorted(relation for _, _, relation, *_ in told)
        assert expected == [
            (e.edge.source, e.edge.target, e.edge.relation, e.reach, e.reason)
            for e in seen(snapshot, drawn, None).edges
        ]


@given(worlds, randoms)
def test_record_of_a_graph_counts_hidden_nodes_without_uids(world: World, random: Random) -> None:
    """Counts, and the hidden kinds and namespaces with the reason that Check gives."""
    for snapshot in snapshots(world):
        drawn = drawing(snapshot, random)
        inquiry = VisibleTo(drawn.principal, drawn.action, drawn.graph, None)
        detail = inquiry.detail(inquiry.answer(snapshot))
        decisions = [(node, snapshot.decide(drawn.asks(node))) for node in drawn.nodes]
        hidden = {(node[1], node[2], decision.reason) for node, decision in decisions if decision.effect is Effect.DENY}
        groups = detail["hidden_groups"]
        assert isinstance(groups, list)
        assert hidden == {(each["kind"], each["namespace"], each["reason"]) for each in groups}
        assert detail["hidden"] == sum(each["nodes"] for each in groups)
        assert not [uid for uid, _, _, thing in drawn.nodes if uid in str(detail) or thing in str(detail)]
