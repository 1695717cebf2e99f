"""The API over HTTP by a real server on loopback: encodings, errors, deadlines, streams and bounds."""

import json
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from support.http_api import JSON, PROTO, HttpApi, details, unavailable
from support.locks import locked
from support.questions import check
from support.server import DEADLINE_S, Server, remit_process, until

from remit.client import DecisionUnavailable
from remit.client.stubs import METHODS
from remit.v1 import access_service_pb2 as access
from remit.v1 import audit_service_pb2 as audit
from remit.v1 import policy_service_pb2 as policy
from remit.v1 import status_service_pb2 as status

CHECK = "/remit.v1.AccessService/Check"
ANYWHERE = "127.0.0.1:0"
KIB = 1024
BODY = json.dumps(MessageToDict(check())).encode()
REQUEST_LINE = b"POST " + CHECK.encode()
CHUNKED = REQUEST_LINE + (
    b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
)
WITH_BODY = (
    b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(BODY)
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, untested: Path) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("http"), policies=untested, http=ANYWHERE) as started:
        yield started


@pytest.fixture(params=[PROTO, JSON])
def api(request: pytest.FixtureRequest, server: Server) -> Iterator[HttpApi]:
    with HttpApi(server.http_port, request.param) as asking:
        yield asking


def exchange(server: Server, *parts: bytes) -> bytes:
    """What comes back until the server ends the connection. The parts arrive apart from each other."""
    with socket.create_connection(("127.0.0.1", server.http_port), DEADLINE_S) as connection:
        connection.settimeout(DEADLINE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            with suppress(ConnectionError):
                connection.sendall(part)
            time.sleep(0.05)
        return b"".join(iter(lambda: connection.recv(KIB), b""))


def statuses(received: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1\.1 (\d+)", received)


def test_answer_has_its_record(server: Server, api: HttpApi) -> None:
    told = api.ask(check())

    with server.client() as client:
        record = client.get_record(told.decision.decision_id).record
    assert ("acme", "user:bob", told.revision) == (record.tenant, record.principal, record.revision)


def test_every_method_is_there(api: HttpApi) -> None:
    """An empty request of each is answered, or refused by the method itself."""
    for name, (path, _) in METHODS.items():
        response = api.http.post(
            path,
            content=b"{}" if api.encoding == JSON else b"",
            headers={"content-type": f"application/{api.encoding}"},
        )
        code = "" if response.status_code == 200 else response.json()["code"]
        assert code in {"", "invalid_argument"} or "shadow" in response.json()["message"], name


def test_malformed_question_names_its_fields(api: HttpApi) -> None:
    response = api.post(CHECK, access.CheckRequest(tenant="ACME!", question=check().question))

    assert (400, "invalid_argument") == (response.status_code, response.json()["code"])
    assert ["tenant"] == [each.field for each in unavailable(response).violations]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"tenant": "acme", "qestion": {}}', 'no field named "qestion"'),
        (b'{"tenant": 7}', "Failed to parse tenant field: expected string"),
        (b'{"tenant": "acme", "tenant": "globex"}', "duplicate key tenant"),
        (b'{"tenant": "acme"', "CheckRequest"),
        (b'["acme"]', "CheckRequest"),
        (b"\xff", "CheckRequest"),
        (b"[" * 100_000, "CheckRequest"),
        (b"", "CheckRequest"),
    ],
)
def test_json_that_is_no_request_is_refused_by_name(server: Server, body: bytes, told: str) -> None:
    with HttpApi(server.http_port, JSON) as api:
        response = api.http.post(CHECK, content=body, headers={"content-type": "application/json"})

    assert (400, "invalid_argument") == (response.status_code, response.json()["code"])
    assert told in response.json()["message"]


def test_bytes_that_are_no_request_are_refused(server: Server) -> None:
    with HttpApi(server.http_port) as api:
        response = api.http.post(CHECK, content=b"\xff\xff", headers={"content-type": "application/proto"})

    assert 400 == response.status_code
    assert "what was sent is no message of this method, or not whole" == response.json()["message"]


