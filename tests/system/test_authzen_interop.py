"""The four interop scenarios of the AuthZEN working group, by the rules that their pages state.

The tables of the scenarios say who holds which role, who owns what, and what each role may do. They do not say:
- which `id` stands for "no todo" in the todo scenario: its requests use `todo-1`, which the catalogue places
- whether routes of the gateway differ in anything but the method: all answers of the scenario depend on it alone
- the departments of records in the scenario of the identity provider: only owners delete there, so those of the search
  scenario serve
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.authzen import ServedAuthzen, served_authzen

SCENARIOS = Path(__file__).parents[1] / "authzen"


@pytest.fixture(scope="module", params=[])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedAuthzen]:
    with served_authzen(SCENARIOS / request.param, tmp_path_factory.mktemp(request.param)) as served:
        yield served


def scenario(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("api", [name], indirect=True)


def pid(number: int) -> str:
    """The opaque id of a user of the todo scenario."""
    return f"CiRmZD{'AEIMQ'[number]}2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs"


MAILS = (
    "rick@the-citadel.com",
    "morty@the-citadel.com",
    "summer@the-smiths.com",
    "beth@the-smiths.com",
    "jerry@the-smiths.com",
)
ADMINS, EDITORS = {0}, {0, 1, 2}
"""Rick may update and delete every todo, Morty and Summer their own; Beth and Jerry only read."""


def owned(owner: int) -> dict[str, Any]:
    return {"type": "todo", "id": f"todo-of-{owner}", "properties": {"ownerID": MAILS[owner]}}


@scenario("todo")
@pytest.mark.parametrize("user", range(5))
def test_todo_answers_eight_questions_of_each_user(api: ServedAuthzen, user: int) -> None:
    other = 0 if user else 1
    todo = {"type": "todo", "id": "todo-1"}
    questions = [
        *(("can_read_user", {"type": "user", "id": MAILS[each]}, True) for each in (3, user)),
        ("can_read_todos", todo, True),
        ("can_create_todo", todo, user in EDITORS),
        *((name, owned(other), user in ADMINS) for name in ("can_update_todo", "can_delete_todo")),
        *((name, owned(user), user in EDITORS) for name in ("can_update_todo", "can_delete_todo")),
    ]
    subject = {"type": "user", "id": pid(user)}
    asked = [{"subject": subject, "action": {"name": name}, "resource": each} for name, each, _ in questions]

    assert [expected for *_, expected in questions] == [api.decision(each) for each in asked]


@scenario("todo")
@pytest.mark.parametrize(
    ("user", "owners", "expected"), [(0, (0, 4), [True, True]), (1, (0, 1), [False, True]), (4, (0, 4), [False, False])]
)
def test_todo_answers_evaluations(api: ServedAuthzen, user: int, owners: tuple[int, int], expected: list[bool]) -> None:
    body = {"subject": {"type": "user", "id": pid(user)}, "action": {"name": "can_update_todo"}}
    items = [{"resource": owned(each)} for each in owners]
    answers = api.ask("evaluations", {**body, "evaluations": items}).json()["evaluations"]

    assert expected == [each["decision"] for each in answers]


@scenario("gateway")
@pytest.mark.parametrize("user", range(5))
def test_gateway_answers_five_routes_of_each_user(api: ServedAuthzen, user: int) -> None:
    routes = [
        ("GET", "/users/{userId}", True),
        ("GET", "/todos", True),
        ("POST", "/todos", user in EDITORS),
        ("PUT", "/todos/{todoId}", user in EDITORS),
        ("DELETE", "/todos/{todoId}", user in EDITORS),
    ]
    subject = {"type": "identity", "id": pid(user)}
    asked = [
        {"subject": subject, "action": {"name": method}, "resource": {"type": "route", "id": path}}
        for method, path, _ in routes
    ]

    assert [expected for *_, expected in routes] == [api.decision(each) for each in asked]


USERS = {
    "alice": ("manager", "sales"),
    "bob": ("employee", "legal"),
    "carol": ("contractor", "legal"),
    "dan": ("manager", "finance"),
    "erin": ("employee", "finance"),
    "felix": ("contractor", "accounting"),
}
RECORDS = {
    fields[1].strip(): fields[2].strip().split(".")
    for line in (SCENARIOS / "search/acme/catalogue.csv").read_text().splitlines()
    if not line.startswith("#") and (fields := line.split(","))
}
"""Department and owner of each record."""
NAMES = ("view", "edit", "delete")


def allowed(user: str, action: str, record: str) -> bool:
    """The six rules of the scenario."""
    role, department = USERS[user]
    of, owner = RECORDS[record]
    if owner == user:
        return True
    manages = role == "manager"
    return {"view": manages or of == department, "edit": manages and of == department, "delete": False}[action]


def results(api: ServedAuthzen, search: str, **body: Any) -> Any:
    """The whole body must be the results: the runners of the scenarios compare it so, without order."""
    answered = api.ask(f"search/{search}", body).json()
    assert ["results"] == list(answered)
    return answered["results"]


@scenario("search")
@pytest.mark.parametrize("action", NAMES)
def test_search_finds_the_subjects_of_each_record(api: ServedAuthzen, action: str) -> None:
    for record in RECORDS:
        found = results(
            api,
            "subject",
            subject={"type": "user"},
            action={"name": action},
            resource={"type": "record", "id": record},
        )
        assert [{"type": "user", "id": user} for user in USERS if allowed(user, action, record)] == found


@scenario("search")
@pytest.mark.parametrize("action", NAMES)
def test_search_finds_the_records_of_each_user(api: ServedAuthzen, action: str) -> None:
    """With `delete`, this is the scenario of the identity provider."""
    for user in USERS:
        found = results(
            api, "resource", subject={"type": "user", "id": user}, action={"name": action}, resource={"type": "record"}
        )
        assert [{"type": "record", "id": record} for record in RECORDS if allowed(user, action, record)] == found


@scenario("search")
@pytest.mark.parametrize("user", USERS)
def test_search_finds_the_actions_on_each_record(api: ServedAuthzen, user: str) -> None:
    for record in RECORDS:
        found = results(api, "action", subject={"type": "user", "id": user}, resource={"type": "record", "id": record})
        assert sorted(name for name in NAMES if allowed(user, name, record)) == [each["name"] for each in found]


def test_the_scenarios_have_as_many_questions_as_the_working_group_asks() -> None:
    assert (5 * 8 + 3, 5 * 5) == (43, 25)
    assert 198 == len(RECORDS) * len(NAMES) + len(USERS) * len(NAMES) + len(USERS) * len(RECORDS)
