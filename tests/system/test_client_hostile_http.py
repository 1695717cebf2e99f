"""Servers and proxies that answer wrong over HTTP: never an allow, never late, and nothing but DecisionUnavailable."""

import json
import re
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Final, Self

import pytest
from google.rpc import error_details_pb2
from support.clients import CONNECTS, Connect
from support.server import DEADLINE_S

from remit.client import Client, DecisionUnavailable, MalformedQuestion
from remit.v1 import access_service_pb2, audit_service_pb2, decision_pb2

BOB_VIEWS = ("user:bob", "VIEW", "FLOW", "acme.finance")
TIMEOUT_S: Final = 0.6
ALLOW: Final = access_service_pb2.CheckResponse(
    decision=decision_pb2.Decision(
        effect=decision_pb2.EFFECT_ALLOW,
        reason=decision_pb2.REASON_ALLOWED_BY_RULE,
        decision_id="01a21ceb-6f3b-73ef-820c-c301e94de1d0",
    ),
    revision="a" * 64,
).SerializeToString()
PROTO, CONNECT, JSON, HTML = "application/proto", "application/connect+proto", "application/json", "text/html"
PAGE: Final = b"<html><body>Please sign in.</body></html>"


def answer(
    body: bytes = ALLOW,
    status: str = "200 OK",
    content_type: str | None = PROTO,
    *headers: str,
    length: int | None = None,
) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body) if length is None else length}"]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def error(code: object, **members: object) -> bytes:
    return json.dumps({"code": code, "message": "no", **members}).encode()


def chunked(*parts: bytes, end: bytes = b"0\r\n\r\n", content_type: str = PROTO) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + end


def envelope(content: bytes, flags: int = 0, length: int | None = None) -> bytes:
    return bytes([flags]) + (len(content) if length is None else length).to_bytes(4) + content


