"""The rules of one JWT: its parts, signature and claims (RFC 7515, RFC 7519, RFC 8725)."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, ClassVar, Final, NamedTuple

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwa import JWSAlgModel
from joserfc.jws import JWSRegistry

from remit.service.identities.errors import TokenRefusedError
from remit.service.identities.issuer import Issuer
from remit.service.identities.key_set import ALGORITHMS, TokenKey
from remit.strict_json import parse_object

MAX_TOKEN_BYTES: Final = 8 * 1024
_THREE_PARTS: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
_JWE_DOTS: Final = 4
# Each names a key of the sender's own choice, or changes what the signature covers.
_REFUSED_HEADERS: Final = ("crit", "jwk", "jku", "x5u", "x5c", "b64")
_LAST_S: Final = 253_402_300_799  # the year 9999
_SHA256_BYTES: Final = 32


class UnverifiedToken(NamedTuple):
    """A token whose signature is not verified yet."""

    text: str
    algorithm: str
    kid: str
    claims: dict[str, Any]


def parse_token(text: str) -> UnverifiedToken:
    """Raises TokenRefusedError."""
    if len(text) > MAX_TOKEN_BYTES:
        raise TokenRefusedError("it is larger than 8 KiB")
    parts = _THREE_PARTS.fullmatch(text)
    if parts is None:
        encrypted = text.count(".") == _JWE_DOTS
        raise TokenRefusedError("it is encrypted (JWE)" if encrypted else "it does not have three parts in base64url")
    header = _decoded("header", parts[1])
    for name in _REFUSED_HEADERS:
        if name in header:
            raise TokenRefusedError(f"its header has `{name}`")
    return UnverifiedToken(text, _text("alg", header), _text("kid", header), _decoded("payload", parts[2]))


def check_signature(token: UnverifiedToken, issuer: Issuer, key: TokenKey) -> None:
    """Raises TokenRefusedError."""
    if token.algorithm not in key.algorithms & issuer.algorithms:
        raise TokenRefusedError("its algorithm is not one of its issuer, or does not fit its key")
    algorithms = (token.algorithm,)
    registry = _Registry(algorithms=algorithms, strict_check_header=False)
    try:
        jws.deserialize_compact(token.text, key.key, algorithms=algorithms, registry=registry)
    except (JoseError, ValueError, TypeError):
        raise TokenRefusedError("its signature does not match") from None


def check_claims(claims: Mapping[str, Any], issuer: Issuer, now_s: float) -> float:
    """Returns when the token ends, in seconds since the Unix epoch. Raises TokenRefusedError.

    `exp`, `nbf` and `iat` may each be wrong by the issuer's `skew_s`.
    """
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(each, str) for each in audiences) or issuer.audience not in audiences:
        raise TokenRefusedError("it is for another audience")
    _text("sub", claims)
    expires_s, issued_s = _time_s("exp", claims), _time_s("iat", claims)
    if expires_s + issuer.skew_s <= now_s:
        raise TokenRefusedError("it has expired")
    if issued_s - issuer.skew_s > now_s:
        raise TokenRefusedError("it was issued in the future")
    if "nbf" in claims and _time_s("nbf", claims) - issuer.skew_s > now_s:
        raise TokenRefusedError("it does not count yet")
    if not 0 < expires_s - issued_s <= issuer.max_age_s:
        raise TokenRefusedError("its lifetime is longer than its issuer may give, or negative")
    return expires_s + issuer.skew_s


def bound_certificate(claims: Mapping[str, Any], issuer: Issuer) -> bytes | None:
    """The SHA-256 of the certificate that the token is bound to (RFC 8705); None if it is bound to nothing.

    Raises TokenRefusedError also for a token bound to what no server can check here.
    """
    if "cnf" not in claims:
        if issuer.require_bound:
            raise TokenRefusedError("it is bound to no certificate")
        return None
    confirmation = claims["cnf"]
    text = confirmation.get("x5t#S256") if isinstance(confirmation, dict) else None
    raw = _unbase64(text) if isinstance(text, str) else None
    if raw is None or len(raw) != _SHA256_BYTES:
        raise TokenRefusedError("it is bound to something other than a certificate")
    return raw


class _Registry(JWSRegistry):
    """Has no algorithms but ours: neither `none` nor one with a shared secret."""

    # `EdDSA` is the older name, of which joserfc warns. Our keys are all of the curve Ed25519.
    algorithms: ClassVar[dict[str, JWSAlgModel]] = {  # type: ignore[misc]
        name: JWSRegistry.algorithms["Ed25519" if name == "EdDSA" else name] for name in ALGORITHMS
    }
    # The size of the token is limited already.
    max_header_length = max_payload_length = max_signature_length = MAX_TOKEN_BYTES


def _decoded(name: str, part: str) -> dict[str, Any]:
    raw = _unbase64(part)
    if raw is None:
        raise TokenRefusedError(f"its {name} is not base64url")
    try:
        return parse_object(raw)
    except ValueError:
        raise TokenRefusedError(f"its {name} is not a plain JSON object") from None


def _unbase64(text: str) -> bytes | None:
    """None also where other text means the same bytes: padding, or bits that say nothing."""
    try:
        encoded = text.encode("ascii")
        raw = urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4))
    except ValueError:
        return None
    return raw if urlsafe_b64encode(raw).rstrip(b"=") == encoded else None


def _text(name: str, members: Mapping[str, Any]) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not value:
        raise TokenRefusedError(f"its `{name}` is missing, or no text")
    return value


def _time_s(name: str, claims: Mapping[str, Any]) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_S:
        raise TokenRefusedError(f"its `{name}` is missing, or no time in seconds")
    return value
