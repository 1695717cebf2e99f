"""From a credential to a caller, with a verifier of tokens that knows its answers beforehand."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from remit.core.caller_actions import CallerAction
from remit.rpc.identity import CallerIdentities, Credential, CredentialLog
from remit.service.callers import ANONYMOUS, Caller
from remit.service.errors import ForbiddenError
from remit.service.identities.errors import (
    CredentialRefusedError,
    KeysAwayError,
    TokenRefusedError,
    UnverifiedTokenError,
)
from remit.service.identities.live import LiveIdentities

FILE = f"""\
issuers:
  kc: {{issuer: https://id.example, audience: remit, algorithms: [ES256], jwks: 'https://id.example/keys'}}
callers:
  - {{as: service:shop, dns: shop.internal}}
  - {{as: "user:{{sub}}", jwt: {{issuer: kc, azp: console}}}}
  - {{as: service:batch, token: [{{sha256: {sha256(b"opaque").hexdigest()}}}]}}
"""


class Token(NamedTuple):
    issuer: str
    claims: Mapping[str, Any]


class FakeVerifier:
    """Knows `TOKENS`, and remembers what it verified."""

    TOKENS: Mapping[str, Token | Exception] = {
        "service": Token("kc", {"sub": "ci"}),
        "person": Token("kc", {"sub": "ann", "azp": "console"}),
        "no-id": Token("kc", {"sub": "auth0|ann"}),
        "other": Token("gone", {"sub": "ci"}),
        "bad": TokenRefusedError("its signature is wrong"),
        "away": KeysAwayError("kc"),
    }

    def __init__(self) -> None:
        self.verified: dict[str, Token | TokenRefusedError] = {}
        self.bound_to: list[bytes | None] = []

    def cached(self, token: str, certificate_sha256: bytes | None = None) -> Token | TokenRefusedError | None:
        self.bound_to.append(certificate_sha256)
        return self.verified.get(token)

    def verify(self, token: str, certificate_sha256: bytes | None = None) -> Token:
        self.bound_to.append(certificate_sha256)
        found = self.TOKENS[token]
        if isinstance(found, Exception):
            raise found
        self.verified[token] = found
        return found


@pytest.fixture(scope="module")
def certificate() -> bytes:
    return trustme.CA().issue_cert("shop.internal").cert_chain_pems[0].bytes()


@pytest.fixture
def live(tmp_path: Path) -> LiveIdentities:
    path = tmp_path / "identities.yaml"
    path.write_text(FILE)
    live = LiveIdentities(path)
    live.load()
    return live


@pytest.fixture
def verifier() -> FakeVerifier:
    return FakeVerifier()


@pytest.fixture
def callers(live: LiveIdentities, verifier: FakeVerifier) -> CallerIdentities:
    return CallerIdentities(live, lambda: verifier, authenticated=True, require_act_for=only_batch)


def only_batch(caller: Caller) -> None:
    if caller.principal != "service:batch":
        raise ForbiddenError(caller, CallerAction.ACT_FOR, "")


def cause_of(callers: CallerIdentities, credential: Credential) -> str:
    with pytest.raises(CredentialRefusedError) as refused:
        callers.caller_of(credential)
    assert "the credential was not accepted" == str(refused.value)
    return refused.value.cause


def test_without_tls_every_caller_is_anonymous(live: LiveIdentities) -> None:
    assert ANONYMOUS == CallerIdentities(live, authenticated=False, require_act_for=only_batch).caller_of(
        Credential(b"", "")
    )


def test_renamed_certificate_keeps_its_own_name_as_via(callers: CallerIdentities, certificate: bytes) -> None:
    assert Caller("service:shop", "dns/shop.internal") == callers.caller_of(Credential(certificate, ""))


def test_token_beats_the_certificate_which_becomes_via(callers: CallerIdentities, certificate: bytes) -> None:
    digest = sha256(b"opaque").hexdigest()
    assert Caller("service:batch", f"token/{digest[:12]}") == callers.caller_of(Credential(b"", "opaque"))
    assert Caller("service:batch", "dns/shop.internal") == callers.caller_of(Credential(certificate, "opaque"))
    assert Caller("user:ann", "dns/shop.internal") == callers.caller_of(Credential(certificate, "person"))


def test_verified_token_names_its_caller(callers: CallerIdentities) -> None:
    assert Caller("service:jwt/kc/ci") == callers.caller_of(Credential(b"", "service"))
    assert Caller("user:ann", "jwt/kc/ann") == callers.caller_of(Credential(b"", "person"))


def test_unknown_token_is_verified_where_the_call_may_wait(callers: CallerIdentities) -> None:
    credential = Credential(b"", "service")
    with pytest.raises(UnverifiedTokenError):
        callers.caller_of(credential, may_wait=False)
    assert callers.caller_of(credential) == callers.caller_of(credential, may_wait=False)


def test_verifier_gets_the_fingerprint_of_the_certificate(
    callers: CallerIdentities, verifier: FakeVerifier, certificate: bytes
) -> None:
    callers.caller_of(Credential(certificate, "service"))
    callers.caller_of(Credential(b"", "service"))
    assert [32, 32, 0] == [len(each or b"") for each in verifier.bound_to]


@pytest.mark.parametrize(
    ("token", "cause"),
    [
        ("bad", "a token: its signature is wrong"),
        ("other", "a token of an issuer that `identities` no longer names"),
        ("no-id", "a token of `kc`: the claim `sub` cannot be part of a principal's ID"),
    ],
)
def test_refused_token_says_why_to_the_log_only(callers: CallerIdentities, token: str, cause: str) -> None:
    assert cause == cause_of(callers, Credential(b"", token))


def test_keys_that_are_away_are_no_refusal(callers: CallerIdentities) -> None:
    with pytest.raises(KeysAwayError):
        callers.caller_of(Credential(b"", "away"))


def test_token_without_a_verifier_is_refused(live: LiveIdentities) -> None:
    callers = CallerIdentities(live, authenticated=True, require_act_for=only_batch)
    assert "no row of `identities`" in cause_of(callers, Credential(b"", "service"))


def test_nothing_names_nobody(callers: CallerIdentities) -> None:
    assert "neither a certificate nor a token" == cause_of(callers, Credential(b"", ""))


def test_rubbish_in_place_of_a_certificate_is_refused(callers: CallerIdentities) -> None:
    assert cause_of(callers, Credential(b"rubbish", "")).startswith("the certificate cannot be read")


def test_log_is_silent_about_a_cause_that_it_told_a_moment_ago() -> None:
    log = CredentialLog()
    with capture_logs() as lines:
        for _ in range(3):
            for number in range(1_000):
                log.add(f"cause {number}")
    assert 101 == len(lines)
    assert {"event": "credential refused", "cause": "other causes", "calls": 1, "log_level": "warning"} in lines


class Call:
    """A call without a certificate, that carries this metadata."""

    def __init__(self, *metadata: tuple[str, str | bytes]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> Any:
        return self._metadata

    def auth_context(self) -> dict[str, list[bytes]]:
        return {}


def test_who_acts_for_a_person_is_named_beside_the_person(callers: CallerIdentities) -> None:
    credential = callers.credential_of(Call(("authorization", "Bearer opaque"), ("remit-act-for", "user:ann")))

    found = callers.caller_of(credential)
    assert Caller("user:ann", "service:batch", "service:batch") == found
    assert "service:batch" == found.counted


def test_who_may_not_act_for_others_is_refused_and_not_taken_for_itself(callers: CallerIdentities) -> None:
    with pytest.raises(ForbiddenError, match="`service:jwt/kc/ci` may not ACT_FOR across tenants"):
        callers.caller_of(Credential(b"", "service", "user:ann"))


@pytest.mark.parametrize("person", ["", "ann", "user:", "service:ann", "group:ann", "user:ann user:bob", "USER:ann"])
def test_name_of_no_person_is_refused(callers: CallerIdentities, person: str) -> None:
    with pytest.raises(CredentialRefusedError) as refused:
        callers.credential_of(Call(("authorization", "Bearer opaque"), ("remit-act-for", person)))
    assert "`remit-act-for` that is no person" in refused.value.cause


def test_two_persons_are_refused(callers: CallerIdentities) -> None:
    twice = [("remit-act-for", "user:ann")] * 2
    with pytest.raises(CredentialRefusedError) as refused:
        callers.credential_of(Call(("authorization", "Bearer opaque"), *twice))
    assert "two values of `remit-act-for`" == refused.value.cause


def test_person_without_tls_is_refused(live: LiveIdentities) -> None:
    callers = CallerIdentities(live, authenticated=False, require_act_for=lambda _: None)
    with pytest.raises(CredentialRefusedError):
        callers.credential_of(Call(("remit-act-for", "user:ann")))


_SEPARATORS = st.sampled_from(["", " ", "\t", "  ", "\u00a0", "\u2003", "\n", "\0", ",", "="]) | st.characters()


# The fixture remembers nothing of a credential.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.just("Bearer") | st.text(), _SEPARATORS, st.text("!x~") | st.text())
@example("Bearer", "\t", "x")
@example("BEARER", " ", "x")
@example("Bearer", " ", "x\n")
def test_authorization_is_bearer_one_space_and_one_token_or_is_refused(
    callers: CallerIdentities, scheme: str, between: str, token: str
) -> None:
    value = scheme + between + token
    scheme, _, token = value.partition(" ")
    if scheme.lower() == "bearer" and token and all("!" <= each <= "~" for each in token):
        assert token == callers.credential_of(Call(("authorization", value))).token
        return
    for written in (value, value.encode("utf-8", "surrogatepass")):
        with pytest.raises(CredentialRefusedError) as refused:
            callers.credential_of(Call(("authorization", written)))
        assert "a value of `authorization` that is not `Bearer` and one token" == refused.value.cause
