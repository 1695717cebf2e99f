"""Requests through a real Envoy, which asks a real server about each of them."""

import http.client
import json
import re
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import pytest
import trustme
from cryptography import x509
from joserfc.jwk import ECKey
from support.certificates import Authority
from support.envoy import App, Configuration, Envoy, Reply, cluster_of, configured, filter_of, manager_of
from support.issuer import issuer_key, jwks, sign
from support.server import DEADLINE_S, Health, Server, until
from tools.faults.promise import expect_kept
from tools.faults.suite import LAUNCHER

from remit.audit.ids import parse_id
from remit.audit.record import DecisionRecord
from remit.envoy.authorization import SERVICE
from remit.envoy.v1 import ext_authz_pb2 as messages

BOBS = "/api/flows/acme.finance/close"
"""A path that bob may GET, and carol may not DELETE."""
GATEWAY = """
routes:
  - {method: GET, path: "/api/flows/{namespace}/{id}", kind: FLOW, action: VIEW, namespace: "{namespace}", resource_id: "{id}"}
  - {method: DELETE, path: "/api/flows/{namespace}/{id}", kind: FLOW, action: DELETE, namespace: "{namespace}", resource_id: "{id}"}
  - {method: GET, path: "/matrix;v=1/{namespace}", kind: FLOW, action: VIEW, namespace: "{namespace}"}
  - {method: POST, path: /pkg.Flows/List, kind: FLOW, action: LIST, namespace: acme.finance}
"""
FLAGS = ("--envoy", "--envoy-principal", "company/email=user, certificate, forwarded-certificate")
SPIFFE = "spiffe://acme.example/web"


@pytest.fixture(scope="module")
def gateway_policies(tmp_path_factory: pytest.TempPathFactory, untested: Path) -> Path:
    policies = Path(shutil.copytree(untested, tmp_path_factory.mktemp("gateway") / "policies"))
    (policies / "acme" / "gateway.yaml").write_text(GATEWAY)
    bindings = policies / "acme" / "bindings.csv"
    bindings.write_text(f"{bindings.read_text()}g, service:{SPIFFE}, role:viewer, acme/acme.finance.**\n")
    return policies


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gateway_policies: Path) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("remit"), *FLAGS, policies=gateway_policies) as started:
        yield started


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    with App() as started:
        yield started


@pytest.fixture(scope="module")
def key() -> ECKey:
    return issuer_key("first")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, key: ECKey) -> Path:
    """What stands in /etc/envoy."""
    folder = tmp_path_factory.mktemp("etc-envoy")
    (folder / "jwks.json").write_bytes(jwks(key))
    return folder


@pytest.fixture
def configuration(files: Path, app: App, server: Server) -> Configuration:
    return configured(files, app.port, server.port)


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory, files: Path, app: App, server: Server) -> Iterator[Envoy]:
    with Envoy(tmp_path_factory.mktemp("envoy"), configured(files, app.port, server.port)) as started:
        yield started


@pytest.fixture(scope="module")
def token(key: ECKey) -> Callable[..., str]:
    def token(email: str = "bob", **claims: object) -> str:
        now = int(time.time())
        standard = {"iss": "https://login.acme.example", "aud": "api.acme.example", "exp": now + 3600, "email": email}
        return sign({**standard, **claims}, key)

    return token


def decision_of(server: Server, decision_id: str) -> DecisionRecord:
    with server.store() as store:
        record = store.decision(parse_id(decision_id))
    assert record is not None
    return record


