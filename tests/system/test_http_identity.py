"""Who calls over HTTP, and what they may: by real servers with TLS, certificates and tokens."""

import json
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import trustme
from support.certificates import Authority
from support.http_api import JSON, HttpApi, details
from support.issuer import FakeIssuer
from support.questions import check
from support.server import DEADLINE_S, Server, until

from remit.audit.ids import parse_id
from remit.client import Client, DecisionUnavailable
from remit.v1 import access_service_pb2 as access
from remit.v1 import policy_service_pb2 as policy

CHECK = "/remit.v1.AccessService/Check"
ANYWHERE = "127.0.0.1:0"
SHOP, OTHER = "shop.example", "other.example"
RIGHTS = f"p, service:dns/{SHOP}, _callers, acme, REMIT, CHECK|WATCH, allow\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


class Callers:
    """Contexts for HTTPS of callers with certificates, and of one without."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._numbers = iter(range(1_000))

    def tls(self, name: str = "", authority: Authority | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._authority.certificate)
        if name:
            signing = authority or self._authority
            context.load_cert_chain(*signing.signed(f"{name}-{next(self._numbers)}", name))
        return context


@pytest.fixture
def callers(authority: Authority) -> Callers:
    return Callers(authority)


@pytest.fixture
def rights(tmp_path: Path, untested: Path) -> Path:
    policies = Path(shutil.copytree(untested, tmp_path / "policies"))
    shutil.rmtree(policies / "_callers", ignore_errors=True)
    (policies / "_callers").mkdir()
    (policies / "_callers" / "bindings.csv").write_text(RIGHTS)
    return policies


@pytest.fixture
def server(tmp_path: Path, rights: Path, authority: Authority) -> Iterator[Server]:
    flags = authority.server_flags(*authority.signed("server", "127.0.0.1"))
    with Server(tmp_path / "audit", *flags, policies=rights, http=ANYWHERE) as started:
        yield started


def caller_of(server: Server, told: access.CheckResponse) -> str:
    with server.store() as store:
        record = store.decision(parse_id(told.decision.decision_id))
    assert record is not None
    return record.caller


def test_certificate_names_the_caller(server: Server, callers: Callers) -> None:
    with HttpApi(server.http_port, tls=callers.tls(SHOP)) as api:
        assert f"service:dns/{SHOP}" == caller_of(server, api.ask(check()))


@pytest.mark.parametrize("encoding", ["usual", "unusual"])
def test_caller_without_a_certificate_is_told_so(server: Server, callers: Callers, encoding: str) -> None:
    """By an answer, and not by a handshake that fails."""
    with HttpApi(server.http_port, JSON, tls=callers.tls()) as api:
        response = api.post(CHECK, check(), expect=encoding) if encoding == "unusual" else api.post(CHECK, check())

    assert (401, "unauthenticated") == (response.status_code, response.json()["code"])
    assert 'Bearer realm="remit"' == response.headers["www-authenticate"]
    assert "the credential was not accepted" == response.json()["message"]


def test_stream_without_a_certificate_is_refused(server: Server, callers: Callers) -> None:
    with HttpApi(server.http_port, tls=callers.tls()) as api:
        stream = api.stream(
            "/remit.v1.PolicyService/WatchRevision", policy.WatchRevisionRequest(), policy.WatchRevisionResponse
        )
        with pytest.raises(DecisionUnavailable, match="UNAUTHENTICATED"):
            next(stream)


def test_certificate_of_another_authority_makes_no_connection(server: Server, callers: Callers, tmp_path: Path) -> None:
    (tmp_path / "stranger").mkdir()
    stranger = Authority(tmp_path / "stranger", trustme.CA())
    with (
        HttpApi(server.http_port, tls=callers.tls(SHOP, stranger)) as api,
        pytest.raises(httpx.TransportError),
    ):
        api.post(CHECK, check())


def test_plain_http_gets_no_answer_where_there_is_tls(server: Server) -> None:
    with HttpApi(server.http_port) as api, pytest.raises(httpx.TransportError):
        api.post(CHECK, check())


def test_caller_without_the_right_is_refused_and_recorded(server: Server, callers: Callers) -> None:
    with HttpApi(server.http_port, tls=callers.tls(SHOP)) as api:
        assert api.ask(check()).revision
        elsewhere = api.post(CHECK, check(tenant="globex"))
    with HttpApi(server.http_port, tls=callers.tls(OTHER)) as api:
        nobody = api.post(CHECK, check())
    server.terminate()
    with server.store() as store:
        refused = {json.loads(each.detail)["caller"] for each in store.lifecycle(type_="CALL_REFUSED")}

    assert [(403, "permission_denied")] * 2 == [(each.status_code, each.json()["code"]) for each in (elsewhere, nobody)]
    assert {f"service:dns/{SHOP}", f"service:dns/{OTHER}"} == refused


def test_right_that_is_taken_away_ends_an_open_stream(server: Server, callers: Callers, rights: Path) -> None:
    with HttpApi(server.http_port, tls=callers.tls(SHOP)) as api:
        stream = api.stream(
            "/remit.v1.PolicyService/WatchRevision",
            policy.WatchRevisionRequest(tenant="acme"),
            policy.WatchRevisionResponse,
        )
        assert "acme" == next(stream).tenant
        (rights / "_callers" / "bindings.csv").write_text(RIGHTS.replace("|WATCH", ""))
        with pytest.raises(DecisionUnavailable, match="PERMISSION_DENIED"):
            for _ in stream:
                pass


def test_limit_of_a_caller_holds_over_both_ways(
    serve: Callable[..., Server], rights: Path, authority: Authority, callers: Callers, tmp_path: Path
) -> None:
    identities = tmp_path / "identities.yaml"
    limits = {f"service:dns/{SHOP}": {"rate": 0.01, "burst": 2}}
    identities.write_text(json.dumps({"limits": limits}))
    flags = authority.server_flags(*authority.signed("server", "127.0.0.1"))
    server = serve(*flags, "--identities", str(identities), policies=rights, http=ANYWHERE)
    with HttpApi(server.http_port, tls=callers.tls(SHOP)) as api:
        assert api.ask(check()).revision
        tls = authority.caller(authority.signed("shop-over-grpc", SHOP))
        with Client(server.target, timeout_s=DEADLINE_S, tls=tls) as client:
            assert client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance").allowed
        refused = api.post(CHECK, check())

    assert (429, "resource_exhausted") == (refused.status_code, refused.json()["code"])
    assert {"google.rpc.RetryInfo", "google.rpc.ErrorInfo"} == details(refused.json()).keys()


def test_new_certificates_are_taken_over(
    serve: Callable[..., Server], rights: Path, authority: Authority, callers: Callers, tmp_path: Path
) -> None:
    """Those of the server, and the authority of callers."""
    (tmp_path / "second").mkdir()
    second = Authority(tmp_path / "second", trustme.CA())
    files = {name: tmp_path / f"{name}.pem" for name in ("cert", "key", "ca")}

    def take(signing: Authority) -> None:
        cert, key = authority.signed("server", "127.0.0.1")
        for new, old in ((cert, files["cert"]), (key, files["key"]), (signing.certificate, files["ca"])):
            shutil.copy(new, old.with_suffix(".new"))
            old.with_suffix(".new").replace(old)

    take(authority)
    flags = ("--tls-cert", str(files["cert"]), "--tls-key", str(files["key"]), "--tls-client-ca", str(files["ca"]))
    server = serve(*flags, policies=rights, http=ANYWHERE)
    old, new = callers.tls(SHOP), callers.tls(SHOP, second)

    def served(context: ssl.SSLContext) -> str:
        with HttpApi(server.http_port, tls=context) as api, api.http.stream("POST", CHECK) as response:
            connection = response.extensions["network_stream"].get_extra_info("ssl_object")
            return str(connection.getpeercert()["serialNumber"])

    first = served(old)
    take(second)

    def taken() -> bool:
        with suppress(httpx.TransportError):
            return served(new) != first
        return False

    until(taken, "the new authority counts")
    with pytest.raises(httpx.TransportError):
        served(old)


def test_token_names_the_caller_over_http(
    serve: Callable[..., Server], untested: Path, authority: Authority, callers: Callers, tmp_path: Path
) -> None:
    """One that the server knows, one that it must verify, and those that it refuses."""
    with FakeIssuer(authority.ca, tmp_path) as issuer:
        identities = tmp_path / "identities.yaml"
        about = {"issuer": issuer.url, "audience": "remit", "algorithms": ["ES256"]}
        about |= {"jwks": f"{issuer.url}/jwks", "ca": str(issuer.ca)}
        rows = [{"as": "service:ci", "jwt": {"issuer": "kc", "sub": "runner"}}]
        identities.write_text(json.dumps({"issuers": {"kc": about}, "callers": rows}))
        cert, key = authority.signed("server", "127.0.0.1")
        flags = ("--tls-cert", str(cert), "--tls-key", str(key), "--identities", str(identities))
        server = serve(*flags, policies=untested, http=ANYWHERE)
        with HttpApi(server.http_port, tls=callers.tls()) as api:
            token = f"Bearer {issuer.token('runner')}"
            names = {caller_of(server, api.ask(check(), authorization=token)) for _ in range(2)}
            refused = [
                api.post(CHECK, check(), authorization=f"Bearer {issuer.token('runner', aud='other')}"),
                api.post(CHECK, check(), authorization="Basic abc"),
                api.post(CHECK, check()),
            ]
            codes = {
                api.post(CHECK, check(), authorization=f"Bearer {issuer.token(f'x{n}', aud='no')}").status_code
                for n in range(30)
            }

    assert {"service:ci"} == names
    assert [401] * 3 == [each.status_code for each in refused]
    assert ["the credential was not accepted"] * 3 == [each.json()["message"] for each in refused]
    # A connection of refused tokens is slowed.
    assert {401, 429} == codes


def test_proxys_headers_are_not_believed(server: Server, callers: Callers) -> None:
    with HttpApi(server.http_port, tls=callers.tls(SHOP)) as api:
        headers = {
            "x_forwarded_for": "203.0.113.9",
            "x_forwarded_client_cert": f"DNS={OTHER}",
            "x_forwarded_proto": "http",
        }
        assert f"service:dns/{SHOP}" == caller_of(server, api.ask(check(), **headers))
