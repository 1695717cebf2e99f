"""The AuthZEN API over real HTTP: its rules of transport, its errors, its records."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate
from support.authzen import ALICE, BOB, EVALUATION, FIXTURE, READ, RECORD, WRITE, ServedAuthzen, served_authzen
from support.trees import write

from remit.audit.errors import JournalUnavailable
from remit.core.names import Tenant
from remit.policy.live import TenantPolicy, TenantState

MOST_BYTES = 500_000


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedAuthzen]:
    folder = tmp_path_factory.mktemp("authzen")
    options = {"authzen_tenant": "acme", "authzen_base_url": "https://pdp.example.com"}
    with served_authzen(FIXTURE, folder, max_message_bytes=MOST_BYTES, **options) as served:
        yield served


@pytest.fixture
def since(api: ServedAuthzen) -> Any:
    before = len(api.recorded())
    return lambda: api.recorded()[before:]


def post(api: ServedAuthzen, content: bytes, content_type: str | None = "application/json", **headers: str) -> Any:
    sent = {**headers} if content_type is None else {"Content-Type": content_type, **headers}
    return api.http.post("/access/v1/evaluation", content=content, headers=sent)


def test_an_answer_leaves_after_its_record_and_names_it(api: ServedAuthzen, since: Any) -> None:
    answered = api.ask("evaluation", EVALUATION)

    assert {"decision": True, "context": {"reason": "ALLOWED_BY_RULE"}} == answered.json()
    assert [("user:alice", "read", "RECORD", "active.record-1", "record-1")] == since()
    (newest,) = list(api.node.records.all_decisions())[-1:]
    assert newest.revision == answered.headers["remit-revision"]
    assert newest.id.hex() == answered.headers["remit-decision-id"].replace("-", "")


def test_the_default_tenant_is_asked_at_the_top(api: ServedAuthzen) -> None:
    assert api.http.post("/access/v1/evaluation", json=EVALUATION).json() == api.ask("evaluation", EVALUATION).json()


def test_without_a_default_tenant_the_top_is_nowhere(tmp_path: Path) -> None:
    with served_authzen(FIXTURE, tmp_path) as served:
        refused = served.http.post("/access/v1/evaluation", json=EVALUATION)
        metadata = served.http.get("/.well-known/authzen-configuration/tenants/acme")

    assert (404, 404) == (refused.status_code, metadata.status_code)
    assert "there is no default tenant" in refused.text
    assert "authzen_base_url" in metadata.text


def test_an_unknown_tenant_is_a_deny_and_a_word_that_is_no_tenant_an_error(api: ServedAuthzen) -> None:
    unknown = api.http.post("/tenants/initech/access/v1/evaluation", json=EVALUATION)
    wrong = api.http.post("/tenants/INITECH/access/v1/evaluation", json=EVALUATION)

    assert {"decision": False, "context": {"reason": "UNKNOWN_TENANT"}} == unknown.json()
    assert 400 == wrong.status_code
    assert wrong.json()["message"].startswith("tenant: `INITECH` is not a tenant")


@pytest.mark.parametrize(
    "path",
    [
        "/access/v1/evaluation/",
        "//access/v1/evaluation",
        "/access/v1/search",
        "/access/v2/evaluation",
        "/tenants/%61cme/access/v1/evaluation",
        "/tenants/acme/globex/access/v1/evaluation",
        "/tenants//access/v1/evaluation",
        "/access/v1/evaluation%2f",
    ],
)
def test_another_path_is_not_found(api: ServedAuthzen, path: str) -> None:
    assert 404 == api.http.post(path, json=EVALUATION).status_code


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "OPTIONS", "DELETE"])
def test_another_method_is_refused_with_the_right_one(api: ServedAuthzen, method: str) -> None:
    refused = api.http.request(method, "/access/v1/evaluation")

    assert (405, "POST") == (refused.status_code, refused.headers["allow"])


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/problem+json", "application/jsonp", "application/json; charset=utf-16"],
)
def test_another_content_type_is_refused(api: ServedAuthzen, content_type: str | None) -> None:
    refused = post(api, json.dumps(EVALUATION).encode(), content_type)

    assert 400 == refused.status_code
    assert "application/json" in refused.json()["message"]


@pytest.mark.parametrize("content_type", ["application/json;charset=utf-8", 'Application/JSON ; charset="UTF-8"'])
def test_parameters_of_the_content_type_are_accepted(api: ServedAuthzen, content_type: str) -> None:
    assert 200 == post(api, json.dumps(EVALUATION).encode(), content_type).status_code


TEXT = json.dumps(EVALUATION).encode()


@pytest.mark.parametrize(
    ("body", "text"),
    {
        b"": "the body is no JSON object",
        b"[" + TEXT + b"]": "it is not an object",
        b"null": "it is not an object",
        TEXT + b"x": "Extra data",
        b"\xef\xbb\xbf" + TEXT: "BOM",
        TEXT.replace(b'"alice"', b'"alice", "id": "bob"'): "a member occurs twice",
        TEXT.replace(b'"alice"', b'"alice", "x": {"a": 1, "\\u0061": 2}'): "a member occurs twice",
        TEXT.replace(b'"alice"', b'"alice", "x": NaN'): "a number is not finite",
        TEXT.replace(b'"alice"', b'"alice", "x": 1e999'): "a number is too large",
        TEXT.replace(b'"alice"', b'"alice", "x": ' + b"[" * 100_000 + b"]" * 100_000): "it has too many levels",
        TEXT.replace(b'"alice"', b'"alice", "x": ' + b"[" * 32 + b"]" * 32): "it has too many levels",
        TEXT.replace(b"alice", b"\xff"): "utf-8",
        TEXT.replace(b"alice", b"\\ud800"): "surrogates",
        TEXT.replace(b'"alice"', b"5"): "Expected `str`, got `int` - at `$.subject.id`",
        TEXT.replace(b'"alice"', b"null"): "Expected `str`, got `null` - at `$.subject.id`",
        TEXT.replace(b'"alice"', b'"alice", "properties": []'): "at `$.subject.properties`",
        TEXT.replace(b"alice", b"a b"): "subject: `user:a b` is not a principal",
        TEXT.replace(b"alice", b"a" * 100_000): "subject: `user:aaa",
        TEXT.replace(b'"user"', b'"group"'): "subject.type: `group` is no principal: expected one of `user`, `service`",
        TEXT.replace(b'"read"', b'"re ad"'): "action.name: `re ad` is not an action",
        TEXT.replace(b'"read"', b'"delete"'): "action.properties.soft: is missing: expected one of `true`, `false`",
        TEXT.replace(
            b"record-1", b"record-9"
        ): "resource.id: `resource.properties.status` is missing, and the catalogue",
        TEXT.replace(b"record-1", b"x" * 600): "resource.id: ",
        TEXT.replace(b'"resource"', b'"context": 5, "resource"'): "at `$.context`",
        TEXT.replace(
            b'"resource"', b'"context": {"remit": {"on_behalf_of": "eve"}}, "resource"'
        ): "context.remit.on_behalf",
    }.items(),
    ids=lambda given: "",
)
def test_a_malformed_body_says_what_is_wrong_and_is_not_recorded(
    api: ServedAuthzen, since: Any, body: bytes, text: str
) -> None:
    refused = post(api, body)

    assert 400 == refused.status_code
    assert text in refused.json()["message"]
    assert 400 == refused.json()["status"]
    assert [] == since()


@pytest.mark.parametrize("member", ["context", "properties"])
def test_null_is_absent(api: ServedAuthzen, member: str) -> None:
    body = {**EVALUATION, member: None, "subject": {**ALICE, "properties": None}}

    assert api.decision(body) is True


def test_unknown_words_are_denies(api: ServedAuthzen) -> None:
    kind = api.ask("evaluation", {**EVALUATION, "resource": {"type": "spaceship", "id": "x"}})
    action = api.ask("evaluation", {**EVALUATION, "action": {"name": "launch"}})

    assert ["UNKNOWN_KIND", "UNKNOWN_ACTION"] == [each.json()["context"]["reason"] for each in (kind, action)]


def test_no_property_of_a_subject_grants_anything(api: ServedAuthzen) -> None:
    admin = {**ALICE, "properties": {"role": "admin", "roles": ["admin"], "namespace": "archived.record-2"}}
    archived = {"type": "record", "id": "record-2", "properties": {"status": "archived"}}

    assert api.decision({"subject": admin, "action": WRITE, "resource": archived}) is False


def test_on_behalf_of_and_the_trace_are_recorded(api: ServedAuthzen) -> None:
    body = {**EVALUATION, "context": {"remit": {"on_behalf_of": "user:eve"}}}
    trace = "0af7651916cd43dd8448eb211c80319c"
    api.ask("evaluation", body, traceparent=f"00-{trace}-b7ad6b7169203331-01", X_Request_ID="a")
    api.ask("evaluation", body, X_Request_ID="request-1")
    api.ask("evaluation", body, X_Request_ID="with blanks")
    newest = list(api.node.records.all_decisions())[-3:]

    assert [("user:eve", trace), ("user:eve", "request-1"), ("user:eve", "")] == [
        (each.on_behalf_of, each.trace_id) for each in newest
    ]


def test_a_revision_may_be_required(api: ServedAuthzen) -> None:
    revision = api.ask("evaluation", EVALUATION).headers["remit-revision"]

    assert 200 == api.ask("evaluation", EVALUATION, Remit_Revision=revision).status_code
    assert 412 == api.ask("evaluation", EVALUATION, Remit_Revision="0" * 64).status_code
    assert 400 == api.ask("evaluation", EVALUATION, Remit_Revision="new").status_code


@pytest.mark.parametrize(
    ("line", "body", "status"),
    [
        ("POST /access/v1/evaluation", EVALUATION, 200),
        ("POST /access/v1/evaluation", {}, 400),
        ("POST /access/v1/nowhere", {}, 404),
        ("GET /access/v1/evaluation", {}, 405),
        ("POST /access/v1/evaluation", {"x": "x" * MOST_BYTES}, 413),
        ("GET /.well-known/authzen-configuration", {}, 200),
    ],
)
@pytest.mark.parametrize("value", [b"conformance-1", b"x" * 8192, b"\xe9"], ids=["short", "long", "latin-1"])
def test_the_id_of_a_request_comes_back_with_every_status(
    api: ServedAuthzen, line: str, body: Any, status: int, value: bytes
) -> None:
    answered = api.http.request(*line.split(), json=body, headers=[(b"X-Request-ID", value)])

    assert status == answered.status_code
    assert [value] == [each for name, each in answered.headers.raw if name.lower() == b"x-request-id"]


def test_two_ids_of_a_request_come_back_both(api: ServedAuthzen) -> None:
    answered = api.http.post(
        "/access/v1/evaluation", json=EVALUATION, headers=[("X-Request-ID", "a"), ("X-Request-ID", "b")]
    )

    assert ["a", "b"] == answered.headers.get_list("x-request-id")


def test_a_request_with_two_lengths_is_refused(api: ServedAuthzen, since: Any) -> None:
    head = "POST /access/v1/evaluation HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    lengths = f"Content-Length: {len(TEXT)}\r\nContent-Length: {len(TEXT) + 1}\r\n\r\n"
    both = f"Content-Length: {len(TEXT)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    statuses = []
    for framing in (lengths, both):
        with socket.create_connection(("127.0.0.1", api.http.base_url.port or 0), timeout=10) as connection:
            connection.sendall((head + framing).encode() + TEXT)
            statuses.append(connection.makefile("rb").readline().split()[1])

    assert [b"400", b"400"] == statuses
    assert [] == since()


def test_pipelined_requests_are_answered_in_their_order(api: ServedAuthzen) -> None:
    count = 100
    sent = b""
    for number in range(count):
        body = json.dumps({**EVALUATION, "subject": ALICE if number % 3 else BOB, "action": WRITE}).encode()
        head = f"POST /access/v1/evaluation HTTP/1.1\r\nHost: h\r\nX-Request-ID: {number}\r\nContent-Type: application/json\r\n"
        sent += f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with socket.create_connection(("127.0.0.1", api.http.base_url.port or 0), timeout=20) as connection:
        connection.sendall(sent)
        reader = connection.makefile("rb")
        answers = []
        for _ in range(count):
            headers = {}
            while line := reader.readline().strip():
                name, _, value = line.partition(b":")
                headers[name.lower()] = value.strip()
            body = json.loads(reader.read(int(headers[b"content-length"])))
            answers.append((int(headers[b"x-request-id"]), body["decision"]))

    assert [(number, bool(number % 3)) for number in range(count)] == answers


@pytest.mark.parametrize(
    ("change", "decisions", "recorded"),
    [
        ({}, [True, False, True], 3),
        ({"options": {"evaluations_semantic": "deny_on_first_deny"}}, [True, False], 2),
        ({"options": {"evaluations_semantic": "permit_on_first_permit"}}, [True], 1),
        ({"options": None}, [True, False, True], 3),
        ({"options": {"evaluations_semantic": None, "other": 1}}, [True, False, True], 3),
    ],
)
def test_only_what_was_answered_is_recorded(
    api: ServedAuthzen, since: Any, change: Any, decisions: list[bool], recorded: int
) -> None:
    items = [{"action": READ}, {"action": WRITE}, {"action": READ}]
    answered = api.ask("evaluations", {"subject": BOB, "resource": RECORD, "evaluations": items, **change})

    assert decisions == [each["decision"] for each in answered.json()["evaluations"]]
    assert recorded == len(since()) == len(answered.headers["remit-decision-id"].split(", "))


def test_permit_on_first_permit_with_no_permit_answers_all(api: ServedAuthzen) -> None:
    options = {"evaluations_semantic": "permit_on_first_permit"}
    items = [{"action": WRITE}, {}, {"action": WRITE}]
    body = {"subject": BOB, "resource": RECORD, "evaluations": items, "options": options}

    assert [False, False, False] == [each["decision"] for each in api.ask("evaluations", body).json()["evaluations"]]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({}, "action: is missing"),
        ([], "evaluations: expected an object"),
        (None, "evaluations: expected an object"),
        ({"action": "read"}, "action: Expected `object`, got `str`"),
        ({"action": READ, "resource": {"id": "record-1"}}, "resource: Object missing required field `type`"),
        ({"action": READ, "context": 1}, "context: expected an object"),
        (
            {"action": READ, "resource": {"type": "record", "id": "x"}},
            "resource.id: `resource.properties.status` is missing",
        ),
    ],
)
def test_an_item_without_a_decision_says_why_and_stops_a_batch_that_stops_at_a_deny(
    api: ServedAuthzen, since: Any, item: Any, message: str
) -> None:
    options = {"evaluations_semantic": "deny_on_first_deny"}
    body = {"subject": BOB, "resource": RECORD, "evaluations": [item, {"action": READ}], "options": options}
    (answer,) = api.ask("evaluations", body).json()["evaluations"]

    assert answer["decision"] is False
    assert 400 == answer["context"]["error"]["status"]
    assert answer["context"]["error"]["message"].startswith(message)
    assert [] == since()


def test_null_in_an_item_stands_for_the_default(api: ServedAuthzen) -> None:
    body = {**EVALUATION, "evaluations": [{"subject": None, "action": None}]}

    assert [True] == [each["decision"] for each in api.ask("evaluations", body).json()["evaluations"]]


@pytest.mark.parametrize(
    "change",
    [
        {"evaluations": {}},
        {"evaluations": "x"},
        {"options": 1},
        {"options": {"evaluations_semantic": 1}},
        {"options": {"evaluations_semantic": "some"}},
        {"context": 1},
        {"evaluations": [{}] * 101},
    ],
)
def test_a_malformed_batch_is_refused_as_a_whole(api: ServedAuthzen, since: Any, change: Any) -> None:
    assert 400 == api.ask("evaluations", {**EVALUATION, "evaluations": [{}], **change}).status_code
    assert [] == since()


def test_a_batch_of_the_limit_is_answered(api: ServedAuthzen) -> None:
    assert 100 == len(api.ask("evaluations", {**EVALUATION, "evaluations": [{}] * 100}).json()["evaluations"])


@pytest.mark.parametrize("body", [EVALUATION, {**EVALUATION, "evaluations": [{}]}])
def test_without_a_record_there_is_no_answer(api: ServedAuthzen, monkeypatch: pytest.MonkeyPatch, body: Any) -> None:
    def refuse(*_: object) -> bool:
        raise JournalUnavailable("the disk is full", "ENOSPC")

    monkeypatch.setattr(api.node.journal, "offer_then", refuse)
    monkeypatch.setattr(api.node.journal, "offer", refuse)
    refused = api.ask("evaluations" if "evaluations" in body else "evaluation", body, X_Request_ID="r")

    assert (503, "1", "r") == (refused.status_code, refused.headers["retry-after"], refused.headers["x-request-id"])
    assert "decision" not in refused.json()


def test_a_tenant_that_does_not_load_is_no_deny(api: ServedAuthzen) -> None:
    api.node.live.put(TenantPolicy(Tenant("broken"), TenantState.UNAVAILABLE, 0, None))
    single = api.http.post("/tenants/broken/access/v1/evaluation", json=EVALUATION)
    batch = api.http.post("/tenants/broken/access/v1/evaluations", json={**EVALUATION, "evaluations": [{}]})
    listed = api.http.post("/tenants/broken/access/v1/search/action", json={"subject": ALICE, "resource": RECORD})
    api.node.live.remove(Tenant("broken"))

    assert [503, 503, 503] == [each.status_code for each in (single, batch, listed)]
    assert all("retry-after" in each.headers for each in (single, batch, listed))


SUBJECTS = {"subject": {"type": "user"}, "action": READ, "resource": RECORD}
RESOURCES = {"subject": ALICE, "action": READ, "resource": {"type": "record"}}
ACTIONS = {"subject": ALICE, "resource": RECORD}


@pytest.mark.parametrize(
    ("path", "body", "results"),
    [
        ("subject", SUBJECTS, [ALICE, BOB]),
        ("subject", {**SUBJECTS, "subject": {"type": "service"}}, []),
        ("subject", {**SUBJECTS, "subject": {"type": "spaceship"}}, []),
        ("subject", {**SUBJECTS, "subject": {"type": "user", "id": 5}}, [ALICE, BOB]),
        ("subject", {**SUBJECTS, "resource": {"type": "record", "id": "record-9"}}, []),
        ("subject", {**SUBJECTS, "resource": {"type": "spaceship", "id": "record-9"}}, []),
        ("resource", RESOURCES, [RECORD, {"type": "record", "id": "record-2"}]),
        ("resource", {**RESOURCES, "action": WRITE}, [RECORD]),
        ("resource", {**RESOURCES, "action": {"name": "launch"}}, []),
        ("resource", {**RESOURCES, "resource": {"type": "spaceship"}}, []),
        ("resource", {**RESOURCES, "subject": {"type": "user", "id": "nobody"}}, []),
        ("action", ACTIONS, [{"name": "delete"}, {"name": "delete_soft"}, READ, WRITE]),
        ("action", {**ACTIONS, "subject": BOB}, [READ]),
        ("action", {**ACTIONS, "subject": {"type": "spaceship", "id": "x"}}, []),
        ("action", {**ACTIONS, "resource": {"type": "spaceship", "id": "x"}}, []),
        ("action", {**ACTIONS, "resource": {"type": "record", "id": "record-9"}}, []),
    ],
)
def test_a_search_lists_what_an_evaluation_allows(
    api: ServedAuthzen, since: Any, path: str, body: Any, results: list[Any]
) -> None:
    assert {"results": results} == api.ask(f"search/{path}", body).json()
    assert 1 == len(since())


def test_a_search_of_an_unknown_tenant_finds_nothing(api: ServedAuthzen) -> None:
    assert {"results": []} == api.http.post("/tenants/initech/access/v1/search/action", json=ACTIONS).json()


def test_resources_that_no_catalogue_has_cannot_be_listed(tmp_path: Path) -> None:
    files = {
        "vocabulary.yaml": b"kinds: {PAGE: {class: namespace, actions: [read]}}\n",
        "acme/bindings.csv": b"p, user:alice, acme, **, PAGE, read, allow\n",
    }
    with served_authzen(write(tmp_path / "policies", files), tmp_path) as served:
        refused = served.ask("search/resource", {**RESOURCES, "resource": {"type": "PAGE"}})

    assert 400 == refused.status_code
    assert "resource.type: `catalogue.csv` has no PAGE, so remit cannot list them" == refused.json()["message"]


@pytest.mark.parametrize("limit", [-1, 1.5, "1", True])
def test_a_limit_that_is_no_count_is_refused(api: ServedAuthzen, limit: Any) -> None:
    assert 400 == api.ask("search/subject", {**SUBJECTS, "page": {"limit": limit}}).status_code


def test_a_page_says_if_there_are_more(api: ServedAuthzen) -> None:
    first = api.ask("search/subject", {**SUBJECTS, "page": {"limit": 1}}).json()
    token = first["page"]["next_token"]
    second = api.ask("search/subject", {**SUBJECTS, "page": {"token": token}}).json()

    assert ["page", "results"] == list(first)
    assert ([ALICE], 1, 2) == (first["results"], first["page"]["count"], first["page"]["total"])
    assert ([BOB], "") == (second["results"], second["page"]["next_token"])
    assert second == api.ask("search/subject", {**SUBJECTS, "page": {"token": token, "limit": 1}}).json()
    assert 400 == api.ask("search/subject", {**SUBJECTS, "page": {"token": token, "limit": 2}}).status_code


def test_a_page_of_nothing_leads_to_the_first(api: ServedAuthzen) -> None:
    empty = api.ask("search/resource", {**RESOURCES, "page": {"limit": 0}}).json()

    assert ([], 0) == (empty["results"], empty["page"]["count"])
    assert empty["page"]["next_token"]


def test_a_huge_limit_is_the_largest_page(api: ServedAuthzen) -> None:
    answered = api.ask("search/resource", {**RESOURCES, "page": {"limit": 10**12}}).json()

    assert (2, "") == (len(answered["results"]), answered["page"]["next_token"])


def test_a_token_belongs_to_one_request(api: ServedAuthzen) -> None:
    token = api.ask("search/subject", {**SUBJECTS, "page": {"limit": 1}}).json()["page"]["next_token"]
    others = [
        ("subject", {**SUBJECTS, "context": {}}),
        ("subject", {**SUBJECTS, "action": WRITE}),
        ("resource", RESOURCES),
        ("action", ACTIONS),
    ]

    assert [400] * 4 == [
        api.ask(f"search/{path}", {**body, "page": {"token": token}}).status_code for path, body in others
    ]
    other_tenant = api.http.post("/tenants/x/access/v1/search/subject", json={**SUBJECTS, "page": {"token": token}})
    assert 400 == other_tenant.status_code


def test_every_changed_bit_of_a_token_is_refused(api: ServedAuthzen) -> None:
    token = api.ask("search/subject", {**SUBJECTS, "page": {"limit": 1}}).json()["page"]["next_token"].encode()
    changed = [
        bytes([*token[:at], token[at] ^ 1 << bit, *token[at + 1 :]]).decode("latin-1")
        for at in range(len(token))
        for bit in range(8)
    ]
    wrong = [each for each in [*changed, token[:-1].decode(), token.decode() + "="] if _accepted(api, each)]

    assert [] == wrong
    assert _accepted(api, token.decode())


def _accepted(api: ServedAuthzen, token: str) -> bool:
    return api.ask("search/subject", {**SUBJECTS, "page": {"token": token}}).status_code != 400


@pytest.mark.parametrize(
    ("path", "identifier"),
    [("", "https://pdp.example.com"), ("/tenants/acme", "https://pdp.example.com/tenants/acme")],
)
def test_metadata_stand_at_both_well_known_places(api: ServedAuthzen, path: str, identifier: str) -> None:
    answered = api.http.get(f"/.well-known/authzen-configuration{path}", headers={"Host": "evil.example"})

    assert "max-age=300" == answered.headers["cache-control"]
    assert {
        "policy_decision_point": identifier,
        "access_evaluation_endpoint": f"{identifier}/access/v1/evaluation",
        "access_evaluations_endpoint": f"{identifier}/access/v1/evaluations",
        "search_subject_endpoint": f"{identifier}/access/v1/search/subject",
        "search_resource_endpoint": f"{identifier}/access/v1/search/resource",
        "search_action_endpoint": f"{identifier}/access/v1/search/action",
    } == answered.json()


def test_metadata_do_not_tell_which_tenants_exist(api: ServedAuthzen) -> None:
    known, unknown, none = (
        api.http.get(f"/.well-known/authzen-configuration/tenants/{name}") for name in ("acme", "initech", "A")
    )

    assert (200, 200, 404) == (known.status_code, unknown.status_code, none.status_code)
    assert known.text == unknown.text.replace("initech", "acme")


@pytest.mark.parametrize(
    ("base", "path", "identifier"),
    [
        ("https://h:8443/pdp", "/tenants/acme", "https://h:8443/pdp/tenants/acme"),
        ("https://h/pdp", "/pdp/tenants/acme", "https://h/pdp/tenants/acme"),
        ("https://h/", "/tenants/acme", "https://h/tenants/acme"),
        ("https://h/", "", "https://h/"),
        ("https://h/", "/", "https://h/"),
    ],
)
def test_the_identifier_is_the_configured_one(tmp_path: Path, base: str, path: str, identifier: str) -> None:
    with served_authzen(FIXTURE, tmp_path, authzen_base_url=base, authzen_tenant="acme") as served:
        metadata = served.http.get(f"/.well-known/authzen-configuration{path}").json()

    assert identifier == metadata["policy_decision_point"]
    assert f"{identifier.removesuffix('/')}/access/v1/evaluation" == metadata["access_evaluation_endpoint"]


def test_the_openapi_document_is_valid(api: ServedAuthzen) -> None:
    document = api.http.get("/access/v1/openapi.json").json()
    validate(document)

    paths = {"evaluation", "evaluations", "search/subject", "search/resource", "search/action"}
    assert {f"/tenants/{{tenant}}/access/v1/{each}" for each in paths} <= document["paths"].keys()


def test_without_its_setting_there_is_no_authzen(tmp_path: Path) -> None:
    with served_authzen(FIXTURE, tmp_path, authzen=False) as served:
        statuses = {
            served.ask("evaluation", EVALUATION).status_code,
            served.http.get("/access/v1/openapi.json").status_code,
        }

    assert {404} == statuses


def test_a_caller_that_left_has_its_record(api: ServedAuthzen, since: Any) -> None:
    head = f"POST /access/v1/evaluation HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {len(TEXT)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", api.http.base_url.port or 0), timeout=10) as connection:
        connection.sendall(head.encode() + TEXT)
        connection.shutdown(socket.SHUT_WR)
        connection.makefile("rb").read(1)

    assert api.decision(EVALUATION) is True
    assert 2 == len(since())


def test_the_application_serves_where_somebody_mounts_it(api: ServedAuthzen) -> None:
    from starlette.applications import Starlette  # noqa: PLC0415
    from starlette.routing import Mount  # noqa: PLC0415
    from support.fixture_pdp import running  # noqa: PLC0415

    from remit.server.web import authzen_application  # noqa: PLC0415
    from remit.web.calls import HttpCalls  # noqa: PLC0415

    application = authzen_application(api.node, api.grpc, HttpCalls(api.grpc.boundary, api.grpc.expiry))
    with running(Starlette(routes=[Mount("/pdp", app=application)])) as port:
        answered = httpx.post(f"http://127.0.0.1:{port}/pdp/access/v1/evaluation", json=EVALUATION, timeout=10)

    assert {"decision": True, "context": {"reason": "ALLOWED_BY_RULE"}} == answered.json()