def test_an_allowed_request_reaches_the_service_with_the_names_that_remit_decided_by(
    envoy: Envoy, server: Server, token: Callable[..., str]
) -> None:
    reply = envoy.ask(f"{BOBS}?tail=/../x", token(), headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    record = decision_of(server, reply.told["x-remit-decision-id"])

    assert 200 == reply.status
    assert ("user:bob", "acme") == (reply.told["x-remit-principal"], reply.told["x-remit-tenant"])
    assert ("user:bob", "VIEW", "FLOW", "acme.finance", "close", "allow", "CHECK") == (
        *(record.principal, record.action, record.kind, record.namespace),
        *(record.resource_id, record.effect, record.question),
    )
    assert {"route": "GET /api/flows/{namespace}/{id}"} == json.loads(record.detail)
    assert "a" * 32 == record.trace_id


def test_a_denied_request_gets_the_reason_and_the_id_of_its_record(
    envoy: Envoy, server: Server, token: Callable[..., str]
) -> None:
    reply = envoy.ask(BOBS, token("carol"), method="DELETE")
    record = decision_of(server, reply.told["decision_id"])

    assert 403 == reply.status
    assert "application/json" == reply.headers["content-type"]
    assert {"reason": record.reason, "decision_id": reply.headers["x-remit-decision-id"]} == reply.told
    assert ("deny", "DELETE") == (record.effect, record.action)


def test_a_request_without_a_route_is_denied_and_recorded(
    envoy: Envoy, server: Server, token: Callable[..., str]
) -> None:
    reply = envoy.ask("/api/nothing?secret=x", token())
    record = decision_of(server, reply.told["decision_id"])

    assert (403, "NO_ROUTE") == (reply.status, reply.told["reason"])
    assert ("user:bob", "GET", "", "", "/api/nothing", "deny", "NO_ROUTE") == (
        *(record.principal, record.action, record.kind, record.namespace, record.resource_id),
        *(record.effect, record.reason),
    )
    assert record.asked is None


def test_a_request_without_a_credential_is_not_authenticated(envoy: Envoy, server: Server) -> None:
    with server.store() as store:
        before = store.decisions(limit=1)
        reply = envoy.ask(BOBS, headers={"x-user": "bob", "cookie": "user=bob"})
        assert before == store.decisions(limit=1)

    assert (401, "Bearer") == (reply.status, reply.headers["www-authenticate"])
    assert {"error": "no verified credential names who sends the request"} == reply.told


def test_a_token_that_has_expired_is_refused_by_envoy(envoy: Envoy, token: Callable[..., str]) -> None:
    asked = envoy.stat("ok") + envoy.stat("denied")
    reply = envoy.ask(BOBS, token(exp=int(time.time()) - 3600))

    assert (401, "Jwt is expired") == (reply.status, reply.body)
    assert asked == envoy.stat("ok") + envoy.stat("denied")


@pytest.mark.parametrize("email", ["bob smith", "", "a,b", 7, ["bob"], None])
def test_a_claim_that_is_no_id_names_nobody(envoy: Envoy, token: Callable[..., str], email: object) -> None:
    assert 401 == envoy.ask(BOBS, token(email)).status


def test_a_route_of_envoy_may_say_the_question_itself(envoy: Envoy, server: Server, token: Callable[..., str]) -> None:
    reply = envoy.ask("/api/dashboards", token("alice"))
    record = decision_of(server, reply.told["x-remit-decision-id"])

    assert ("LIST", "DASHBOARD", "", "allow") == (record.action, record.kind, record.namespace, record.effect)
    assert {"route": "* /**"} == json.loads(record.detail)


SPOOFED = {
    "x-remit-principal": "user:alice",
    "X-Remit-Tenant": "globex",
    "x-remit-decision-id": "none",
    "x-forwarded-client-cert": f"URI={SPIFFE}",
    "X-HTTP-Method-Override": "DELETE",
    "x-http-method": "DELETE",
    "x-method-override": "DELETE",
    "x-original-url": "/other",
    "x-rewrite-url": "/other",
    "x-envoy-auth-partial-body": "false",
    "x-envoy-auth-headers-to-remove": "x-remit-principal",
}


def test_what_a_client_says_in_the_name_of_remit_or_envoy_does_not_count(
    envoy: Envoy, token: Callable[..., str]
) -> None:
    asked, unauthenticated, unguarded = (
        envoy.ask(BOBS, token(), headers=SPOOFED),
        envoy.ask(BOBS, headers=SPOOFED),
        envoy.ask("/healthz", headers=SPOOFED),
    )

    assert ("user:bob", "acme") == (asked.told["x-remit-principal"], asked.told["x-remit-tenant"])
    assert "none" != asked.told["x-remit-decision-id"]
    assert 401 == unauthenticated.status
    assert [] == [name for name in unguarded.told if name.startswith(("x-remit", "x-forwarded-client"))]
    assert not {"DELETE", "/other"} & {*asked.told.values(), *unguarded.told.values()}


def test_headers_are_overwritten_also_without_the_filter_that_removes_them(
    configuration: Configuration, tmp_path: Path, token: Callable[..., str]
) -> None:
    del manager_of(configuration)["early_header_mutation_extensions"]
    with Envoy(tmp_path, configuration) as envoy:
        told = envoy.ask(BOBS, token(), headers=SPOOFED).told

    assert ("user:bob", "acme") == (told["x-remit-principal"], told["x-remit-tenant"])
    assert re.fullmatch(r"[0-9a-f-]{36}", told["x-remit-decision-id"])


PATHS = {
    "/a/../api/flows/acme.finance/close": 200,  # Envoy makes one path of it first
    "//api/flows/acme.finance/close": 200,
    "/api/flows/acme.finance%2fclose": 400,
    "/api/flows/acme.finance%5Cclose": 400,
    "/api/flows/acme.finance/%00": 400,
    "/api/flows/acme.finance;x=1/close": 400,
    "/api/flows/acme.finance/close;x=1": 400,
    "/api/flows/acme.finance/%3bx": 400,
    "/matrix;v=1/acme.finance": 200,
    "/matrix;v=2/acme.finance": 400,
    "/api/flows/acme.finance/close?x=/b;c//": 200,
    "/api/flows/%61cme.finance/close": 200,
    "/api/flows/acme.finance/%63lose": 200,
    "/api/flows/acme.finance/%zz": 400,
    "/api/flows/acme.finance/%ff": 400,
    "/api/flows/ACME.finance/close": 400,
    "/api/flows/acme..finance/close": 400,
    "/API/flows/acme.finance/close": 403,
    "/api/flows/acme.finance/close/": 403,
    "/api/flows/acme.finance/": 403,
    f"/api/flows/acme.finance/{'x' * 600}": 400,
    f"/{'x' * 8200}": 400,
    "/": 403,
}


@pytest.mark.parametrize(("path", "status"), PATHS.items(), ids=lambda each: str(each)[:40])
def test_paths_that_may_be_read_in_two_ways_are_refused(
    envoy: Envoy, token: Callable[..., str], path: str, status: int
) -> None:
    assert status == envoy.ask(path, token()).status


@pytest.mark.parametrize(
    ("path", "status"),
    {
        "/a/../api/flows/acme.finance/close": 400,
        "//api/flows/acme.finance/close": 400,
        "/api/flows/./acme.finance/close": 400,
        "/api/flows/acme.finance/%2e%2E": 400,
        "/api/flows/acme.finance%2fclose": 400,
        "/api/flows/acme.finance\\close": 400,
        BOBS: 200,
    }.items(),
)
def test_remit_refuses_them_behind_an_envoy_that_leaves_paths_as_they_are(
    plain: Envoy, token: Callable[..., str], path: str, status: int
) -> None:
    assert status == plain.ask(path, token()).status


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, files: Path, app: App, server: Server) -> Iterator[Envoy]:
    """An Envoy without normalization, that sends headers as they are and takes an upgrade and `*`."""
    configuration = configured(files, app.port, server.port)
    manager = manager_of(configuration)
    manager |= {"normalize_path": False, "merge_slashes": False, "upgrade_configs": [{"upgrade_type": "websocket"}]}
    manager["path_with_escaped_slashes_action"] = "KEEP_UNCHANGED"
    filter_of(configuration, "ext_authz")["encode_raw_headers"] = True
    with Envoy(tmp_path_factory.mktemp("plain"), configuration) as started:
        yield started


