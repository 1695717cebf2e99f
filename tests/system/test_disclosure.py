"""With mutual TLS, what a server tells of its tenants, its files and its failures, and to whom."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from support.certificates import Authority
from support.server import DEADLINE_S, Server, remit, remit_process, until
from system.test_shadow import append

from remit.client import Asked, Client, DecisionUnavailable
from remit.v1 import policy_service_pb2 as policy
from remit.v1 import status_service_pb2 as status

ALL, ACME, BOTH, OPERATOR, WEB = (f"{name}.example.org" for name in ("all", "acme", "both", "oncall", "web"))
AUDITORS = f"{ALL}, {ACME}=acme, {BOTH}=acme, {BOTH}=globex"
SECRET = "secret-project"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


Connect = Callable[[str], Client]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, untested: Path, authority: Authority) -> Iterator[Server]:
    """With a candidate that denies all, and mistakes in two folders of the policies and one of the candidate."""
    folder = tmp_path_factory.mktemp("disclosure")
    policies = Path(shutil.copytree(untested, folder / "policies"))
    bindings = {tenant: policies / tenant / "bindings.csv" for tenant in ("acme", "globex")}
    append(bindings["globex"], "p, user:tom@globex.example, globex, **, FLOW, VIEW, allow")
    candidate = folder / "candidate"
    (candidate / "acme").mkdir(parents=True)
    (candidate / "vocabulary.yaml").write_bytes((policies / "vocabulary.yaml").read_bytes())
    (candidate / "hooli").mkdir()
    (candidate / "hooli" / "bindings.csv").write_text("the-plan-of-hooli\n")
    flags = [
        *tls_flags(authority),
        "--operators",
        OPERATOR,
        "--auditors",
        AUDITORS,
        "--shadow",
        str(candidate),
        "--shadow-share",
        "1",
    ]
    with Server(folder / "audit", *flags, policies=policies) as started:
        for tenant, file in bindings.items():
            append(file, f"{SECRET}-of-{tenant}")
        with Client(started.target, tls=authority.caller(authority.signed("waiting", OPERATOR))) as client:
            stale = status.TENANT_STATE_STALE
            until(lambda: 2 == sum(each.state == stale for each in client.status().tenants), "both are refused")
        yield started


@pytest.fixture
def connect(server: Server, authority: Authority) -> Connect:
    def connected(name: str) -> Client:
        return Client(server.target, timeout_s=DEADLINE_S, tls=authority.caller(authority.signed(name, name)))

    return connected


def test_shadow_is_shown_to_auditors_of_the_tenant_and_recorded(
    server: Server, connect: Connect, authority: Authority
) -> None:
    with connect(WEB) as web, connect(ALL) as every:
        assert web.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance")
        assert web.tenant("globex").check("user:tom@globex.example", "VIEW", "FLOW", "shop")
        until(lambda: _shadow(every).differing == 2, "both decisions were put to the candidate")
        whole = _shadow(every)
        assert {"acme", "globex"} == {each.tenant for each in whole.changes}
        assert any("the-plan-of-hooli" in each for each in whole.errors)
        for name in (WEB, OPERATOR):
            with connect(name) as other, pytest.raises(DecisionUnavailable) as caught:
                other.ask(status.GetShadowRequest(tenant="acme"))
            assert "PERMISSION_DENIED" == caught.value.code
    with connect(ACME) as one, server.store() as store:
        last = store.lifecycle(limit=1)[0].id
        for tenant in ("", "acme"):
            told = one.ask(status.GetShadowRequest(tenant=tenant))
            assert ["acme"] == [each.tenant for each in told.changes]
            assert (1, 1, 0, []) == (told.decided, told.differing, told.skipped, list(told.errors))
        with pytest.raises(DecisionUnavailable) as caught:
            one.ask(status.GetShadowRequest(tenant="globex"))
        assert "PERMISSION_DENIED" == caught.value.code
        reads = store.lifecycle(type_="AUDIT_READ", after=last, newest_first=False)
    assert ["acme", "acme"] == [each.tenant for each in reads]
    assert {(f"service:dns/{ACME}", "GetShadow")} == {
        (json.loads(each.detail)["caller"], json.loads(each.detail)["call"]) for each in reads
    }
    with connect(BOTH) as both, pytest.raises(DecisionUnavailable, match="expected one of acme, globex"):
        both.ask(status.GetShadowRequest())

    done = remit("shadow", "--target", server.target, *_files(authority, BOTH))
    assert (2, "") == (done.returncode, done.stdout)
    done = remit("shadow", "--tenant", "globex", "--json", "--target", server.target, *_files(authority, BOTH))
    assert ["globex"] == [each["tenant"] for each in json.loads(done.stdout)["changes"]]


@pytest.mark.parametrize(
    ("name", "seen"),
    [(WEB, set()), (ACME, {"acme"}), (ALL, {"acme", "globex"}), (OPERATOR, {"acme", "globex"})],
)
def test_diagnostics_are_shown_to_operators_and_auditors_of_the_tenant(
    server: Server, connect: Connect, authority: Authority, name: str, seen: set[str]
) -> None:
    with connect(name) as client:
        told = client.status()
        for each in told.tenants:
            wrong = each.tenant in {"acme", "globex"}
            assert wrong == (each.state == status.TENANT_STATE_STALE)
            assert (each.tenant in seen) == bool(each.diagnostics)
            assert int(wrong and each.tenant not in seen) == each.hidden_diagnostics
        assert seen == {tenant for tenant in ("acme", "globex") if f"{SECRET}-of-{tenant}" in str(told)}
        for tenant in ("acme", "globex"):
            (kept, *_) = client.ask(policy.ListRevisionsRequest(tenant=tenant)).revisions
            assert (tenant in seen) == bool(kept.source)
    shown = remit("status", "--target", server.target, *_files(authority, name))
    assert seen == {tenant for tenant in ("acme", "globex") if f"{SECRET}-of-{tenant}" in shown.stdout}
    hidden = {"acme", "globex"} - seen
    assert hidden == {tenant for tenant in ("acme", "globex") if f"{tenant}: 1 diagnostics, which" in shown.stdout}


PASSWORD = "S3CRET"
AWAY = f"postgresql+psycopg://ada:{PASSWORD}@127.0.0.1:1/audit?password={PASSWORD}&sslpassword={PASSWORD}"


def tls_flags(authority: Authority) -> tuple[str, ...]:
    cert, key = authority.signed("server", "127.0.0.1")
    return authority.server_flags(cert, key)


def test_password_in_a_url_is_never_shown(
    serve: Callable[..., Server], tmp_path: Path, untested: Path, authority: Authority
) -> None:
    """Neither in the log nor in a status, a call's details or a command's output; the cause is in the operator's status."""
    collector = f"http://me:{PASSWORD}@127.0.0.1:1/v1/logs?key={PASSWORD}"
    flags = (*tls_flags(authority), "--operators", OPERATOR, "--auditors", f"{ALL},{ACME}=acme")
    flags += ("--audit-spool", str(tmp_path / "spool.db"), "--audit-otlp", collector, "--audit-timeout-s", "1")
    server = serve(*flags, audit=AWAY, policies=untested)
    said = []
    for name in (WEB, ACME, ALL, OPERATOR):
        with Client(server.target, timeout_s=DEADLINE_S, tls=authority.caller(authority.signed(name, name))) as client:
            assert client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance")
            error = client.status().audit.spool.error
            assert (name in {ALL, OPERATOR}) == ("postgresql+psycopg://ada:***@127.0.0.1:1/audit?***" in error)
            assert (name in {WEB, ACME}) == (error == "the audit store takes no records")
        shown = remit("status", "--target", server.target, *_files(authority, name))
        said += [error, shown.stdout + shown.stderr]
    with Client(server.target, timeout_s=5, tls=authority.caller(authority.signed(ALL, ALL))) as client:
        with pytest.raises(DecisionUnavailable) as caught:
            list(client.list_records())
        assert not [word for word in ("127.0.0.1", "ada", "postgresql") if word in caught.value.message]
    server.wait_for("records are not sent to the collector")
    assert "127.0.0.1:1/audit" in server.log_text()
    server.kill()
    for command in (("list",), ("verify",), ("export", "--tenant", "acme", "--out", str(tmp_path / "out.jsonl"))):
        done = remit("audit", *command, "--audit", AWAY)
        assert 3 == done.returncode
        said.append(done.stdout + done.stderr)
    refused = remit_process("serve", "--policies", str(untested), "--audit", AWAY, "--audit-otlp", "http://a.b/")
    said.append(refused.stderr)
    refused = remit_process("serve", "--policies", str(untested), "--audit-otlp", collector.replace("127.0.0.1", "a.b"))
    assert "`audit_otlp` is `http://me:***@a.b:1/v1/logs?***`" in refused.stderr
    for text in (*said, server.log_text(), refused.stderr):
        assert PASSWORD not in text


