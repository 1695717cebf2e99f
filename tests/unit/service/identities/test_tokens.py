"""Which tokens count: each way of A JWT to be wrong is a case."""

import base64
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from support.issuer import StillKeys, issuer_key, jwks, sign

from remit.service.identities.errors import KeysAwayError, TokenRefusedError
from remit.service.identities.issuer import Issuer
from remit.service.identities.tokens import CACHE_ENTRIES, TokenVerifier, VerifiedToken

NOW_S = 1_800_000_000
ISS = "https://id.acme.example/realms/x"
CERTIFICATE = sha256(b"the connection's certificate").digest()

EC = issuer_key("ec")
P384 = ECKey.generate_key("P-384", {"kid": "p384"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
OTHER = issuer_key("other")
FOREIGN = issuer_key("ec")
"""Has the `kid` of our issuer's key, and is another."""


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def thumbprint(certificate_sha256: bytes) -> dict[str, Any]:
    return {"x5t#S256": b64(certificate_sha256)}


class Door:
    """A verifier of two issuers, whose clocks stand still."""

    def __init__(self, folder: Path) -> None:
        self.now_s = float(NOW_S)
        self.monotonic_s = 1_000.0
        self.sources: dict[str, StillKeys] = {}
        self.files = {name: folder / f"{name}.json" for name in ("kc", "k8s", "bound")}
        self.serve("kc", EC, P384, ED, RSA)
        self.serve("k8s", OTHER)
        self.serve("bound", EC)
        algorithms = frozenset({"ES256", "ES384", "EdDSA", "Ed25519", "RS256", "PS256"})
        kc = Issuer("kc", ISS, "remit", algorithms, jwks_file=self.files["kc"])
        k8s = Issuer("k8s", "https://k8s", "remit", frozenset({"ES256"}), jwks_file=self.files["k8s"])
        bound = replace(kc, name="bound", issuer="https://bound", jwks_file=self.files["bound"], require_bound=True)
        self.issuers = [kc, k8s, bound]
        self.verifier = TokenVerifier(
            self.issuers, clock_s=lambda: self.now_s, monotonic_s=lambda: self.monotonic_s, open_keys=self.opened
        )

    def opened(self, issuer: Issuer) -> StillKeys:
        source = StillKeys(issuer, clock_s=lambda: self.monotonic_s)
        self.sources[issuer.name] = source
        return source

    def serve(self, name: str, *keys: Key) -> None:
        self.files[name].write_bytes(jwks(*keys))
        if name in self.sources:
            self.sources[name].refresh()

    def refusal(self, token: str, certificate_sha256: bytes | None = None) -> str:
        with pytest.raises(TokenRefusedError) as caught:
            self.verifier.verify(token, certificate_sha256)
        assert str(caught.value) == "the token is refused"
        return caught.value.cause


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    made = Door(tmp_path)
    yield made
    made.verifier.close()


def claims(**more: Any) -> dict[str, Any]:
    said = {"iss": ISS, "sub": "batch", "aud": "remit", "iat": NOW_S - 10, "exp": NOW_S + 290, **more}
    return {name: value for name, value in said.items() if value is not ...}


def token(key: Key = EC, header: dict[str, Any] | None = None, **more: Any) -> str:
    """Signed as it should be; a claim of `...` is left out."""
    return sign(claims(**more), key, header)


def raw(payload: str, header: str = '{"alg":"ES256","kid":"ec"}', key: Key = EC) -> str:
    """A token of these very texts, with a good signature."""
    signed = f"{b64(header.encode())}.{b64(payload.encode())}"
    algorithm = jws.JWSRegistry.algorithms["ES256" if key is EC else "Ed25519"]
    return f"{signed}.{b64(algorithm.sign(signed.encode(), key))}"


def unsigned(alg: Any, signature: str = "") -> str:
    header = {"alg": alg, "kid": "ec"}
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims()).encode())}.{signature}"


