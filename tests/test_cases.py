"""The stories of tests/cases, through the engine and every face."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import pytest
import yaml
from trees import write

from remit.core.decision import Decision
from remit.core.errors import FieldViolation, InvalidNameError, MalformedQuestionError
from remit.core.names import Namespace, parse_namespace, parse_principal, parse_resource, parse_tenant, parse_word
from remit.core.policy import ResourceType
from remit.core.question import parse_question, parse_reach_question
from remit.core.rows import Effect
from remit.engine.dedicated import ANY_SERVICE, DedicatedTo, ServedBy
from remit.engine.operations import Compound
from remit.engine.snapshot import Snapshot
from remit.policy.load import load_tree

CASES = Path(__file__).parent / "cases"

_Name = TypeVar("_Name")


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

    def check_operation(self, principal: str, operation: str, namespace: str, tenant: str) -> Sequence[str]:
        """The effect and the reason of each part, or as an Answer."""
        ...

    def resolve(self, namespace: str, resource_type: str, service: str, tenant: str) -> Sequence[str]:
        """The resource's name, its level (`tenant`, `none`) and the service's effect, or as an Answer without effect."""
        ...

    def served(self, resource_type: str, name: str, tenant: str) -> Sequence[str]:
        """Sets of namespaces, `tenant`, `open to TENANT`; or as an Answer without effect."""
        ...


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

    def check_operation(self, principal: str, operation: str, namespace: str, tenant: str) -> Sequence[str]:
        def decide(snapshot: Snapshot) -> Sequence[str]:
            compound = Compound(
                _parsed("principal", parse_principal, principal),
                _parsed("operation", lambda text: parse_word("operation", text), operation),
                _parsed("namespace", parse_namespace, namespace) if namespace else Namespace(""),
            )
            decisions = [snapshot.decide(part) for part in compound.parts(snapshot.policy)]
            effect = Effect.ALLOW if all(each.allowed for each in decisions) else Effect.DENY
            return [effect, *(each.reason for each in decisions)]

        return self._put(tenant, decide, ("deny", "UNKNOWN_TENANT"))

    def resolve(self, namespace: str, resource_type: str, service: str, tenant: str) -> Sequence[str]:
        def decide(snapshot: Snapshot) -> Sequence[str]:
            inquiry = DedicatedTo(
                _parsed("namespace", parse_namespace, namespace) if namespace else Namespace(""),
                (ResourceType(resource_type),),
                _parsed("service", lambda text: parse_word("service", text), service) if service else ANY_SERVICE,
            )
            (answer,) = inquiry.answer(snapshot)
            found, effect = answer.resolution, answer.service or ""
            return [found.resource.name, found.level or "tenant", effect] if found else ["", "none", effect]

        return self._put(tenant, decide, ("UNKNOWN_TENANT",))

    def served(self, resource_type: str, name: str, tenant: str) -> Sequence[str]:
        def decide(snapshot: Snapshot) -> Sequence[str]:
            asked = ServedBy(ResourceType(resource_type), _parsed("name", parse_resource, name))
            answer = asked.answer(snapshot)
            whole = ["tenant"] if answer.whole_tenant else []
            return [*map(str, answer.namespaces), *whole, *(f"open to {each}" for each in answer.tenants)]

        return self._put(tenant, decide, ("UNKNOWN_TENANT",))

    def _answer(self, tenant: str, decide: Callable[[Snapshot], Decision]) -> Answer:
        def told(snapshot: Snapshot) -> Sequence[str]:
            decision = decide(snapshot)
            place = decision.rule.place if decision.rule is not None else ""
            return Answer(decision.effect.value, decision.reason.value, place)

        return Answer(*self._put(tenant, told, ("deny", "UNKNOWN_TENANT")))

    def _put(self, tenant: str, ask: Callable[[Snapshot], Sequence[str]], unknown: Sequence[str]) -> Sequence[str]:
        """A question to the tenant's snapshot; `unknown` is what an unknown tenant is answered."""
        try:
            if parse_tenant(tenant) not in self._serving:
                return unknown
            snapshot = self._serving[tenant]
            return ("unavailable",) if snapshot is None else ask(snapshot)
        except InvalidNameError:
            return ("malformed", "tenant")
        except MalformedQuestionError as error:
            return ("malformed", error.violations[0].field)


def _parsed(field: str, parse: Callable[[str], _Name], text: str) -> _Name:
    try:
        return parse(text)
    except InvalidNameError as error:
        raise MalformedQuestionError(FieldViolation(field, str(error))) from None


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
        assert set(stage) <= {"name", "files", "refused", "access", "reach", "operations", "dedicated", "served"}
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
        for key, question in (("operations", face.check_operation), ("dedicated", face.resolve)):
            for each in stage.get(key, []):
                assert set(each) == {"ask", "expect"}
                told = question(*each["ask"])
                assert (each["ask"], each["expect"]) == (each["ask"], list(told[: len(each["expect"])]))
                asked += 1
        for each in stage.get("served", []):
            assert set(each) == {"ask", "expect"}
            assert (each["ask"], each["expect"]) == (each["ask"], list(face.served(*each["ask"])))
            asked += 1
        shutil.rmtree(directory)
    assert asked
