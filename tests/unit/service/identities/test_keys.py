"""The keys of an issuer: how they are fetched, how long they count, and which sets are refused."""

import base64
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from prometheus_client import generate_latest
from structlog.testing import capture_logs
from support.issuer import Behaviour, FakeIssuer, StillKeys, issuer_key, jwks
from support.waiting import until

from remit.service.identities.errors import KeysAwayError, TokenRefusedError
from remit.service.identities.fetch import MAX_BYTES, FetchError, fetch
from remit.service.identities.issuer import Issuer
from remit.service.identities.key_set import KeySetError, parse_key_set
from remit.service.identities.keys import IssuerKeys
from remit.service.identities.tokens import TokenVerifier
from remit.service.metrics import Metrics
from remit.service.metrics_at_scrape import watch_keys

HOUR_S = 3600.0
FIRST, SECOND = issuer_key("first"), issuer_key("second")


class Endpoint:
    """What a URL of keys answers, and a clock."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0
        self.answer: bytes | None = jwks(FIRST)
        self.fetches = 0
        described = Issuer("kc", "https://id", "remit", frozenset({"ES256"}), jwks_url="https://id/jwks")
        self.keys = StillKeys(described, clock_s=lambda: self.now_s, fetch_url=self.fetched)

    def fetched(self) -> bytes:
        self.fetches += 1
        if self.answer is None:
            raise FetchError("connection refused")
        return self.answer

    @property
    def kids(self) -> set[str] | None:
        current = self.keys.current
        return None if current is None else set(current.keys)


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def provider(ca: trustme.CA, tmp_path: Path) -> Iterator[FakeIssuer]:
    with FakeIssuer(ca, tmp_path) as serving:
        yield serving


# Time.


def test_endpoint_down_at_the_start_leaves_no_keys_until_it_is_up(endpoint: Endpoint) -> None:
    endpoint.answer = None
    assert 4.5 <= endpoint.keys.refresh() <= 5.5
    assert (None, float("inf")) == (endpoint.kids, endpoint.keys.age_s)

    endpoint.answer = jwks(FIRST)
    endpoint.keys.refresh()

    assert ({"first"}, 0.0) == (endpoint.kids, endpoint.keys.age_s)


def test_keys_count_for_an_hour_and_not_for_two_days_without_their_endpoint(endpoint: Endpoint) -> None:
    endpoint.keys.refresh()
    endpoint.answer = None

    endpoint.now_s += HOUR_S
    endpoint.keys.refresh()
    assert ({"first"}, HOUR_S) == (endpoint.kids, endpoint.keys.age_s)

    endpoint.now_s += 47 * HOUR_S
    assert endpoint.kids is None
    endpoint.keys.refresh()
    assert (None, 48 * HOUR_S) == (endpoint.kids, endpoint.keys.age_s)

    endpoint.answer = jwks(FIRST)
    endpoint.keys.refresh()
    assert {"first"} == endpoint.kids


def test_keys_end_just_at_24_hours(endpoint: Endpoint) -> None:
    endpoint.keys.refresh()

    endpoint.now_s += 24 * HOUR_S - 1
    assert {"first"} == endpoint.kids
    endpoint.now_s += 1
    assert endpoint.kids is None


def test_refresh_comes_every_five_minutes_with_jitter(endpoint: Endpoint) -> None:
    waits = {endpoint.keys.refresh() for _ in range(50)}

    assert len(waits) > 1
    assert 270 <= min(waits) <= max(waits) <= 330


def test_failed_refresh_is_tried_again_less_and_less_often(endpoint: Endpoint) -> None:
    endpoint.answer = None
    waits = [endpoint.keys.refresh() for _ in range(50)]

    assert waits[:8] == [pytest.approx(each, rel=0.101) for each in (5, 10, 20, 40, 80, 160, 300, 300)]
    assert max(waits) <= 330


def test_key_that_vanishes_from_a_good_answer_is_gone_at_once(endpoint: Endpoint) -> None:
    endpoint.answer = jwks(FIRST, SECOND)
    endpoint.keys.refresh()

    endpoint.answer = jwks(SECOND)
    endpoint.keys.refresh()

    assert {"second"} == endpoint.kids


def test_same_keys_in_another_order_are_the_same_object(endpoint: Endpoint) -> None:
    endpoint.answer = jwks(FIRST, SECOND)
    endpoint.keys.refresh()
    before = endpoint.keys.current

    endpoint.answer = jwks(SECOND, FIRST)
    endpoint.keys.refresh()

    assert before is endpoint.keys.current


def test_warning_comes_at_most_once_a_minute(endpoint: Endpoint) -> None:
    endpoint.keys.refresh()
    endpoint.answer = None
    with capture_logs() as lines:
        for _ in range(100):
            endpoint.now_s += 1
            endpoint.keys.refresh()

    assert [("kc", "connection refused", 1), ("kc", "connection refused", 61)] == [
        (line["issuer"], line["error"], line["age_s"]) for line in lines
    ]


# Sets of keys.


def with_member(key: Key, **members: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), **members}


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


REFUSED_SETS: dict[str, Callable[[], bytes]] = {
    "empty set": key_set,
    "private key": lambda: key_set(SECOND.as_dict(private=True)),
    "private key beside a good one": lambda: key_set(with_member(FIRST), SECOND.as_dict(private=True)),
    "private RSA key": lambda: key_set(RSAKey.generate_key(2048, {"kid": "r"}).as_dict(private=True)),
    "symmetric key beside a good one": lambda: key_set(with_member(FIRST), {"kty": "oct", "kid": "s", "k": "c2VjcmV0"}),
    "symmetric key that says EC": lambda: key_set(with_member(FIRST, k="c2VjcmV0")),
    "a `kid` twice": lambda: key_set(with_member(SECOND), with_member(FIRST, kid="second")),
    "a `kid` twice, for encryption": lambda: key_set(with_member(SECOND), with_member(FIRST, kid="second", use="enc")),
    "HTML": lambda: b"<!doctype html><title>Sign in</title>",
    "nothing": lambda: b"",
    "half of it": lambda: jwks(FIRST, SECOND)[:-40],
    "a list": lambda: json.dumps([with_member(SECOND)]).encode(),
    "one key without a set": lambda: json.dumps(with_member(SECOND)).encode(),
    "keys that are an object": lambda: json.dumps({"keys": {"second": with_member(SECOND)}}).encode(),
    "keys that are texts": lambda: json.dumps({"keys": ["second"]}).encode(),
    "`keys` twice": lambda: b'{"keys": [], ' + jwks(SECOND)[1:],
    "no usable key": lambda: key_set(with_member(SECOND, use="enc")),
    "UTF-16": lambda: jwks(SECOND).decode().encode("utf-16"),
    "deep": lambda: b'{"keys": ' + b"[" * 100_000,
}


@pytest.mark.parametrize("case", REFUSED_SETS)
def test_bad_set_is_refused_whole_and_the_last_good_one_stays(endpoint: Endpoint, case: str) -> None:
    endpoint.keys.refresh()
    endpoint.answer = REFUSED_SETS[case]()

    endpoint.now_s += 10
    endpoint.keys.refresh()

    assert ({"first"}, 10) == (endpoint.kids, endpoint.keys.age_s)
    with pytest.raises(KeySetError):
        parse_key_set(endpoint.answer)


UNUSABLE_KEYS: dict[str, Callable[[], dict[str, Any]]] = {
    "for encryption": lambda: with_member(SECOND, use="enc"),
    "for other operations": lambda: with_member(SECOND, key_ops=["deriveKey"]),
    "operations that are text": lambda: with_member(SECOND, key_ops="verify"),
    "without a kid": lambda: {name: part for name, part in with_member(SECOND).items() if name != "kid"},
    "with an empty kid": lambda: with_member(SECOND, kid=""),
    "with a number for a kid": lambda: with_member(SECOND, kid=2),
    "RSA of 1024 bits": lambda: {"kty": "RSA", "kid": "r", "e": "AQAB", "n": "gA" + "A" * 168 + "E"},
    "RSA with an exponent of 1": lambda: with_member(RSAKey.generate_key(2048, {"kid": "r"}), e="AQ"),
    "secp256k1": lambda: with_member(ECKey.generate_key("secp256k1", {"kid": "k"})),
    "X25519": lambda: with_member(OKPKey.generate_key("X25519", {"kid": "x"})),
    "Ed448": lambda: with_member(OKPKey.generate_key("Ed448", {"kid": "x"})),
    "of a type to come": lambda: {"kty": "AKP", "kid": "pq", "alg": "ML-DSA-44", "pub": "AAAA"},
    "a point beside the curve": lambda: with_member(SECOND, x=FIRST.as_dict(private=False)["x"]),
    "without y": lambda: {name: part for name, part in with_member(SECOND).items() if name != "y"},
    "with a number for x": lambda: with_member(SECOND, x=1),
    "for an algorithm that it does not fit": lambda: with_member(SECOND, alg="RS256"),
    "for a shared secret": lambda: with_member(SECOND, alg="HS256"),
    "of no type": lambda: with_member(SECOND, kty=["EC"]),
}


@pytest.mark.parametrize("case", UNUSABLE_KEYS)
def test_key_that_cannot_verify_here_is_left_out(case: str) -> None:
    assert {"first"} == set(parse_key_set(key_set(with_member(FIRST), UNUSABLE_KEYS[case]())).keys)


def test_key_fits_the_algorithms_of_its_type_and_curve_and_its_own() -> None:
    rsa = RSAKey.generate_key(2048, {"kid": "rsa"})
    keys = parse_key_set(
        key_set(
            with_member(FIRST),
            with_member(rsa),
            with_member(rsa, kid="rsa-pss", alg="PS256"),
            with_member(ECKey.generate_key("P-521", {"kid": "p521"})),
            with_member(OKPKey.generate_key("Ed25519", {"kid": "ed"})),
        )
    ).keys

    assert {
        "first": {"ES256"},
        "rsa": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
        "rsa-pss": {"PS256"},
        "p521": {"ES512"},
        "ed": {"EdDSA", "Ed25519"},
    } == {kid: set(key.algorithms) for kid, key in keys.items()}


# Unknown keys.


def test_unknown_kid_never_takes_a_key_away(endpoint: Endpoint) -> None:
    endpoint.keys.refresh()
    before = endpoint.keys.current
    endpoint.answer = None

    for _ in range(1_000):
        endpoint.keys.wake()
    endpoint.keys.refresh()

    assert before is endpoint.keys.current


def test_ten_thousand_unknown_kids_cause_one_fetch_by_the_thread_alone() -> None:
    now_s, entered, go_on, fetchers = 1_000.0, threading.Semaphore(0), threading.Semaphore(0), []

    def fetched() -> bytes:
        fetchers.append(threading.current_thread().name)
        entered.release()
        go_on.acquire()
        return jwks(FIRST)

    described = Issuer("kc", "https://id", "remit", frozenset({"ES256"}), jwks_url="https://id/jwks")
    keys = IssuerKeys(described, clock_s=lambda: now_s, fetch_url=fetched)
    keys.begin()
    entered.acquire()
    # The first fetch is under way. They ask for one more, which comes after it.
    with ThreadPoolExecutor(4) as callers:
        list(callers.map(lambda _: keys.wake(), range(10_000)))
    go_on.release()
    entered.acquire()
    go_on.release()
    until(lambda: keys.age_s == 0)

    now_s += 59.9
    keys.wake()
    now_s += 0.2
    keys.wake()
    entered.acquire()
    keys.close()
    go_on.release()

    # The third is the one a minute later. Had there been others between, it would not be the third.
    assert ["remit-keys-kc"] * 3 == fetchers


def test_ten_thousand_tokens_with_unknown_kids_cause_one_fetch(provider: FakeIssuer) -> None:
    now_s = 1_000.0
    with_keys = TokenVerifier([provider.described()], monotonic_s=lambda: now_s)
    until(lambda: with_keys.ages_s() == {"kc": 0.0})
    good = provider.token()

    for number in range(10_000):
        with pytest.raises(TokenRefusedError):
            with_keys.verify(renamed(good, f"unknown-{number}"))
        if number % 1_000 == 0:
            with_keys.verify(good)
    until(lambda: provider.fetches == 2)
    now_s += 60
    with pytest.raises(TokenRefusedError):
        with_keys.verify(renamed(good, "another"))
    until(lambda: provider.fetches >= 3)
    with_keys.close()

    assert 3 == provider.fetches


def renamed(token: str, kid: str) -> str:
    """The token with another `kid`, which is looked up before the signature is verified."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": "ES256", "kid": kid}).encode()).rstrip(b"=").decode()
    return f"{header}.{token.partition('.')[2]}"


