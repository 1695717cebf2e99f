"""A tenant that does not load is an outage of that tenant, said everywhere, and of no other."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from support.questions import ALLOWED, check
from support.server import DEADLINE_S, NOT_SERVING, SERVING, Health, Server, access_of, remit

from remit.v1 import access_service_pb2 as messages
from remit.v1 import status_service_pb2

IN_GLOBEX = messages.Question(
    principal="user:tom@globex.example", action="VIEW", kind="FLOW", namespace="warehouse.lyon"
)


@pytest.fixture
def server(policies: Path, tmp_path: Path) -> Iterator[Server]:
    with (policies / "globex" / "roles.csv").open("a") as file:
        file.write("q, role:steward, globex, **, FLOW, *, allow\n")
    with Server(tmp_path / "audit", policies=policies) as started:
        yield started


def test_a_tenant_that_does_not_load_is_named_everywhere_and_the_others_are_served(server: Server) -> None:
    with server.channel() as channel, server.client() as client, server.store() as store:
        tenants = {each.tenant: each for each in client.status().tenants}
        (diagnostic,) = tenants["globex"].diagnostics
        place = f"{diagnostic.file}:{diagnostic.line}:{diagnostic.column}"
        assert "globex/roles.csv" == diagnostic.file
        assert "`q`" in diagnostic.message
        assert status_service_pb2.TENANT_STATE_UNAVAILABLE == tenants["globex"].state
        assert "" == tenants["globex"].revision
        assert status_service_pb2.TENANT_STATE_SERVING == tenants["acme"].state

        line = server.wait_for("tenant refused")
        assert ("error", "globex") == (line["level"], line["tenant"])
        assert [f"{place}: {diagnostic.message}"] == line["diagnostics"]

        assert 1.0 == server.metric("remit_tenant_state", tenant="globex", state="UNAVAILABLE")
        assert 0.0 == server.metric("remit_tenant_state", tenant="globex", state="SERVING")
        assert 1.0 == server.metric("remit_tenant_state", tenant="acme", state="SERVING")

        health = Health(channel)
        assert NOT_SERVING == health.of("tenant/globex")
        assert {SERVING} == {health.of(name) for name in ("", "remit.v1.AccessService", "tenant/acme")}

        access = access_of(channel)
        with pytest.raises(grpc.RpcError) as caught:
            access.Check(check(IN_GLOBEX, tenant="globex"), timeout=DEADLINE_S)
        assert grpc.StatusCode.UNAVAILABLE is caught.value.code()
        assert "tenant `globex` has no policy that loads" in str(caught.value.details())
        with pytest.raises(grpc.RpcError) as caught:
            access.BatchCheck(messages.BatchCheckRequest(tenant="globex", questions=[IN_GLOBEX]), timeout=DEADLINE_S)
        assert grpc.StatusCode.UNAVAILABLE is caught.value.code()
        assert access.Check(check(ALLOWED), timeout=DEADLINE_S).decision.decision_id

        (refusal,) = store.lifecycle(type_="POLICY_REFUSED")
        assert "globex" == refusal.tenant
        assert "`q`" in refusal.detail
        assert {"acme", "_instance", "_callers"} == {record.tenant for record in store.lifecycle(type_="POLICY_LOADED")}
        assert {"acme"} == {record.tenant for record in store.decisions()}

    told = remit("status", "--target", server.target)
    assert 1 == told.returncode
    assert f"{place}: {diagnostic.message}" in told.stdout


def test_a_tenant_whose_own_test_fails_does_not_load(policies: Path, tmp_path: Path) -> None:
    case = "{principal: user:sam, action: VIEW, kind: FLOW, namespace: acme.finance, expect: allow}"
    (policies / "acme" / "tests" / "wish.yaml").write_text(f"name: a wish\naccess:\n  - {case}\n")
    with Server(tmp_path / "audit", policies=policies) as server, server.client() as client:
        (acme,) = client.status("acme").tenants
        assert status_service_pb2.TENANT_STATE_UNAVAILABLE == acme.state
        assert [("acme/tests/wish.yaml", 3)] == [(each.file, each.line) for each in acme.diagnostics]
