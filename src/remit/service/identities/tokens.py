"""Verifies the JWTs of the issuers that the file `identities` lists, and remembers what it verified."""

import hmac
import time
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from threading import Lock
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self, TypeVar

from remit.service.identities.errors import KeysAwayError, TokenRefusedError
from remit.service.identities.issuer import Issuer
from remit.service.identities.jwt import (
    MAX_TOKEN_BYTES,
    UnverifiedToken,
    bound_certificate,
    check_claims,
    check_signature,
    parse_token,
)
from remit.service.identities.key_set import ALGORITHMS, TokenKey, TokenKeySet
from remit.service.identities.keys import IssuerKeys, source_of

CACHE_ENTRIES: Final = 4_096
_REFUSED_S: Final = 10.0
"""A refused token is refused again without a look, for this long."""
_MAX_SKEW_S: Final = 60

_Entry = TypeVar("_Entry")


class VerifiedToken(NamedTuple):
    """What a token says about its caller."""

    issuer: str
    """The issuer's short name."""
    claims: Mapping[str, Any]
    expires_s: float
    """When it ends, in seconds since the Unix epoch. The issuer's `skew_s` is in it."""


class _Verified(NamedTuple):
    token: VerifiedToken
    bound: bytes | None
    source: IssuerKeys
    keys: TokenKeySet


class _Refused(NamedTuple):
    cause: str
    until_s: float
    source: IssuerKeys | None
    """None if the token was refused before its issuer was known."""
    keys: TokenKeySet | None


class _KnownIssuer(NamedTuple):
    issuer: Issuer
    source: IssuerKeys


