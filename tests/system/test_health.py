from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from support.server import SERVING, Health, Server

WATCHERS = 64


def test_health_covers_the_server_each_service_and_each_tenant(server: Server) -> None:
    with server.channel() as channel:
        health = Health(channel)
        services = ("", "remit.v1.AccessService", "remit.v1.StatusService")
        tenants = ("tenant/acme", "tenant/globex", "tenant/_instance")
        assert {SERVING} == {health.of(name) for name in (*services, *tenants)}
        with pytest.raises(grpc.RpcError) as caught:
            health.of("tenant/nowhere")
        assert grpc.StatusCode.NOT_FOUND is caught.value.code()
        unknown = health.watch("tenant/nowhere")
        assert health_pb2.HealthCheckResponse.SERVICE_UNKNOWN == next(unknown).status
        unknown.cancel()


def test_watchers_that_connect_and_leave_do_not_block_the_server(server: Server) -> None:
    def watch(_: int) -> None:
        with server.channel() as channel:
            health = Health(channel)
            for _ in range(25):
                watched = health.watch()
                assert SERVING == next(watched).status
                watched.cancel()

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(watch, range(20)))
    with server.channel() as channel:
        assert SERVING == Health(channel).of()


def test_more_watchers_than_are_allowed_are_refused_and_take_no_room_from_calls(
    serve: Callable[..., Server], untested: Path
) -> None:
    server = serve(policies=untested)
    with ExitStack() as stack:
        channel = stack.enter_context(server.channel())
        health = Health(channel)
        watched = [health.watch() for _ in range(WATCHERS)]
        assert {SERVING} == {next(each).status for each in watched}
        with pytest.raises(grpc.RpcError) as caught:
            next(health.watch())
        assert grpc.StatusCode.RESOURCE_EXHAUSTED is caught.value.code()
        client = stack.enter_context(server.client())
        assert client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance").allowed
        # They do not hold up a stop either.
        server.ask_to_stop()
        for each in watched:
            assert [health_pb2.HealthCheckResponse.NOT_SERVING] == [told.status for told in each]
        assert 0 == server.exit_code()
