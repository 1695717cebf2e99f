"""A caller that acts for a person, by a real server over mutual TLS whose `_callers` is edited."""

import json
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import trustme
from support.certificates import Authority, credentials_of
from support.http_api import HttpApi
from support.questions import check
from support.server import DEADLINE_S, Server, access_of, until

from remit.client import Client, DecisionUnavailable, RecordFilter
from remit.v1 import policy_service_pb2 as policy
from remit.v1 import policy_service_pb2_grpc as policy_grpc

CONSOLE, SHOP, ONCALL, LIMITED = "console.example", "shop.example", "oncall.example", "limited.example"
BOB = ("user:bob", "VIEW", "FLOW", "acme.finance")
ACTS = f"p, service:dns/{CONSOLE}, _callers, **, REMIT_INSTANCE, ACT_FOR, allow\n"
RIGHTS = (
    f"p, service:dns/{LIMITED}, _callers, **, REMIT_INSTANCE, ACT_FOR, allow\n"
    f"p, service:dns/{LIMITED}, _callers, **, REMIT, CHECK, allow\n"
    f"p, service:dns/{CONSOLE}, _callers, **, REMIT, CHECK|STATUS|AUDIT|WATCH|PIN, allow\n"
    f"p, service:dns/{SHOP}, _callers, acme, REMIT, CHECK, allow\n"
    "p, user:ann, _callers, acme, REMIT, CHECK|EXPLAIN|AUDIT|WATCH|PIN, allow\n"
)
PERSON = "remit-act-for"


class World:
    def __init__(self, server: Server, policies: Path, authority: Authority) -> None:
        self.server = server
        self.policies = policies
        self.tls = {name: authority.caller(authority.signed(name, name)) for name in (CONSOLE, SHOP, ONCALL, LIMITED)}

    def client(self, name: str, person: str | None = None) -> Client:
        return Client(self.server.target, timeout_s=DEADLINE_S, tls=self.tls[name], act_for=person)

    def channel(self, name: str) -> grpc.Channel:
        return grpc.secure_channel(self.server.target, credentials_of(self.tls[name]))

    def code(self, name: str, *metadata: tuple[str, str]) -> grpc.StatusCode:
        with self.channel(name) as channel:
            try:
                access_of(channel).Check(check(tenant="acme"), timeout=DEADLINE_S, metadata=metadata)
            except grpc.RpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    def rights(self, rows: str) -> None:
        """Writes the rights, and waits until they are in force."""
        with self.client(ONCALL) as client:
            before = client.status("_callers").tenants[0].revision
            (self.policies / "_callers" / "bindings.csv").write_text(rows)
            until(lambda: client.status("_callers").tenants[0].revision != before, "the rights are in force")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, untested: Path) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("acting")
    authority = Authority(folder, trustme.CA())
    policies = Path(shutil.copytree(untested, folder / "policies"))
    shutil.rmtree(policies / "_callers", ignore_errors=True)
    (policies / "_callers").mkdir()
    (policies / "_callers" / "bindings.csv").write_text(ACTS + RIGHTS)
    limits = folder / "identities.yaml"
    limits.write_text(f"limits: {{'service:dns/{LIMITED}': {{rate: 0.001, burst: 2}}}}\n")
    flags = (*authority.server_flags(*authority.signed("server", "127.0.0.1")), "--operators", ONCALL)
    flags += ("--identities", str(limits))
    with Server(folder / "server", *flags, policies=policies, http="127.0.0.1:0") as server:
        yield World(server, policies, authority)


def refused(ask: Any) -> str:
    with pytest.raises(DecisionUnavailable) as caught:
        ask()
    return f"{caught.value.code}: {caught.value.message}"


def test_call_for_a_person_has_the_rights_that_both_have(world: World) -> None:
    with world.client(CONSOLE, "user:ann") as both:
        assert both.tenant("acme").check(*BOB).allowed
        for ask, right in (
            (lambda: both.tenant("acme").explain(*BOB), "EXPLAIN in `acme`"),
            (lambda: both.status("acme"), "STATUS in `acme`"),
            (lambda: both.tenant("globex").check(*BOB), "CHECK in `globex`"),
        ):
            assert f"PERMISSION_DENIED: `user:ann` may not {right}" == refused(ask)
    with world.client(CONSOLE) as itself:
        assert itself.status("acme").tenants
    with world.client(CONSOLE, "user:nobody") as nobody:
        assert refused(lambda: nobody.tenant("acme").check(*BOB)).startswith(
            "PERMISSION_DENIED: `user:nobody` may not CHECK"
        )


def test_call_for_a_person_changes_nothing(world: World) -> None:
    with world.client(CONSOLE) as itself:
        (serving,) = [each.revision for each in itself.status("acme").tenants]
    with world.client(CONSOLE, "user:ann") as both:
        request = policy.PinRevisionRequest(tenant="acme", revision=serving)
        assert refused(lambda: both.ask(request)) == "PERMISSION_DENIED: `user:ann` may not PIN in `acme`"


def test_records_name_the_person_and_who_acted(world: World) -> None:
    with world.client(CONSOLE, "user:ann") as both:
        decided = both.tenant("acme").check(*BOB)
        record = both.get_record(decided.decision_id).record
        assert [record] == [*both.list_records(RecordFilter(tenant="acme", ids=[decided.decision_id]))]
        reads = [json.loads(each.detail) for each in both.list_lifecycle("acme", type="AUDIT_READ")]

    assert ("user:ann", f"service:dns/{CONSOLE}") == (record.caller, json.loads(record.detail)["via"])
    found = [each for each in reads if each["call"] == "ListRecords"]
    assert found
    assert {("user:ann", f"service:dns/{CONSOLE}")} == {(each["caller"], each["via"]) for each in found}