def test_headers_may_come_raw(plain: Envoy, server: Server, token: Callable[..., str]) -> None:
    told = plain.ask(BOBS, token(), headers={"traceparent": f"00-{'c' * 32}-{'d' * 16}-01"}).told

    assert "c" * 32 == decision_of(server, told["x-remit-decision-id"]).trace_id


def test_a_grpc_method_is_a_path_and_an_upgrade_a_request(plain: Envoy, token: Callable[..., str]) -> None:
    call = plain.ask("/pkg.Flows/List", token(), method="POST", headers={"content-length": "0"})
    upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}

    assert "user:bob" == call.told["x-remit-principal"]
    assert 403 == plain.ask("/socket", token(), headers=upgrade).status


def test_a_request_without_a_path_is_refused(plain: Envoy, token: Callable[..., str]) -> None:
    assert plain.ask("*", token(), method="OPTIONS").status in {400, 404}
    assert plain.ask("api.acme.example:443", token(), method="CONNECT").status in {400, 403, 404}


def test_envoy_logs_the_decision(configuration: Configuration, tmp_path: Path, token: Callable[..., str]) -> None:
    with Envoy(tmp_path, configuration) as envoy:
        allowed, denied, malformed = (
            envoy.ask(BOBS, token()),
            envoy.ask(BOBS, token("carol"), method="DELETE"),
            envoy.ask("/a;x", token()),
        )
        lines: list[dict[str, Any]] = []

        def logged() -> bool:
            lines[:] = [json.loads(line) for line in envoy.access_log.read_text().splitlines()]
            return len(lines) == 3

        # Envoy writes its access log once a second or so.
        until(logged, "three lines in the access log")
    assert [line["decision_id"] for line in lines] == [
        allowed.told["x-remit-decision-id"],
        denied.told["decision_id"],
        None,
    ]
    assert [line["reason"] for line in lines] == ["ALLOWED_BY_RULE", denied.told["reason"], None]
    assert lines[2]["error"] == malformed.told["error"]