class TokenVerifier:
    """Verifies tokens of some issuers. Every thread may use it; it never waits for the network."""

    def __init__(
        self,
        issuers: Iterable[Issuer],
        *,
        clock_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
        open_keys: Callable[[Issuer], IssuerKeys] | None = None,
        sources: Iterable[IssuerKeys] = (),
    ) -> None:
        """Fetches the keys of its issuers until `close`. Raises ValueError if the issuers contradict each other.

        Takes those of `sources` that an issuer still has, and closes the others. If it raises, it has touched none.
        """
        described = list(issuers)
        _check(described)
        self._clock_s = clock_s
        self._monotonic_s = monotonic_s
        self._open_keys = open_keys or (lambda issuer: IssuerKeys(issuer, clock_s=monotonic_s))
        left, begun = list(sources), list[IssuerKeys]()
        self._issuers: dict[str, _KnownIssuer] = {}
        for issuer in described:
            source = next((each for each in left if each.source == source_of(issuer)), None)
            if source is None:
                source = self._open_keys(issuer)
                begun.append(source)
            else:
                left.remove(source)
            self._issuers[issuer.issuer] = _KnownIssuer(issuer, source)
        for each in left:
            each.close()
        for each in begun:
            each.begin()
        self._verified: dict[bytes, _Verified] = {}
        self._refused: dict[bytes, _Refused] = {}
        self._writing = Lock()

    def replaced_by(self, issuers: Iterable[Issuer]) -> Self:
        """A verifier of other issuers, which remembers no token. Issuers with the same source of keys keep their keys.

        This one goes on for calls under way and is not to be closed. Raises ValueError, and then nothing has changed.
        """
        return type(self)(
            issuers,
            clock_s=self._clock_s,
            monotonic_s=self._monotonic_s,
            open_keys=self._open_keys,
            sources=[known.source for known in self._issuers.values()],
        )

    def close(self) -> None:
        for known in self._issuers.values():
            known.source.close()

    def ages_s(self) -> dict[str, float]:
        """Time since the keys of each issuer were last known to be good, by the issuer's short name."""
        return {known.issuer.name: known.source.age_s for known in self._issuers.values()}

    def cached(self, token: str, certificate_sha256: bytes | None = None) -> VerifiedToken | TokenRefusedError | None:
        """What is known of a token without work; None if it must be verified.

        `certificate_sha256` is of the connection's certificate.
        """
        if len(token) > MAX_TOKEN_BYTES:
            return TokenRefusedError("it is larger than 8 KiB")
        digest = _digest(token)
        verified = self._verified.get(digest)
        if verified is not None and verified.source.current is verified.keys:
            try:
                return self._usable(verified, certificate_sha256)
            except TokenRefusedError as error:
                return error
        refused = self._refused.get(digest)
        if refused is None or self._monotonic_s() >= refused.until_s:
            return None
        if refused.source is not None and refused.source.current is not refused.keys:
            return None
        return TokenRefusedError(refused.cause)

    def verify(self, token: str, certificate_sha256: bytes | None = None) -> VerifiedToken:
        """Raises TokenRefusedError, or KeysAwayError if there are no keys to verify it."""
        known = self.cached(token, certificate_sha256)
        if isinstance(known, TokenRefusedError):
            raise known
        return known or self._usable(self._verify(token), certificate_sha256)

    def _verify(self, text: str) -> _Verified:
        source: IssuerKeys | None = None
        keys: TokenKeySet | None = None
        try:
            token = parse_token(text)
            issuer, source = self._issuer_of(token)
            # Read once: the token counts only for as long as these keys do.
            keys = source.current
            if keys is None:
                raise KeysAwayError(issuer.name)
            check_signature(token, issuer, _key_of(token, source, keys))
            expires_s = check_claims(token.claims, issuer, self._clock_s())
            bound = bound_certificate(token.claims, issuer)
        except TokenRefusedError as error:
            refused = _Refused(error.cause, self._monotonic_s() + _REFUSED_S, source, keys)
            self._remember(self._refused, text, refused)
            raise
        verified = VerifiedToken(issuer.name, MappingProxyType(token.claims), expires_s)
        entry = _Verified(verified, bound, source, keys)
        self._remember(self._verified, text, entry)
        return entry

    def _issuer_of(self, token: UnverifiedToken) -> _KnownIssuer:
        name = token.claims.get("iss")
        known = self._issuers.get(name) if isinstance(name, str) else None
        if known is None:
            raise TokenRefusedError("its issuer is unknown")
        return known

    def _usable(self, verified: _Verified, certificate_sha256: bytes | None) -> VerifiedToken:
        """Raises TokenRefusedError. Never remembered: another connection or moment has another answer."""
        if self._clock_s() >= verified.token.expires_s:
            raise TokenRefusedError("it has expired")
        if verified.bound is not None and not hmac.compare_digest(verified.bound, certificate_sha256 or b""):
            raise TokenRefusedError("it is bound to another certificate")
        return verified.token

    def _remember(self, cache: dict[bytes, _Entry], text: str, entry: _Entry) -> None:
        digest = _digest(text)
        with self._writing:
            cache.pop(digest, None)
            if len(cache) >= CACHE_ENTRIES:
                del cache[next(iter(cache))]
            cache[digest] = entry


def _key_of(token: UnverifiedToken, source: IssuerKeys, keys: TokenKeySet) -> TokenKey:
    key = keys.keys.get(token.kid)
    if key is None:
        source.wake()
        raise TokenRefusedError("its issuer has no key with its `kid`")
    return key


def _check(issuers: list[Issuer]) -> None:
    names = [each.name for each in issuers]
    urls = [each.issuer for each in issuers]
    for what, values in (("name", names), ("`iss`", urls)):
        twice = next((each for each in values if values.count(each) > 1), None)
        if twice is not None:
            raise ValueError(f"two issuers have the {what} `{twice}`")
    for each in issuers:
        unknown = each.algorithms - ALGORITHMS
        if unknown or not each.algorithms:
            raise ValueError(f"issuer `{each.name}`: expected algorithms of {', '.join(sorted(ALGORITHMS))}")
        if not each.issuer or not each.audience:
            raise ValueError(f"issuer `{each.name}`: expected an issuer and an audience")
        if not 0 <= each.skew_s <= _MAX_SKEW_S or each.max_age_s <= 0:
            raise ValueError(f"issuer `{each.name}`: expected a skew of 0 to 60 s, and a positive `max_age_s`")


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
