"""No caller can take the places and threads of the others, where callers have names."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.certificates import Authority
from support.questions import ALLOWED, check
from support.server import DEADLINE_S, SERVING, Health, Server, access_of, until

from remit.rpc.admission import FOLLOWERS, HEALTH_WATCHERS, REVISION_WATCHERS
from remit.v1 import (
    access_service_pb2,
    audit_service_pb2,
    audit_service_pb2_grpc,
    policy_service_pb2,
    policy_service_pb2_grpc,
    status_service_pb2,
    status_service_pb2_grpc,
)

NEVER = "0" * 64
"""A revision that does not become current: who requires it waits in a thread."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


@pytest.fixture
def server(tmp_path: Path, untested: Path, authority: Authority) -> Iterator[Server]:
    """With four threads, one of which one caller has at most, and 16 places: twelve, and four for queries."""
    cert, key = authority.signed("server", "127.0.0.1")
    flags = authority.server_flags(cert, key)
    flags += ("--auditors", "greedy.example, modest.example", "--metrics", "")
    flags += ("--threads", "4", "--max-calls", "16", "--revision-wait-s", "600", "--call-timeout-s", "600")
    with Server(tmp_path / "audit", *flags, policies=untested) as started:
        yield started


@pytest.fixture
def channels(server: Server, authority: Authority) -> Iterator[tuple[grpc.Channel, grpc.Channel]]:
    """Of a caller who wants everything, and of another."""
    with ExitStack() as stack:
        yield (
            stack.enter_context(connected(server, authority, "greedy.example")),
            stack.enter_context(connected(server, authority, "modest.example")),
        )


def connected(server: Server, authority: Authority, name: str) -> grpc.Channel:
    cert, key = authority.signed(name, name)
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes(), key.read_bytes(), cert.read_bytes())
    return grpc.secure_channel(server.target, credentials, [("grpc.enable_retries", 0)])


def revisions(channel: grpc.Channel) -> Any:
    stub = policy_service_pb2_grpc.PolicyServiceStub(channel)
    return stub.WatchRevision(policy_service_pb2.WatchRevisionRequest(tenant="acme"), timeout=DEADLINE_S)


def health(channel: grpc.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=DEADLINE_S)


def records(channel: grpc.Channel) -> Any:
    stub = audit_service_pb2_grpc.AuditServiceStub(channel)
    return stub.FollowRecords(audit_service_pb2.FollowRecordsRequest(), timeout=DEADLINE_S)


@pytest.mark.parametrize(
    ("begin", "places"), [(revisions, REVISION_WATCHERS), (health, HEALTH_WATCHERS), (records, FOLLOWERS)]
)
def test_one_caller_has_half_the_places_of_a_kind_of_stream(
    channels: tuple[grpc.Channel, grpc.Channel], begin: Any, places: int
) -> None:
    streams: list[Any] = []
    for channel in channels:
        for _ in range(places // 2):
            streams.append(begin(channel))
            next(streams[-1])
        with pytest.raises(grpc.RpcError, match="of this caller") as refused:
            next(begin(channel))
        assert grpc.StatusCode.RESOURCE_EXHAUSTED is refused.value.code()


def test_one_caller_s_queries_leave_places_and_threads_to_others(
    channels: tuple[grpc.Channel, grpc.Channel], server: Server
) -> None:
    """They wait for a policy that does not come; more of them than it may have are refused."""
    greedy, modest = channels
    waits = access_service_pb2.ExplainRequest(tenant="acme", question=ALLOWED, revision=NEVER)
    waiting = [access_of(greedy).Explain.future(waits, timeout=DEADLINE_S) for _ in range(12)]
    until(lambda: sum(each.done() for each in waiting) == 8, "those past its share are refused")
    assert {grpc.StatusCode.RESOURCE_EXHAUSTED} == {each.code() for each in waiting if each.done()}
    now = access_service_pb2.ExplainRequest(tenant="acme", question=ALLOWED)
    for _ in range(5):
        assert access_of(modest).Explain(now, timeout=DEADLINE_S).summary
        assert access_of(greedy).Check(check(), timeout=DEADLINE_S).decision.decision_id
    logged = server.wait_for("calls refused")
    assert "service:dns/greedy.example" == logged["last_caller"]
    for each in waiting:
        each.cancel()


def test_health_and_status_answer_when_every_place_is_taken(
    channels: tuple[grpc.Channel, grpc.Channel], server: Server
) -> None:
    greedy, modest = channels
    waiting = [access_of(greedy).Check.future(check(revision=NEVER), timeout=DEADLINE_S) for _ in range(20)]
    until(lambda: sum(each.done() for each in waiting) == 8, "those past its share are refused")
    assert access_of(modest).Check(check(), timeout=DEADLINE_S).decision.decision_id
    more = [access_of(modest).Check.future(check(revision=NEVER), timeout=DEADLINE_S) for _ in range(5)]
    until(lambda: sum(each.done() for each in more) == 1, "all places are taken")
    with pytest.raises(grpc.RpcError) as refused:
        access_of(modest).Check(check(), timeout=DEADLINE_S)
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is refused.value.code()
    for channel in channels:
        assert SERVING == Health(channel).of()
        status = status_service_pb2_grpc.StatusServiceStub(channel)
        assert status.GetStatus(status_service_pb2.GetStatusRequest(), timeout=DEADLINE_S).audit.healthy
    for each in (*waiting, *more):
        each.cancel()