def test_caller_reads_no_path_of_a_store_that_fails(
    serve: Callable[..., Server], untested: Path, authority: Authority
) -> None:
    flags = (*tls_flags(authority), "--operators", OPERATOR, "--audit-max-bytes", "400000")
    server = serve(*flags, policies=untested)
    questions = [Asked("user:bob", "VIEW", "FLOW", "acme.finance")] * 100
    with Client(server.target, timeout_s=5, tls=authority.caller(authority.signed(WEB, WEB))) as client:
        with pytest.raises(DecisionUnavailable) as caught:
            _for_ever(lambda: client.tenant("acme").batch_check(questions))
        assert ("UNAVAILABLE", "the audit store takes no records") == (caught.value.code, caught.value.message)
        assert "the audit store takes no records" == client.status().audit.error
    oncall = authority.caller(authority.signed(OPERATOR, OPERATOR))
    with Client(server.target, timeout_s=DEADLINE_S, tls=oncall) as client:
        until(lambda: str(server.database) in client.status().audit.error, "the operator sees which file it is")
    assert "full" in server.wait_for("the audit store fails")["event"]


def _for_ever(ask: Callable[[], object]) -> None:
    while True:
        ask()


def _shadow(client: Client) -> status.GetShadowResponse:
    told: status.GetShadowResponse = client.ask(status.GetShadowRequest())
    return told


def _files(authority: Authority, name: str) -> tuple[str, ...]:
    cert, key = authority.signed(name, name)
    return ("--tls-server-ca", str(authority.certificate), "--tls-cert", str(cert), "--tls-key", str(key))