_HS256 = b'{"alg":"HS256","kid":"rsa"}'


def hs256(secret: bytes) -> str:
    """By hand: joserfc does not sign with such secrets."""
    signed = f"{b64(_HS256)}.{b64(json.dumps(claims()).encode())}"
    return f"{signed}.{b64(hmac.digest(secret, signed.encode(), 'sha256'))}"


def text_of(said: dict[str, Any]) -> str:
    return json.dumps(said)


GOOD: dict[str, Callable[[], str]] = {
    "ES256": token,
    "ES384": lambda: token(P384, {"alg": "ES384"}),
    "EdDSA": lambda: raw(text_of(claims()), '{"alg":"EdDSA","kid":"ed"}', ED),
    "Ed25519": lambda: token(ED, {"alg": "Ed25519"}),
    "RS256": lambda: token(RSA, {"alg": "RS256"}),
    "PS256": lambda: token(RSA, {"alg": "PS256"}),
    "aud: list with ours": lambda: token(aud=["others", "remit"]),
    "exp: past, within the skew": lambda: token(iat=NOW_S - 300, exp=NOW_S - 29),
    "exp: a float": lambda: token(exp=NOW_S + 100.5),
    "nbf: future, within the skew": lambda: token(nbf=NOW_S + 30),
    "iat: future, within the skew": lambda: token(iat=NOW_S + 30),
    "lifetime: just max_age_s": lambda: token(iat=NOW_S, exp=NOW_S + 3600),
    "header: members that mean nothing here": lambda: token(header={"typ": "at+jwt", "signer": "x", "x5t": "abc"}),
    "claims: of any depth up to eight": lambda: token(realm_access={"roles": [{"a": ["b"]}]}),
    "claims: a character outside the first plane": lambda: token(name="\U0001f600"),
    "8 KiB": lambda: padded(8 * 1024),
}

