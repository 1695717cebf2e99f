"""With mutual TLS, who reads the audit: only those whom the setting names, and each of its tenant alone."""

import base64
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from support.certificates import Authority
from support.locks import locked
from support.server import DEADLINE_S, Server, remit, until

from remit.audit.chain.chain import READS
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
    "ExplainPast": lambda client, tenant: client.tenant(tenant).explain_past(*QUESTION, time_us=time.time_ns() // 1000),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, untested: Path, authority: Authority) -> Iterator[Server]:
    cert, key = authority.signed("server", "127.0.0.1")
    flags = authority.server_flags(cert, key)
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
        return {tenant: client.tenant(tenant).check(*QUESTION).decision_id for tenant in ("acme", "globex", "hooli")}


@pytest.mark.parametrize("call", CALLS)
def test_caller_that_is_no_auditor_reads_nothing(connect: Connect, call: str, decided: dict[str, str]) -> None:
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
        # What was asked of a tenant that is not configured is of no tenant.
        assert {"acme", "globex", ""} <= {each.tenant for each in client.count_records(group_by=["tenant"])}
        assert {"", "acme", "globex"} <= {each.tenant for each in client.list_lifecycle()}
        assert "" == client.get_record(decided["hooli"]).record.tenant
        for tenant in ("acme", "globex"):
            assert tenant == client.get_record(decided[tenant]).record.tenant
            assert tenant == CALLS["FollowRecords"](client, tenant).tenant


def test_auditor_of_a_tenant_reads_only_that_tenant(connect: Connect, decided: dict[str, str]) -> None:
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
def test_other_tenant_is_refused_like_an_unknown_one(connect: Connect, call: str, decided: dict[str, str]) -> None:
    with connect(ACME) as client:
        told = {}
        for tenant in ("globex", "hooli", "never-asked"):
            with pytest.raises(DecisionUnavailable) as caught:
                CALLS[call](client, tenant)
            told[caught.value.code, caught.value.message.replace(tenant, "...")] = tenant
    assert [("PERMISSION_DENIED", f"`service:dns/{ACME}` may not AUDIT in `...`")] == [*told]


def test_record_of_another_tenant_is_not_found(connect: Connect, decided: dict[str, str]) -> None:
    """With the same text: by its id, after it, and as the revision of a question."""
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
            client.tenant("acme", revision=globex.revision).explain_past(*QUESTION)
        assert "NOT_FOUND" == caught.value.code
        after = client.list_records(after=globex.id, oldest_first=True)
        assert {"acme"} >= {each.tenant for each in after}


def test_a_page_s_token_and_a_cursor_give_no_more_rights(connect: Connect, decided: dict[str, str]) -> None:
    """Those of somebody else, too."""
    request = messages.ListRecordsRequest(page_size=1)
    with connect(ALL) as client:
        token = client.ask(request).next_page_token
        stub = audit_service_pb2_grpc.AuditServiceStub(client._transport._links.enter().channel)
        cursor = next(stub.FollowRecords(messages.FollowRecordsRequest(), timeout=DEADLINE_S)).cursor
    with connect(ACME) as client:
        with pytest.raises(DecisionUnavailable, match="another request"):
            client.ask(messages.ListRecordsRequest(page_token=token))
        stub = audit_service_pb2_grpc.AuditServiceStub(client._transport._links.enter().channel)
        with pytest.raises(grpc.RpcError, match="another request"):
            next(stub.FollowRecords(messages.FollowRecordsRequest(cursor=cursor), timeout=DEADLINE_S))


def test_auditor_of_several_tenants_must_name_one(connect: Connect, decided: dict[str, str]) -> None:
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


@pytest.fixture
def reads(server: Server) -> Iterator[Callable[[], list[Any]]]:
    """The records of who read the audit since the test began."""
    with server.store() as store:
        newest = store.lifecycle(limit=1)[0].id
        yield lambda: store.lifecycle(type_="AUDIT_READ", after=newest, newest_first=False, limit=10_000)


Reads = Callable[[], list[Any]]


def test_the_records_of_a_removed_tenant_stay_closed_to_whom_it_denies(
    authority: Authority, tmp_path: Path, untested: Path
) -> None:
    policies = shutil.copytree(untested, tmp_path / "policies")
    rows = f"""\
p, service:dns/{NOBODY}, _callers, **, REMIT, CHECK, allow
p, service:dns/{ALL}, _callers, **, REMIT|REMIT_INSTANCE, AUDIT|STATUS, allow
"""
    shutil.rmtree(policies / "_callers", ignore_errors=True)
    (policies / "_callers").mkdir()
    (policies / "_callers" / "bindings.csv").write_text(rows)
    flags = authority.server_flags(*authority.signed("server", "127.0.0.1"))

    def client(server: Server, name: str) -> Client:
        return Client(server.target, timeout_s=DEADLINE_S, tls=authority.caller(authority.signed(name, name)))

    def code_of(call: str, tenant: str) -> str:
        try:
            CALLS[call](auditor, tenant)
        except DecisionUnavailable as refused:
            return refused.code
        return "OK"

    with (
        Server(tmp_path, *flags, policies=policies) as server,
        client(server, ALL) as auditor,
        client(server, NOBODY) as asker,
    ):
        asker.tenant("globex").check(*QUESTION)
        stream = auditor.follow_records(RecordFilter(since_us=1))
        assert next(stream).id
        denied = f"{rows}p, service:dns/{ALL}, _callers, globex, REMIT, AUDIT, deny\n"
        (policies / "_callers" / "bindings.csv").write_text(denied)
        until(lambda: code_of("CountRecords", "globex") == "PERMISSION_DENIED", "the deny serves")
        asker.tenant("globex").check(*QUESTION)
        with pytest.raises(DecisionUnavailable) as ended:
            next(stream)
        assert "PERMISSION_DENIED" == ended.value.code
        shutil.rmtree(policies / "globex")
        until(lambda: "globex" not in {each.tenant for each in auditor.status().tenants}, "the tenant is removed")
        for call in ("ListRecords", "FollowRecords", "CountRecords", "ListLifecycle"):
            assert ("INVALID_ARGUMENT", "PERMISSION_DENIED") == (code_of(call, ""), code_of(call, "globex"))


def test_each_read_is_recorded_and_so_is_each_page(connect: Connect, decided: dict[str, str], reads: Reads) -> None:
    with connect(ACME) as client:
        for call in CALLS.values():
            call(client, "acme")
        client.get_record(decided["acme"])
        with pytest.raises(DecisionUnavailable):
            client.get_record(decided["globex"])
        told = [json.loads(each.detail) for each in reads()]
        assert [*CALLS, "GetRecord", "GetRecord"] == [each["call"] for each in told]
        assert {f"service:dns/{ACME}"} == {each["caller"] for each in told}
        assert ["acme"] * 6 + [""] == [each.tenant for each in reads()]
        assert {"filter": {"tenant": "acme"}} == told[0]["asked"]
        assert {"id": decided["acme"]} == told[5]["asked"]
        assert {f"node-1{READS}"} == {each.node for each in reads()}
        pages = [each.id for each in client.list_records(page_size=1)]
    told = [json.loads(each.detail) for each in reads()][7:]
    assert ["", *(each.replace("-", "") for each in pages)] == [each.get("behind", "") for each in told]
    assert {"ListRecords"} == {each["call"] for each in told}


def test_lifecycle_pages_end_although_each_page_adds_a_record(
    connect: Connect, decided: dict[str, str], reads: Reads
) -> None:
    with connect(ALL) as client:
        kinds = [each.type for each in client.list_lifecycle(oldest_first=True, page_size=1)]
    assert "SERVER_STARTED" == kinds[0]
    assert len(kinds) + 1 == len(reads()), "the last page is empty"


def token_of(request: Any, last: str) -> str:
    """A forged token, made by a caller that knows the format."""
    asked = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
    return base64.urlsafe_b64encode(json.dumps([asked, "", last]).encode()).decode()


FILTER = {"tenant": "acme"}
EVERYTHING = {"given": [["acme", "node-1", 1 << 40]], "newest": "00" * 16, "history": "00", "sweep": None}
FORGED: dict[str, tuple[Any, str, str]] = {
    "ListRecords": (messages.ListRecordsRequest(filter=FILTER), "page_token", "ff" * 16),
    "CountRecords": (
        messages.CountRecordsRequest(filter=FILTER, group_by=["COUNT_GROUPING_TENANT"]), "page_token", '[""]',
    ),
    "ListLifecycle": (messages.ListLifecycleRequest(tenant="acme"), "page_token", "ff" * 16),
    "FollowRecords": (messages.FollowRecordsRequest(filter=FILTER), "cursor", json.dumps(EVERYTHING)),
}  # fmt: skip


@pytest.mark.parametrize("call", FORGED)
def test_read_by_a_forged_token_is_recorded(connect: Connect, decided: dict[str, str], reads: Reads, call: str) -> None:
    request, field, last = FORGED[call]
    forged = type(request).FromString(request.SerializeToString())
    setattr(forged, field, token_of(request, last))
    with connect(ACME) as client:
        answer = getattr(audit_service_pb2_grpc.AuditServiceStub(client._transport._links.enter().channel), call)(
            forged, timeout=DEADLINE_S
        )
        if call == "FollowRecords":
            assert next(each for each in answer if each.records).records
            answer.cancel()
        else:
            assert answer.records if call.startswith("List") else answer.counts
    (read,) = [json.loads(each.detail) for each in reads()]
    assert (f"service:dns/{ACME}", call, True) == (read["caller"], read["call"], bool(read["behind"]))


def test_records_of_reads_are_bounded(connect: Connect, reads: Reads) -> None:
    """Whatever is asked; what no record can hold is refused before there is a record of it."""
    ids = [format_id(each) for each in DecisionIds().take(1_000)]
    with connect(ACME) as client:
        for refused in (
            RecordFilter(principal=f"user:{'x' * 1_000_000}"),
            RecordFilter(caller="x" * 1_000_000),
            RecordFilter(node="x" * 1_000_000),
        ):
            with pytest.raises(DecisionUnavailable, match="INVALID_ARGUMENT"):
                list(client.list_records(refused))
        assert [] == reads()
        list(client.list_records(RecordFilter(ids=ids)))
        with pytest.raises(DecisionUnavailable, match="INVALID_ARGUMENT"):
            client.tenant("acme", revision="f" * 1_000_000).explain_past(*QUESTION)
        long = token_of(FORGED["CountRecords"][0], json.dumps(["x" * 1_000_000]))
        client.ask(messages.CountRecordsRequest(filter=FILTER, group_by=["COUNT_GROUPING_TENANT"], page_token=long))
    told = [json.loads(each.detail) for each in reads()]
    assert ["ListRecords", "CountRecords"] == [each["call"] for each in told]
    assert [*ids[:20], "and 980 more"] == told[0]["asked"]["filter"]["ids"]
    assert max(len(each.detail) for each in reads()) < 2_000


def test_invented_tenants_of_readers_start_no_chain(
    server: Server, connect: Connect, decided: dict[str, str], reads: Reads
) -> None:
    with connect(ALL) as client:
        for name in ("invented-1", "invented-2", "globex"):
            list(client.list_records(RecordFilter(tenant=name)))
    assert ["", "", "globex"] == [each.tenant for each in reads()]
    asked = [json.loads(each.detail)["asked"]["filter"]["tenant"] for each in reads()]
    assert ["invented-1", "invented-2", "globex"] == asked


def test_records_of_reads_are_purged_under_a_running_server(
    serve: Callable[..., Server], untested: Path, authority: Authority, tmp_path: Path
) -> None:
    """Chains and signatures hold before and after; the next read goes on with its chain."""
    key = tmp_path / "audit.pem"
    assert 0 == remit("audit", "key", "new", str(key)).returncode
    cert, tls_key = authority.signed("server", "127.0.0.1")
    flags = authority.server_flags(cert, tls_key)
    flags += ("--auditors", AUDITORS, "--audit-key", str(key), "--audit-checkpoint-s", "0.05")
    server = serve(*flags, policies=untested)
    tls = authority.caller(authority.signed(ALL, ALL))
    with Client(server.target, timeout_s=DEADLINE_S, tls=tls) as client, server.store() as store:
        for _ in range(3):
            client.tenant("acme").check(*QUESTION)
            for tenant in ("", "acme"):
                list(client.list_records(RecordFilter(tenant=tenant)))
        loaded = store.lifecycle(type_="POLICY_LOADED")
        assert 6 == len(store.lifecycle(type_="AUDIT_READ"))
        purge = ("audit", "purge", "--before", "0s", "--yes", "--key", str(key), "--audit", server.audit)
        done = remit(*purge)
        assert (0, True) == (done.returncode, "6 records of who read the audit deleted" in done.stdout), done.stderr
        assert ([], loaded) == (store.lifecycle(type_="AUDIT_READ"), store.lifecycle(type_="POLICY_LOADED"))
        list(client.list_records(RecordFilter(tenant="acme")))
        assert 1 == len(store.lifecycle(type_="AUDIT_READ"))
    assert 0 == server.terminate()
    verified = remit("audit", "verify", "--key", f"{key}.pub", "--unsigned", "0s", "--audit", server.audit)
    assert 0 == verified.returncode, verified.stdout


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
    assert (0, {"acme"}) == (code, {each["tenant"] for each in json.loads(out)["records"]})
    assert 0 == run(ACME, "show", decided["acme"])[0]
    assert 1 == run(ACME, "show", decided["globex"])[0]
    code, _, told = run(NOBODY, "list")
    assert 3 == code
    assert f"`service:dns/{NOBODY}` may not AUDIT across tenants" in told
