"""With mutual TLS, who reads the audit: only those whom the setting names, and each of its tenant alone."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from system.certificates import Authority
from system.locks import locked
from system.server import DEADLINE_S, Server, remit

from remit.audit.ids import DecisionIds, format_id
from remit.client import Client, DecisionUnavailable, RecordFilter
from remit.v1 import audit_service_pb2 as messages
from remit.v1 import audit_service_pb2_grpc

ALL, ACME, BOTH, NOBODY = "all.example.org", "acme.example.org", "both.example.org", "web.example.org"
AUDITORS = f"{ALL}, {ACME}=acme, {BOTH}=acme, {BOTH}=globex"
ANY_ID = format_id(DecisionIds().next())
QUESTION = ("user:bob", "VIEW", "FLOW", "acme.finance")

CALLS: dict[str, Callable[[Client, str], Any]] = {
    "ListRecords": lambda client, tenant: list(client.list_records(RecordFilter(tenant=tenant))),
    "FollowRecords": lambda client, tenant: next(client.follow_records(RecordFilter(tenant=tenant, since_us=1))),
    "CountRecords": lambda client, tenant: list(client.count_records(RecordFilter(tenant=tenant), ["tenant"])),
    "ListLifecycle": lambda client, tenant: list(client.list_lifecycle(tenant)),
    "ExplainPast": lambda client, tenant: client.explain_past(tenant, *QUESTION, time_us=time.time_ns() // 1000),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, untested: Path, authority: Authority) -> Iterator[Server]:
    cert, key = authority.signed("server", "127.0.0.1")
    flags = ("--tls-cert", str(cert), "--tls-key", str(key), "--tls-client-ca", str(authority.certificate))
    folder = tmp_path_factory.mktemp("auditors")
    with Server(folder, *flags, "--auditors", AUDITORS, policies=untested) as started:
        yield started


Connect = Callable[[str], Client]


@pytest.fixture
def connect(server: Server, authority: Authority) -> Connect:
    def connected(name: str) -> Client:
        return Client(server.target, timeout_s=DEADLINE_S, tls=authority.caller(authority.signed(name, name)))

    return connected


@pytest.fixture
def decided(connect: Connect) -> dict[str, str]:
    """A decision's id by tenant."""
    with connect(NOBODY) as client:
        return {tenant: client.check(tenant, *QUESTION).decision_id for tenant in ("acme", "globex", "hooli")}


@pytest.mark.parametrize("call", CALLS)
def test_who_may_only_ask_reads_nothing(connect: Connect, call: str, decided: dict[str, str]) -> None:
    """Not of a tenant either that it asks about itself."""
    with connect(NOBODY) as client:
        for tenant in ("acme", "hooli"):
            with pytest.raises(DecisionUnavailable) as caught:
                CALLS[call](client, tenant)
            assert "PERMISSION_DENIED" == caught.value.code
        for decision_id in (decided["acme"], ANY_ID):
            with pytest.raises(DecisionUnavailable) as caught:
                client.get_record(decision_id)
            assert "PERMISSION_DENIED" == caught.value.code


def test_an_auditor_of_all_reads_all(connect: Connect, decided: dict[str, str]) -> None:
    with connect(ALL) as client:
        assert {*decided.values()} <= {each.id for each in client.list_records()}
        assert {"acme", "globex", "hooli"} <= {each.tenant for each in client.count_records(group_by=["tenant"])}
        assert {"", "acme", "globex"} <= {each.tenant for each in client.list_lifecycle()}
        for tenant, decision_id in decided.items():
            assert tenant == client.get_record(decision_id).record.tenant
            assert CALLS["FollowRecords"](client, tenant).tenant == tenant


def test_an_auditor_of_a_tenant_reads_of_that_one_alone(connect: Connect, decided: dict[str, str]) -> None:
    """With and without naming it."""
    with connect(ACME) as client:
        for tenant in ("", "acme"):
            records = CALLS["ListRecords"](client, tenant)
            assert decided["acme"] in {each.id for each in records}
            assert {"acme"} == {each.tenant for each in records}
            assert ["acme"] == [each.tenant for each in CALLS["CountRecords"](client, tenant)]
            assert {"acme"} == {each.tenant for each in CALLS["ListLifecycle"](client, tenant)}
            assert "acme" == CALLS["FollowRecords"](client, tenant).tenant
        (total,) = client.count_records()
        assert total.recorded == len(CALLS["ListRecords"](client, ""))
        ids = RecordFilter(ids=list(decided.values()))
        assert [decided["acme"]] == [each.id for each in client.list_records(ids)]
        assert decided["acme"] == client.get_record(decided["acme"]).record.id
        assert CALLS["ExplainPast"](client, "acme").answers


@pytest.mark.parametrize("call", CALLS)
def test_another_tenant_is_refused_as_one_that_is_not_there(
    connect: Connect, call: str, decided: dict[str, str]
) -> None:
    with connect(ACME) as client:
        told = {}
        for tenant in ("globex", "hooli", "never-asked"):
            with pytest.raises(DecisionUnavailable) as caught:
                CALLS[call](client, tenant)
            told[caught.value.code, caught.value.message.replace(tenant, "...")] = tenant
    assert [("PERMISSION_DENIED", f"`{ACME}` is no auditor of tenant `...`")] == [*told]