@pytest.mark.parametrize(("allow", "status", "counted"), [(False, 503, "error"), (True, 200, "failure_mode_allowed")])
def test_without_a_server_the_failure_mode_of_envoy_applies(
    configuration: Configuration, tmp_path: Path, token: Callable[..., str], allow: bool, status: int, counted: str
) -> None:
    with App() as nobody:
        port = nobody.port
    filter_of(configuration, "ext_authz")["failure_mode_allow"] = allow
    (endpoint,) = cluster_of(configuration, "remit")["load_assignment"]["endpoints"][0]["lb_endpoints"]
    endpoint["endpoint"]["address"]["socket_address"]["port_value"] = port
    with Envoy(tmp_path, configuration) as envoy:
        assert status == envoy.ask(BOBS, token()).status
        assert 1 == envoy.stat(counted)


def test_a_disk_slower_than_the_timeout_is_an_error_of_the_call_and_no_deny(
    files: Path, app: App, gateway_policies: Path, tmp_path: Path, token: Callable[..., str]
) -> None:
    slow = (*LAUNCHER, "slow:1500")
    with Server(tmp_path / "remit", *FLAGS, policies=gateway_policies, launcher=slow) as server:
        configuration = configured(files, app.port, server.port)
        with Envoy(tmp_path / "envoy", configuration) as envoy:
            assert 503 == envoy.ask(BOBS, token()).status
            assert (1, 0) == (envoy.stat("error"), envoy.stat("denied"))
        filter_of(configuration, "ext_authz")["grpc_service"]["timeout"] = "30s"
        with Envoy(tmp_path / "patient", configuration) as envoy:
            assert 200 == envoy.ask(BOBS, token()).status


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


def with_client_certificates(configuration: Configuration, authority: Authority) -> None:
    certificate, private = authority.signed("listener", "127.0.0.1")
    configuration["static_resources"]["listeners"][0]["filter_chains"][0]["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": True,
            "common_tls_context": {
                "tls_certificates": [
                    {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(private)}}
                ],
                "validation_context": {"trusted_ca": {"filename": str(authority.certificate)}},
            },
        },
    }


