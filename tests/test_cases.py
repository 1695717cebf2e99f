"""The stories of tests/cases, through the engine and every face."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
import yaml
from trees import write

from remit.core.decision import Decision
from remit.core.errors import InvalidNameError, MalformedQuestionError
from remit.core.names import Namespace, Principal, Word, parse_tenant
from remit.core.question import parse_question, parse_reach_question
from remit.engine.inquiry import Inquiry, TooLargeError
from remit.engine.search import ActionsOf, NamespacesOf, PrincipalsFor
from remit.engine.snapshot import Snapshot
from remit.policy.load import load_tree

LISTS = ("who", "where", "what")
CASES = Path(__file__).parent / "cases"


class Answer(NamedTuple):
    effect: str
    """`allow`, `deny`, `malformed` or `unavailable`."""
    reason: str = ""
    """Of a malformed question, the field."""
    rule: str = ""
    """`file:line` of the deciding row."""


class Face(Protocol):
    """One way in."""

    names_rules: bool
    """Whether its answers name the deciding row; where they do not, that is not compared."""

    def load(self, directory: Path) -> Mapping[str, str]:
        """Serves this policy directory from now on; the diagnostics of each tenant whose files do not load."""

    def check(self, principal: str, action: str, kind: str, namespace: str, tenant: str) -> Answer: ...

    def check_reach(self, caller: str, owner: str, relation: str, tenant: str) -> Answer: ...

    def who(self, action: str, kind: str, namespace: str, tenant: str) -> list[str]:
        """Of this and the next two: `[malformed, FIELD]` or `[unavailable]` where there is no answer."""

    def where(self, principal: str, action: str, kind: str, tenant: str) -> list[str]:
        """Each set as `PATTERN, ... except PATTERN, ...`."""

    def what(self, principal: str, namespace: str, tenant: str) -> list[str]:
        """Each as `KIND ACTION`."""


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
            return snapshot.reach.decide(parse_reach_question(caller, owner, relation))

        return self._answer(tenant, decide)

    def who(self, action: str, kind: str, namespace: str, tenant: str) -> list[str]:
        inquiry = PrincipalsFor(Word(action), Word(kind), Namespace(namespace))
        return self._list(tenant, inquiry, lambda permitted: list(permitted.principals))

    def where(self, principal: str, action: str, kind: str, tenant: str) -> list[str]:
        inquiry = NamespacesOf(Principal(principal), Word(action), Word(kind))
        return self._list(tenant, inquiry, lambda found: list(map(str, found.sets)))

    def what(self, principal: str, namespace: str, tenant: str) -> list[str]:
        inquiry = ActionsOf(Principal(principal), Namespace(namespace))
        return self._list(tenant, inquiry, lambda kinds: [f"{kind} {each}" for kind in kinds for each in kinds[kind]])

    def _list(self, tenant: str, inquiry: Inquiry[Any], told: Callable[[Any], list[str]]) -> list[str]:
        try:
            if parse_tenant(tenant) not in self._serving:
                return []
            snapshot = self._serving[tenant]
            if snapshot is None:
                return ["unavailable"]
            return [] if inquiry.refusal(snapshot) is not None else told(inquiry.answer(snapshot))
        except InvalidNameError:
            return ["malformed", "tenant"]
        except MalformedQuestionError as error:
            return ["malformed", error.violations[0].field]
        except TooLargeError:
            return ["too large"]

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
        assert set(stage) <= {"name", "files", "refused", *LISTS, "access", "reach"}
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
        for name in LISTS:
            for each in stage.get(name, []):
                assert set(each) == {"ask", "expect"}
                assert (each["ask"], sorted(each["expect"])) == (each["ask"], sorted(getattr(face, name)(*each["ask"])))
                asked += 1
        shutil.rmtree(directory)
    assert asked
