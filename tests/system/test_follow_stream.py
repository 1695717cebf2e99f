"""Following over gRPC: each acknowledged decision is given once, whoever wrote it and whatever became of the server."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import pytest
from support.clients import CONNECTS, Connect, patiently
from support.load import Load
from support.server import DEADLINE_S, Server, free_port, until

from remit.audit.ids import format_id
from remit.client import RecordFilter
from remit.rpc.admission import FOLLOWERS
from remit.v1 import audit_service_pb2 as messages
from remit.v1 import audit_service_pb2_grpc

BOB_VIEWS = ("user:bob", "VIEW", "FLOW", "acme.finance")
BOB_UPDATES = ("user:bob", "UPDATE", "FLOW", "acme.people")


@pytest.fixture(params=CONNECTS)
def connect(request: pytest.FixtureRequest) -> Connect:
    return patiently(CONNECTS[request.param])


def following(channel: grpc.Channel, **request: Any) -> Any:
    """A stream that has begun: what is committed from now on will be in it."""
    stub = audit_service_pb2_grpc.AuditServiceStub(channel)
    stream = stub.FollowRecords(messages.FollowRecordsRequest(**request), timeout=DEADLINE_S)
    assert [] == list(next(stream).records)
    return stream


def ids_of(stream: Any) -> Iterator[str]:
    return (record.id for response in stream for record in response.records)


class Collected:
    """What a follower is given, in a thread of its own."""

    def __init__(self, records: Iterator[str]) -> None:
        self.ids: list[str] = []
        self._records = records
        Thread(target=self._collect, daemon=True).start()

    def _collect(self) -> None:
        try:
            for each in self._records:
                self.ids.append(each)
        except grpc.RpcError:
            return


def test_each_acknowledged_decision_is_followed_once(serve: Callable[..., Server], untested: Path) -> None:
    """Of this server and of another one on the same store, under load; by a follower of all and one of some."""
    server = serve(policies=untested)
    other = serve("--node", "node-2", "--revisions", "other", policies=untested)
    with server.channel() as channel:
        everything = Collected(ids_of(following(channel)))
        denied = Collected(ids_of(following(channel, filter={"tenant": "acme", "effect": "deny"})))
        with Load(server) as load, Load(other, seed=50) as other_load:
            load.until_acknowledged(1_500)
            other_load.until_acknowledged(1_500)
            load.stop()
            other_load.stop()
        acknowledged = {format_id(each) for each in load.acknowledged | other_load.acknowledged}
        until(lambda: len(everything.ids) >= len(acknowledged), "all are followed")
        with server.store() as store:
            expected = [format_id(each.id) for each in store.all_decisions() if each.effect == "deny"]
        until(lambda: len(denied.ids) >= len(expected), "all denies are followed")
    assert [] == load.failures + other_load.failures
    assert len(everything.ids) == len({*everything.ids})
    assert acknowledged == {*everything.ids}
    assert sorted(expected) == sorted(denied.ids)


def test_client_continues_after_the_server_was_killed(
    connect: Connect, serve: Callable[..., Server], untested: Path
) -> None:
    """Over the same walk: nothing twice, and nothing lost that was committed meanwhile."""
    server = serve(policies=untested, listen=f"127.0.0.1:{free_port()}")
    with server.client() as asking, connect(server.target) as client:
        first = asking.tenant("acme").check(*BOB_VIEWS).decision_id
        walk = client.follow_records(RecordFilter(tenant="acme"), after="00000000-0000-7000-8000-000000000000")
        found = [next(walk).id]
        told = [asking.tenant("acme").check(*question).decision_id for question in (BOB_VIEWS, BOB_UPDATES)]
        found += [each.id for each in islice(walk, 2)]
        server.kill()
        server.start()
        told += [asking.tenant("acme").check(*question).decision_id for question in (BOB_UPDATES, BOB_VIEWS)]
        found += [each.id for each in islice(walk, 2)]
    assert [first, *told] == found


def test_follow_gives_past_records_first_from_a_time_or_an_id(connect: Connect, server: Server) -> None:
    with connect(server.target) as client, server.store() as store:
        made = [client.tenant("acme").check(*BOB_VIEWS).decision_id for _ in range(4)]
        record = store.decisions(limit=3)[-1]
        assert made[1] == format_id(record.id)
        since = client.follow_records(RecordFilter(since_us=record.time_us))
        behind = client.follow_records(after=made[1])
        assert made[1:] == [next(since).id for _ in range(3)]
        assert made[2:] == [next(behind).id for _ in range(2)]
        more = client.tenant("acme").check(*BOB_UPDATES).decision_id
        assert [more, more] == [next(since).id, next(behind).id]


def test_cursor_belongs_to_one_request(server: Server) -> None:
    with server.channel() as channel:
        stub = audit_service_pb2_grpc.AuditServiceStub(channel)
        first = next(stub.FollowRecords(messages.FollowRecordsRequest(filter={"tenant": "acme"}), timeout=DEADLINE_S))
        other = messages.FollowRecordsRequest(filter={"tenant": "globex"}, cursor=first.cursor)
        with pytest.raises(grpc.RpcError) as caught:
            next(stub.FollowRecords(other, timeout=DEADLINE_S))
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()


def test_followers_are_bounded_and_make_room_when_they_leave(serve: Callable[..., Server], untested: Path) -> None:
    server = serve(policies=untested)
    with server.channel() as channel, server.client() as client:
        followers = [following(channel) for _ in range(FOLLOWERS)]
        with pytest.raises(grpc.RpcError) as caught:
            following(channel)
        assert grpc.StatusCode.RESOURCE_EXHAUSTED is caught.value.code()
        decision_id = client.tenant("acme").check(*BOB_VIEWS).decision_id
        assert {decision_id} == {next(ids_of(each)) for each in followers}
        followers.pop().cancel()

        def room() -> bool:
            try:
                return following(channel) is not None
            except grpc.RpcError:
                return False

        until(room, "room for one more")


def test_followers_do_not_delay_a_stop(serve: Callable[..., Server], untested: Path) -> None:
    server = serve("--grace-s", "600", policies=untested)
    with server.channel() as channel:
        followers = [following(channel), following(channel, filter={"tenant": "acme"})]
        assert 0 == server.terminate()
        for each in followers:
            with pytest.raises(grpc.RpcError) as caught:
                list(each)
            assert grpc.StatusCode.UNAVAILABLE is caught.value.code()


def test_follower_that_reads_nothing_delays_no_other(server: Server) -> None:
    with server.channel() as channel, server.client() as client:
        following(channel)
        with Load(server) as load:
            load.until_acknowledged(1_000)
            load.stop()
        assert client.tenant("acme").check(*BOB_VIEWS).allowed
        assert [] == load.failures