def test_limits_are_those_of_who_acts_whomever_it_names(world: World) -> None:
    codes = [world.code(LIMITED, (PERSON, f"user:{name}")) for name in ("ann", "nobody", "ann", "other")]

    denied, full = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.RESOURCE_EXHAUSTED
    assert [grpc.StatusCode.OK, denied, full, full] == codes
    with world.client(ONCALL) as client:
        hits = [(each.caller, each.refused) for each in client.status().limits_hit]
    assert [(f"service:dns/{LIMITED}", 2)] == hits


@pytest.mark.parametrize("name", [SHOP, ONCALL])
def test_who_may_not_act_for_others_is_refused_though_it_may_ask_itself(world: World, name: str) -> None:
    for person in ("user:ann", "user:nobody"):
        assert grpc.StatusCode.PERMISSION_DENIED is world.code(name, (PERSON, person))
    with world.client(name, "user:ann") as client:
        assert refused(lambda: client.tenant("acme").check(*BOB)) == (
            f"PERMISSION_DENIED: `service:dns/{name}` may not ACT_FOR across tenants"
        )
    assert grpc.StatusCode.OK is world.code(SHOP)


@pytest.mark.parametrize(
    "metadata",
    [
        [(PERSON, "ann")],
        [(PERSON, "")],
        [(PERSON, "service:ann")],
        [(PERSON, "service:dns/console.example")],
        [(PERSON, "user:ann"), (PERSON, "user:ann")],
        [(PERSON, "user:ann, user:bob")],
    ],
)
def test_metadata_that_names_no_person_is_never_ignored(world: World, metadata: list[tuple[str, str]]) -> None:
    for name in (CONSOLE, SHOP):
        assert grpc.StatusCode.UNAUTHENTICATED is world.code(name, *metadata)


def test_metadata_without_tls_is_never_ignored(serve: Any, untested: Path) -> None:
    server = serve(policies=untested, http="127.0.0.1:0")
    with server.channel() as channel:
        with pytest.raises(grpc.RpcError) as caught:
            access_of(channel).Check(check(), timeout=DEADLINE_S, metadata=[(PERSON, "user:ann")])
        assert grpc.StatusCode.UNAUTHENTICATED is caught.value.code()
    with HttpApi(server.http_port) as api:
        api.ask(check())
        api.http.headers[PERSON] = "user:ann"
        assert 401 == api.http.post("/remit.v1.AccessService/Check", json={}).status_code


def test_person_over_http_is_named_in_the_same_way(world: World) -> None:
    question = {
        "tenant": "acme",
        "question": dict(zip(("principal", "action", "kind", "namespace"), BOB, strict=True)),
    }

    def status_of(name: str, *headers: tuple[str, str]) -> int:
        context = ssl.create_default_context(cafile=world.tls[name].server_ca)
        context.load_cert_chain(world.tls[name].cert, world.tls[name].key)
        url = f"https://127.0.0.1:{world.server.http_port}/remit.v1.AccessService/Check"
        with httpx.Client(verify=context, timeout=DEADLINE_S) as http:
            return http.post(url, json=question, headers=[*headers]).status_code

    target = f"https://127.0.0.1:{world.server.http_port}"
    with Client(target, timeout_s=DEADLINE_S, tls=world.tls[CONSOLE], act_for="user:ann") as both:
        assert both.tenant("acme").check(*BOB).allowed
        assert refused(lambda: both.status("acme")) == "PERMISSION_DENIED: `user:ann` may not STATUS in `acme`"
    assert (200, 200) == (status_of(CONSOLE), status_of(CONSOLE, (PERSON, "user:ann")))
    assert 403 == status_of(CONSOLE, (PERSON, "user:nobody"))
    assert 403 == status_of(SHOP, (PERSON, "user:ann"))
    assert 401 == status_of(CONSOLE, (PERSON, "ann"))
    assert 401 == status_of(CONSOLE, (PERSON, "user:ann"), ("Remit-Act-For", "user:ann"))


def test_client_without_a_person_asks_nothing(world: World) -> None:
    def nobody() -> str:
        raise LookupError("nobody is logged in")

    with Client(world.server.target, timeout_s=DEADLINE_S, tls=world.tls[CONSOLE], act_for=nobody) as client:
        assert refused(lambda: client.tenant("acme").check(*BOB)).startswith("UNAUTHENTICATED: there is no person")
    with pytest.raises(ValueError, match="shows a credential"):
        Client(world.server.target, act_for="user:ann")
    with pytest.raises(ValueError, match="answers of another"):
        Client(world.server.target, tls=world.tls[CONSOLE], act_for=nobody, cache=10)


def test_right_to_act_for_others_that_is_taken_away_ends_streams_and_calls(world: World) -> None:
    with world.channel(CONSOLE) as channel:
        stream = policy_grpc.PolicyServiceStub(channel).WatchRevision(
            policy.WatchRevisionRequest(tenant="acme"), timeout=DEADLINE_S, metadata=[(PERSON, "user:ann")]
        )
        assert "acme" == next(stream).tenant
        world.rights(RIGHTS)
        try:
            with pytest.raises(grpc.RpcError) as ended:
                for _ in stream:
                    pass
            assert grpc.StatusCode.PERMISSION_DENIED is ended.value.code()
            assert grpc.StatusCode.PERMISSION_DENIED is world.code(CONSOLE, (PERSON, "user:ann"))
            assert grpc.StatusCode.OK is world.code(CONSOLE)
        finally:
            world.rights(ACTS + RIGHTS)
    assert grpc.StatusCode.OK is world.code(CONSOLE, (PERSON, "user:ann"))
