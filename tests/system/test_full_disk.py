import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from support.load import Load
from support.questions import check
from support.server import DEADLINE_S, NOT_SERVING, SERVING, Health, Server, access_of, until
from tools.faults.disk import SmallDisk, small_disk

from remit.audit.ids import parse_id
from remit.client import DecisionUnavailable

PROBE_S = 1.0
"""How often the server tries a store that fails."""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small") as disk:
        print("a tmpfs" if disk.mounted else "no tmpfs can be mounted here: a cap on the store's file")
        yield disk


@pytest.fixture
def server(small: SmallDisk, untested: Path, serve: Callable[..., Server]) -> Iterator[Server]:
    started = serve(*small.flags, folder=small.folder / "audit", policies=untested)
    yield started
    started.kill()


def use_up(server: Server) -> set[bytes]:
    """Asks until there is no room for a single record, nor for the probe; what was acknowledged on the way."""
    acknowledged: set[bytes] = set()
    answered = time.monotonic()
    with server.channel() as channel:
        access = access_of(channel)
        while time.monotonic() < answered + 3 * PROBE_S:
            call = access.Check.future(check(), timeout=DEADLINE_S)
            if call.code() is grpc.StatusCode.OK:
                acknowledged.add(parse_id(call.result().decision.decision_id))
                answered = time.monotonic()
            else:
                assert grpc.StatusCode.UNAVAILABLE is call.code()
                assert "the audit store takes no records" == call.details()
    return acknowledged


def test_full_disk_stops_decisions_loses_none_and_recovers(server: Server, small: SmallDisk) -> None:
    """UNAVAILABLE, NOT_SERVING and the cause in the status; with room again, healthy before anyone asks a question."""
    with server.channel() as channel, server.client(timeout_s=5) as client:
        health = Health(channel)
        with Load(server) as load:
            load.until_acknowledged(1 << 40)  # that is: until a call fails
            load.join()
        assert {grpc.StatusCode.UNAVAILABLE} == set(load.failures)
        acknowledged = load.acknowledged | use_up(server)

        until(lambda: health.of() == NOT_SERVING, "NOT_SERVING")
        assert NOT_SERVING == health.of("tenant/acme")
        assert SERVING == health.of("remit.v1.StatusService")
        audit = client.status().audit
        assert not audit.healthy
        assert "full" in audit.error
        assert 0.0 == server.metric("remit_audit_healthy")
        assert "full" in server.wait_for("the audit store fails")["event"]
        assert "warning" == server.wait_for("low space for the audit store")["level"]
        with pytest.raises(DecisionUnavailable, match=r"UNAVAILABLE: the audit store takes no records$"):
            client.tenant("acme").guard("user:bob", "VIEW", "FLOW", "acme.finance")
        with server.store() as store:
            found = {record.id for record in store.decisions(limit=1 << 20)}
        assert acknowledged
        assert set() == acknowledged - found

        small.make_room(server.audit)
        until(lambda: health.of() == SERVING, "SERVING again, without traffic")
        assert SERVING == health.of("tenant/acme")
        assert (True, "") == ((audit := client.status().audit).healthy, audit.error)
        assert client.tenant("acme").guard("user:bob", "VIEW", "FLOW", "acme.finance").allowed
        with Load(server) as load:
            load.until_acknowledged(100)
            load.stop()
        assert [] == load.failures
        assert 0.0 == server.metric("remit_audit_lost")
