"""The file `identities`: what it maps, and what is a mistake in it."""

import math
from hashlib import sha256
from pathlib import Path

import pytest

from remit.core.errors import InvalidNameError
from remit.service.callers import Caller
from remit.service.identities.certificate_names import CertificateName, NameType
from remit.service.identities.file import MOST_BYTES, IdentitiesError, parse_identities, read_identities
from remit.service.identities.identities import Identities
from remit.service.limits import CallLimit, CallLimits

FOLDER = Path("/etc/remit")
OLD, NEW = (sha256(token.encode()).hexdigest() for token in ("old", "new"))
KC = "  kc: {issuer: 'https://id.example/x', audience: remit, algorithms: [ES256], jwks: 'https://id.example/keys'}\n"
K8S = "  k8s: {issuer: k8s, audience: remit, algorithms: [RS256, EdDSA], jwks_file: keys.json}\n"
ISSUERS = f"issuers:\n{KC}{K8S}"

FULL = f"""\
issuers:
  kc:
    issuer: https://id.example/x
    audience: remit
    algorithms: [ES256, RS256]
    jwks: https://id.example/keys
    ca: id-ca.pem
    skew_s: 60
    max_age_s: 600
    require_bound: true
{K8S}
callers:
  - {{as: service:web, uri: "spiffe://acme.example/web"}}
  - {{as: service:shop, dns: shop.internal}}
  - {{as: service:reports, cn: Reports of Ácme}}
  - {{as: service:ci, jwt: {{issuer: k8s, sub: "system:serviceaccount:ci:runner"}}}}
  - as: service:batch
    token:
      - {{sha256: {OLD}, expires: 2027-03-01}}
      - {{sha256: {NEW.upper()}}}
  - {{as: "user:{{sub}}", jwt: {{issuer: kc, azp: console}}}}
refused: ["sha256:{OLD}", "sha256:{NEW[:2]}:{NEW[2:]}"]
limits:
  default: {{rate: 500, burst: 1000, in_flight: 64}}
  service:batch: {{rate: 0.5}}
tenant_limits:
  acme: {{in_flight: 5}}
"""


def parsed(text: str) -> Identities:
    return parse_identities("ids.yaml", text.encode(), FOLDER)


def mistakes(text: str) -> list[str]:
    with pytest.raises(IdentitiesError) as refused:
        parsed(text)
    return [str(each) for each in refused.value.diagnostics]


@pytest.fixture(scope="module")
def full() -> Identities:
    return parsed(FULL)


def test_issuers_are_read(full: Identities) -> None:
    kc, k8s = full.issuers["kc"], full.issuers["k8s"]
    assert ("kc", "https://id.example/x", "remit", {"ES256", "RS256"}) == (
        kc.name,
        kc.issuer,
        kc.audience,
        kc.algorithms,
    )
    assert ("https://id.example/keys", FOLDER / "id-ca.pem", None) == (kc.jwks_url, kc.ca, kc.jwks_file)
    assert (60, 600, True) == (kc.skew_s, kc.max_age_s, kc.require_bound)
    assert ("", FOLDER / "keys.json", 30, 3600, False) == (
        k8s.jwks_url,
        k8s.jwks_file,
        k8s.skew_s,
        k8s.max_age_s,
        k8s.require_bound,
    )


@pytest.mark.parametrize(
    ("type_", "text", "principal"),
    [
        (NameType.URI, "spiffe://acme.example/web", "service:web"),
        (NameType.DNS, "shop.internal", "service:shop"),
        (NameType.COMMON_NAME, "Reports of Ácme", "service:reports"),
        (NameType.COMMON_NAME, "shop.internal", None),
        (NameType.DNS, "Shop.internal", None),
        (NameType.DNS, "www.shop.internal", None),
        (NameType.URI, "spiffe://acme.example/web/", None),
    ],
)
def test_name_of_a_certificate_is_mapped_by_type_and_equality(
    full: Identities, type_: NameType, text: str, principal: str | None
) -> None:
    assert principal == full.of_certificate(CertificateName(type_, text))