BAD: dict[str, Callable[[], str]] = {
    # Algorithms.
    "alg: none": lambda: unsigned("none"),
    "alg: None": lambda: unsigned("None"),
    "alg: nOnE": lambda: unsigned("nOnE", "AA"),
    "alg: none with a signature": lambda: unsigned("none", "AA"),
    "alg: null": lambda: unsigned(None, "AA"),
    "alg: a list": lambda: unsigned(["ES256"], "AA"),
    "alg: missing": lambda: raw(text_of(claims()), '{"kid":"ec"}'),
    "alg: not of the issuer": lambda: token(RSA, {"alg": "RS512"}),
    "alg: of another type of key": lambda: raw(text_of(claims()), '{"alg":"RS256","kid":"ec"}'),
    "alg: of another curve": lambda: raw(text_of(claims()), '{"alg":"ES384","kid":"ec"}'),
    "empty signature": lambda: unsigned("ES256"),
    "zero signature": lambda: unsigned("ES256", b64(bytes(64))),
    "short signature": lambda: unsigned("ES256", b64(b"\1")),
    "HS256 with the RSA public key as secret": lambda: hs256(RSA.as_pem(private=False)),
    "HS256 with the RSA public key in DER as secret": lambda: hs256(RSA.as_der(private=False)),
    "HS256 with the JWK as secret": lambda: hs256(json.dumps(RSA.as_dict(private=False)).encode()),
    # Keys.
    "kid: missing": lambda: raw(text_of(claims()), '{"alg":"ES256"}'),
    "kid: empty": lambda: token(header={"kid": ""}),
    "kid: a number": lambda: raw(text_of(claims()), '{"alg":"ES256","kid":1}'),
    "kid: a list": lambda: raw(text_of(claims()), '{"alg":"ES256","kid":["ec"]}'),
    "kid: null": lambda: raw(text_of(claims()), '{"alg":"ES256","kid":null}'),
    "kid: of 10 KB": lambda: raw(text_of(claims()), json.dumps({"alg": "ES256", "kid": "k" * 10_000})),
    "kid: of 5 KB": lambda: raw(text_of(claims()), json.dumps({"alg": "ES256", "kid": "k" * 5_000})),
    "kid: a path": lambda: token(header={"kid": "../x"}),
    "kid: a URL": lambda: token(header={"kid": "https://evil.example/jwks"}),
    "kid: of another issuer's key": lambda: token(OTHER),
    "kid: ours, key foreign": lambda: token(FOREIGN),
    "kid: twice in the header": lambda: raw(text_of(claims()), '{"alg":"ES256","kid":"other","kid":"ec"}'),
    "iss of another issuer, our key": lambda: token(iss="https://k8s"),
    # Headers that name keys, or change the meaning.
    "header: jwk": lambda: token(FOREIGN, {"jwk": FOREIGN.as_dict(private=False)}),
    "header: jku": lambda: token(header={"jku": "https://evil.example/jwks"}),
    "header: x5u": lambda: token(header={"x5u": "https://evil.example/c"}),
    "header: x5c": lambda: token(header={"x5c": ["AAAA"]}),
    "header: crit": lambda: raw(text_of(claims()), '{"alg":"ES256","kid":"ec","crit":["exp"],"exp":1}'),
    "header: crit, empty": lambda: raw(text_of(claims()), '{"alg":"ES256","kid":"ec","crit":[]}'),
    "header: b64": lambda: raw(text_of(claims()), '{"alg":"ES256","kid":"ec","b64":true}'),
    "header: no object": lambda: raw(text_of(claims()), '["ES256","ec"]'),
    "header: no JSON": lambda: raw(text_of(claims()), "alg=ES256"),
    "header: typ is a number": lambda: raw(text_of(claims()), '{"alg":"ES256","kid":"ec","typ":1}'),
    # Shapes.
    "empty": lambda: "",
    "no JWT": lambda: "opaque-token",
    "two parts": lambda: token().rpartition(".")[0],
    "four parts": lambda: token() + ".AA",
    "five parts (JWE)": lambda: token() + ".AA.AA",
    "trailing dot": lambda: token() + ".",
    "trailing dots": lambda: token() + "..",
    "detached payload": lambda: "{0}..{2}".format(*token().split(".")),
    "padding": lambda: token() + "==",
    "base64 of the other alphabet": lambda: token().replace("-", "+").replace("_", "/") + "/",
    "newline at the end": lambda: token() + "\n",
    "space before": lambda: " " + token(),
    "not ASCII": lambda: token() + "\u00e9",
    "half a surrogate pair": lambda: token() + "\ud800",
    "9 KB": lambda: padded(9 * 1024),
    "one byte more than 8 KiB": lambda: padded(8 * 1024 + 1),
    # JSON that two parsers read in two ways.
    "JSON: a claim twice": lambda: raw(text_of(claims())[:-1] + ', "sub": "admin"}'),
    "JSON: a nested member twice": lambda: raw(text_of(claims())[:-1] + ', "a": {"b": 1, "b": 2}}'),
    "JSON: NaN": lambda: raw(text_of(claims())[:-1] + ', "a": NaN}'),
    "JSON: Infinity": lambda: raw(text_of(claims(exp=...))[:-1] + ', "exp": Infinity}'),
    "JSON: deep": lambda: raw(text_of(claims())[:-1] + ', "a": ' + "[" * 9 + "]" * 9 + "}"),
    "JSON: 2,500 levels": lambda: raw(text_of(claims())[:-1] + ', "a": ' + "[" * 2500 + "]" * 2500 + "}"),
    "JSON: 5,000 levels without an end": lambda: raw("[" * 5000),
    "JSON: more behind the object": lambda: raw(text_of(claims()) + "{}"),
    "JSON: control character": lambda: raw(text_of(claims())[:-1] + ', "a": "\0"}'),
    "JSON: UTF-16": lambda: sign(text_of(claims()).encode("utf-16"), EC),
    "JSON: byte order mark": lambda: sign(b"\xef\xbb\xbf" + text_of(claims()).encode(), EC),
    "JSON: not UTF-8": lambda: sign(text_of(claims()).encode()[:-1] + b', "a": "\xff"}', EC),
    "JSON: half a surrogate pair": lambda: raw(text_of(claims())[:-1] + ', "a": "\\ud800"}'),
    "JSON: a number of 5,000 digits": lambda: raw(text_of(claims(exp=...))[:-1] + ', "exp": ' + "9" * 5000 + "}"),
    "JSON: no object": lambda: raw("[]"),
    "JSON: null": lambda: raw("null"),
    # Issuer and audience.
    "iss: trailing slash": lambda: token(iss=ISS + "/"),
    "iss: other case": lambda: token(iss=ISS.upper()),
    "iss: missing": lambda: token(iss=...),
    "iss: a list": lambda: token(iss=[ISS]),
    "iss: an object": lambda: token(iss={"a": ISS}),
    "aud: missing": lambda: token(aud=...),
    "aud: wrong": lambda: token(aud="remit2"),
    "aud: of the console's client": lambda: token(aud="remit-console"),
    "aud: empty list": lambda: token(aud=[]),
    "aud: list without ours": lambda: token(aud=["remit-console", "account"]),
    "aud: list with ours and a number": lambda: token(aud=["remit", 1]),
    "aud: object": lambda: token(aud={"remit": True}),
    "aud: null": lambda: token(aud=None),
    "sub: missing": lambda: token(sub=...),
    "sub: empty": lambda: token(sub=""),
    "sub: a number": lambda: token(sub=7),
    "sub: a list": lambda: token(sub=["batch"]),
    # Times.
    "exp: missing": lambda: token(exp=...),
    "exp: past": lambda: token(iat=NOW_S - 3600, exp=NOW_S - 3000),
    "exp: past, just beyond the skew": lambda: token(iat=NOW_S - 300, exp=NOW_S - 30),
    "exp: a float, past": lambda: token(iat=NOW_S - 300, exp=NOW_S - 30.5),
    "exp: text": lambda: token(exp=str(NOW_S + 100)),
    "exp: true": lambda: token(exp=True),
    "exp: null": lambda: token(exp=None),
    "exp: 1e400": lambda: raw(text_of(claims(exp=...))[:-1] + ', "exp": 1e400}'),
    "exp: 1e300": lambda: raw(text_of(claims(exp=...))[:-1] + ', "exp": 1e300}'),
    "exp: negative": lambda: token(exp=-1),
    "exp: in milliseconds": lambda: token(exp=(NOW_S + 100) * 1000),
    "exp: before iat": lambda: token(iat=NOW_S + 10, exp=NOW_S + 5),
    "nbf: future": lambda: token(nbf=NOW_S + 31),
    "nbf: text": lambda: token(nbf=str(NOW_S)),
    "nbf: null": lambda: token(nbf=None),
    "iat: missing": lambda: token(iat=...),
    "iat: future": lambda: token(iat=NOW_S + 31, exp=NOW_S + 100),
    "iat: text": lambda: token(iat=str(NOW_S)),
    "iat: false": lambda: token(iat=False),
    "lifetime: over max_age_s": lambda: token(iat=NOW_S, exp=NOW_S + 3601),
    # Bound tokens, on a connection without a certificate.
    "cnf: a certificate, and there is none": lambda: token(cnf=thumbprint(CERTIFICATE)),
    "cnf: a key that proves itself otherwise": lambda: token(
        cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}
    ),
    "cnf: empty": lambda: token(cnf={}),
    "cnf: null": lambda: token(cnf=None),
    "cnf: text": lambda: token(cnf=b64(CERTIFICATE)),
    "cnf: short": lambda: token(cnf=thumbprint(b"")),
    "cnf: missing, where the issuer requires it": lambda: token(iss="https://bound"),
}