def test_rotation_with_overlap_refuses_no_token(provider: FakeIssuer) -> None:
    keys = StillKeys(provider.described())
    verifier = TokenVerifier([provider.described()], open_keys=lambda _: keys)
    keys.refresh()
    old = provider.token()
    verifier.verify(old)

    provider.keys.append(issuer_key("next"))
    keys.refresh()
    new = provider.token()
    verifier.verify(old)
    verifier.verify(new)

    assert 0 == keys.woken

    del provider.keys[0]
    keys.refresh()
    verifier.verify(new)
    with pytest.raises(TokenRefusedError):
        verifier.verify(old)


def test_rotation_without_overlap_is_found_out_by_the_first_token(provider: FakeIssuer) -> None:
    verifier = TokenVerifier([provider.described()])
    until(lambda: verifier.ages_s()["kc"] < 1_000)
    old = provider.token()
    verifier.verify(old)

    provider.keys = [issuer_key("next")]
    new = provider.token()
    with pytest.raises(TokenRefusedError):
        verifier.verify(new)
    # The refusal is forgotten as soon as there are other keys.
    until(lambda: verifier.cached(new) is None)

    verifier.verify(new)
    with pytest.raises(TokenRefusedError):
        verifier.verify(old)
    verifier.close()


def test_token_waits_for_no_network(provider: FakeIssuer) -> None:
    provider.behaviour = "silent"
    verifier = TokenVerifier([provider.described()])

    with pytest.raises(KeysAwayError):
        verifier.verify(provider.token())
    verifier.close()


