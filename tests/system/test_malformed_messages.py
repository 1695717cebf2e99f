"""What is no request is refused as such, costs nothing that stays, and does not flood the log."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.http2 import Connection
from support.questions import check
from support.server import DEADLINE_S, Server, until
from support.violations import violations

from remit.v1 import audit_service_pb2, audit_service_pb2_grpc, search_service_pb2, search_service_pb2_grpc

RUBBISH = b"\xff\xff\xff"
UNARY = [
    "/remit.v1.AccessService/Check",
    "/remit.v1.AccessService/BatchCheck",
    "/remit.v1.AccessService/Explain",
    "/remit.v1.StatusService/GetStatus",
    "/grpc.health.v1.Health/Check",
]
STREAMS = [
    "/remit.v1.PolicyService/WatchRevision",
    "/remit.v1.AuditService/FollowRecords",
    "/grpc.health.v1.Health/Watch",
]


def refusal(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as refused:
        call()
    return refused.value.code(), str(refused.value.details())


@pytest.mark.parametrize("method", UNARY)
def test_a_malformed_message_is_an_invalid_argument(server: Server, method: str) -> None:
    with server.channel() as channel:
        code, told = refusal(lambda: channel.unary_unary(method)(RUBBISH, timeout=DEADLINE_S))
    assert (grpc.StatusCode.INVALID_ARGUMENT, True) == (code, "no message of this method" in told)


@pytest.mark.parametrize("method", STREAMS)
def test_a_malformed_message_of_a_stream_is_an_invalid_argument(server: Server, method: str) -> None:
    with server.channel() as channel:
        code, told = refusal(lambda: next(channel.unary_stream(method)(RUBBISH, timeout=DEADLINE_S)))
    assert (grpc.StatusCode.INVALID_ARGUMENT, True) == (code, "no message of this method" in told)


def test_a_malformed_message_to_reflection_is_an_invalid_argument(server: Server) -> None:
    method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    with server.channel() as channel:
        code, told = refusal(lambda: next(channel.stream_stream(method)(iter([RUBBISH]), timeout=DEADLINE_S)))
    assert (grpc.StatusCode.INVALID_ARGUMENT, True) == (code, "no message of this method" in told)


def test_method_that_the_server_lacks_is_unimplemented(server: Server) -> None:
    """Also one that a service of the library's has, and this server does not carry out."""
    with server.channel() as channel:
        for method in ("/remit.v1.AccessService/Chekc", "/grpc.health.v1.Health/List"):
            code, _ = refusal(lambda method=method: channel.unary_unary(method)(b"", timeout=DEADLINE_S))  # type: ignore[misc]
            assert grpc.StatusCode.UNIMPLEMENTED is code


def test_malformed_messages_leak_nothing(serve: Callable[..., Server], untested: Path) -> None:
    """Nor a line each in the log. What grpcio keeps of one that it refuses by itself are 19 KiB."""
    server = serve(policies=untested)
    methods = [UNARY[2], *STREAMS]

    def send(count: int) -> None:
        with server.channel() as channel:
            for number in range(count):
                method = methods[number % len(methods)]
                stub = channel.unary_unary(method) if method in UNARY else channel.unary_stream(method)
                refusal(lambda stub=stub: list(stub(RUBBISH, timeout=DEADLINE_S)))  # type: ignore[misc]

    send(500)
    before = resident_kib(server.pid)
    send(4_000)
    assert resident_kib(server.pid) - before < 30_000
    assert [] == [line for line in server.logs if line["level"] in {"warning", "error"}]


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_binary_headers_write_no_log_line(serve: Callable[..., Server], untested: Path) -> None:
    server = serve(policies=untested)
    with Connection(server.port) as connection:
        for _ in range(20):
            stream = connection.begin(UNARY[0], {b"traceparent": b"\xff\xfe", b"other": b"\xe9"})
            connection.send(stream, check().SerializeToString())
        until(lambda: server.metric("remit_call_seconds_count", method="Check", code="OK") == 20, "all are answered")
    assert 0 == server.terminate()
    assert [] == [line for line in server.logs if line["level"] in {"warning", "error"}]


def token(request: Any, last: object) -> str:
    """As a page's, of this request, for what a caller may make up by itself."""
    asked = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
    return base64.b64encode(json.dumps([asked, "", last]).encode(), altchars=b"-_").decode()


