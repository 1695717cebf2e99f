"""Calls whose message does not come take no place from the others, and end."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.http2 import Connection
from support.questions import check
from support.server import DEADLINE_S, SERVING, Health, Server, access_of, until

FOR_EVER = ("--message-timeout-s", "600")
SOON = ("--message-timeout-s", "0.5")
CHECK, EXPLAIN = "/remit.v1.AccessService/Check", "/remit.v1.AccessService/Explain"
HEALTH, STATUS = "/grpc.health.v1.Health/Check", "/remit.v1.StatusService/GetStatus"
WATCH = "/remit.v1.PolicyService/WatchRevision"


def answers_everything(server: Server) -> None:
    """Check, Explain, health and status, each by somebody else's connection."""
    with server.channel() as channel, server.client() as client:
        assert access_of(channel).Check(check(), timeout=DEADLINE_S).decision.decision_id
        assert SERVING == Health(channel).of()
        assert "acme" in {each.tenant for each in client.status().tenants}
        assert client.tenant("acme").explain("user:bob", "VIEW", "FLOW", "acme.finance")


def silent(server: Server) -> float:
    return server.metric("remit_calls_in_flight", calls="without a message")


@pytest.mark.parametrize("method", [CHECK, EXPLAIN, HEALTH, STATUS, WATCH])
def test_calls_without_a_message_take_no_place(serve: Callable[..., Server], untested: Path, method: str) -> None:
    server = serve(*FOR_EVER, policies=untested)
    with ExitStack() as stack:
        for _ in range(5):
            connection = stack.enter_context(Connection(server.port))
            for _ in range(64):
                connection.begin(method)
        until(lambda: silent(server) == 320, "all of them wait")
        answers_everything(server)
    until(lambda: silent(server) == 0, "those who are gone wait no more")


def test_the_oldest_call_without_a_message_makes_room_for_a_new_one(
    serve: Callable[..., Server], untested: Path
) -> None:
    server = serve(*FOR_EVER, policies=untested)
    with ExitStack() as stack:
        for _ in range(11):
            connection = stack.enter_context(Connection(server.port))
            for _ in range(100):
                connection.begin(CHECK)
        until(
            lambda: server.metric("remit_calls_refused_total", reason="silent callers") == 1100 - 1024,
            "those past the limit are ended",
        )
        answers_everything(server)
    assert [] == [line for line in server.logs if line["level"] == "error"]
    assert server.wait_for("calls refused")["level"] == "warning"


@pytest.mark.parametrize("method", [CHECK, EXPLAIN, WATCH])
def test_a_call_whose_message_does_not_come_is_ended(serve: Callable[..., Server], untested: Path, method: str) -> None:
    server = serve(*SOON, policies=untested)
    with server.channel() as channel, held_back() as nothing:
        calls = [channel.stream_unary(method).future(nothing()) for _ in range(3)]
        for each in calls:
            with pytest.raises(grpc.RpcError) as ended:
                each.result(timeout=DEADLINE_S)
            assert grpc.StatusCode.DEADLINE_EXCEEDED is ended.value.code()
            assert "no message within 0.5 s" in str(ended.value.details())
        answers_everything(server)
    assert 3 == server.metric("remit_calls_refused_total", reason="no message")
    until(lambda: silent(server) == 0, "none is left")


def test_a_message_that_comes_late_but_in_time_is_answered(serve: Callable[..., Server], untested: Path) -> None:
    server = serve(*FOR_EVER, policies=untested)
    with Connection(server.port) as connection:
        stream = connection.begin(CHECK)
        until(lambda: silent(server) == 1, "it waits")
        connection.send(stream, check().SerializeToString())
        until(lambda: server.metric("remit_call_seconds_count", method="Check", code="OK") == 1, "it is answered")


def test_silent_streams_of_reflection_delay_no_call(serve: Callable[..., Server], untested: Path) -> None:
    server = serve(*FOR_EVER, policies=untested)
    with server.channel() as channel, held_back() as nothing:
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        streams = [reflect(nothing()) for _ in range(64)]
        until(lambda: server.metric("remit_calls_refused_total", calls="reflection") == 56, "the others are refused")
        answers_everything(server)
        assert 8 == server.metric("remit_calls_in_flight", calls="reflection")
        for each in streams:
            each.cancel()


def test_a_silent_stream_of_reflection_makes_room(serve: Callable[..., Server], untested: Path) -> None:
    """Its time starts again with each request, and its requests were answered."""
    server = serve(*SOON, policies=untested)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    with server.channel() as channel, held_back(asked) as nothing:
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        streams = [reflect(nothing()) for _ in range(8)]
        for each in streams:
            names = {service.name for service in next(each).list_services_response.service}
            assert "remit.v1.AccessService" in names
            with pytest.raises(grpc.RpcError) as ended:
                next(each)
            assert grpc.StatusCode.DEADLINE_EXCEEDED is ended.value.code()
        until(lambda: server.metric("remit_calls_in_flight", calls="reflection") == 0, "there is room")
        again = reflect(iter([asked]))
        assert [True] == [bool(each.list_services_response.service) for each in again]
    assert [] == [line for line in server.logs if line["level"] == "error"]


def test_silent_connection_is_closed(serve: Callable[..., Server], untested: Path) -> None:
    server = serve(policies=untested)
    # gRPC itself would wait for 60 s.
    with socket.create_connection(("127.0.0.1", server.port), timeout=40.0) as silent:
        while silent.recv(1024):
            """What a server says first."""


@contextmanager
def held_back(*first: object) -> Iterator[Callable[[], Iterator[object]]]:
    """Requests, the first of which are given and the rest never comes, as long as this is open."""
    over = Event()

    def requests() -> Iterator[object]:
        yield from first
        over.wait()

    try:
        yield requests
    finally:
        over.set()