# https.


def test_keys_are_fetched_by_https(provider: FakeIssuer) -> None:
    described = provider.described()

    assert jwks(*provider.keys) == fetch(described.jwks_url, described.ca)


BAD_ANSWERS: dict[Behaviour, str] = {
    "drips": r"no whole answer within 0.3 s",
    "drips headers": r"no whole answer within 0.3 s",
    "silent": r"no whole answer within 0.3 s",
    "huge": r"it is larger than 256 KiB",
    "redirect": r"the answer has status 302, expected 200",
    "error": r"the answer has status 503, expected 200",
    "down": r"RemoteDisconnected",
}


@pytest.mark.parametrize("behaviour", BAD_ANSWERS)
def test_bad_answer_is_no_answer(provider: FakeIssuer, behaviour: Behaviour) -> None:
    provider.behaviour = behaviour
    described = provider.described()
    timeout_s = 0.3 if "0.3 s" in BAD_ANSWERS.get(behaviour, "") else 30.0

    with pytest.raises(FetchError, match=BAD_ANSWERS[behaviour]):
        fetch(described.jwks_url, described.ca, timeout_s=timeout_s)
    assert 1 == provider.fetches


@pytest.mark.parametrize("behaviour", [*BAD_ANSWERS, "html", "empty"])
def test_bad_answer_keeps_the_last_good_keys(provider: FakeIssuer, behaviour: Behaviour) -> None:
    described = provider.described()
    timeout_s = 0.3 if "0.3 s" in BAD_ANSWERS.get(behaviour, "") else 30.0
    keys = StillKeys(described, fetch_url=lambda: fetch(described.jwks_url, described.ca, timeout_s=timeout_s))
    provider.behaviour = "good"
    until(lambda: bool(keys.refresh()) and keys.current is not None)
    before = keys.current

    provider.behaviour = behaviour
    keys.refresh()

    assert before is keys.current is not None


