"""The stories of tests/cases, through the engine and every face."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import SystemRandom
from typing import Any, NamedTuple, Protocol

import pytest
import yaml
from trees import write

from remit.core.decision import Decision
from remit.core.dependencies import parse_graph
from remit.core.errors import FieldViolation, InvalidNameError, MalformedQuestionError
from remit.core.names import Principal, Word, parse_namespace, parse_tenant, parse_word
from remit.core.question import ReachQuestion, parse_question
from remit.engine.snapshot import Snapshot
from remit.engine.visibility import VisibleTo
from remit.policy.load import load_tree

CASES = Path(__file__).parent / "cases"


class Answer(NamedTuple):
    effect: str
    """`allow`, `deny`, `malformed` or `unavailable`."""
    reason: str = ""
    """Of a malformed question, the field."""
    rule: str = ""
    """`file:line` of the deciding row."""


class Graph(NamedTuple):
    """What a story draws."""

    nodes: Sequence[tuple[str, str, str, str]]
    """Uid, kind, namespace, id."""
    edges: Sequence[tuple[str, str, str]]


class Drawn(NamedTuple):
    """What is seen of a graph: uids, and edges as [source, target, relation, effect]; `?` for any stub."""

    nodes: list[str]
    edges: list[list[str]]


def drawn(nodes: Iterable[str], edges: Iterable[tuple[str, str, str, str]]) -> Drawn:
    """Stubs without their numbers; the edges that touch one sorted, for their order is random."""

    def plain(uid: str) -> str:
        return "?" if uid.startswith("?") else uid

    told = [[plain(source), plain(target), relation, effect] for source, target, relation, effect in edges]
    touching = sorted(each[:3] for each in told if "?" in each)
    return Drawn([*map(plain, nodes)], [*([e for e in each if e] for each in told if "?" not in each), *touching])


class Face(Protocol):
    """One way in."""

    names_rules: bool
    """Whether its answers name the deciding row; where they do not, that is not compared."""

    def load(self, directory: Path) -> Mapping[str, str]:
        """Serves this policy directory from now on; the diagnostics of each tenant whose files do not load."""

    def check(self, principal: str, action: str, kind: str, namespace: str, tenant: str) -> Answer: ...

    def check_reach(self, caller: str, owner: str, relation: str, tenant: str) -> Answer: ...

    def visible(self, principal: str, action: str, tenant: str, graph: Graph, *, omit: bool) -> Drawn | Answer: ...


class EngineFace:
    """The engine itself, with the last good snapshot of each tenant kept as the service keeps it."""

    names_rules = True

    def __init__(self) -> None:
        self._serving: dict[str, Snapshot | None] = {}

    def load(self, directory: Path) -> Mapping[str, str]:
        loaded = load_tree(directory).tenants
        self._serving = {name: each.snapshot or self._serving.get(name) for name, each in loaded.items()}
        return {name: "\n".join(map(str, each.diagnostics)) for name, each in loaded.items() if not each.snapshot}

    def check(self, principal: str, action: str, kind: str, namespace: str, tenant: str) -> Answer:
        def decide(snapshot: Snapshot) -> Decision:
            return snapshot.decide(parse_question(principal, action, kind, namespace))

        return self._answer(tenant, decide)

    def check_reach(self, caller: str, owner: str, relation: str, tenant: str) -> Answer:
        def decide(snapshot: Snapshot) -> Decision:
            parsed: dict[str, Any] = {}
            for field, parse, text in (
                ("caller", parse_namespace, caller),
                ("owner", parse_namespace, owner),
                ("relation", lambda text: parse_word("relation", text), relation),
            ):
                try:
                    parsed[field] = parse(text)
                except InvalidNameError as error:
                    raise MalformedQuestionError(FieldViolation(field, str(error))) from None
            return snapshot.reach.decide(ReachQuestion(**parsed))

        return self._answer(tenant, decide)

    def visible(self, principal: str, action: str, tenant: str, graph: Graph, *, omit: bool) -> Drawn | Answer:
        snapshot = self._serving.get(tenant)
        if snapshot is None:
            return Answer("unavailable") if tenant in self._serving else Answer("deny", "UNKNOWN_TENANT")
        try:
            inquiry = VisibleTo(
                Principal(principal), Word(action), parse_graph(*graph), None if omit else SystemRandom()
            )
            seen = inquiry.answer(snapshot).graph
        except MalformedQuestionError as error:
            return Answer("malformed", error.violations[0].field)
        edges = ((*ends, verdict.effect.value if verdict else "") for *ends, verdict in seen.edges)
        return drawn((node.uid for node in seen.nodes), edges)

    def _answer(self, tenant: str, decide: Callable[[Snapshot], Decision]) -> Answer:
        try:
            if parse_tenant(tenant) not in self._serving:
                return Answer("deny", "UNKNOWN_TENANT")
            snapshot = self._serving[tenant]
            if snapshot is None:
                return Answer("unavailable")
            decision = decide(snapshot)
        except InvalidNameError:
            return Answer("malformed", "tenant")
        except MalformedQuestionError as error:
            return Answer("malformed", error.violations[0].field)
        rule = decision.rule.place if decision.rule is not None else ""
        return Answer(decision.effect.value, decision.reason.value, rule)


FACES: dict[str, Callable[[], Face]] = {"engine": EngineFace}


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> Face:
    return FACES[request.param]()


STORIES = [
    pytest.param(yaml.load(path.read_bytes(), yaml.BaseLoader), id=path.stem)
    for path in sorted(CASES.glob("*.yaml"))
    if path.name != "vocabulary.yaml"
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("story", STORIES)
def test_case(story: dict[str, Any], face: Face, tmp_path: Path) -> None:
    """Each question of each stage is answered as the story says."""
    assert set(story) <= {"name", "files", "stages"}
    files = {"vocabulary.yaml": (CASES / "vocabulary.yaml").read_text(), **story["files"]}
    asked = 0
    for number, stage in enumerate(story["stages"], start=1):
        assert set(stage) <= {"name", "files", "refused", "access", "reach", "visible"}
        files |= stage.get("files", {})
        files = {path: content for path, content in files.items() if content != "absent"}
        directory = tmp_path / str(number)
        refused = face.load(write(directory, {path: content.encode() for path, content in files.items()}))
        assert set(stage.get("refused", {})) == set(refused), refused
        for tenant, parts in stage.get("refused", {}).items():
            for part in parts:
                assert part in refused[tenant]
        for plane, ask in (("access", face.check), ("reach", face.check_reach)):
            for each in stage.get(plane, []):
                assert set(each) == {"ask", "expect"}
                expected = each["expect"] if face.names_rules else each["expect"][:2]
                assert (each["ask"], expected) == (each["ask"], list(ask(*each["ask"])[: len(expected)]))
                asked += 1
        for each in stage.get("visible", []):
            see(each, face)
            asked += 1
        shutil.rmtree(directory)
    assert asked


def see(asked: dict[str, Any], face: Face) -> None:
    """One drawing, with stubs and with hidden nodes left out."""
    assert set(asked) <= {"ask", "nodes", "edges", "expect", "expect_edges"}
    nodes = [(uid, *told, *[""] * (2 - len(told)), f"id of {uid}") for uid, told in asked["nodes"].items()]
    graph = Graph(nodes, [(source, target, relation) for source, target, relation in asked.get("edges", [])])
    stubbed, omitted = (face.visible(*asked["ask"], graph, omit=omit) for omit in (False, True))
    if isinstance(stubbed, Answer):
        expected = asked["expect"]
        assert [(asked["ask"], expected)] * 2 == [
            (asked["ask"], list(each[: len(expected)])) for each in (stubbed, omitted)
        ]
        return
    expected_edges = asked.get("expect_edges", [])
    assert (asked["ask"], asked["expect"], expected_edges) == (asked["ask"], *stubbed)
    shown = [uid for uid in asked["expect"] if uid != "?"]
    assert (asked["ask"], shown, [edge for edge in expected_edges if "?" not in edge]) == (asked["ask"], *omitted)