def test_opaque_token_is_found_by_its_digest(full: Identities) -> None:
    old, new = full.of_token("old"), full.of_token("new")
    assert old is not None
    assert new is not None
    assert ("service:batch", f"token/{OLD[:12]}", 1_803_859_200.0) == (old.principal, old.name, old.expires_s)
    assert math.inf == new.expires_s
    assert [None] * 4 == [full.of_token(token) for token in ("", "ol", "old ", OLD)]


def test_refused_certificate_is_found_by_its_fingerprint(full: Identities) -> None:
    assert full.refuses(bytes.fromhex(OLD))
    assert full.refuses(bytes.fromhex(NEW))
    assert not full.refuses(bytes(32))


RUNNER = "system:serviceaccount:ci:runner"


@pytest.mark.parametrize(
    ("issuer", "claims", "caller"),
    [
        ("k8s", {"sub": RUNNER}, Caller("service:ci", f"jwt/k8s/{RUNNER}")),
        ("k8s", {"sub": RUNNER + "2"}, Caller(f"service:jwt/k8s/{RUNNER}2")),
        ("kc", {"sub": RUNNER}, Caller(f"service:jwt/kc/{RUNNER}")),
        ("kc", {"sub": "ann", "azp": "console"}, Caller("user:ann", "jwt/kc/ann")),
        ("kc", {"sub": "ann", "azp": ["console"]}, Caller("service:jwt/kc/ann")),
        ("kc", {"sub": "ann", "azp": "Console"}, Caller("service:jwt/kc/ann")),
    ],
)
def test_claims_name_a_caller(full: Identities, issuer: str, claims: dict[str, object], caller: Caller) -> None:
    assert caller == full.of_claims(issuer, claims)


@pytest.mark.parametrize("sub", ["auth0|5f", "a b", "", "x" * 257, None, 7, ["ann"], {"a": "b"}, "a\n", "añn", "*"])
def test_claim_that_is_no_id_is_refused_and_never_altered(full: Identities, sub: object) -> None:
    for claims in ({"sub": sub, "azp": "console"}, {"sub": sub}):
        with pytest.raises(InvalidNameError, match="claim `sub`"):
            full.of_claims("kc", claims)


def test_limits_have_a_default(full: Identities) -> None:
    callers = {"service:batch": CallLimit(0.5), "default": CallLimit(500, 1000, 64)}
    assert CallLimits(callers, {"acme": CallLimit(in_flight=5)}) == full.limits


def test_file_may_be_empty_of_rows() -> None:
    found = parsed("callers: []\n")
    assert (0, 64) == (found.rows, len(found.revision))
    assert Caller("service:jwt/kc/x") == found.of_claims("kc", {"sub": "x"})


def caller(row: str) -> str:
    return f"{ISSUERS}callers:\n  - {row}\n"


def rows(*lines: str) -> str:
    return f"{ISSUERS}callers:\n" + "".join(f"  - {line}\n" for line in lines)


def issuer(**changed: str) -> str:
    fields = {"issuer": "x", "audience": "remit", "algorithms": "[ES256]", "jwks": "'https://x/y'", **changed}
    return "issuers:\n  kc: {" + ", ".join(f"{key}: {value}" for key, value in fields.items() if value) + "}\n"