class HostileServer:
    """Answers each request of each connection by the same bytes, in pieces, and closes the connection."""

    def __init__(self, *pieces: bytes, every_s: float = 0.0, stays_open: bool = False) -> None:
        self._pieces = pieces
        self._every_s = every_s
        self._stays_open = stays_open
        self._stopping = Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.requests: list[bytes] = []
        self._threads = [Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            with suppress(OSError):
                connection, _ = self._socket.accept()
                self._threads.append(Thread(target=self._answer, args=(connection,)))
                self._threads[-1].start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(DEADLINE_S)
            request = b""
            # The whole: to close a connection with unread bytes would reset it.
            while not _is_whole(request):
                part = connection.recv(65_536)
                if not part:
                    return
                request += part
            self.requests.append(request)
            for piece in self._pieces:
                connection.sendall(piece)
                if self._stopping.wait(self._every_s):
                    return
            if self._stays_open:
                self._stopping.wait(DEADLINE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(DEADLINE_S)


def _is_whole(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return bool(end) and len(body) >= int(length[1] if length else 0)


@pytest.fixture(params=CONNECTS)
def connect(request: pytest.FixtureRequest) -> Connect:
    return CONNECTS[request.param]


@contextmanager
def asking(connect: Connect, server: HostileServer, timeout_s: float = TIMEOUT_S) -> Iterator[Client]:
    with connect(f"http://127.0.0.1:{server.port}", timeout_s=timeout_s) as client:
        yield client


def refusal(client: Client, ask: Callable[[Client], object]) -> DecisionUnavailable:
    began = time.monotonic()
    with pytest.raises(DecisionUnavailable) as caught:
        ask(client)
    assert time.monotonic() - began < TIMEOUT_S + 2
    assert not isinstance(caught.value, MalformedQuestion)
    return caught.value


def guard(client: Client) -> object:
    return client.tenant("acme").guard(*BOB_VIEWS)


def test_the_whole_answer_is_an_allow(connect: Connect) -> None:
    """So each of the others is refused for its one difference."""
    for whole in (
        answer(),
        chunked(ALLOW[:7], ALLOW[7:]),
        answer(ALLOW, "200 OK", "Application/Proto; charset=utf-8", "Content-Encoding: identity"),
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer(),
    ):
        with HostileServer(whole) as server, asking(connect, server, DEADLINE_S) as client:
            assert client.tenant("acme").guard(*BOB_VIEWS).allowed


def test_the_request_is_one_of_the_connect_protocol(connect: Connect) -> None:
    with HostileServer(answer()) as server, asking(connect, server, 2.5) as client:
        client.tenant("acme").guard(*BOB_VIEWS)
        (request,) = server.requests
        head = request.partition(b"\r\n\r\n")[0].decode().lower().split("\r\n")
    assert "post /remit.v1.accessservice/check http/1.1" == head[0]
    headers = dict(line.split(": ", 1) for line in head[1:])
    assert (f"127.0.0.1:{server.port}", PROTO, "1") == (
        headers["host"],
        headers["content-type"],
        headers["connect-protocol-version"],
    )
    assert 1_500 < int(headers["connect-timeout-ms"]) <= 2_500


WRONG = {
    "a page": (answer(PAGE, "200 OK", HTML), "INTERNAL"),
    "a page that says proto": (answer(PAGE), "INTERNAL"),
    "an allow that is html": (answer(ALLOW, "200 OK", HTML), "INTERNAL"),
    "an allow without a type": (answer(ALLOW, "200 OK", None), "INTERNAL"),
    "an allow in json": (answer(b'{"decision": {"effect": "EFFECT_ALLOW"}}', "200 OK", JSON), "INTERNAL"),
    "an allow of two types": (answer(ALLOW, "200 OK", PROTO, "Content-Type: text/html"), "INTERNAL"),
    "an allow of a stream": (answer(envelope(ALLOW), "200 OK", CONNECT), "INTERNAL"),
    "an allow in grpc-web": (answer(envelope(ALLOW), "200 OK", "application/grpc-web+proto"), "INTERNAL"),
    "a compressed allow": (answer(ALLOW, "200 OK", PROTO, "Content-Encoding: gzip"), "INTERNAL"),
    "nothing": (answer(b""), "INTERNAL"),
    "half a message": (answer(ALLOW[:20]), "INTERNAL"),
    "another message": (answer(decision_pb2.Decision(decision_id="x" * 40).SerializeToString()), "INTERNAL"),
    "no end": (b"HTTP/1.0 200 OK\r\nContent-Type: application/proto\r\n\r\n" + ALLOW, "INTERNAL"),
    "less than its length": (answer(length=len(ALLOW) + 1), "UNAVAILABLE"),
    "two lengths": (answer(ALLOW, "200 OK", PROTO, "Content-Length: 3"), "UNAVAILABLE"),
    "chunks without an end": (chunked(ALLOW, end=b""), "UNAVAILABLE"),
    "a chunk that is none": (chunked(ALLOW, end=b"zz\r\n"), "UNAVAILABLE"),
    "a redirect": (answer(ALLOW, "302 Found", PROTO, "Location: /elsewhere"), "UNKNOWN"),
    "a permanent redirect": (answer(ALLOW, "308 Permanent Redirect", PROTO, "Location: /elsewhere"), "UNKNOWN"),
    "created": (answer(ALLOW, "201 Created"), "UNKNOWN"),
    "accepted": (answer(ALLOW, "202 Accepted"), "UNKNOWN"),
    "no content": (b"HTTP/1.1 204 No Content\r\nContent-Type: application/proto\r\n\r\n", "UNKNOWN"),
    "a part": (answer(ALLOW, "206 Partial Content"), "UNKNOWN"),
    "another protocol": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + ALLOW,
        "UNAVAILABLE",
    ),
    "an allow with status 400": (answer(ALLOW, "400 Bad Request"), "INTERNAL"),
    "an allow with status 401": (answer(ALLOW, "401 Unauthorized"), "UNAUTHENTICATED"),
    "an allow with status 403": (answer(ALLOW, "403 Forbidden"), "PERMISSION_DENIED"),
    "an allow with status 404": (answer(ALLOW, "404 Not Found"), "UNIMPLEMENTED"),
    "a page with status 407": (answer(PAGE, "407 Proxy Authentication Required", HTML), "UNKNOWN"),
    "an allow with status 500": (answer(ALLOW, "500 Internal Server Error"), "UNKNOWN"),
    "a page with status 502": (answer(PAGE, "502 Bad Gateway", HTML), "UNAVAILABLE"),
    "a page with status 503": (answer(PAGE, "503 Service Unavailable", HTML), "UNAVAILABLE"),
    "a status that is none": (answer(ALLOW, "999 Odd"), "UNKNOWN"),
    "an error with status 200": (answer(error("unavailable"), "200 OK", JSON), "INTERNAL"),
    "an error without a code": (answer(b'{"message": "no"}', "403 Forbidden", JSON), "PERMISSION_DENIED"),
    "an error that is ok": (answer(error("ok"), "500 Internal Server Error", JSON), "UNKNOWN"),
    "an error of an unknown code": (answer(error("odd"), "403 Forbidden", JSON), "PERMISSION_DENIED"),
    "an error whose code is a number": (answer(error(7), "403 Forbidden", JSON), "PERMISSION_DENIED"),
    "an error that is a list": (answer(b"[1]", "503 Service Unavailable", JSON), "UNAVAILABLE"),
    "an error that is no json": (answer(b"{", "503 Service Unavailable", JSON), "UNAVAILABLE"),
    "a deep error": (answer(b"[" * 100_000, "503 Service Unavailable", JSON), "UNAVAILABLE"),
    "an endless error": (answer(b" " * 300_000, "403 Forbidden", JSON), "RESOURCE_EXHAUSTED"),
    "details that are none": (
        answer(
            error("permission_denied", details=[1, {}, {"type": 7, "value": "x"}, {"type": "a", "value": "!"}]),
            "403 Forbidden",
            JSON,
        ),
        "PERMISSION_DENIED",
    ),
    "a text that is none": (answer(b'{"code": "aborted", "message": "\\ud800"}', "409 Conflict", JSON), "ABORTED"),
    "a message that is too long": (answer(length=1 << 40), "UNAVAILABLE"),
    "no http": (b"SSH-2.0-OpenSSH_9.9\r\n", "UNAVAILABLE"),
    "http/2": (bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)), "UNAVAILABLE"),
    "a header without an end": (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 200_000, "UNAVAILABLE"),
    "silence and an end": (b"", "UNAVAILABLE"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_answer_is_no_answer(wrong: str, connect: Connect) -> None:
    received, code = WRONG[wrong]
    with HostileServer(received) as server, asking(connect, server) as client:
        assert code == refusal(client, guard).code


def test_no_redirect_is_followed(connect: Connect) -> None:
    with HostileServer(answer()) as other:
        redirect = answer(b"", "307 Temporary Redirect", None, f"Location: http://127.0.0.1:{other.port}/")
        with HostileServer(redirect) as server, asking(connect, server) as client:
            assert "redirect" in refusal(client, guard).message
        assert [] == other.requests


@pytest.mark.parametrize(
    ("pieces", "every_s"),
    [
        ((b"",), 0.0),
        (tuple(answer()[at : at + 1] for at in range(len(answer()))), 0.1),
        ((answer()[:-9], *(bytes([each]) for each in answer()[-9:])), 0.2),
        ((b"HTTP/1.1 100 Continue\r\n\r\n",) * 100, 0.1),
    ],
    ids=["silence", "a byte now and then", "a slow body", "continue for ever"],
)
def test_slow_server_is_late(pieces: tuple[bytes, ...], every_s: float, connect: Connect) -> None:
    """The client holds the deadline itself."""
    with HostileServer(*pieces, every_s=every_s, stays_open=True) as server, asking(connect, server) as client:
        began = time.monotonic()
        assert "DEADLINE_EXCEEDED" == refusal(client, guard).code
        assert time.monotonic() - began < 2 * TIMEOUT_S


def test_details_of_an_error_arrive(connect: Connect) -> None:
    found = error_details_pb2.BadRequest(
        field_violations=[error_details_pb2.BadRequest.FieldViolation(field="tenant", description="none")]
    )
    details = [{"type": "google.rpc.BadRequest", "value": b64encode(found.SerializeToString()).decode().rstrip("=")}]
    received = answer(error("invalid_argument", details=details), "400 Bad Request", JSON)
    with (
        HostileServer(received) as server,
        asking(connect, server) as client,
        pytest.raises(MalformedQuestion) as caught,
    ):
        client.tenant("acme").guard(*BOB_VIEWS)
    assert [("tenant", "none")] == [(each.field, each.description) for each in caught.value.violations]


@pytest.mark.parametrize(("seconds", "tries"), [(0, range(2, 100)), (60, range(1, 2))], ids=["soon", "late"])
def test_limit_is_tried_again_when_the_server_says(seconds: int, tries: range, connect: Connect) -> None:
    found = error_details_pb2.RetryInfo()
    found.retry_delay.seconds = seconds
    details = [{"type": "google.rpc.RetryInfo", "value": b64encode(found.SerializeToString()).decode()}]
    received = answer(error("resource_exhausted", details=details), "429 Too Many Requests", JSON)
    with HostileServer(received) as server, asking(connect, server) as client:
        assert "RESOURCE_EXHAUSTED" == refusal(client, guard).code
        assert len(server.requests) in tries


RECORDS: Final = audit_service_pb2.FollowRecordsResponse(cursor="c").SerializeToString()
WRONG_STREAMS = {
    "a page": (answer(PAGE, "200 OK", HTML), "INTERNAL"),
    "an unary answer": (answer(RECORDS), "INTERNAL"),
    "a redirect": (answer(b"", "302 Found", CONNECT, "Location: /elsewhere"), "UNKNOWN"),
    "no message": (chunked(envelope(b"\xff\xff"), content_type=CONNECT), "INTERNAL"),
    "an unknown flag": (chunked(envelope(RECORDS, 4), content_type=CONNECT), "INTERNAL"),
    "a compressed message": (chunked(envelope(RECORDS, 1), content_type=CONNECT), "INTERNAL"),
    "a message that is too long": (chunked(envelope(b"", 0, 1 << 31), content_type=CONNECT), "RESOURCE_EXHAUSTED"),
    "an end without an error": (chunked(envelope(b"{}", 2), content_type=CONNECT), "INTERNAL"),
    "an end that is no json": (chunked(envelope(b"{", 2), content_type=CONNECT), "INTERNAL"),
    "an error that is a text": (chunked(envelope(b'{"error": "no"}', 2), content_type=CONNECT), "INTERNAL"),
    "more behind the end": (chunked(envelope(b"{}", 2) + envelope(RECORDS), content_type=CONNECT), "INTERNAL"),
    "an error": (
        chunked(envelope(b'{"error": {"code": "permission_denied"}}', 2), content_type=CONNECT),
        "PERMISSION_DENIED",
    ),
    "an unknown error": (chunked(envelope(b'{"error": {"code": "odd"}}', 2), content_type=CONNECT), "UNKNOWN"),
    "no end": (chunked(content_type=CONNECT), "UNAVAILABLE"),
    "half a part": (chunked(envelope(RECORDS, length=99), content_type=CONNECT), "UNAVAILABLE"),
    "an error of another kind": (answer(error("unauthenticated"), "401 Unauthorized", JSON), "UNAUTHENTICATED"),
}


@pytest.mark.parametrize("wrong", WRONG_STREAMS)
def test_wrong_stream_ends_by_an_error(wrong: str, connect: Connect) -> None:
    received, code = WRONG_STREAMS[wrong]
    with HostileServer(received) as server, asking(connect, server) as client:
        assert code == refusal(client, lambda client: list(client.follow_records())).code


def test_cache_serves_nothing_after_a_wrong_watch(connect: Connect) -> None:
    """The same bytes answer the question and the watch."""
    with HostileServer(answer()) as server, connect(f"http://127.0.0.1:{server.port}", cache=10) as client:
        for _ in range(5):
            assert client.tenant("acme").check(*BOB_VIEWS).allowed
        assert len([each for each in server.requests if b"AccessService/Check" in each]) == 5
