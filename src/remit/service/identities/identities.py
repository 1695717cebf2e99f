"""What the file `identities` says: look-ups from credentials to principals, issuers and limits."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from remit.core.errors import InvalidNameError
from remit.core.names import Principal, is_principal, parse_principal, quote
from remit.service.callers import Caller
from remit.service.identities.certificate_names import CertificateName
from remit.service.identities.issuer import Issuer
from remit.service.limits import CallLimits

_SHOWN: Final = 12
_PLACE: Final = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class OpaqueToken:
    """A token that counts by its SHA-256 digest."""

    principal: Principal
    name: str
    """The token's own name: `token/` and the first digits of its digest."""
    expires_s: float = math.inf
    """Seconds since the Unix epoch."""


@dataclass(frozen=True, slots=True)
class Template:
    """The principal that a row gives: a text, or a text with the value of one claim in it."""

    before: str
    claim: str = ""
    """The claim whose value stands between `before` and `after`; '' for none."""
    after: str = ""

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Raises InvalidNameError."""
        places = _PLACE.findall(text)
        if not places:
            return cls(parse_principal(text))
        before, _, rest = text.partition("{")
        claim, _, after = rest.partition("}")
        if len(places) > 1 or not claim or not is_principal(f"{before}x{after}"):
            raise InvalidNameError(
                f"`{quote(text)}` is no principal with the value of a claim: expected text such as `user:{{sub}}`"
            )
        return cls(before, claim, after)

    def filled(self, claims: Mapping[str, Any]) -> Principal:
        """The principal of a token. Raises InvalidNameError if the claim is no part of an ID."""
        if not self.claim:
            return Principal(self.before)
        value = claims.get(self.claim)
        text = f"{self.before}{value}{self.after}"
        if not isinstance(value, str) or not value or not is_principal(text):
            raise InvalidNameError(f"the claim `{quote(self.claim)}` cannot be part of a principal's ID")
        return Principal(text)

    def meets(self, other: "Template") -> bool:
        """Whether both may give one principal."""
        if not self.claim and not other.claim:
            return self.before == other.before
        if not self.claim:
            return other.meets(self)
        if not other.claim:
            longer = len(other.before) > len(self.before) + len(self.after)
            return longer and other.before.startswith(self.before) and other.before.endswith(self.after)
        begins = self.before.startswith(other.before) or other.before.startswith(self.before)
        return begins and (self.after.endswith(other.after) or other.after.endswith(self.after))

    def __str__(self) -> str:
        return f"{self.before}{{{self.claim}}}{self.after}" if self.claim else self.before


@dataclass(frozen=True, slots=True)
class ClaimsRow:
    """A row that maps the tokens of an issuer with these claims."""

    principal: Template
    claims: Mapping[str, str]

    def matches(self, claims: Mapping[str, Any]) -> bool:
        return all(claims.get(name) == value for name, value in self.claims.items())


@dataclass(frozen=True, slots=True)
class Identities:
    """One version of the file. Without the file nothing is mapped, refused or limited."""

    revision: str = ""
    """SHA-256 of the file, 64 hexadecimal digits."""
    issuers: Mapping[str, Issuer] = field(default_factory=dict)
    """By short name."""
    certificates: Mapping[CertificateName, Principal] = field(default_factory=dict)
    tokens: Mapping[bytes, OpaqueToken] = field(default_factory=dict)
    """By SHA-256 digest."""
    claims: Mapping[str, tuple[ClaimsRow, ...]] = field(default_factory=dict)
    """By the short name of the issuer."""
    refused: frozenset[bytes] = frozenset()
    """SHA-256 fingerprints of certificates."""
    limits: CallLimits = field(default_factory=CallLimits)

    @property
    def rows(self) -> int:
        """How many credentials are mapped."""
        return len(self.certificates) + len(self.tokens) + sum(map(len, self.claims.values()))

    def of_certificate(self, name: CertificateName) -> Principal | None:
        """None if no row maps the name."""
        return self.certificates.get(name)

    def refuses(self, fingerprint: bytes) -> bool:
        return fingerprint in self.refused

    def of_token(self, token: str) -> OpaqueToken | None:
        """None if no row names the token; it may have expired."""
        return self.tokens.get(sha256(token.encode()).digest()) if self.tokens else None

    def of_claims(self, issuer: str, claims: Mapping[str, Any]) -> Caller:
        """The caller of a verified token. `issuer` is the issuer's short name.

        Raises InvalidNameError if a claim that should be part of the ID cannot be.
        """
        own = Template(f"service:jwt/{issuer}/", "sub")
        for row in self.claims.get(issuer, ()):
            if row.matches(claims):
                return Caller(row.principal.filled(claims), f"jwt/{issuer}/{shown_claim(claims.get('sub'))}")
        return Caller(own.filled(claims))


def name_of_token(digest: bytes) -> str:
    """The name of an opaque token in records: it does not help to guess the token."""
    return f"token/{digest.hex()[:_SHOWN]}"


def shown_claim(value: object) -> str:
    """A claim's value for a record: printable and short."""
    return quote(value, 200) if isinstance(value, str) else ""
