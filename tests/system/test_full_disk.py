import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from system.load import Load
from system.questions import check
from system.server import DEADLINE_S, NOT_SERVING, SERVING, Health, Server, access_of, remit, until

from remit.audit.ids import parse_id
from remit.client import DecisionUnavailable

MIB = 1 << 20


class SmallDisk:
    """A folder with little room: a tmpfs of its own, or, where none can be mounted, a cap on the store's file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._filler = folder / "filler"
        command = ["mount", "-t", "tmpfs", "-o", f"size={16 * MIB}", "tmpfs", str(folder)]
        try:
            self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            self.mounted = False
        if self.mounted:
            self._filler.write_bytes(bytes(12 * MIB))
        self.flags = () if self.mounted else ("--audit-max-bytes", str(2 * MIB))

    def make_room(self, server: Server) -> None:
        if self.mounted:
            self._filler.unlink()
        else:
            purged = remit("audit", "purge", "--yes", "--before", "0s", "--audit", server.audit)
            assert 0 == purged.returncode, purged.stderr

    def unmount(self) -> None:
        if self.mounted:
            subprocess.run(["umount", str(self.folder)], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "small")
    print("a tmpfs" if disk.mounted else "no tmpfs can be mounted here: a cap on the store's file")
    yield disk
    disk.unmount()


@pytest.fixture
def server(small: SmallDisk, untested: Path, serve: Callable[..., Server]) -> Iterator[Server]:
    started = serve(*small.flags, folder=small.folder / "audit", policies=untested)
    yield started
    started.kill()


def use_up(server: Server) -> set[bytes]:
    """Asks until there is no room for a single record; what was acknowledged on the way."""
    acknowledged: set[bytes] = set()
    refused = 0
    with server.channel() as channel:
        access = access_of(channel)
        while refused < 20:
            call = access.Check.future(check(), timeout=DEADLINE_S)
            if call.code() is grpc.StatusCode.OK:
                acknowledged.add(parse_id(call.result().decision.decision_id))
                refused = 0
            else:
                assert grpc.StatusCode.UNAVAILABLE is call.code()
                assert "full" in str(call.details())
                refused += 1
    return acknowledged


def test_a_full_disk_stops_decisions_loses_none_and_heals_by_itself(server: Server, small: SmallDisk) -> None:
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
        with pytest.raises(DecisionUnavailable, match="full"):
            client.guard("acme", "user:bob", "VIEW", "FLOW", "acme.finance")
        with server.store() as store:
            found = {record.id for record in store.decisions(limit=1 << 20)}
        assert acknowledged
        assert set() == acknowledged - found

        small.make_room(server)
        until(lambda: health.of() == SERVING, "SERVING again, without traffic")
        assert SERVING == health.of("tenant/acme")
        assert (True, "") == ((audit := client.status().audit).healthy, audit.error)
        assert client.guard("acme", "user:bob", "VIEW", "FLOW", "acme.finance").allowed
        with Load(server) as load:
            load.until_acknowledged(100)
            load.stop()
        assert [] == load.failures
        assert 0.0 == server.metric("remit_audit_lost")
