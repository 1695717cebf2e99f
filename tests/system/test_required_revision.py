import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from support.questions import ALLOWED, check
from support.server import DEADLINE_S, Server, access_of

from remit.core.names import Tenant
from remit.policy.load import load_tree
from remit.v1 import access_service_pb2 as messages

WAIT_S = 0.5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, untested: Path) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("revision"), "--revision-wait-s", str(WAIT_S), policies=untested) as started:
        yield started


def test_the_revision_of_the_files_is_in_every_answer_and_may_be_required(server: Server, untested: Path) -> None:
    revision = load_tree(untested).tenants[Tenant("acme")].revision
    with server.channel() as channel:
        access = access_of(channel)
        assert revision == access.Check(check(), timeout=DEADLINE_S).revision
        assert revision == access.Check(check(revision=revision), timeout=DEADLINE_S).revision
        batch = messages.BatchCheckRequest(tenant="acme", questions=[ALLOWED], revision=revision)
        assert revision == access.BatchCheck(batch, timeout=DEADLINE_S).revision
        told = messages.ExplainRequest(tenant="acme", question=ALLOWED, revision=revision)
        assert revision == access.Explain(told, timeout=DEADLINE_S).revision


@pytest.mark.parametrize("tenant", ["acme", "globex", "initech"])
def test_a_revision_that_does_not_become_current_is_a_failed_precondition(server: Server, tenant: str) -> None:
    """After the bounded wait, not at once; another tenant's revision is as good as none."""
    with server.channel() as channel, server.client() as client:
        access = access_of(channel)
        (acme,) = client.status("acme").tenants
        other = acme.revision if tenant != "acme" else "0" * 64
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            access.Check(check(tenant=tenant, revision=other), timeout=DEADLINE_S)
    assert grpc.StatusCode.FAILED_PRECONDITION is caught.value.code()
    assert f"did not become current within {WAIT_S:g} s" in str(caught.value.details())
    assert WAIT_S <= time.monotonic() - began < DEADLINE_S / 2


def test_deadline_shorter_than_the_wait_is_deadline_exceeded(server: Server) -> None:
    with server.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        access_of(channel).Check(check(revision="0" * 64), timeout=WAIT_S / 5)
    assert grpc.StatusCode.DEADLINE_EXCEEDED is caught.value.code()


@pytest.mark.parametrize("revision", ["0" * 63, "0" * 65, "A" * 64, "latest", "0" * 63 + "\n"])
def test_a_malformed_revision_is_a_violation(server: Server, revision: str) -> None:
    with server.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        access_of(channel).Check(check(revision=revision), timeout=DEADLINE_S)
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()
    assert "revision: expected 64 lower-case hexadecimal digits" == caught.value.details()