def connect_as(
    authority: Authority, name: str, *names: x509.GeneralName
) -> Callable[[int], http.client.HTTPConnection]:
    context = ssl.create_default_context(cafile=authority.certificate)
    context.load_cert_chain(*authority.issued(name, names))
    return lambda port: http.client.HTTPSConnection("127.0.0.1", port, timeout=DEADLINE_S, context=context)


WEB = x509.UniformResourceIdentifier(SPIFFE)
SHOP = x509.DNSName("shop.acme.example")


def test_the_clients_certificate_names_the_principal(
    configuration: Configuration, authority: Authority, tmp_path: Path, token: Callable[..., str], server: Server
) -> None:
    """A token comes first, as the setting says."""
    with_client_certificates(configuration, authority)
    web, shop = connect_as(authority, "web", WEB), connect_as(authority, "shop", SHOP)
    with Envoy(tmp_path, configuration) as envoy:
        by_uri, by_both = envoy.ask(BOBS, connect=web), envoy.ask(BOBS, token(), connect=web)
        by_dns = envoy.ask(BOBS, connect=shop)

    assert f"service:{SPIFFE}" == by_uri.told["x-remit-principal"]
    assert "user:bob" == by_both.told["x-remit-principal"]
    assert "service:dns/shop.acme.example" == decision_of(server, by_dns.told["decision_id"]).principal


def test_a_forwarded_certificate_counts_if_the_setting_says_so(
    files: Path,
    app: App,
    gateway_policies: Path,
    authority: Authority,
    tmp_path: Path,
    token: Callable[..., str],
    server: Server,
) -> None:
    """With it, the header that this Envoy sets; without it, no header."""
    hidden = x509.DNSName(f"a.example;URI={SPIFFE}")

    def behind(name: str, server: Server) -> list[Reply]:
        configuration = configured(files, app.port, server.port)
        with_client_certificates(configuration, authority)
        manager_of(configuration)["forward_client_cert_details"] = "SANITIZE_SET"
        manager_of(configuration)["set_current_client_cert_details"] = {"uri": True, "dns": True, "subject": True}
        headers = filter_of(configuration, "ext_authz")["allowed_headers"]["patterns"]
        headers.append({"exact": "x-forwarded-client-cert"})
        with Envoy(tmp_path / name, configuration) as envoy:
            clients = [connect_as(authority, f"{name}{each.value[:3]}", each) for each in (WEB, SHOP, hidden)]
            forged = {"x-forwarded-client-cert": "URI=spiffe://acme.example/x"}
            return [envoy.ask(BOBS, connect=each, headers=forged) for each in clients]

    only_forwarded, only_claims = (
        ("--envoy", "--envoy-principal", sources) for sources in ("forwarded-certificate", "company/email=user")
    )
    with Server(tmp_path / "forwarded", *only_forwarded, policies=gateway_policies) as trusting:
        by_uri, by_dns, by_both = behind("trusting", trusting)
        assert f"service:{SPIFFE}" == by_uri.told["x-remit-principal"]
        assert "service:dns/shop.acme.example" == decision_of(trusting, by_dns.told["decision_id"]).principal
        assert 401 == by_both.status
    with Server(tmp_path / "claims", *only_claims, policies=gateway_policies) as wary:
        assert [401, 401, 401] == [each.status for each in behind("wary", wary)]


