"""Laws of the AuthZEN API: each answer over HTTP is the answer of the questions that exist, asked over gRPC."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.authzen import ServedAuthzen, served_authzen
from support.server import DEADLINE_S
from support.trees import write

from remit.client import Client
from remit.client.questions import Asked

POLICIES = {
    "vocabulary.yaml": b"""\
kinds:
  RECORD: {class: namespace, actions: [VIEW, EDIT, SHRED, BURN]}
  NAMESPACE: {class: namespace, actions: [VIEW]}
  BOARD: {class: tenant, actions: [VIEW, EDIT]}
""",
    "acme/roles.csv": b"""\
p, role:viewer, acme, **,      *,      VIEW,       allow
p, role:editor, acme, a.**,    RECORD, EDIT|SHRED, allow
p, role:editor, acme, a.b.**,  RECORD, EDIT,       deny
p, role:burner, acme, b.**,    RECORD, BURN,       allow
p, user:dave,   acme, a.open,  RECORD, *,          allow
""",
    "acme/bindings.csv": b"""\
g, user:alice,   role:viewer, acme
g, group:staff,  role:editor, acme/a.**
g, user:bob,     group:staff, acme
g, user:carol,   group:staff, acme/a.open
g, service:bot,  role:burner, acme
g, user:bob,     role:viewer, acme/b
""",
    "acme/authzen.yaml": b"""\
subjects: {identity: user, robot: service}
actions: {can_read: VIEW, destroy: {property: how, values: {shred: SHRED, burn: BURN, 1: VIEW}}}
types:
  record: {kind: RECORD, namespace: "a.{resource.properties.status}", actions: {change: EDIT}}
  file: {kind: RECORD, namespace: catalogue}
  board: {kind: BOARD}