def test_answer_in_protobuf_is_the_same_by_the_library(server: Server) -> None:
    """What is unusual about a request makes `connectrpc` answer it, and not the shorter way."""
    with HttpApi(server.http_port) as api:
        usual = api.ask(check())
        unusual = api.ask(check(), expect="nothing")
        refused = [api.post(CHECK, access.CheckRequest(), **each).json() for each in ({}, {"expect": "nothing"})]

    assert (usual.decision.effect, usual.revision) == (unusual.decision.effect, unusual.revision)
    assert refused[0] == refused[1]


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"])
def test_forms_of_web_pages_are_refused(server: Server, content_type: str) -> None:
    """A page of another origin may send them without asking."""
    with HttpApi(server.http_port) as api:
        response = api.http.post(CHECK, content=b"{}", headers={"content-type": content_type})

    assert 415 == response.status_code
    assert_says(response, f"`{content_type}` is not served here: send `Content-Type: application/json`")


def test_get_is_refused(server: Server) -> None:
    with HttpApi(server.http_port) as api:
        response = api.http.get(CHECK, params={"message": "{}", "encoding": "json"})
        assert 405 == response.status_code
        assert_says(response, "`GET` is not served here: send `POST` with `Content-Type: application/json`")
        response = api.http.post(CHECK, content=b"{}")
        assert 415 == response.status_code
        assert_says(response, "the content type is missing: send `Content-Type: application/json`")
        response = api.http.post(f"{CHECK}s", content=b"{}", headers={"content-type": "application/json"})
        assert 404 == response.status_code
        assert_says(response, "there is no method `remit.v1.AccessService/Checks`")


def assert_says(response: httpx.Response, message: str) -> None:
    """The body is an error as Connect writes them."""
    assert ("application/json", str(len(response.content))) == (
        response.headers["content-type"],
        response.headers["content-length"],
    )
    assert response.json()["message"].startswith(message), response.text


def test_grpc_itself_is_sent_to_its_own_port(server: Server) -> None:
    with HttpApi(server.http_port) as api:
        response = api.http.post(CHECK, content=b"", headers={"content-type": "application/grpc"})

    assert 415 == response.status_code
    assert "`listen`" in response.text


@pytest.mark.parametrize("path", ["/", "/remit.v1.AccessService/Nothing", "/remit.v1.NoService/Check", "/metrics"])
def test_path_without_a_method_is_not_found(server: Server, path: str) -> None:
    with HttpApi(server.http_port) as api:
        response = api.http.post(path, content=b"{}", headers={"content-type": "application/json"})

    assert 404 == response.status_code


@pytest.mark.parametrize(
    "line",
    [
        b"POST /remit%2ev1.AccessService/Check",
        b"POST /remit.v1.AccessService%2fCheck",
        b"POST /remit.v1.AccessService/%43heck",
        b"POST //remit.v1.AccessService/Check",
        b"POST /a/../remit.v1.AccessService/Check",
        b"OPTIONS *",
    ],
)
def test_method_has_one_path(server: Server, line: bytes) -> None:
    """A proxy may have a rule about it."""
    answers = exchange(server, line + WITH_BODY + b"\r\n" + BODY)

    assert [b"404"] == statuses(answers)
    assert "Exception in ASGI" not in server.log_text()


def test_body_of_a_request_to_upgrade_is_no_request_of_its_own(server: Server) -> None:
    """Else a proxy that hands on `Upgrade` would give the second answer to the next one who asks."""
    hidden = REQUEST_LINE + WITH_BODY + b"\r\n" + BODY
    upgrade = b"host: a\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: %d\r\n\r\n" % len(hidden)
    answers = exchange(server, REQUEST_LINE + b" HTTP/1.1\r\n" + upgrade, hidden)

    assert [b"400"] == statuses(answers)
    assert b"upgrade" in answers


def test_request_without_a_body_may_ask_for_an_upgrade(server: Server) -> None:
    head = b" HTTP/1.1\r\nhost: a\r\nconnection: close, upgrade\r\nupgrade: h2c\r\n\r\n"

    assert [b"405"] == statuses(exchange(server, b"GET " + CHECK.encode() + head))


def test_what_follows_a_body_are_no_headers(server: Server) -> None:
    """A token there would be refused without TLS."""
    chunked = CHUNKED + b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)

    assert [b"200"] == statuses(exchange(server, chunked + b"authorization: Bearer x\r\n\r\n"))