def padded(size: int) -> str:
    """A good token of just this size."""
    filler = (size - len(token(a="", header={"x": ""}))) * 3 // 4
    made = (token(a="a" * (filler - less), header={"x": "x" * more}) for less in range(8) for more in range(4))
    return next(text for text in made if len(text) == size)


@pytest.mark.parametrize("case", GOOD)
def test_good_token_names_its_caller(door: Door, case: str) -> None:
    verified = door.verifier.verify(GOOD[case]())

    assert ("kc", "batch") == (verified.issuer, verified.claims["sub"])


@pytest.mark.parametrize("case", BAD)
def test_bad_token_is_refused_each_time_it_comes(door: Door, case: str) -> None:
    text = BAD[case]()

    assert door.refusal(text) == door.refusal(text)
    assert door.verifier.cached(text) is not None


@pytest.mark.parametrize("case", BAD)
def test_bad_token_is_refused_where_a_certificate_is_there(door: Door, case: str) -> None:
    door.refusal(BAD[case](), sha256(b"another certificate").digest())


_MUTATED = token(RSA, {"alg": "RS256"})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    place=st.integers(0, len(_MUTATED) - 1),
    other=st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\0\x7f\xff"),
    elliptic=st.booleans(),
)
@example(place=len(_MUTATED) - 1, other="B", elliptic=False)
@example(place=len(_MUTATED) - 1, other="B", elliptic=True)
def test_token_with_one_byte_changed_is_refused(door: Door, place: int, other: str, elliptic: bool) -> None:
    good = token() if elliptic else _MUTATED
    place %= len(good)
    changed = good[:place] + other + good[place + 1 :]

    if changed == good:
        door.verifier.verify(changed)
    else:
        door.refusal(changed)


