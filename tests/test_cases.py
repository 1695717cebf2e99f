"""The stories of tests/cases, through the engine and every face."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import SystemRandom
from typing import Any, Final, Protocol

import pytest
import yaml
from support.trees import write

from remit.core.decision import Decision
from remit.core.dependency_graph import STUB, parse_graph
from remit.core.errors import MalformedQuestionError, each_named, named
from remit.core.names import (
    Word,
    optional_namespace,
    parse_action,
    parse_kind,
    parse_namespace,
    parse_principal,
    parse_relation,
    parse_resource,
    parse_tenant,
    parse_word,
)
from remit.core.policy import ResourceType
from remit.core.question import parse_question, parse_reach_question
from remit.core.rows import Effect
from remit.engine.inquiry import Inquiry, TooLargeError
from remit.engine.queries.dedicated import ANY_SERVICE, DedicatedTo, ServedBy
from remit.engine.queries.operations import Compound
from remit.engine.queries.reachable import Reachable, ReachableFrom, ReachesAll
from remit.engine.queries.search import ActionsOf, NamespacesOf, PrincipalsFor
from remit.engine.queries.visibility import VisibleTo
from remit.engine.snapshot import Snapshot
from remit.policy.lint.finding import RuleId
from remit.policy.lint.linter import lint_directory
from remit.policy.load import load_tree

CASES = Path(__file__).parent / "cases"
SINGLE: Final = ("access", "reach", "reach_all", "operations", "dedicated")
"""Keys of a stage whose answers may be expected from their beginning only; each is a method of a Face."""
LISTS: Final = ("who", "where", "what", "reachable", "served", "visible")
"""Keys whose answers are expected whole and in any order."""


def nodes_of(nodes: Mapping[str, str]) -> Sequence[tuple[str, str, str, str]]:
    """Uid, kind, namespace and id of each node that a story writes as `UID: KIND NAMESPACE`."""
    told = ((uid, *text.partition(" ")) for uid, text in nodes.items())
    return [(uid, kind, namespace, f"id of {uid}") for uid, kind, _, namespace in told]


def edges_of(edges: Sequence[str]) -> Sequence[tuple[str, str, str]]:
    """Source, target and relation of each edge that a story writes as `SOURCE RELATION TARGET`."""
    return [(source, target, relation) for source, relation, target in map(str.split, edges)]


def seen(nodes: Iterable[str], edges: Iterable[Sequence[str]]) -> Sequence[str]:
    """What is seen of a graph as a story writes it: uids, and edges with the effect of reach; stubs have no number."""

    def plain(uid: str) -> str:
        return STUB if uid.startswith(STUB) else uid

    told = (
        f"{plain(source)} {relation} {plain(target)} {effect}".rstrip() for source, target, relation, effect in edges
    )
    return [*map(plain, nodes), *told]


def seen_both_ways(see: Callable[[bool], Sequence[str]]) -> Sequence[str]:
    """What is seen with stubs; with hidden nodes left out the same is seen but for these."""
    stubbed, omitted = see(False), see(True)
    assert [each for each in stubbed if STUB not in each] == [*omitted]
    return stubbed


def opens(uses: Iterable[str], used_by: Iterable[str]) -> Sequence[str]:
    """Sets of namespaces that one can use, and that can use it, as a story writes them."""
    return [*(f"uses {each}" for each in uses), *(f"used by {each}" for each in used_by)]


class Face(Protocol):
    """One way in. Every question is answered as the story writes it; `[malformed, FIELD]`, `[unavailable]` and
    `[too large]` where there is no answer."""

    def load(self, directory: Path) -> Mapping[str, str]:
        """Serves this policy directory from now on; the diagnostics of each tenant whose files do not load."""
        ...

    def access(self, principal: str, action: str, kind: str, namespace: str, tenant: str) -> Sequence[str]: ...

    def reach(self, caller: str, owner: str, relation: str, tenant: str) -> Sequence[str]: ...

    def reach_all(self, caller: str, relation: str, owners: Sequence[str], tenant: str) -> Sequence[str]: ...

    def reachable(self, namespace: str, relation: str, tenant: str) -> Sequence[str]: ...

    def operations(self, principal: str, operation: str, namespace: str, tenant: str) -> Sequence[str]: ...

    def dedicated(self, namespace: str, resource_type: str, service: str, tenant: str) -> Sequence[str]: ...

    def served(self, resource_type: str, name: str, tenant: str) -> Sequence[str]: ...

    def who(self, action: str, kind: str, namespace: str, tenant: str) -> Sequence[str]: ...

    def where(self, principal: str, action: str, kind: str, tenant: str) -> Sequence[str]: ...

    def what(self, principal: str, namespace: str, tenant: str) -> Sequence[str]: ...

    def visible(
        self, principal: str, action: str, nodes: Mapping[str, str], edges: Sequence[str], tenant: str
    ) -> Sequence[str]: ...


class EngineFace:
    """The engine, with the last good snapshot of each tenant, as in the service."""

    def __init__(self) -> None:
        self._serving: dict[str, Snapshot | None] = {}

    def load(self, directory: Path) -> Mapping[str, str]:
        loaded = load_tree(directory).tenants
        self._serving = {name: each.snapshot or self._serving.get(name) for name, each in loaded.items()}
        return {name: "\n".join(map(str, each.diagnostics)) for name, each in loaded.items() if not each.snapshot}

    def access(self, principal: str, action: str, kind: str, namespace: str, tenant: str) -> Sequence[str]:
        return self._decided(tenant, lambda it: it.decide(parse_question(principal, action, kind, namespace)))

    def reach(self, caller: str, owner: str, relation: str, tenant: str) -> Sequence[str]:
        return self._decided(tenant, lambda it: it.reach.decide(parse_reach_question(caller, owner, relation)))

    def reach_all(self, caller: str, relation: str, owners: Sequence[str], tenant: str) -> Sequence[str]:
        def decide(snapshot: Snapshot) -> Sequence[str]:
            inquiry = ReachesAll(
                named("caller", parse_namespace, caller),
                named("relation", parse_relation, relation),
                each_named("owners", parse_namespace, owners),
            )
            answer = inquiry.answer(snapshot)
            refused = [owner for owner, _ in answer.refused]
            return [answer.decision.effect, answer.decision.reason, *refused]

        return self._put(tenant, decide, ("deny", "UNKNOWN_TENANT"))

    def reachable(self, namespace: str, relation: str, tenant: str) -> Sequence[str]:
        def told(found: Sequence[Reachable]) -> Sequence[str]:
            (opened,) = found
            return opens(map(str, opened.uses), map(str, opened.used_by))

        def inquiry() -> ReachableFrom:
            return ReachableFrom(named("namespace", parse_namespace, namespace), (Word(relation),))

        return self._listed(tenant, inquiry, told)

    def operations(self, principal: str, operation: str, namespace: str, tenant: str) -> Sequence[str]:
        def decide(snapshot: Snapshot) -> Sequence[str]:
            compound = Compound(
                named("principal", parse_principal, principal),
                named("operation", lambda text: parse_word("operation", text), operation),
                named("namespace", optional_namespace, namespace),
            )
            decisions = [snapshot.decide(part) for part in compound.parts(snapshot.policy)]
            effect = Effect.ALLOW if all(each.allowed for each in decisions) else Effect.DENY
            return [effect, *(each.reason for each in decisions)]

        return self._put(tenant, decide, ("deny", "UNKNOWN_TENANT"))

    def dedicated(self, namespace: str, resource_type: str, service: str, tenant: str) -> Sequence[str]:
        def resolve(snapshot: Snapshot) -> Sequence[str]:
            inquiry = DedicatedTo(
                named("namespace", optional_namespace, namespace),
                (ResourceType(resource_type),),
                named("service", lambda text: parse_word("service", text), service) if service else ANY_SERVICE,
            )
            (answer,) = inquiry.answer(snapshot)
            found, effect = answer.resolution, answer.service or ""
            return [found.resource.name, found.level or "tenant", effect] if found else ["", "none", effect]

        return self._put(tenant, resolve, ("UNKNOWN_TENANT",))

    def served(self, resource_type: str, name: str, tenant: str) -> Sequence[str]:
        def serves(snapshot: Snapshot) -> Sequence[str]:
            answer = ServedBy(ResourceType(resource_type), named("name", parse_resource, name)).answer(snapshot)
            whole = ["tenant"] if answer.whole_tenant else []
            return [*map(str, answer.namespaces), *whole, *(f"open to {each}" for each in answer.tenants)]

        return self._put(tenant, serves, ())

    def who(self, action: str, kind: str, namespace: str, tenant: str) -> Sequence[str]:
        def inquiry() -> PrincipalsFor:
            where = named("namespace", optional_namespace, namespace)
            return PrincipalsFor(named("action", parse_action, action), named("kind", parse_kind, kind), where)

        return self._listed(tenant, inquiry, lambda permitted: permitted.principals)

    def where(self, principal: str, action: str, kind: str, tenant: str) -> Sequence[str]:
        def inquiry() -> NamespacesOf:
            return NamespacesOf(named("principal", parse_principal, principal), Word(action), Word(kind))

        return self._listed(tenant, inquiry, lambda found: list(map(str, found.sets)))

    def what(self, principal: str, namespace: str, tenant: str) -> Sequence[str]:
        def inquiry() -> ActionsOf:
            where = named("namespace", optional_namespace, namespace)
            return ActionsOf(named("principal", parse_principal, principal), where)

        return self._listed(tenant, inquiry, lambda kinds: [f"{kind} {each}" for kind in kinds for each in kinds[kind]])

    def visible(
        self, principal: str, action: str, nodes: Mapping[str, str], edges: Sequence[str], tenant: str
    ) -> Sequence[str]:
        def drawn(snapshot: Snapshot, stubs: SystemRandom | None) -> Sequence[str]:
            inquiry = VisibleTo(
                named("principal", parse_principal, principal),
                named("action", parse_action, action),
                parse_graph(nodes_of(nodes), edges_of(edges)),
                stubs,
            )
            graph = inquiry.answer(snapshot).graph
            verdicts = ((*ends, verdict.effect if verdict is not None else "") for *ends, verdict in graph.edges)
            return seen((node.uid for node in graph.nodes), verdicts)

        return seen_both_ways(
            lambda omit: self._put(
                tenant, lambda it: drawn(it, None if omit else SystemRandom()), unknown=("UNKNOWN_TENANT",)
            )
        )

    def _decided(self, tenant: str, decide: Callable[[Snapshot], Decision]) -> Sequence[str]:
        def told(snapshot: Snapshot) -> Sequence[str]:
            decision = decide(snapshot)
            return (decision.effect, decision.reason, decision.rule.place if decision.rule is not None else "")

        return self._put(tenant, told, ("deny", "UNKNOWN_TENANT"))

    def _listed(
        self, tenant: str, inquiry: Callable[[], Inquiry[Any]], told: Callable[[Any], Sequence[str]]
    ) -> Sequence[str]:
        def listed(snapshot: Snapshot) -> Sequence[str]:
            asked = inquiry()
            return () if asked.refusal(snapshot) is not None else told(asked.answer(snapshot))

        return self._put(tenant, listed, unknown=())

    def _put(self, tenant: str, ask: Callable[[Snapshot], Sequence[str]], unknown: Sequence[str]) -> Sequence[str]:
        """A question to the tenant's snapshot; `unknown` is what an unknown tenant is answered."""
        try:
            if named("tenant", parse_tenant, tenant) not in self._serving:
                return unknown
            snapshot = self._serving[tenant]
            return ("unavailable",) if snapshot is None else ask(snapshot)
        except MalformedQuestionError as error:
            return ("malformed", error.violations[0].field)
        except TooLargeError:
            return ("too large",)


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
        assert set(stage) <= {"name", "files", "refused", "lint", *SINGLE, *LISTS}
        files |= stage.get("files", {})
        files = {path: content for path, content in files.items() if content != "absent"}
        directory = tmp_path / str(number)
        refused = face.load(write(directory, {path: content.encode() for path, content in files.items()}))
        assert set(stage.get("refused", {})) == set(refused), refused
        for tenant, parts in stage.get("refused", {}).items():
            for part in parts:
                assert part in refused[tenant]
        for rule, parts in stage.get("lint", {}).items():
            found = [each.message for each in lint_directory(directory, [RuleId(rule)]).findings]
            assert [True] * len(parts) == [part in told for part, told in zip(parts, found, strict=True)], found
        for key in (*SINGLE, *LISTS):
            for each in stage.get(key, []):
                assert set(each) == {"ask", "expect"}
                told, expected = list(getattr(face, key)(*each["ask"])), each["expect"]
                if key in LISTS:
                    told, expected = sorted(told), sorted(expected)
                else:
                    told = told[: len(expected)]
                assert (each["ask"], expected) == (each["ask"], told)
                asked += 1
        shutil.rmtree(directory)
    assert asked
