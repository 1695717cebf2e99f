"""Callers with JWTs, by a real server with TLS whose issuer is a fake OpenID provider."""

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import trustme
from support.certificates import Authority
from support.issuer import FakeIssuer, issuer_key
from support.questions import check
from support.server import DEADLINE_S, Server, access_of, remit, until

from remit.audit.ids import parse_id
from remit.client import Client, DecisionUnavailable, MutualTls

BOB_VIEWS = ("user:bob", "VIEW", "FLOW", "acme.finance")
REFUSED = ("UNAUTHENTICATED", "the credential was not accepted")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


@pytest.fixture
def issuer(authority: Authority, tmp_path: Path) -> Iterator[FakeIssuer]:
    with FakeIssuer(authority.ca, tmp_path) as started:
        yield started


@pytest.fixture
def identities(issuer: FakeIssuer, tmp_path: Path) -> Path:
    path = tmp_path / "identities.yaml"
    about = {"issuer": issuer.url, "audience": "remit", "algorithms": ["ES256"]}
    about |= {"jwks": f"{issuer.url}/jwks", "ca": str(issuer.ca)}
    rows = [{"as": "service:ci", "jwt": {"issuer": "kc", "sub": "runner"}}]
    path.write_text(json.dumps({"issuers": {"kc": about}, "callers": rows}))
    return path


@pytest.fixture
def server(tmp_path: Path, untested: Path, authority: Authority, identities: Path) -> Iterator[Server]:
    """It asks for no certificate: each call needs a token."""
    cert, key = authority.signed("server", "127.0.0.1")
    flags = ("--tls-cert", str(cert), "--tls-key", str(key), "--identities", str(identities))
    with Server(tmp_path / "audit", *flags, policies=untested) as started:
        yield started


def client(server: Server, authority: Authority, token: str) -> Client:
    return Client(server.target, timeout_s=DEADLINE_S, server_ca=authority.certificate, token=token)


def refusal(server: Server, authority: Authority, token: str) -> tuple[str, str]:
    with client(server, authority, token) as asking, pytest.raises(DecisionUnavailable) as caught:
        asking.tenant("acme").check(*BOB_VIEWS)
    return caught.value.code, caught.value.message


def test_token_names_the_caller(server: Server, authority: Authority, issuer: FakeIssuer) -> None:
    callers = {}
    for sub in ("shop", "runner"):
        with client(server, authority, issuer.token(sub)) as asking, server.store() as store:
            for _ in range(2):  # the second is known already
                record = store.decision(parse_id(asking.tenant("acme").check(*BOB_VIEWS).decision_id))
                assert record is not None
                callers[sub] = record.caller
    assert {"shop": "service:jwt/kc/shop", "runner": "service:ci"} == callers


@pytest.mark.parametrize(
    "claims", [{"aud": "other"}, {"exp": 1}, {"iss": "https://elsewhere.example"}, {"nbf": 32_503_680_000}]
)
def test_token_that_does_not_count_is_refused_with_one_text(
    server: Server, authority: Authority, issuer: FakeIssuer, claims: dict[str, object]
) -> None:
    assert REFUSED == refusal(server, authority, issuer.token(**claims))
    assert 1 == server.metric("remit_call_seconds_count", method="Check", code="UNAUTHENTICATED")


def test_token_of_a_key_that_was_withdrawn_ends(
    server: Server, authority: Authority, issuer: FakeIssuer, identities: Path
) -> None:
    """Also where it was verified before. A new source of keys is read at once; a fetch comes every five minutes."""
    old = issuer.token("shop")
    with client(server, authority, old) as asking:
        asking.tenant("acme").check(*BOB_VIEWS)
        issuer.keys = [issuer_key("second")]
        about = json.loads(identities.read_text())
        about["issuers"]["kc"]["jwks"] += "?again"
        identities.write_text(json.dumps(about))

        def ended() -> bool:
            try:
                asking.tenant("acme").check(*BOB_VIEWS)
            except DecisionUnavailable as error:
                return error.code == "UNAUTHENTICATED"
            return False

        until(ended, "the old token ends")
    with client(server, authority, issuer.token("shop")) as asking:
        asking.tenant("acme").check(*BOB_VIEWS)


def test_connection_of_refused_tokens_is_slowed_and_no_other(
    server: Server, authority: Authority, issuer: FakeIssuer
) -> None:
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
    with grpc.secure_channel(server.target, credentials) as channel:
        codes = []
        for number in range(40):
            token = issuer.token(f"caller{number}", aud="other")
            with pytest.raises(grpc.RpcError) as caught:
                access_of(channel).Check(check(), timeout=DEADLINE_S, metadata=[("authorization", f"Bearer {token}")])
            codes.append(caught.value.code())
    assert {grpc.StatusCode.UNAUTHENTICATED} == set(codes[:10])
    assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
    with client(server, authority, issuer.token("shop")) as asking:
        asking.tenant("acme").check(*BOB_VIEWS)


def test_calls_without_keys_of_the_issuer_are_told_so_however_many(
    server: Server, authority: Authority, issuer: FakeIssuer, identities: Path
) -> None:
    """The caller did nothing wrong: it may try again, and is not held for somebody who guesses."""
    issuer.behaviour = "down"
    about = json.loads(identities.read_text())
    about["issuers"]["kc"]["jwks"] += "?moved"
    identities.write_text(json.dumps(about))
    server.wait_for("keys of an issuer not read")
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
    with grpc.secure_channel(server.target, credentials) as channel:
        codes = set()
        for number in range(40):
            metadata = [("authorization", f"Bearer {issuer.token(f'caller{number}')}")]
            with pytest.raises(grpc.RpcError) as caught:
                access_of(channel).Check(check(), timeout=DEADLINE_S, metadata=metadata)
            codes.add(caught.value.code())
    assert {grpc.StatusCode.UNAVAILABLE} == codes


def test_command_line_shows_a_token(server: Server, authority: Authority, issuer: FakeIssuer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{issuer.token('shop')}\n")
    options = ("--target", server.target, "--tls-server-ca", str(authority.certificate))
    asked = remit("check", "acme", *BOB_VIEWS, *options, "--token-file", str(token))
    assert (0, "allow ALLOWED_BY_RULE\n") == (asked.returncode, asked.stdout)
    assert 2 == remit("check", "acme", *BOB_VIEWS, *options).returncode


def test_certificate_beside_a_token_only_opens_the_connection(
    tmp_path: Path, untested: Path, authority: Authority, identities: Path, issuer: FakeIssuer
) -> None:
    flags = authority.server_flags(*authority.signed("mutual", "127.0.0.1"))
    flags += ("--identities", str(identities))
    tls = MutualTls(authority.certificate, *authority.signed("gateway", "gateway.example"))
    with Server(tmp_path / "mutual", *flags, policies=untested) as server, server.store() as store:
        with Client(server.target, timeout_s=DEADLINE_S, tls=tls, token=issuer.token("shop")) as asking:
            record = store.decision(parse_id(asking.tenant("acme").check(*BOB_VIEWS).decision_id))
        assert record is not None
        assert ("service:jwt/kc/shop", {"via": "dns/gateway.example"}) == (record.caller, json.loads(record.detail))