def test_a_token_of_many_brackets_is_a_violation(server: Server) -> None:
    brackets = base64.b64encode(b"[" * 50_000, altchars=b"-_").decode()
    with server.channel() as channel:
        search = search_service_pb2_grpc.SearchServiceStub(channel)
        asked = search_service_pb2.ListPrincipalsRequest(
            tenant="acme", action="VIEW", kind="FLOW", namespace="acme.finance", page_token=brackets
        )
        assert ["page_token"] == violated(lambda: search.ListPrincipals(asked, timeout=DEADLINE_S))
        audit = audit_service_pb2_grpc.AuditServiceStub(channel)
        for request, call in (
            (audit_service_pb2.ListRecordsRequest(page_token=brackets), audit.ListRecords),
            (audit_service_pb2.ListLifecycleRequest(page_token=brackets), audit.ListLifecycle),
            (audit_service_pb2.CountRecordsRequest(page_token=brackets), audit.CountRecords),
        ):
            assert ["page_token"] == violated(lambda request=request, call=call: call(request, timeout=DEADLINE_S))  # type: ignore[misc]


@pytest.mark.parametrize("group", ["[" * 50_000, f"[{2**63}]", f"[{-(2**63) - 1}]", "[Infinity]", '["2026"]', "[]"])
def test_forged_group_in_a_token_is_a_violation(server: Server, group: str) -> None:
    request = audit_service_pb2.CountRecordsRequest(group_by=[audit_service_pb2.COUNT_GROUPING_DAY])
    request.filter.SetInParent()
    request.page_token = token(request, group)
    with server.channel() as channel:
        audit = audit_service_pb2_grpc.AuditServiceStub(channel)
        assert ["page_token"] == violated(lambda: audit.CountRecords(request, timeout=DEADLINE_S))


@pytest.mark.parametrize(
    "position",
    [
        '{"given": [["acme", "node-1", Infinity]], "newest": "00", "history": null, "sweep": null}',
        '{"given": [], "newest": "00", "history": null, "sweep": [[], Infinity, "00", "00", "00"]}',
        '{"given": [["acme", "node-1", NaN]], "newest": "00", "history": null, "sweep": null}',
        '{"given": [["acme", "node-1", 1e999]], "newest": "00", "history": null, "sweep": null}',
        '{"given": [["acme", "node-1", 9223372036854775808]], "newest": "00", "history": null, "sweep": null}',
        '{"given": [], "newest": "00", "history": null, "sweep": [[], 9223372036854775808, "00", "00", "00"]}',
        "[" * 50_000,
    ],
)
def test_forged_cursor_is_a_violation(server: Server, position: str) -> None:
    request = audit_service_pb2.FollowRecordsRequest()
    request.filter.SetInParent()
    request.cursor = token(request, position)
    with server.channel() as channel:
        audit = audit_service_pb2_grpc.AuditServiceStub(channel)
        assert ["cursor"] == violated(lambda: next(audit.FollowRecords(request, timeout=DEADLINE_S)))


@pytest.mark.parametrize("time_us", [2**63 - 1, 2**62, -(2**63), -1])
def test_time_outside_the_range_of_records_is_a_violation(server: Server, time_us: int) -> None:
    with server.channel() as channel:
        audit = audit_service_pb2_grpc.AuditServiceStub(channel)
        past = audit_service_pb2.ExplainPastRequest(tenant="acme", time_us=time_us)
        past.access.MergeFrom(check().question)
        assert ["time_us"] == violated(lambda: audit.ExplainPast(past, timeout=DEADLINE_S))
        for field in ("since_us", "until_us"):
            where = audit_service_pb2.RecordFilter(**{field: time_us})
            for request, call in (
                (audit_service_pb2.ListRecordsRequest(filter=where), audit.ListRecords),
                (audit_service_pb2.CountRecordsRequest(filter=where), audit.CountRecords),
            ):
                found = violated(lambda request=request, call=call: call(request, timeout=DEADLINE_S))  # type: ignore[misc]
                assert [f"filter.{field}"] == found
            follow = audit_service_pb2.FollowRecordsRequest(filter=where)
            assert [f"filter.{field}"] == violated(lambda: next(audit.FollowRecords(follow, timeout=DEADLINE_S)))  # noqa: B023
            listed = audit_service_pb2.ListLifecycleRequest(**{field: time_us})
            assert [field] == violated(lambda: audit.ListLifecycle(listed, timeout=DEADLINE_S))  # noqa: B023


def violated(call: Callable[[], Any]) -> list[str]:
    with pytest.raises(grpc.RpcError) as refused:
        call()
    assert grpc.StatusCode.INVALID_ARGUMENT is refused.value.code(), refused.value.details()
    assert "belongs to another request" not in str(refused.value.details())
    return [field for field, _ in violations(refused.value)]


@pytest.mark.parametrize("between", [b"\t", b"  ", b"\xc2\xa0", b"\xa0", b"\x7f", b"\x01", b",", b""])
def test_authorization_with_another_separator_is_unauthenticated(server: Server, between: bytes) -> None:
    """By hand: grpcio's client refuses to send some of these, with INTERNAL."""
    value = b"Bearer" + between + b"x"
    with Connection(server.port) as connection:
        connection.send(connection.begin(UNARY[0], {b"authorization": value}), b"")
        connection.receive_until(b"the credential was not accepted")