def test_a_host_cannot_lead_to_a_tenant_that_the_gateway_may_not_ask_about(
    files: Path, app: App, untested: Path, authority: Authority, tmp_path: Path, token: Callable[..., str]
) -> None:
    """Also if Envoy lets requests pass on errors: a client chooses the host."""
    policies = Path(shutil.copytree(untested, tmp_path / "policies"))
    (policies / "acme" / "gateway.yaml").write_text(GATEWAY)
    (policies / "globex" / "gateway.yaml").write_text(GATEWAY)
    (policies / "_callers").mkdir()
    (policies / "_callers" / "bindings.csv").write_text(
        "p, service:dns/gateway.acme.example, _callers, acme, REMIT, CHECK, allow\n"
    )
    setting = ("--envoy-hosts", "api.acme.example=acme, api.globex.example=globex")
    tls = authority.server_flags(*authority.signed("remit", "remit.acme.example"))
    (files / "tls").mkdir()
    certificate, private = authority.signed("gateway", "gateway.acme.example")
    for name, path in {"tls.crt": certificate, "tls.key": private, "ca.crt": authority.certificate}.items():
        shutil.copy(path, files / "tls" / name)
    with Server(tmp_path / "remit", *FLAGS, *setting, *tls, policies=policies) as server:
        configuration = configured(files, app.port, server.port, tls=True)
        filter_of(configuration, "ext_authz")["failure_mode_allow"] = True
        (host,) = manager_of(configuration)["route_config"]["virtual_hosts"]
        host["domains"] = ["*"]
        del host["typed_per_filter_config"]
        with Envoy(tmp_path / "envoy", configuration) as envoy:
            allowed = envoy.ask(BOBS, token(), host="API.acme.example:8080")
            hosts = ("api.globex.example", "api.globex.example:", "x.example")
            other, spelt, unknown = (envoy.ask(BOBS, token(), host=host) for host in hosts)
        record = decision_of(server, allowed.told["x-remit-decision-id"])

    assert "service:dns/gateway.acme.example" == record.caller
    assert (403, {"error": "the gateway may not ask about this tenant"}) == (other.status, other.told)
    assert (other.status, other.told) == (spelt.status, spelt.told)
    assert (400, {"error": "neither the route nor the host names a tenant"}) == (unknown.status, unknown.told)


def check(server: Server, request: bytes, timeout_s: float = DEADLINE_S) -> messages.CheckResponse:
    with server.channel() as channel:
        call = channel.unary_unary(f"/{SERVICE}/Check", response_deserializer=messages.CheckResponse.FromString)
        return call(request, timeout=timeout_s)


def test_a_call_that_describes_no_http_request_is_refused(server: Server) -> None:
    """As from the network filter of Envoy."""
    for request in (messages.CheckRequest(), messages.CheckRequest(attributes={"request": {}})):
        denied = check(server, request.SerializeToString())
        assert (400, 3) == (denied.denied_response.status.code, denied.status.code)


def test_a_call_that_is_no_message_is_an_error(server: Server) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        check(server, b"\xff\xff\xff")
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()


def test_health_tells_of_the_service_only_where_it_is_switched_on(server: Server, untouched: Server) -> None:
    with server.channel() as channel, untouched.channel() as other:
        assert 1 == Health(channel).of(SERVICE)
        with pytest.raises(grpc.RpcError) as caught:
            Health(other).of(SERVICE)
        assert grpc.StatusCode.NOT_FOUND is caught.value.code()
    with pytest.raises(grpc.RpcError) as caught:
        check(untouched, b"")
    assert grpc.StatusCode.UNIMPLEMENTED is caught.value.code()


def test_kill_9_under_requests_loses_no_decision_that_was_answered(
    files: Path, app: App, gateway_policies: Path, tmp_path: Path, token: Callable[..., str]
) -> None:
    """Three times over one store."""
    acknowledged: set[bytes] = set()
    bearer = token()
    with Server(tmp_path / "remit", *FLAGS, policies=gateway_policies) as server:
        for lap in range(3):
            if lap:
                server.start()
            with Envoy(tmp_path / f"envoy-{lap}", configured(files, app.port, server.port)) as envoy:
                ended: list[bool] = []

                def ask(envoy: Envoy = envoy, ended: list[bool] = ended) -> None:
                    while not ended:
                        reply = envoy.ask(BOBS, bearer)
                        if reply.status == 200:
                            acknowledged.add(parse_id(reply.told["x-remit-decision-id"]))

                threads = [Thread(target=ask) for _ in range(4)]
                for each in threads:
                    each.start()
                time.sleep(0.7)
                server.kill()
                ended.append(True)
                for each in threads:
                    each.join()
        assert len(acknowledged) > 10
        expect_kept(server.audit, acknowledged)