@pytest.mark.parametrize("line", [b"x: " + b"x" * KIB + b"\r\n", b"x" * KIB], ids=["many", "one"])
def test_much_that_follows_a_body_is_refused(server: Server, line: bytes) -> None:
    received = b""
    with socket.create_connection(("127.0.0.1", server.http_port), DEADLINE_S) as endless:
        endless.settimeout(DEADLINE_S)
        with suppress(ConnectionError):
            endless.sendall(CHUNKED + b"1\r\n{\r\n0\r\n")
            for _ in range(8 * KIB):
                endless.sendall(line)
            pytest.fail("the server takes everything")
        with suppress(ConnectionError):
            received = endless.recv(KIB)

    assert not received or [b"431"] == statuses(received)


def test_body_in_small_chunks_is_read(server: Server) -> None:
    """What frames them is longer than a head may be."""
    body = BODY + b" " * 20 * KIB
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)

    assert [b"200"] == statuses(exchange(server, CHUNKED, chunks[: 60 * KIB], chunks[60 * KIB :], b"0\r\n\r\n"))


def test_trace_of_the_request_is_recorded(server: Server, api: HttpApi) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    told = api.ask(check(), traceparent=f"00-{trace}-b7ad6b7169203331-01")

    with server.client() as client:
        assert trace == client.get_record(told.decision.decision_id).record.trace_id


def test_header_that_is_not_utf_8_is_refused_and_not_logged(server: Server) -> None:
    with HttpApi(server.http_port) as api:
        headers = {b"content-type": b"application/connect+json", b"x-name": b"\xff"}
        response = api.http.post("/remit.v1.PolicyService/WatchRevision", content=b"", headers=headers)

    assert 400 == response.status_code
    assert "Exception in ASGI" not in server.log_text()


def test_deadline_that_passes_is_told(serve: Callable[..., Server], untested: Path) -> None:
    server = serve(policies=untested, http=ANYWHERE)
    with HttpApi(server.http_port) as api:
        assert api.ask(check(), connect_timeout_ms="20000").revision
        with locked(server.database):
            began = time.monotonic()
            response = api.post(CHECK, check(), connect_timeout_ms="200")
            took_s = time.monotonic() - began
        assert (504, "deadline_exceeded") == (response.status_code, response.json()["code"])
        assert 0.2 <= took_s < 4
        assert api.ask(check()).revision


def test_timeout_that_is_no_number_is_refused(server: Server) -> None:
    with HttpApi(server.http_port) as api:
        assert 400 == api.post(CHECK, check(), connect_timeout_ms="soon").status_code


def test_store_that_fails_makes_no_answer(serve: Callable[..., Server], untested: Path) -> None:
    server = serve("--audit-timeout-s", "0.5", policies=untested, http=ANYWHERE)
    with HttpApi(server.http_port) as api, locked(server.database):
        response = api.post(CHECK, check())

    assert (503, "unavailable") == (response.status_code, response.json()["code"])
    assert response.headers["retry-after"].isdigit()


def test_large_request_is_refused(server: Server, api: HttpApi) -> None:
    question = access.Question(principal="user:bob", resource_id="x" * 9 * KIB * KIB)
    response = api.post(CHECK, access.CheckRequest(tenant="acme", question=question))

    assert 429 <= response.status_code
    assert "resource_exhausted" == response.json()["code"]


def test_bodies_on_their_way_have_a_bound_together(serve: Callable[..., Server], untested: Path) -> None:
    """Nobody knows yet who sends them."""
    server = serve(policies=untested, http=ANYWHERE)
    large = BODY + b" " * 7 * KIB * KIB
    head = b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    request = REQUEST_LINE + head % len(large) + large
    refused = 0
    with ExitStack() as stack:
        for _ in range(24):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.http_port), DEADLINE_S))
            try:
                connection.sendall(request[:-1])
            except ConnectionError:
                refused += 1
        with HttpApi(server.http_port, JSON) as api:
            assert api.ask(check()).revision
    until(lambda: [b"200"] == statuses(exchange(server, request)), "room for a large body")

    # 128 MiB are 18 of them, and one more may begin. The last bytes of some are in the kernel.
    assert 2 <= refused <= 5
    assert "Exception in ASGI" not in server.log_text()


def test_compressed_request_is_refused(server: Server) -> None:
    with HttpApi(server.http_port) as api:
        response = api.post(CHECK, check(), content_encoding="gzip")

    assert (501, "unimplemented") == (response.status_code, response.json()["code"])


