from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import ClassVar, Final, NamedTuple, TypeVar

from remit.core.decision import Decision, Reason
from remit.core.dependency_graph import STUB, VIOLATIONS_LIMIT, DependencyGraph, GraphNode, VisibleEdge, VisibleGraph
from remit.core.errors import FieldViolation, MalformedQuestionError
from remit.core.names import Namespace, Principal, Word
from remit.core.question import Question, QuestionType, ReachQuestion
from remit.engine.inquiry import Inquiry
from remit.engine.snapshot import Snapshot

GROUPS_RECORDED: Final = 100
"""Hidden groups that a record names; the record counts the others."""

_Item = TypeVar("_Item")
_Group = tuple[Word, Namespace]


class Withheld(NamedTuple):
    """Hidden nodes of one kind in one namespace."""

    kind: Word
    namespace: Namespace
    reason: Reason
    nodes: int


@dataclass(frozen=True, slots=True)
class Seen:
    graph: VisibleGraph
    withheld: tuple[Withheld, ...]
    """For the audit only, largest first: it names what the graph must hide."""


@dataclass(frozen=True, slots=True)
class VisibleTo(Inquiry[Seen]):
    """Which part of a dependency graph may this principal see? A node is visible exactly if Check allows."""

    question_type: ClassVar = QuestionType.GRAPH
    principal: Principal
    action: Word
    graph: DependencyGraph
    stubs: Random | None
    """Numbers and orders the stubs of hidden nodes. None leaves hidden nodes out, with their edges."""

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return (self.principal, self.action, "", "")

    def answer(self, snapshot: Snapshot) -> Seen:
        nodes = self.graph.nodes
        decisions = self._decisions(snapshot)
        shown = [decisions[kind, namespace].allowed for _, kind, namespace, _ in nodes]
        uids: list[str | None] = [node.uid if seen else None for node, seen in zip(nodes, shown, strict=True)]
        visible = [node for node, seen in zip(nodes, shown, strict=True) if seen]
        hidden = [position for position, seen in enumerate(shown) if not seen]
        withheld = _withheld((nodes[position] for position in hidden), decisions)
        if self.stubs is not None:
            for number, position in enumerate(_shuffled(hidden, self.stubs), start=1):
                stub = GraphNode(f"{STUB}{number}")
                uids[position] = stub.uid
                visible.append(stub)
        return Seen(VisibleGraph(tuple(visible), self._edges(snapshot, shown, uids)), withheld)

    def detail(self, answer: Seen) -> Mapping[str, object]:
        named, others = answer.withheld[:GROUPS_RECORDED], answer.withheld[GROUPS_RECORDED:]
        return {
            "nodes": len(self.graph.nodes),
            "edges": len(self.graph.edges),
            "hidden": sum(each.nodes for each in answer.withheld),
            "hidden_as": "OMIT" if self.stubs is None else "STUB",
            "hidden_groups": [each._asdict() for each in named],
            "other_hidden_groups": {"groups": len(others), "nodes": sum(each.nodes for each in others)},
        }

    def _decisions(self, snapshot: Snapshot) -> Mapping[_Group, Decision]:
        """One decision for all nodes with the same kind and namespace."""
        decisions: dict[_Group, Decision] = {}
        malformed: dict[_Group, str] = {}
        for _, kind, namespace, _ in self.graph.nodes:
            group = kind, namespace
            if group not in decisions and group not in malformed:
                try:
                    decisions[group] = snapshot.decide(Question(self.principal, self.action, kind, namespace))
                except MalformedQuestionError as error:
                    malformed[group] = error.violations[0].description
        if malformed:
            violations = (
                FieldViolation(f"nodes[{position}].namespace", malformed[kind, namespace])
                for position, (_, kind, namespace, _) in enumerate(self.graph.nodes)
                if (kind, namespace) in malformed
            )
            raise MalformedQuestionError(*islice(violations, VIOLATIONS_LIMIT))
        return decisions

    def _edges(self, snapshot: Snapshot, shown: Sequence[bool], uids: Sequence[str | None]) -> tuple[VisibleEdge, ...]:
        """Edges between visible nodes in their order, then edges that touch a stub in random order."""
        namespaces = [node.namespace for node in self.graph.nodes]
        verdicts: dict[tuple[Namespace, Namespace, Word], Decision | None] = {}
        between: list[VisibleEdge] = []
        touching: list[VisibleEdge] = []
        for start, end, relation in self.graph.edges:
            source, target = uids[start], uids[end]
            if source is None or target is None:
                continue
            if shown[start] and shown[end]:
                ends = (namespaces[start], namespaces[end], relation)
                try:
                    verdict = verdicts[ends]
                except KeyError:
                    verdict = verdicts[ends] = _verdict(snapshot, *ends)
                between.append((source, target, relation, verdict))
            else:
                touching.append((source, target, relation, None))
        return (*between, *(_shuffled(touching, self.stubs) if self.stubs is not None else ()))


def _verdict(snapshot: Snapshot, caller: Namespace, owner: Namespace, relation: Word) -> Decision | None:
    return snapshot.reach.decide(ReachQuestion(caller, owner, relation)) if caller and owner else None


def _withheld(hidden: Iterable[GraphNode], decisions: Mapping[_Group, Decision]) -> tuple[Withheld, ...]:
    counts = Counter((node.kind, node.namespace) for node in hidden)
    groups = (Withheld(*group, decisions[group].reason, count) for group, count in counts.items())
    return tuple(sorted(groups, key=lambda each: (-each.nodes, each.kind, each.namespace)))


def _shuffled(items: Sequence[_Item], random: Random) -> list[_Item]:
    """The items in an order that does not depend on theirs."""
    # Read all randomness at once: the system's source takes a system call per read.
    keys = memoryview(random.randbytes(8 * len(items))).cast("Q").tolist()
    return [items[position] for position in sorted(range(len(items)), key=keys.__getitem__)]