def test_another_tenant_s_record_is_not_there(connect: Connect, decided: dict[str, str]) -> None:
    """To the letter: by its id, behind it, and as the revision of a question."""
    with connect(ALL) as client:
        globex = client.get_record(decided["globex"]).record
    with connect(ACME) as client:
        told = set()
        for decision_id in (globex.id, ANY_ID):
            with pytest.raises(DecisionUnavailable) as caught:
                client.get_record(decision_id)
            told.add((caught.value.code, caught.value.message.replace(decision_id, "...")))
        assert {("NOT_FOUND", "there is no decision `...`")} == told
        with pytest.raises(DecisionUnavailable) as caught:
            client.explain_past("acme", *QUESTION, revision=globex.revision)
        assert "NOT_FOUND" == caught.value.code
        after = client.list_records(after=globex.id, oldest_first=True)
        assert {"acme"} >= {each.tenant for each in after}


def test_a_page_s_token_and_a_cursor_give_no_more_rights(connect: Connect, decided: dict[str, str]) -> None:
    """Those of somebody else, too."""
    request = messages.ListRecordsRequest(page_size=1)
    with connect(ALL) as client:
        token = client.ask(request).next_page_token
        stub = audit_service_pb2_grpc.AuditServiceStub(client._channel)
        cursor = next(stub.FollowRecords(messages.FollowRecordsRequest(), timeout=DEADLINE_S)).cursor
    with connect(ACME) as client:
        with pytest.raises(DecisionUnavailable, match="another request"):
            client.ask(messages.ListRecordsRequest(page_token=token))
        stub = audit_service_pb2_grpc.AuditServiceStub(client._channel)
        with pytest.raises(grpc.RpcError, match="another request"):
            next(stub.FollowRecords(messages.FollowRecordsRequest(cursor=cursor), timeout=DEADLINE_S))


def test_an_auditor_of_several_tenants_names_one(connect: Connect, decided: dict[str, str]) -> None:
    with connect(BOTH) as client:
        for tenant in ("acme", "globex"):
            assert {tenant} == {each.tenant for each in CALLS["ListRecords"](client, tenant)}
            assert decided[tenant] == client.get_record(decided[tenant]).record.id
        with pytest.raises(DecisionUnavailable, match="expected one of acme, globex") as caught:
            CALLS["ListRecords"](client, "")
        assert "INVALID_ARGUMENT" == caught.value.code
        with pytest.raises(DecisionUnavailable) as caught:
            client.get_record(decided["hooli"])
        assert "NOT_FOUND" == caught.value.code


def test_each_read_is_recorded_and_the_pages_behind_the_first_are_not(
    server: Server, connect: Connect, decided: dict[str, str]
) -> None:
    with server.store() as store, connect(ACME) as client:
        before = store.lifecycle(limit=1)[0].id
        for call in CALLS.values():
            call(client, "acme")
        client.get_record(decided["acme"])
        assert len(list(client.list_records(page_size=1))) > 1
        with pytest.raises(DecisionUnavailable):
            client.get_record(decided["globex"])
        reads = store.lifecycle(type_="AUDIT_READ", after=before, newest_first=False)
        told = [json.loads(each.detail) for each in reads]
    assert [*CALLS, "GetRecord", "ListRecords", "GetRecord"] == [each["call"] for each in told]
    assert {ACME} == {each["caller"] for each in told}
    assert ["acme"] * 7 + [""] == [each.tenant for each in reads]
    assert {"filter": {"tenant": "acme"}} == told[0]["asked"]
    assert {"id": decided["acme"]} == told[5]["asked"]


def test_a_read_that_cannot_be_recorded_is_not_answered(server: Server, authority: Authority) -> None:
    tls = authority.caller(authority.signed(ALL, ALL))
    with (
        locked(server.database),
        Client(server.target, timeout_s=0.5, tls=tls) as client,
        pytest.raises(DecisionUnavailable) as caught,
    ):
        list(client.list_records())
    assert caught.value.code in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}


def test_the_command_line_reads_by_a_certificate(server: Server, authority: Authority, decided: dict[str, str]) -> None:
    def run(name: str, *words: str) -> tuple[int, str, str]:
        cert, key = authority.signed(name, name)
        files = ("--tls-server-ca", str(authority.certificate), "--tls-cert", str(cert), "--tls-key", str(key))
        done = remit("audit", *words, "--target", server.target, *files)
        return done.returncode, done.stdout, done.stderr

    code, out, _ = run(ACME, "list", "--json")
    assert (0, {"acme"}) == (code, {json.loads(line)["tenant"] for line in out.splitlines()})
    assert 0 == run(ACME, "show", decided["acme"])[0]
    assert 1 == run(ACME, "show", decided["globex"])[0]
    code, _, told = run(NOBODY, "list")
    assert 3 == code
    assert f"`{NOBODY}` is not one of this server's `auditors`" in told