def test_large_head_is_refused(server: Server) -> None:
    with HttpApi(server.http_port) as api:
        whole = api.http.post(CHECK, content=b"", headers={"x-large": "x" * 70 * KIB})
    with socket.create_connection(("127.0.0.1", server.http_port), DEADLINE_S) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nx-large: ")
        slow.settimeout(DEADLINE_S)
        with suppress(ConnectionError):  # it is refused before all of it is sent
            for _ in range(70):
                slow.sendall(b"x" * KIB)
        slow_answer = slow.recv(100)

    assert 431 == whole.status_code
    assert slow_answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "sent", [b"", b"POST / HTT", b"POST / HTTP/1.1\r\nhost: a\r\n", b"POST /a HTTP/1.1\r\ncontent-length: 9\r\n\r\n{"]
)
def test_request_that_does_not_come_ends_its_connection(
    serve: Callable[..., Server], untested: Path, sent: bytes
) -> None:
    server = serve("--message-timeout-s", "0.5", policies=untested, http=ANYWHERE)
    with socket.create_connection(("127.0.0.1", server.http_port), DEADLINE_S) as silent:
        silent.settimeout(DEADLINE_S)
        silent.sendall(sent)
        received = b"".join(iter(lambda: silent.recv(KIB), b""))

    # There is no API at `/a`, and the answer to that does not wait for the body.
    assert received.startswith(b"HTTP/1.1 404 " if b"/a " in sent else b"HTTP/1.1 408 ")


def test_old_connection_ends_after_its_answer(serve: Callable[..., Server], untested: Path) -> None:
    server = serve("--connection-max-age-s", "1", policies=untested, http=ANYWHERE)
    with socket.create_connection(("127.0.0.1", server.http_port), DEADLINE_S) as old:
        old.settimeout(DEADLINE_S)
        body = json.dumps({"tenant": "acme", "principal": "user:bob"}).encode()
        old.sendall(
            b"POST /remit.v1.StatusService/GetStatus HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            + b"content-length: %d\r\n\r\n" % len(body)
            + body
        )
        received = b"".join(iter(lambda: old.recv(KIB), b""))

    assert received.startswith(b"HTTP/1.1 400 ")


def test_pages_of_other_origins_are_refused(server: Server) -> None:
    with HttpApi(server.http_port) as api:
        preflight = api.http.options(CHECK, headers={"origin": "http://evil.example"})
        asked = api.post(CHECK, check(), origin="http://evil.example")

    assert (403, 403) == (preflight.status_code, asked.status_code)
    assert "`http_origins`" in asked.text
    assert [] == [name for name in asked.headers if name.startswith("access-control")]


def test_pages_of_named_origins_are_answered(serve: Callable[..., Server], untested: Path) -> None:
    ours = "https://app.example.com"
    server = serve("--http-origins", f"http://127.0.0.1:3000, {ours}", policies=untested, http=ANYWHERE)
    with HttpApi(server.http_port) as api:
        wished = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
        preflight = api.http.options(CHECK, headers={"origin": ours, **wished})
        asked = api.post(CHECK, check(), origin=ours)
        refused = api.post(CHECK, check(), origin=f"{ours}:8443")

    assert (204, 200, 403) == (preflight.status_code, asked.status_code, refused.status_code)
    assert {ours} == {each.headers["access-control-allow-origin"] for each in (preflight, asked)}
    assert "content-type" in preflight.headers["access-control-allow-headers"]
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "Origin" in asked.headers["vary"]


def test_watch_tells_revisions_and_ends_at_the_stop(
    serve: Callable[..., Server], untested: Path, tmp_path: Path
) -> None:
    policies = Path(shutil.copytree(untested, tmp_path / "policies"))
    server = serve(policies=policies, http=ANYWHERE)
    with HttpApi(server.http_port, JSON) as api:
        request = policy.WatchRevisionRequest(tenant="acme")
        watch = api.stream("/remit.v1.PolicyService/WatchRevision", request, policy.WatchRevisionResponse)
        first = next(watch)
        with (policies / "acme" / "bindings.csv").open("a") as file:
            file.write("g, user:new, group:finance-devs, acme\n")
        second = next(watch)
        server.ask_to_stop()
        with pytest.raises(DecisionUnavailable) as ended:
            next(watch)

    assert first.revision != second.revision
    assert "UNAVAILABLE" == ended.value.code
    assert 0 == server.exit_code()


