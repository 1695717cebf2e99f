"""Words and names of a policy: GetVocabulary and ListNames."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from support.in_process import asked, serve_instead
from support.plain_rows import plain_rows
from support.server import DEADLINE_S, POLICIES, Server, remit

from remit.audit.record import DecisionRecord
from remit.client import AsyncClient, Client, DecisionUnavailable
from remit.v1 import policy_service_pb2 as messages

ACME: Final = POLICIES / "acme"
VOCABULARY: Final = b"kinds:\n  FLOW: {class: namespace, actions: [VIEW]}\n"
TYPES: Final = ("namespace", "pattern", "group", "role", "principal")


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with server.client() as shared:
        yield shared


def names(**fields: Any) -> messages.ListNamesRequest:
    return messages.ListNamesRequest(**{"tenant": "acme", "what": messages.NAME_TYPE_PRINCIPAL, **fields})


def subjects_in_files() -> Counter[str]:
    found: Counter[str] = Counter()
    for row in plain_rows(POLICIES / "roles.csv", ACME / "roles.csv", ACME / "bindings.csv"):
        found.update(row[1:2] if row[0] == "p" else row[1:3])
    return found


@pytest.mark.parametrize(
    ("what", "beginnings"), [("group", ("group:",)), ("role", ("role:",)), ("principal", ("user:", "service:"))]
)
def test_subjects_are_those_of_the_files(client: Client, what: str, beginnings: tuple[str, ...]) -> None:
    found = {each.name: each.rows for each in client.tenant("acme").list_names(what)}
    assert found == {name: count for name, count in subjects_in_files().items() if name.startswith(beginnings)}


def test_patterns_and_namespaces_are_those_of_the_files(client: Client) -> None:
    patterns: Counter[str] = Counter()
    for row in plain_rows(POLICIES / "roles.csv", ACME / "roles.csv", ACME / "bindings.csv"):
        patterns[row[3].partition("/")[2] or "**" if row[0] == "g" else row[3]] += 1
    for row in plain_rows(ACME / "reach.csv"):
        patterns.update({row[2], row[3]})
    assert {each.name: each.rows for each in client.tenant("acme").list_names("pattern")} == patterns

    found = {each.name: each for each in client.tenant("acme").list_names("namespace")}
    named = {each.removesuffix(".**") for each in patterns}
    assert {each for each in named if "*" not in each} <= found.keys()
    # It has a resource of its own, and no row.
    assert (0, 1) == (found["acme.data.etl"].rows, found["acme.data.etl"].others)
    assert "acme.finance" in found
    assert not any("*" in each for each in found)


@pytest.mark.parametrize("what", TYPES)
def test_pages_put_together_are_the_whole_list(client: Client, what: str) -> None:
    asked = {"what": messages.NameType.Value(f"NAME_TYPE_{what.upper()}")}
    whole = client.ask(names(**asked, page_size=1_000))
    assert ("", len(whole.names)) == (whole.next_page_token, whole.total)
    found = [each.name for each in whole.names]
    assert sorted(set(found)) == found
    pages = [client.ask(names(**asked, page_size=3))]
    while pages[-1].next_page_token:
        pages.append(client.ask(names(**asked, page_size=3, page_token=pages[-1].next_page_token)))
    assert list(whole.names) == [each for page in pages for each in page.names]
    assert {whole.total} == {page.total for page in pages}


@pytest.mark.parametrize(
    ("prefix", "contains"),
    [("user:", ""), ("", "OPS"), ("user:", "o"), ("service:", "zzz"), ("user:bob", "bob"), ("z", "")],
)
def test_filters_keep_the_names_that_fit(client: Client, prefix: str, contains: str) -> None:
    whole = [each.name for each in client.tenant("acme").list_names("principal")]
    found = [
        each.name
        for each in client.tenant("acme").list_names("principal", prefix=prefix, contains=contains, page_size=2)
    ]
    assert found == [each for each in whole if each.startswith(prefix) and contains.lower() in each.lower()]


def test_an_access_list_and_a_catalogue_use_names_too(tmp_path: Path) -> None:
    files = {
        "vocabulary.yaml": VOCABULARY,
        "acme/tenant.yaml": b"access: [user:ann, group:staff]\n",
        "acme/bindings.csv": b"p, user:ann, acme, a.b, FLOW, VIEW, allow\n",
        "acme/catalogue.csv": b"FLOW, one, a.c\nFLOW, two, a.c\n",
    }
    with asked(tmp_path, files) as (_, client):

        def used(what: str) -> list[tuple[str, int, int]]:
            return [(each.name, each.rows, each.others) for each in client.tenant("acme").list_names(what)]

        assert [("user:ann", 1, 1)] == used("principal")
        assert [("group:staff", 0, 1)] == used("group")
        assert [("a.b", 1, 0), ("a.c", 0, 2)] == used("namespace")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (names(what=0), "what"),
        (names(what=99), "what"),
        (names(page_size=1_001), "page_size"),
        (names(page_token="nonsense"), "page_token"),
        (names(prefix="u" * 513), "prefix"),
        (names(contains="\u202e" * 513), "contains"),
        (names(tenant="No Such"), "tenant"),
        (names(revision="abc"), "revision"),
        (names(at_least="acme"), "at_least"),
        (messages.GetVocabularyRequest(tenant=""), "tenant"),
        (messages.GetVocabularyRequest(tenant="acme", revision="x"), "revision"),
    ],
)
def test_a_malformed_request_about_words_names_its_field(client: Client, request_: Any, field: str) -> None:
    with pytest.raises(DecisionUnavailable) as caught:
        client.ask(request_)
    assert ("INVALID_ARGUMENT", field) == (caught.value.code, caught.value.violations[0].field)


@pytest.mark.parametrize("text", ["<script>", "\x00", "\u202euser", '"', "' OR 1=1", "%", "*"])
def test_hostile_filters_find_nothing(client: Client, text: str) -> None:
    assert 0 == client.ask(names(prefix=text)).total == client.ask(names(contains=text)).total


def test_a_tenant_that_does_not_exist_has_no_words(client: Client) -> None:
    for request in (names(tenant="nowhere"), messages.GetVocabularyRequest(tenant="nowhere")):
        with pytest.raises(DecisionUnavailable, match="there is no tenant `nowhere`") as caught:
            client.ask(request)
        assert caught.value.code == "NOT_FOUND"


def test_a_token_of_names_belongs_to_its_request_and_its_policy(tmp_path: Path) -> None:
    files = {
        "vocabulary.yaml": VOCABULARY,
        "acme/bindings.csv": b"".join(b"p, user:u%d, acme, **, FLOW, VIEW, allow\n" % each for each in range(5)),
    }
    with asked(tmp_path, files) as (node, client):
        token = client.ask(names(page_size=2)).next_page_token
        with pytest.raises(DecisionUnavailable, match="another request"):
            client.ask(names(page_size=2, prefix="user:", page_token=token))
        serve_instead(node, {**files, "acme/bindings.csv": b"p, user:u9, acme, **, FLOW, VIEW, allow\n"}, "acme")
        with pytest.raises(DecisionUnavailable, match="begin again") as caught:
            client.ask(names(page_size=2, page_token=token))
        assert caught.value.code == "FAILED_PRECONDITION"
        assert ["user:u9"] == [each.name for each in client.tenant("acme").list_names("principal")]


def test_a_vocabulary_has_the_words_that_questions_may_name(client: Client) -> None:
    found = client.tenant("acme").get_vocabulary()
    kinds = {each.kind: each for each in found.kinds}
    assert messages.KIND_CLASS_NAMESPACE == kinds["FLOW"].kind_class
    assert "VIEW" in kinds["FLOW"].actions
    assert messages.KIND_CLASS_TENANT == kinds["USER"].kind_class
    assert messages.KIND_CLASS_INSTANCE not in {each.kind_class for each in found.kinds}
    assert "SUBFLOW" in {each.relation for each in found.relations}
    checks = {each.operation: each.checks for each in found.operations}["create_flow_in_new_namespace"]
    parts = client.tenant("acme").check_operation("user:bob", "create_flow_in_new_namespace", "acme.finance.new").parts
    assert [(each.kind, each.action) for each in parts] == [(each.kind, each.action) for each in checks]
    assert "WEBSERVER" in found.services
    assert found.revision == client.status("acme").tenants[0].revision
    # Whatever the wall: the instance has its own kinds, and the rights of callers have theirs.
    instance = {each.kind_class for each in client.tenant("_instance").get_vocabulary().kinds}
    assert {messages.KIND_CLASS_INSTANCE} == instance
    assert ["REMIT", "REMIT_INSTANCE"] == [each.kind for each in client.tenant("_callers").get_vocabulary().kinds]


def test_words_and_names_leave_no_record(client: Client, since: Callable[[], list[DecisionRecord]]) -> None:
    client.tenant("acme").get_vocabulary()
    assert list(client.tenant("acme").list_names("role"))
    assert [] == since()


def test_the_client_for_asyncio_has_the_same_calls(server: Server, client: Client) -> None:
    async def ask() -> None:
        async with AsyncClient(server.target, timeout_s=DEADLINE_S) as asking:
            acme = asking.tenant("acme")
            assert await acme.get_vocabulary() == client.tenant("acme").get_vocabulary()
            found = [each async for each in acme.list_names("role", page_size=2)]
            assert found == list(client.tenant("acme").list_names("role"))
            with pytest.raises(DecisionUnavailable, match="expected one of namespace, pattern"):
                [each async for each in acme.list_names("roles")]

    asyncio.run(ask())


def test_the_commands_answer_from_files_as_from_a_server(server: Server) -> None:
    for words in (
        ("names", "acme", "pattern"),
        ("names", "acme", "role", "--prefix", "role:a"),
        ("vocabulary", "acme"),
    ):
        of_files = remit(*words, "--policies", str(POLICIES))
        of_server = remit(*words, "--target", server.target)
        assert (0, of_files.stdout) == (of_server.returncode, of_server.stdout)
        assert of_files.stdout
    assert 3 == remit("names", "nowhere", "--policies", str(POLICIES)).returncode