def test_bits_of_the_last_character_that_say_nothing_must_be_zero(door: Door) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    header, payload, signature = token().split(".")
    same_bytes = alphabet[alphabet.index(signature[-1]) ^ 1]

    door.refusal(f"{header}.{payload}.{signature[:-1]}{same_bytes}")


def test_refusal_says_nothing_of_the_token(door: Door) -> None:
    assert "its issuer has no key with its `kid`" == door.refusal(token(header={"kid": "\x1b[31m"}))


# Bound tokens (RFC 8705).


def test_bound_token_counts_on_a_connection_with_its_certificate(door: Door) -> None:
    text = token(cnf=thumbprint(CERTIFICATE))

    assert isinstance(door.verifier.verify(text, CERTIFICATE), VerifiedToken)
    assert isinstance(door.verifier.cached(text, CERTIFICATE), VerifiedToken)


def test_bound_token_that_is_cached_does_not_count_on_another_connection(door: Door) -> None:
    text = token(cnf=thumbprint(CERTIFICATE))
    door.verifier.verify(text, CERTIFICATE)

    for certificate in (None, b"", sha256(b"thief").digest()):
        assert isinstance(door.verifier.cached(text, certificate), TokenRefusedError)
        assert "it is bound to another certificate" == door.refusal(text, certificate)


def test_thief_of_a_bound_token_does_not_lock_its_owner_out(door: Door) -> None:
    text = token(cnf=thumbprint(CERTIFICATE))
    door.refusal(text, sha256(b"thief").digest())

    assert isinstance(door.verifier.verify(text, CERTIFICATE), VerifiedToken)


def test_issuer_may_require_bound_tokens(door: Door) -> None:
    text = token(iss="https://bound", cnf=thumbprint(CERTIFICATE))

    assert "bound" == door.verifier.verify(text, CERTIFICATE).issuer
    door.refusal(text)


# The cache.


def test_cache_answers_for_tokens_that_were_verified(door: Door) -> None:
    text = token()

    assert door.verifier.cached(text) is None
    verified = door.verifier.verify(text)
    assert door.verifier.cached(text) is verified