def test_followers_get_new_records(server: Server, api: HttpApi) -> None:
    where = audit.RecordFilter(tenant="acme", principal="user:followed")
    request = audit.FollowRecordsRequest(filter=where)
    following = api.stream("/remit.v1.AuditService/FollowRecords", request, audit.FollowRecordsResponse)
    assert next(following).cursor
    asked = access.Question(principal="user:followed", action="VIEW", kind="FLOW", namespace="acme.finance")
    told = api.ask(check(asked))
    found = next(each for response in following for each in response.records)
    following.close()

    assert told.decision.decision_id == found.id


def test_stream_that_is_refused_says_why(api: HttpApi) -> None:
    request = policy.WatchRevisionRequest(tenant="ACME!")
    watch = api.stream("/remit.v1.PolicyService/WatchRevision", request, policy.WatchRevisionResponse)
    with pytest.raises(DecisionUnavailable) as refused:
        next(watch)

    assert "INVALID_ARGUMENT" == refused.value.code
    assert "tenant" in refused.value.message


def test_watchers_who_leave_give_back_their_places(server: Server, api: HttpApi) -> None:
    watching = [
        api.stream("/remit.v1.PolicyService/WatchRevision", policy.WatchRevisionRequest(), policy.WatchRevisionResponse)
        for _ in range(5)
    ]
    watching += [
        api.stream("/grpc.health.v1.Health/Watch", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse)
        for _ in range(5)
    ]
    for each in watching:
        next(each)
    for each in watching:
        each.close()

    def left() -> bool:
        calls = ("revision watchers", "health watchers")
        return sum(server.metric("remit_calls_in_flight", calls=each) for each in calls) == 0

    until(left, "their places are free")


def test_watchers_who_leave_with_a_request_behind_give_back_their_places(
    serve: Callable[..., Server], untested: Path
) -> None:
    """A server that reads no further does not see that they left."""
    server = serve("--message-timeout-s", "0.5", policies=untested, http=ANYWHERE)
    framed = b"\x00\x00\x00\x00\x02{}"
    watch = (
        b"POST /remit.v1.PolicyService/WatchRevision HTTP/1.1\r\nhost: a\r\ncontent-type: application/connect+json\r\n"
        + b"content-length: %d\r\n\r\n" % len(framed)
        + framed
    )
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.http_port), DEADLINE_S) as watching:
            watching.settimeout(DEADLINE_S)
            watching.sendall(watch)
            assert b" 200 " in watching.recv(KIB)
            watching.sendall(REQUEST_LINE + WITH_BODY + b"\r\n" + BODY)
            time.sleep(0.05)

    until(lambda: server.metric("remit_calls_in_flight", calls="revision watchers") == 0, "their places are free")
    assert "Exception in ASGI" not in server.log_text()


