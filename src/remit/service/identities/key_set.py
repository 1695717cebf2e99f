"""A set of public keys (JWKS, RFC 7517) and the signature algorithms that each key fits."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey, import_key

from remit.strict_json import parse_object

_RSA: Final = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"))
_CURVES: Final = {
    "P-256": frozenset(("ES256",)),
    "P-384": frozenset(("ES384",)),
    "P-521": frozenset(("ES512",)),
    # RFC 9864 renames `EdDSA` with such a key to `Ed25519`.
    "Ed25519": frozenset(("EdDSA", "Ed25519")),
}
ALGORITHMS: Final = _RSA.union(*_CURVES.values())
"""The signature algorithms that an issuer may use. All are asymmetric."""
_RSA_BITS: Final = range(2048, 8192 + 1)
_PARTS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
"""The members of a public key, by its type."""
_SECRET_PARTS: Final = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))


class KeySetError(ValueError):
    """A set of keys is refused whole."""


class TokenKey(NamedTuple):
    """A key and the algorithms whose signatures it may verify."""

    key: Key
    algorithms: frozenset[str]


# Compared by identity: whoever holds another object has other keys.
@dataclass(frozen=True, slots=True, eq=False)
class TokenKeySet:
    """The keys of an issuer at one time."""

    keys: Mapping[str, TokenKey]
    """By `kid`."""
    content: str
    """The keys as text. Two sets with the same keys have the same text."""


def parse_key_set(raw: bytes) -> TokenKeySet:
    """Parses a JWKS. Raises KeySetError.

    Leaves out what cannot verify a signature here, as RFC 7517 demands: keys for encryption, keys of unknown types and
    curves, short RSA keys, keys without a `kid`.
    """
    try:
        listed = parse_object(raw).get("keys")
    except ValueError as error:
        raise KeySetError(f"it is no JWKS: {error}") from None
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise KeySetError("it is no JWKS: expected a member `keys`, a list of objects")
    if any(each.get("kty") == "oct" or not _SECRET_PARTS.isdisjoint(each) for each in listed):
        raise KeySetError("it holds a private or symmetric key")
    named = [each for each in listed if isinstance(each.get("kid"), str) and each["kid"]]
    if len({each["kid"] for each in named}) != len(named):
        raise KeySetError("two of its keys have the same `kid`")
    usable = {each["kid"]: (each, key) for each in named if (key := _public_key(each)) is not None}
    if not usable:
        raise KeySetError("it holds no usable key")
    content = json.dumps([usable[kid][0] for kid in sorted(usable)], sort_keys=True)
    return TokenKeySet({kid: key for kid, (_, key) in usable.items()}, content)


def _public_key(jwk: Mapping[str, Any]) -> TokenKey | None:
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    kind = jwk.get("kty")
    names = _PARTS.get(str(kind), ())
    parts = {name: part for name in names if isinstance(part := jwk.get(name), str)}
    if not parts or len(parts) < len(names):
        return None
    try:
        if kind == "RSA" and _bits(parts["n"]) not in _RSA_BITS:
            return None
        key = import_key({"kty": str(kind), **parts})
    except (JoseError, ValueError, TypeError):
        return None
    algorithms = _fitting(key)
    if "alg" in jwk:
        algorithms = frozenset(each for each in algorithms if each == jwk["alg"])
    return TokenKey(key, algorithms) if algorithms else None


def _fitting(key: Key) -> frozenset[str]:
    match key:
        case RSAKey():
            return _RSA
        case ECKey() | OKPKey():
            return _CURVES.get(key.curve_name, frozenset())
        case _:
            return frozenset()


def _bits(number: str) -> int:
    """Raises ValueError if it is not base64url."""
    return int.from_bytes(urlsafe_b64decode(number + "=" * (-len(number) % 4))).bit_length()