def test_cached_token_ends_with_its_exp(door: Door) -> None:
    text = token(exp=NOW_S + 100)
    assert NOW_S + 130 == door.verifier.verify(text).expires_s

    door.now_s = NOW_S + 129.9
    assert isinstance(door.verifier.cached(text), VerifiedToken)
    door.now_s = NOW_S + 130
    assert isinstance(door.verifier.cached(text), TokenRefusedError)
    door.refusal(text)


def test_refusal_is_remembered_for_ten_seconds(door: Door) -> None:
    text = token(nbf=NOW_S + 31)
    door.refusal(text)
    door.now_s += 60

    door.monotonic_s += 9.9
    assert isinstance(door.verifier.cached(text), TokenRefusedError)
    door.monotonic_s += 0.2
    assert door.verifier.cached(text) is None
    door.verifier.verify(text)


def test_refused_tokens_push_no_good_one_out(door: Door) -> None:
    text = token()
    door.verifier.verify(text)
    for number in range(CACHE_ENTRIES + 10):
        door.refusal(f"{number}")

    assert isinstance(door.verifier.cached(text), VerifiedToken)
    assert door.verifier.cached("0") is None
    assert isinstance(door.verifier.cached("4000"), TokenRefusedError)
    assert CACHE_ENTRIES == len(door.verifier._refused)