""",
    "acme/catalogue.csv": b"".join(
        f"RECORD, r{number}, {namespace}\n".encode()
        for number, namespace in enumerate(["a.open", "a.b", "a.b.c", "b", "b.x", "a", "c", "a.in_5fuse"])
    )
    + b"BOARD, wall,\n",
}
CATALOGUE = {
    fields[1]: fields[2]
    for line in POLICIES["acme/catalogue.csv"].decode().splitlines()
    if (fields := [each.strip() for each in line.split(",")])
}
RECORDS = [each for each in CATALOGUE if each != "wall"]

SUBJECT_TYPES = {"user": "user", "service": "service", "identity": "user", "robot": "service"}
SUBJECTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from([*SUBJECT_TYPES, "spaceship"]),
        "id": st.sampled_from(["alice", "bob", "carol", "dave", "bot", "eve", "a b"]),
    },
    optional={"properties": st.just({"role": "admin"})},
)
ACTIONS = st.fixed_dictionaries(
    {"name": st.sampled_from(["VIEW", "EDIT", "can_read", "change", "destroy", "LAUNCH", "no word"])},
    optional={"properties": st.fixed_dictionaries({"how": st.sampled_from(["shred", "burn", 1, "melt", None])})},
)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["open", "b", "in_use", "b.c", 7, True, None, ["x"]]),
        "namespace": st.sampled_from(["a.open", "a.b", "b", "", "NO", None]),
    },
)
TYPES = st.sampled_from(["record", "file", "board", "RECORD", "NAMESPACE", "BOARD", "spaceship", "no kind"])
RESOURCES = st.fixed_dictionaries(
    {"type": TYPES, "id": st.sampled_from([*CATALOGUE, "a.open", "x"])}, optional={"properties": PROPERTIES}
)
EVALUATIONS = st.fixed_dictionaries({"subject": SUBJECTS, "action": ACTIONS, "resource": RESOURCES})
FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedAuthzen]:
    folder = tmp_path_factory.mktemp("laws")
    with served_authzen(write(folder / "policies", POLICIES), folder, max_calls=500) as served:
        yield served


@pytest.fixture(scope="module")
def client(api: ServedAuthzen) -> Iterator[Client]:
    with Client(f"127.0.0.1:{api.grpc.port}", timeout_s=DEADLINE_S) as made:
        yield made


def naive(request: Any) -> tuple[str, str, str, str] | None:
    """The question that a request is by the policy language; None if it is malformed. It shares no code with remit."""
    subject, action, resource = request["subject"], request["action"], request["resource"]
    if subject["type"] not in SUBJECT_TYPES or " " in subject["id"] + action["name"] + resource["type"]:
        return None
    kind = {"record": "RECORD", "file": "RECORD", "board": "BOARD"}.get(resource["type"], resource["type"])
    name = _action(action, resource["type"])
    namespace = _namespace(kind, resource, known=name in {"VIEW", "EDIT", "SHRED", "BURN"})
    if name is None or namespace is None or (kind == "BOARD" and namespace and name in {"VIEW", "EDIT"}):
        return None
    return f"{SUBJECT_TYPES[subject['type']]}:{subject['id']}", name, kind, namespace


def _action(action: Any, resource_type: str) -> str | None:
    name = str(action["name"])
    if name == "destroy":
        return {"shred": "SHRED", "burn": "BURN", 1: "VIEW"}.get((action.get("properties") or {}).get("how"))
    if name == "change" and resource_type == "record":
        return "EDIT"
    return {"can_read": "VIEW"}.get(name, name)


def _namespace(kind: str, resource: Any, *, known: bool) -> str | None:
    """`known` means that the kind has the action: an unknown one is denied wherever the resource is."""
    if kind == "NAMESPACE":
        return str(resource["id"])
    properties = resource.get("properties") or {}
    said = properties.get({"record": "status", "file": "nowhere"}.get(resource["type"], "namespace"))
    if said is None:
        return (CATALOGUE.get(resource["id"]) or (None if known else "")) if kind == "RECORD" else ""
    if isinstance(said, list) or said in {"", "NO"}:
        return None
    if resource["type"] == "record":
        text = str(said).lower() if isinstance(said, bool) else str(said)
        return "a." + text.replace("_", "_5f").replace(".", "_2e")
    return str(said)


@FEW
@given(EVALUATIONS)
def test_evaluation_is_check(api: ServedAuthzen, client: Client, body: Any) -> None:
    answered = api.ask("evaluation", body)
    question = naive(body)
    if question is None:
        assert 400 == answered.status_code, answered.text
        return
    principal, action, kind, namespace = question
    decision = client.tenant("acme").check(principal, action, kind, namespace or None)
    assert 200 == answered.status_code, answered.text
    assert {"decision": decision.allowed, "context": {"reason": str(decision.reason)}} == answered.json()


@FEW
@given(
    st.lists(
        st.fixed_dictionaries({}, optional={"subject": SUBJECTS, "action": ACTIONS, "resource": RESOURCES}),
        min_size=1,
        max_size=6,
    ),
    st.fixed_dictionaries({}, optional={"subject": SUBJECTS, "action": ACTIONS, "resource": RESOURCES}),
    st.sampled_from(["execute_all", "deny_on_first_deny", "permit_on_first_permit"]),
)
def test_each_item_is_answered_as_if_it_stood_alone(
    api: ServedAuthzen, items: list[Any], defaults: Any, semantic: str
) -> None:
    alone = []
    for item in items:
        answered = api.ask("evaluation", {**defaults, **item})
        alone.append(answered.json() if answered.status_code == 200 else {"decision": False})
    stop = {"deny_on_first_deny": False, "permit_on_first_permit": True}.get(semantic)
    last = next((at for at, each in enumerate(alone) if each["decision"] is stop), len(alone) - 1)
    body = {**defaults, "evaluations": items, "options": {"evaluations_semantic": semantic}}
    batch = api.ask("evaluations", body).json()["evaluations"]

    assert alone[: last + 1] == [{"decision": False} if "error" in each.get("context", {}) else each for each in batch]


@FEW
@given(EVALUATIONS.flatmap(lambda first: st.tuples(st.just(first), st.lists(EVALUATIONS, min_size=1, max_size=5))))
def test_evaluations_are_batch_check(api: ServedAuthzen, client: Client, requests: Any) -> None:
    first, others = requests
    asked = [each for each in (first, *others) if naive(each) is not None]
    if not asked:
        return
    answers = api.ask("evaluations", {"evaluations": asked}).json()["evaluations"]
    decided = client.tenant("acme").batch_check([Asked(*(naive(each) or ())) for each in asked])

    assert [{"decision": each.allowed, "context": {"reason": str(each.reason)}} for each in decided] == answers  # type: ignore[union-attr]


@FEW
@given(ACTIONS, RESOURCES, st.sampled_from([*SUBJECT_TYPES, "spaceship"]))
def test_subject_search_is_who_an_evaluation_allows(
    api: ServedAuthzen, action: Any, resource: Any, subject_type: str
) -> None:
    answered = api.ask("search/subject", {"subject": {"type": subject_type}, "action": action, "resource": resource})
    if answered.status_code == 400:
        assert naive({"subject": {"type": "user", "id": "alice"}, "action": action, "resource": resource}) is None
        return
    everybody = ["alice", "bob", "carol", "dave", "bot", "eve"]
    subjects = [{"type": subject_type, "id": name} for name in everybody]
    allowed = [each for each in subjects if api.decision({"subject": each, "action": action, "resource": resource})]

    assert sorted(allowed, key=json.dumps) == answered.json()["results"]


@FEW
@given(SUBJECTS, ACTIONS, st.fixed_dictionaries({"type": TYPES}, optional={"properties": PROPERTIES}))
def test_resource_search_is_what_an_evaluation_allows(
    api: ServedAuthzen, subject: Any, action: Any, resource: Any
) -> None:
    body = {"subject": subject, "action": action, "resource": resource}
    answered = api.ask("search/resource", body)
    if answered.status_code == 400:
        mapped = {"record", "file", "board", "RECORD", "BOARD"}
        sound = naive({**body, "resource": {"type": "file", "id": "r0"}}) is not None
        assert not sound or resource["type"] not in mapped, answered.text
        return
    candidates = [{**resource, "id": each} for each in CATALOGUE]
    allowed = [each["id"] for each in candidates if api.decision({**body, "resource": each})]
    known = ["wall"] if resource["type"] in {"board", "BOARD"} else RECORDS

    assert [{"type": resource["type"], "id": each} for each in sorted(allowed) if each in known] == answered.json()[
        "results"
    ]


@FEW
@given(SUBJECTS, RESOURCES)
def test_action_search_is_what_an_evaluation_allows(api: ServedAuthzen, subject: Any, resource: Any) -> None:
    answered = api.ask("search/action", {"subject": subject, "resource": resource})
    if answered.status_code == 400:
        assert naive({"subject": subject, "action": {"name": "VIEW"}, "resource": resource}) is None, answered.text
        return
    names = ["BURN", "EDIT", "SHRED", "VIEW", "can_read", "change", "destroy"]
    ways: list[Any] = [None, {"how": "shred"}, {"how": "burn"}, {"how": 1}]
    allowed = [
        name
        for name in names
        if any(
            api.decision({"subject": subject, "action": {"name": name, "properties": way}, "resource": resource})
            for way in (ways if name == "destroy" else ways[:1])
        )
    ]

    assert allowed == [each["name"] for each in answered.json()["results"]]


@FEW
@given(
    st.sampled_from(["subject", "resource", "action"]),
    st.integers(1, 4),
    st.sampled_from(["alice", "bob", "dave"]),
    st.booleans(),
)
def test_the_union_of_pages_is_the_whole_answer(
    api: ServedAuthzen, search: str, limit: int, user: str, repeated: bool
) -> None:
    subject = {"type": "user", "id": user}
    body: Any = {"subject": subject, "action": {"name": "VIEW"}, "resource": {"type": "file", "id": "r0"}}
    whole = api.ask(f"search/{search}", body).json()
    assert "page" not in whole
    found: list[Any] = []
    page: dict[str, Any] = {"limit": limit}
    for _ in range(20):
        answered = api.ask(f"search/{search}", {**body, "page": page}).json()
        assert len(answered["results"]) <= limit
        found += answered["results"]
        page = {"token": answered["page"]["next_token"], **({"limit": limit} if repeated else {})}
        if not page["token"]:
            break

    assert whole["results"] == found