def test_health_is_told(api: HttpApi) -> None:
    response = api.post("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest())
    unknown = api.post("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(service="nobody"))

    assert (
        health_pb2.HealthCheckResponse.SERVING == api.decoded(response.content, health_pb2.HealthCheckResponse).status
    )
    assert (404, "not_found") == (unknown.status_code, unknown.json()["code"])


def test_calls_count_in_the_metrics(server: Server, api: HttpApi) -> None:
    answered = server.metric("remit_call_seconds_count", method="Check", code="OK")
    refused = server.metric("remit_call_seconds_count", method="Check", code="INVALID_ARGUMENT")
    api.ask(check())
    api.post(CHECK, access.CheckRequest())

    assert answered + 1 == server.metric("remit_call_seconds_count", method="Check", code="OK")
    assert refused + 1 == server.metric("remit_call_seconds_count", method="Check", code="INVALID_ARGUMENT")


def test_calls_without_a_place_are_refused(serve: Callable[..., Server], untested: Path) -> None:
    server = serve("--max-calls", "4", "--audit-timeout-s", "60", policies=untested, http=ANYWHERE)

    def asked(_: int) -> httpx.Response:
        with HttpApi(server.http_port) as api:
            return api.post(CHECK, check())

    with ThreadPoolExecutor(8) as threads:
        with locked(server.database):
            calls = [threads.submit(asked, number) for number in range(8)]
            until(lambda: sum(each.done() for each in calls) == 4, "four are refused")
        codes = sorted(each.result().status_code for each in calls)

    assert [200] * 4 + [429] * 4 == codes


def test_stop_answers_calls_in_flight_and_refuses_new_ones(serve: Callable[..., Server], untested: Path) -> None:
    server = serve("--audit-timeout-s", "60", "--call-timeout-s", "60", policies=untested, http=ANYWHERE)
    with HttpApi(server.http_port) as api, HttpApi(server.http_port) as other, ThreadPoolExecutor(1) as thread:
        # Connected before the stop: then the port is closed.
        assert other.ask(check()).revision
        with locked(server.database):
            waiting = thread.submit(api.post, CHECK, check())
            until(lambda: server.metric("remit_audit_queue") >= 1, "the call waits for its record")
            server.ask_to_stop()
            server.wait_for("stopping")
            late = other.post(CHECK, check())
        answered = waiting.result(DEADLINE_S)

    assert (503, "unavailable") == (late.status_code, late.json()["code"])
    assert 200 == answered.status_code
    assert 0 == server.exit_code()
    assert 0 == server.wait_for("audit drained")["unwritten"]


def test_workers_share_the_port(serve: Callable[..., Server], untested: Path) -> None:
    server = serve("--workers", "2", policies=untested, http=ANYWHERE)
    nodes = set()

    def asked() -> bool:
        with HttpApi(server.http_port) as api:
            nodes.add(api.ask(status.GetStatusRequest()).node)
        return len(nodes) == 2

    until(asked, "both workers answer")
    assert {"node-1.w1", "node-1.w2"} == nodes
    assert 0 == server.terminate()


def test_localhost_is_both_families(serve: Callable[..., Server], untested: Path) -> None:
    server = serve(policies=untested, http="localhost:0")
    for host in ("127.0.0.1", "[::1]"):
        answer = httpx.post(f"http://{host}:{server.http_port}/grpc.health.v1.Health/Check", json={}, trust_env=False)
        assert {"status": "SERVING"} == answer.json()


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_taken_port_refuses_the_start_and_names_the_setting(
    tmp_path: Path, untested: Path, server: Server, workers: tuple[str, ...]
) -> None:
    named = ("--policies", str(untested), "--audit", f"sqlite:///{tmp_path / 'audit.db'}", "--listen", ANYWHERE)
    taken = f"127.0.0.1:{server.http_port}"
    done = remit_process("serve", *named, "--metrics", "", "--revisions", "", "--http", taken, *workers)

    assert 0 != done.returncode
    assert f"cannot serve HTTP on `{taken}`: Address already in use: set `http` to another address" in done.stderr
    assert not (tmp_path / "audit.db").exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--http", "nowhere"), "`http` is `nowhere`: expected `HOST:PORT`"),
        (("--http", "192.0.2.1:9080"), "`http` is `192.0.2.1:9080`, which is not a loopback address"),
        (("--http-origins", "*"), "`http_origins` names `*`: expected an origin"),
        (("--http-origins", "https://a.example/path"), "`http_origins` names `https://a.example/path`"),
        (("--http-origins", "https://A.example"), "`http_origins` names `https://A.example`"),
    ],
)
def test_settings_that_do_not_fit_refuse_the_start(untested: Path, flags: tuple[str, ...], told: str) -> None:
    done = remit_process("serve", "--policies", str(untested), *flags)

    assert 0 != done.returncode
    assert told in done.stderr


def test_retry_info_is_a_detail_and_a_header(serve: Callable[..., Server], untested: Path, tmp_path: Path) -> None:
    """As the limits of a tenant are told over gRPC."""
    identities = tmp_path / "identities.yaml"
    identities.write_text(json.dumps({"tenant_limits": {"acme": {"rate": 0.01, "burst": 1}}}))
    server = serve("--identities", str(identities), policies=untested, http=ANYWHERE)
    with HttpApi(server.http_port) as api:
        assert 200 == api.post(CHECK, check()).status_code
        refused = api.post(CHECK, check())

    found = details(refused.json())
    retry = error_details_pb2.RetryInfo.FromString(found["google.rpc.RetryInfo"]).retry_delay
    reason = error_details_pb2.ErrorInfo.FromString(found["google.rpc.ErrorInfo"]).reason
    assert (429, "TENANT_RATE") == (refused.status_code, reason)
    assert 90 < retry.seconds <= 100
    assert 90 < int(refused.headers["retry-after"]) <= 100