def test_cache_of_good_tokens_is_bounded(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remit.service.identities.tokens.CACHE_ENTRIES", 3)
    texts = [token(jti=str(number)) for number in range(4)]
    for text in texts:
        door.verifier.verify(text)

    assert [False, True, True, True] == [door.verifier.cached(text) is not None for text in texts]


def test_key_that_is_gone_takes_its_cached_tokens_along(door: Door) -> None:
    ours, others = token(), token(OTHER, iss="https://k8s")
    door.verifier.verify(ours)
    door.verifier.verify(others)

    door.serve("kc", P384)

    assert door.verifier.cached(ours) is None
    assert "its issuer has no key with its `kid`" == door.refusal(ours)
    assert isinstance(door.verifier.cached(others), VerifiedToken)


def test_key_exchanged_under_its_kid_takes_its_cached_tokens_along(door: Door) -> None:
    text = token()
    door.verifier.verify(text)

    door.serve("kc", FOREIGN)

    door.refusal(text)
    door.verifier.verify(token(FOREIGN))


def test_keys_that_are_read_again_and_are_the_same_keep_the_cache(door: Door) -> None:
    text = token()
    door.verifier.verify(text)

    door.serve("kc", RSA, ED, P384, EC)

    assert isinstance(door.verifier.cached(text), VerifiedToken)


def test_token_of_a_key_that_was_unknown_counts_as_soon_as_the_key_is_there(door: Door) -> None:
    text = token(issuer_key("new"))
    new = issuer_key("newer")
    text = token(new)
    door.refusal(text)
    assert 1 == door.sources["kc"].woken

    door.serve("kc", EC, new)

    door.verifier.verify(text)


def test_only_an_unknown_kid_of_the_issuer_wakes_its_keys(door: Door) -> None:
    for case, make in BAD.items():
        if not case.startswith(("kid", "iss of")):
            door.refusal(make())
    assert {0} == {source.woken for source in door.sources.values()}

    door.refusal(token(header={"kid": "unknown"}))

    assert [1, 0, 0] == [door.sources[name].woken for name in ("kc", "k8s", "bound")]


# Keys that are away.


def test_without_keys_tokens_cannot_be_verified_and_nothing_is_remembered(door: Door, tmp_path: Path) -> None:
    door.verifier.close()
    door.files["kc"].unlink()
    verifier = TokenVerifier(door.issuers, clock_s=lambda: door.now_s, open_keys=door.opened)
    text = token()

    for _ in range(2):
        with pytest.raises(KeysAwayError) as caught:
            verifier.verify(text)
        assert "kc" == caught.value.issuer
        assert verifier.cached(text) is None
    verifier.verify(token(OTHER, iss="https://k8s"))

    door.serve("kc", EC)
    verifier.verify(text)


def test_token_that_is_no_token_is_refused_also_without_keys(door: Door) -> None:
    door.files["kc"].unlink()
    verifier = TokenVerifier(door.issuers, clock_s=lambda: door.now_s, open_keys=door.opened)

    with pytest.raises(TokenRefusedError):
        verifier.verify(unsigned("none"))


def test_cached_token_ends_with_keys_that_are_too_old(door: Door) -> None:
    text = token(iat=NOW_S, exp=NOW_S + 3600)
    door.verifier.verify(text)
    door.files["kc"].unlink()

    door.monotonic_s += 24 * 3600
    door.sources["kc"].refresh()

    assert door.verifier.cached(text) is None
    with pytest.raises(KeysAwayError):
        door.verifier.verify(text)


# Issuers.


def test_verifier_of_other_issuers_keeps_keys_and_no_token(door: Door) -> None:
    kc, _, bound = door.issuers
    text = token()
    door.verifier.verify(text)
    sources = dict(door.sources)

    changed = door.verifier.replaced_by([replace(kc, audience="remit2"), replace(bound, jwks_file=door.files["k8s"])])

    assert sources["kc"] is changed._issuers[ISS].source
    assert changed.cached(text) is None
    with pytest.raises(TokenRefusedError):
        changed.verify(text)
    changed.verify(token(aud="remit2"))
    with pytest.raises(TokenRefusedError):
        changed.verify(token(OTHER, iss="https://k8s"))
    assert {"kc", "bound"} == set(changed.ages_s())


def test_issuers_that_cannot_be_change_nothing(door: Door) -> None:
    kc, k8s, _ = door.issuers

    with pytest.raises(ValueError, match="either a URL or a file"):
        door.verifier.replaced_by([kc, replace(k8s, jwks_file=None)])

    door.verifier.verify(token())


CONTRADICTIONS: dict[str, tuple[str, Callable[[Issuer, Issuer], list[Issuer]]]] = {
    "one name for two": ("name `kc`", lambda kc, k8s: [kc, replace(k8s, name="kc")]),
    "one iss for two": (f"`iss` `{ISS}`", lambda kc, k8s: [kc, replace(k8s, issuer=ISS)]),
    "shared secret": ("expected algorithms", lambda kc, k8s: [replace(kc, algorithms=frozenset({"HS256"}))]),
    "none": ("expected algorithms", lambda kc, k8s: [replace(kc, algorithms=frozenset({"none"}))]),
    "no algorithm": ("expected algorithms", lambda kc, k8s: [replace(kc, algorithms=frozenset())]),
    "no audience": ("an audience", lambda kc, k8s: [replace(kc, audience="")]),
    "long skew": ("0 to 60 s", lambda kc, k8s: [replace(kc, skew_s=61)]),
    "no keys": ("a URL or a file", lambda kc, k8s: [replace(kc, jwks_file=None)]),
    "two places of keys": ("a URL or a file", lambda kc, k8s: [replace(kc, jwks_url="https://a/b")]),
    "keys by http": ("https URL", lambda kc, k8s: [replace(kc, jwks_file=None, jwks_url="http://a/b")]),
    "keys by file:": ("https URL", lambda kc, k8s: [replace(kc, jwks_file=None, jwks_url="file:///etc/passwd")]),
    "password": ("credentials", lambda kc, k8s: [replace(kc, jwks_file=None, jwks_url="https://u:p@a/b")]),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_issuers_that_contradict_each_other_are_refused(door: Door, case: str) -> None:
    text, make = CONTRADICTIONS[case]

    with pytest.raises(ValueError, match=text):
        TokenVerifier(make(door.issuers[0], door.issuers[1]), open_keys=door.opened)