def test_nobody_at_the_address_is_no_answer(provider: FakeIssuer) -> None:
    described = provider.described()
    provider.__exit__()

    with pytest.raises(FetchError, match="refused"):
        fetch(described.jwks_url, described.ca)


def test_server_of_another_authority_is_refused(provider: FakeIssuer, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)

    for ca in (other, None):
        with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
            fetch(provider.described().jwks_url, ca)
    assert 0 == provider.fetches


def test_server_of_another_name_is_refused(provider: FakeIssuer) -> None:
    described = provider.described()

    with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(described.jwks_url.replace("127.0.0.1", "localhost"), described.ca)


def test_authorities_that_are_no_file_are_no_answer(provider: FakeIssuer, tmp_path: Path) -> None:
    with pytest.raises(FetchError):
        fetch(provider.described().jwks_url, tmp_path / "missing.pem")


def test_proxy_of_the_environment_is_not_asked(provider: FakeIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    described = provider.described()

    assert fetch(described.jwks_url, described.ca)


def test_closed_keys_end_their_thread(provider: FakeIssuer) -> None:
    keys = IssuerKeys(provider.described())
    keys.begin()
    until(lambda: keys.current is not None)

    keys.close()

    until(lambda: not keys._thread.is_alive())


# Files.


class KeysFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.now_s = 1_000_000.0
        self.path.write_bytes(jwks(FIRST))
        described = Issuer("k8s", "https://k8s", "remit", frozenset({"ES256"}), jwks_file=path)
        self.keys = StillKeys(described, clock_s=lambda: self.now_s)

    def look(self) -> set[str] | None:
        self.now_s += self.keys.refresh()
        current = self.keys.current
        return None if current is None else set(current.keys)


@pytest.fixture
def file(tmp_path: Path) -> KeysFile:
    return KeysFile(tmp_path / "jwks.json")


def test_file_is_read_at_once(file: KeysFile) -> None:
    assert file.keys.current is not None
    assert ["first"] == [*file.keys.current.keys]


def test_file_is_looked_at_each_second_and_read_when_its_stamp_changes(
    file: KeysFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 1 == file.keys.refresh()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda *_: pytest.fail("it is read again"))
        assert {"first"} == file.look()

    file.path.write_bytes(jwks(FIRST, SECOND))
    assert {"first", "second"} == file.look()


def test_file_exchanged_for_one_of_the_same_size_and_time_is_read(file: KeysFile, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(file.path.read_bytes().replace(b"first", b"third"))
    found = file.path.stat()
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.replace(file.path)

    assert {"third"} == file.look()


def test_file_half_written_keeps_the_last_good_keys_until_it_is_whole(file: KeysFile) -> None:
    whole = jwks(SECOND)
    file.path.write_bytes(whole[:-10])
    assert {"first"} == file.look()
    assert {"first"} == file.look()

    with file.path.open("ab") as rest:
        rest.write(whole[-10:])
    assert {"second"} == file.look()


def test_bad_file_is_not_good_at_the_second_look(file: KeysFile) -> None:
    file.path.write_bytes(b"{}")

    for _ in range(3):
        assert {"first"} == file.look()
    assert 3 == file.keys.age_s
    file.now_s += 24 * HOUR_S
    assert file.look() is None


def test_file_taken_away_keeps_its_keys_for_a_day(file: KeysFile) -> None:
    file.path.unlink()
    assert {"first"} == file.look()

    file.now_s += 24 * HOUR_S
    assert file.look() is None


def directory(path: Path) -> None:
    path.mkdir()


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "directory": directory,
    "FIFO": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "larger than 256 KiB": lambda path: path.write_bytes(jwks(SECOND) + b" " * MAX_BYTES),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "private key": lambda path: path.write_text(json.dumps({"keys": [SECOND.as_dict(private=True)]})),
    "symmetric key": lambda path: path.write_text(
        json.dumps({"keys": [OctKey.generate_key(256, {"kid": "s"}).as_dict(private=True)]})
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_keeps_the_last_good_keys(file: KeysFile, case: str) -> None:
    file.path.unlink()
    BAD_FILES[case](file.path)

    assert {"first"} == file.look()


def test_file_is_read_again_by_its_thread(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(FIRST))
    keys = IssuerKeys(Issuer("k8s", "https://k8s", "remit", frozenset({"ES256"}), jwks_file=path))
    keys.begin()

    path.write_bytes(jwks(SECOND))

    until(lambda: keys.current is not None and set(keys.current.keys) == {"second"})
    keys.close()


# The metric.


def test_metric_tells_the_age_of_the_keys_by_issuer(endpoint: Endpoint) -> None:
    metrics = Metrics()
    watch_keys(metrics.registry, lambda: {"kc": endpoint.keys.age_s})
    told = partial(generate_latest, metrics.registry)

    assert b'remit_jwks_age_seconds{issuer="kc"} +Inf' in told()
    endpoint.keys.refresh()
    endpoint.now_s += 42
    assert b'remit_jwks_age_seconds{issuer="kc"} 42.0' in told()