MISTAKES = {
    "an unknown section": ("caller: []\n", "1:1: unknown key `caller` in the identities"),
    "no mapping": ("- a\n", "1:1: expected a mapping"),
    "nothing": ("", "1:1: expected a mapping"),
    "half a file": ("callers:\n  - {as: service:a, uri: 'spiffe://", "2:26: is not YAML"),
    "a duplicate section": ("callers: []\ncallers: []\n", "2:1: duplicate key `callers`"),
    "an alias": ("callers: *x\n", "1:10: alias"),
    "callers as a mapping": ("callers: {}\n", "1:10: expected `callers` as a list"),
    "a row without a principal": (caller("{dns: a}"), "5:5: a caller lacks `as`"),
    "a row without a credential": (caller("{as: service:a}"), "5:5: a caller has 0 credentials"),
    "a row with two credentials": (caller("{as: service:a, dns: a, cn: b}"), "5:5: a caller has 2 credentials"),
    "an unknown credential": (caller("{as: service:a, email: a@b}"), "5:21: unknown key `email`"),
    "a group": (caller("{as: group:a, dns: a}"), "5:10: `group:a` is not a principal"),
    "a role": (caller("{as: role:a, dns: a}"), "5:10: `role:a` is not a principal"),
    "the caller without TLS": (caller("{as: anonymous, dns: a}"), "5:10: `anonymous` is not a principal"),
    "a pattern as principal": (caller("{as: service:*, dns: a}"), "5:10: `service:*`"),
    "a pattern as URI": (caller("{as: service:a, uri: spiffe}"), "5:26: `spiffe` cannot be the URI"),
    "a URI as common name": (caller("{as: service:a, cn: 'urn:a'}"), "5:25: `urn:a` cannot be the common name"),
    "a blank in a DNS name": (caller("{as: service:a, dns: a b}"), "5:26: `a b` cannot be the DNS name"),
    "NUL in a common name": (caller('{as: service:a, cn: "a\\0b"}'), "5:25: `a\\u0000b` cannot be the common name"),
    "a name twice": (rows("{as: service:a, dns: a}", "{as: service:b, dns: a}"), "6:26: the dns `a` stands in line 5"),
    "the same row twice": (rows("{as: service:a, dns: a}", "{as: service:a, dns: a}"), "6:26: the dns `a` stands"),
    "no token": (caller("{as: service:a, token: []}"), "5:28: a caller has 0 tokens"),
    "three tokens": (
        caller(f"{{as: service:a, token: [{{sha256: {OLD}}}, {{sha256: {NEW}}}, {{sha256: {'0' * 64}}}]}}"),
        "5:28: a caller has 3 tokens",
    ),
    "a token in clear": (caller("{as: service:a, token: [{sha256: s3cret}]}"), "5:38: the value of `sha256` is no"),
    "a token as a mapping": (caller("{as: service:a, token: {sha256: x}}"), "5:28: expected `token` as a list"),
    "a token of two callers": (
        rows(f"{{as: service:a, token: [{{sha256: {OLD}}}]}}", f"{{as: service:b, token: [{{sha256: {OLD}}}]}}"),
        "6:38: the token stands in line 5",
    ),
    "a token without a time zone": (
        caller(f"{{as: service:a, token: [{{sha256: {OLD}, expires: 2027-03-01T00:00:00}}]}}"),
        "`2027-03-01T00:00:00` is no time",
    ),
    "a day that is none": (
        caller(f"{{as: service:a, token: [{{sha256: {OLD}, expires: 2027-02-30}}]}}"),
        "`2027-02-30` is no time",
    ),
    "a claim of another credential": (caller('{as: "user:{sub}", dns: a}'), "5:10: `user:{sub}` takes the claim"),
    "a JWT of any token": (caller("{as: service:a, jwt: {issuer: kc}}"), "5:26: `jwt` matches every token"),
    "a JWT of no issuer": (caller("{as: service:a, jwt: {sub: b}}"), "5:26: `jwt` lacks `issuer`"),
    "an unknown issuer": (caller("{as: service:a, jwt: {issuer: kd, sub: b}}"), "5:35: `kd` is no short name"),
    "a list as a claim": (caller("{as: service:a, jwt: {issuer: kc, sub: [b]}}"), "5:44: expected `sub` as text"),
    "a claim that changes its owner": (
        caller("{as: service:a, jwt: {issuer: kc, email: b}}"),
        "5:39: the claim `email` may change its owner",
    ),
    "a claim that is verified": (caller("{as: service:a, jwt: {issuer: kc, aud: b}}"), "the claim `aud` names nobody"),
    "a template of e-mail addresses": (
        caller('{as: "user:{email}", jwt: {issuer: kc, azp: a}}'),
        "5:10: the claim `email` may change its owner",
    ),
    "a template of user names": (
        caller('{as: "user:{preferred_username}", jwt: {issuer: kc, azp: a}}'),
        "5:10: the claim `preferred_username` may change",
    ),
    "a template of names": (caller('{as: "user:{name}", jwt: {issuer: kc, azp: a}}'), "5:10: the claim `name` may"),
    "a template of services": (
        caller('{as: "service:{sub}", jwt: {issuer: kc, azp: a}}'),
        "5:10: `service:{sub}` lets an issuer name services",
    ),
    "a template of two claims": (
        caller('{as: "user:{sub}{oid}", jwt: {issuer: kc, azp: a}}'),
        "5:10: `user:{sub}{oid}` is no principal with",
    ),
    "a template of everything": (caller('{as: "{sub}", jwt: {issuer: kc, azp: a}}'), "5:10: `{sub}` is no principal"),
    "a template without a claim": (caller('{as: "user:{}", jwt: {issuer: kc, azp: a}}'), "5:10: `user:{}` is no"),
    "two rows that one token matches": (
        rows("{as: service:a, jwt: {issuer: kc, azp: a}}", "{as: service:b, jwt: {issuer: kc, sub: b}}"),
        "6:26: one token may match this row and the row of line 5",
    ),
    "two issuers that fill one template": (
        rows('{as: "user:{sub}", jwt: {issuer: kc, azp: a}}', '{as: "user:{sub}", jwt: {issuer: k8s, azp: a}}'),
        "6:10: `user:{sub}` and `user:{sub}` of line 5",
    ),
    "two claims that fill one template": (
        rows('{as: "user:{sub}", jwt: {issuer: kc, azp: a}}', '{as: "user:{oid}", jwt: {issuer: kc, azp: b}}'),
        "6:10: `user:{oid}` and `user:{sub}` of line 5",
    ),
    "templates that may meet": (
        rows('{as: "user:{sub}", jwt: {issuer: kc, azp: a}}', '{as: "user:k8s/{sub}", jwt: {issuer: k8s, azp: a}}'),
        "6:10: `user:k8s/{sub}` and `user:{sub}` of line 5",
    ),
    "a template that gives another caller's name": (
        rows("{as: user:root, dns: a}", '{as: "user:{sub}", jwt: {issuer: kc, azp: a}}'),
        "6:10: `user:{sub}` may give the principal `user:root` of line 5",
    ),
    "one issuer under two names": (
        f"issuers:\n{K8S}{K8S.replace('k8s:', 'k9s:')}",
        "3:17: issuer `k8s` stands in line 2 too",
    ),
    "a short name with a slash": (issuer().replace("kc:", "k/c:"), "2:3: `k/c` is no short name"),
    "no audience": (issuer(audience=""), "2:7: issuer `kc` lacks `audience`"),
    "an empty audience": (issuer(audience="''"), "2:29: `` is not `audience`"),
    "no algorithm": (issuer(algorithms="[]"), "issuer `kc` has no algorithm"),
    "a symmetric algorithm": (issuer(algorithms="[HS256]"), "`HS256` is not an asymmetric algorithm"),
    "no algorithm at all": (issuer(algorithms="[none]"), "`none` is not an asymmetric algorithm"),
    "keys from nowhere": (issuer(jwks=""), "2:7: issuer `kc` needs its keys from one place"),
    "keys from two places": (issuer(jwks_file="a"), "2:7: issuer `kc` needs its keys from one place"),
    "keys without TLS": (issuer(jwks="'http://x/y'"), "`http://x/y` is no address of keys"),
    "keys of a host that no connection can name": (
        issuer(jwks="'https://%zz/y'"),
        "`https://%zz/y` is no address of keys",
    ),
    "keys with a password": (issuer(jwks="'https://a:b@x/y'"), "is no address of keys"),
    "an authority without an address": (issuer(jwks="", jwks_file="a", ca="b"), "`ca` is for keys that are fetched"),
    "too much skew": (issuer(skew_s="61"), "`61` is not `skew_s`: expected a whole number from 0 to 60"),
    "negative skew": (issuer(skew_s="-1"), "`-1` is not `skew_s`"),
    "no lifetime": (issuer(max_age_s="0"), "`0` is not `max_age_s`"),
    "a boolean in other words": (issuer(require_bound="yes"), "`yes` is not `require_bound`"),
    "a short fingerprint": ("refused: ['sha256:ab']\n", "1:11: `sha256:ab` is no fingerprint"),
    "a fingerprint of another hash": (f"refused: [sha1:{OLD}]\n", "is no fingerprint"),
    "a limit of a role": ("limits: {role:a: {rate: 1}}\n", "1:10: `role:a` is not a principal"),
    "a limit of no tenant": ("tenant_limits: {Acme: {rate: 1}}\n", "1:17: `Acme` is not a tenant"),
    "an unknown limit": ("limits: {default: {rates: 1}}\n", "1:20: unknown key `rates`"),
    "a rate of nothing": ("limits: {default: {rate: 0}}\n", "1:26: `0` is no rate"),
    "a rate that is no number": ("limits: {default: {rate: nan}}\n", "1:26: `nan` is no rate"),
    "a burst without a rate": ("limits: {default: {burst: 1}}\n", "1:27: `burst` is above a rate"),
    "half a call": ("limits: {default: {in_flight: 0.5}}\n", "1:31: `0.5` is not `in_flight`"),
    "a mark that turns the direction": ("callers: [\u202e]\n", "1:11: contains the invisible character U+202E"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistake_is_told_with_its_place(case: str) -> None:
    text, told = MISTAKES[case]
    found = mistakes(text)
    assert [each for each in found if told in each and each.startswith("ids.yaml:")], found


def test_all_mistakes_are_told_at_once() -> None:
    found = mistakes("caller: []\nrefused: [a, b]\nlimits: {x: {}}\n")
    assert ["ids.yaml:1:1", "ids.yaml:2:11", "ids.yaml:2:14", "ids.yaml:3:10"] == [
        each.partition(": ")[0] for each in found
    ]


def test_token_in_clear_is_not_quoted() -> None:
    assert "s3cret" not in "".join(mistakes(caller("{as: service:a, token: [{sha256: s3cret}]}")))


APART = {
    "claims with different values": rows(
        "{as: service:a, jwt: {issuer: kc, azp: a}}", "{as: service:b, jwt: {issuer: kc, azp: b, sub: c}}"
    ),
    "equal claims of different issuers": rows(
        "{as: service:a, jwt: {issuer: kc, sub: a}}", "{as: service:b, jwt: {issuer: k8s, sub: a}}"
    ),
    "one template for two clients of an issuer": rows(
        '{as: "user:{sub}", jwt: {issuer: kc, azp: a}}', '{as: "user:{sub}", jwt: {issuer: kc, azp: b}}'
    ),
    "templates with a prefix for each issuer": rows(
        '{as: "user:kc/{sub}", jwt: {issuer: kc, azp: a}}', '{as: "user:k8s/{sub}", jwt: {issuer: k8s, azp: a}}'
    ),
    "two credentials of one caller": rows("{as: service:a, dns: a}", "{as: service:a, cn: a}"),
}


@pytest.mark.parametrize("case", APART)
def test_rows_that_no_credential_confuses_load(case: str) -> None:
    assert 2 == parsed(APART[case]).rows


def test_file_that_cannot_be_read_is_a_diagnostic(tmp_path: Path) -> None:
    for path, told in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "not a regular file")):
        with pytest.raises(IdentitiesError, match=told) as refused:
            read_identities(path)
        assert str(path) == refused.value.diagnostics[0].file


def test_file_has_a_largest_size() -> None:
    assert [f"ids.yaml: is too large: expected at most {MOST_BYTES} bytes"] == mistakes("#" * (MOST_BYTES + 1))
