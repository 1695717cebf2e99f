"""Finds out who calls: by the token of a call, or else by the certificate of its connection.

grpcio's own properties of certificates are not enough: they mix names of all types in one list, and end at a NUL
character.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from threading import Lock
from typing import Any, Final, NamedTuple, Protocol

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from remit.core.errors import InvalidNameError
from remit.core.names import is_principal, quote
from remit.rpc.call_context import CallContext
from remit.service.callers import ANONYMOUS, Caller
from remit.service.identities.certificate_names import CertificateName, NameType
from remit.service.identities.errors import CredentialRefusedError, TokenRefusedError, UnverifiedTokenError
from remit.service.identities.identities import Identities
from remit.service.identities.live import LiveIdentities

AUTHORIZATION: Final = "authorization"
ACT_FOR: Final = "remit-act-for"
"""The metadata that names the person for whom a call is made."""
LONGEST_TOKEN: Final = 8192
"""Characters of the value of `authorization`."""
_CERTIFICATES: Final = 4096
"""Certificates with a cached identity: reading one costs as much as a Check."""
_MAPPED: Final = 4096
"""Tokens with a cached caller."""
_EXPECTED: Final = (
    "expected exactly one URI, such as a SPIFFE id, or without one a DNS name, or without any alternative name exactly "
    "one common name"
)
_BEARER: Final = re.compile(r"bearer ([!-~]+)", re.IGNORECASE).fullmatch
_LOG_EVERY_S: Final = 60.0
_CAUSES: Final = 100
"""Causes that are logged apart in a minute: names in certificates come from outside."""
_OTHER_CAUSES: Final = "other causes"

_log = structlog.get_logger("remit.rpc")


class VerifiedClaims(Protocol):
    """A JWT whose signature and times were verified."""

    @property
    def issuer(self) -> str:
        """The short name of its issuer."""

    @property
    def claims(self) -> Mapping[str, Any]: ...


class VerifiesTokens(Protocol):
    """Verifies the JWTs of the issuers that `identities` names now."""

    def cached(self, token: str, certificate_sha256: bytes | None = None) -> VerifiedClaims | TokenRefusedError | None:
        """What is known of the token without work; None if it must be verified.

        `certificate_sha256` is the fingerprint of the connection's certificate, for tokens that are bound to one.
        """

    def verify(self, token: str, certificate_sha256: bytes | None = None) -> VerifiedClaims:
        """Raises TokenRefusedError and KeysAwayError."""


class Credential(NamedTuple):
    """What a call shows. It outlives the call's context."""

    certificate: bytes
    """PEM; empty without a certificate."""
    token: str
    """Without its scheme; '' without a token."""
    person: str = ""
    """For whom the call is made; '' if for the caller itself."""


_NOTHING: Final = Credential(b"", "")


class _Certificate(NamedTuple):
    """A certificate, as far as it never changes."""

    name: CertificateName | None
    caller: Caller | None
    """The caller if no row maps the name; None if the name is no ID."""
    wrong: str
    """Why there is no name, or no caller."""
    fingerprint: bytes
    expires_s: float
    """`notAfter`, in seconds since the Unix epoch."""

    @property
    def shown(self) -> str:
        """Its name in records, beside the principal of a token."""
        return str(self.name) if self.name is not None else f"sha256:{self.fingerprint.hex()}"


class _Mapped(NamedTuple):
    """The caller of a verified token, by one version of `identities`."""

    verified: VerifiedClaims
    identities: Identities
    caller: Caller


class CallerIdentities:
    """From credentials to callers. Evaluated at each call: what is taken out of `identities` ends at the next one."""

    def __init__(
        self,
        identities: LiveIdentities,
        tokens: Callable[[], VerifiesTokens | None] = lambda: None,
        *,
        authenticated: bool,
        require_act_for: Callable[[Caller], None],
    ) -> None:
        """`authenticated`: the server has TLS. `tokens` gives the verifier of JWTs; None if there is none.
        `require_act_for` raises ForbiddenError for a caller that may not act for others."""
        self._identities = identities
        self._tokens = tokens
        self._authenticated = authenticated
        self._require_act_for = require_act_for
        self._mapped: dict[int, _Mapped] = {}
        """By the identity of the verified token: the verifier gives the same object for the same token."""

    def credential_of(self, context: CallContext) -> Credential:
        """Raises CredentialRefusedError if the call shows no credential, or one in a wrong way."""
        token, person = _token_and_person(context.invocation_metadata())
        if not self._authenticated:
            if token or person:
                raise CredentialRefusedError("a token or a person without TLS")
            return _NOTHING
        for pem in context.auth_context().get("x509_pem_cert", ()):
            return Credential(pem, token, person)
        if not token:
            raise CredentialRefusedError("neither a certificate nor a token")
        return Credential(b"", token, person)

    def caller_of(self, credential: Credential, *, may_wait: bool = True) -> Caller:
        """Who shows the credential now.

        Raises CredentialRefusedError, KeysAwayError, UnverifiedTokenError if `may_wait` is False and the token must be
        verified first, and ForbiddenError if the call is made for a person by a caller that may not.
        """
        if not self._authenticated:
            return ANONYMOUS
        found = self._own_caller(credential, may_wait=may_wait)
        if not credential.person:
            return found
        self._require_act_for(found)
        return Caller(credential.person, found.principal, found.principal)

    def _own_caller(self, credential: Credential, *, may_wait: bool) -> Caller:
        identities = self._identities.current
        certificate = _certificate_in(credential.certificate) if credential.certificate else None
        if certificate is not None:
            _refuse_certificate(certificate, identities)
        if credential.token:
            return self._token_caller(credential.token, identities, certificate, may_wait=may_wait)
        if certificate is None:
            raise CredentialRefusedError("neither a certificate nor a token")
        return _certificate_caller(certificate, identities)

    def _token_caller(
        self, token: str, identities: Identities, certificate: _Certificate | None, *, may_wait: bool
    ) -> Caller:
        opaque = identities.of_token(token)
        if opaque is not None:
            if time.time() >= opaque.expires_s:
                raise CredentialRefusedError(f"the {opaque.name} of `{opaque.principal}` has expired")
            found = Caller(opaque.principal, opaque.name)
        else:
            found = self._verified_caller(token, identities, certificate, may_wait=may_wait)
        # The certificate only opened the connection.
        return found if certificate is None else Caller(found.principal, certificate.shown)

    def _verified_caller(
        self, token: str, identities: Identities, certificate: _Certificate | None, *, may_wait: bool
    ) -> Caller:
        verifier = self._tokens()
        if verifier is None or not identities.issuers:
            raise CredentialRefusedError("a token that no row of `identities` names")
        bound_to = certificate.fingerprint if certificate is not None else None
        try:
            verified = verifier.cached(token, bound_to)
            if isinstance(verified, TokenRefusedError):
                raise verified
            if verified is None:
                if not may_wait:
                    raise UnverifiedTokenError("the token is not verified yet")
                verified = verifier.verify(token, bound_to)
        except TokenRefusedError as error:
            raise CredentialRefusedError(f"a token: {error.cause}") from None
        return self._mapped_caller(verified, identities)

    def _mapped_caller(self, verified: VerifiedClaims, identities: Identities) -> Caller:
        known = self._mapped.get(id(verified))
        if known is not None and known.verified is verified and known.identities is identities:
            return known.caller
        if verified.issuer not in identities.issuers:
            raise CredentialRefusedError("a token of an issuer that `identities` no longer names")
        try:
            found = identities.of_claims(verified.issuer, verified.claims)
        except InvalidNameError as error:
            raise CredentialRefusedError(f"a token of `{verified.issuer}`: {error}") from None
        if len(self._mapped) >= _MAPPED:
            self._mapped = {}
        self._mapped[id(verified)] = _Mapped(verified, identities, found)
        return found


class CredentialLog:
    """Logs why credentials are refused: each cause at most once a minute."""

    def __init__(self) -> None:
        self._mutex = Lock()
        self._silent_until: dict[str, float] = {}
        self._calls: dict[str, int] = {}

    def add(self, cause: str) -> None:
        now = time.monotonic()
        with self._mutex:
            if cause not in self._silent_until and len(self._silent_until) >= _CAUSES:
                self._silent_until = {each: until for each, until in self._silent_until.items() if until > now}
                self._calls = {each: calls for each, calls in self._calls.items() if each in self._silent_until}
                if len(self._silent_until) >= _CAUSES:
                    cause = _OTHER_CAUSES
            self._calls[cause] = self._calls.get(cause, 0) + 1
            if now < self._silent_until.get(cause, 0.0):
                return
            self._silent_until[cause] = now + _LOG_EVERY_S
            calls = self._calls.pop(cause)
        _log.warning("credential refused", cause=cause, calls=calls)


def expires_s(pem: bytes) -> float:
    """When the first certificate of a PEM file ends, in seconds since the Unix epoch; 0 if it cannot be read."""
    try:
        return _certificate_in(pem).expires_s
    except CredentialRefusedError:
        return 0


def _token_and_person(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[str, str]:
    """The call's token, and for whom it is made; '' for what there is not. Raises CredentialRefusedError."""
    token: str | bytes | None = None
    person: str | bytes | None = None
    for key, value in metadata:
        if key == AUTHORIZATION:
            if token is not None:
                raise CredentialRefusedError("two values of `authorization`")
            token = value
        elif key == ACT_FOR:
            if person is not None:
                raise CredentialRefusedError(f"two values of `{ACT_FOR}`")
            person = value
    return "" if token is None else _token_in(token), "" if person is None else _person_in(person)


def _token_in(found: str | bytes) -> str:
    if len(found) > LONGEST_TOKEN:
        raise CredentialRefusedError(f"a value of `authorization` of more than {LONGEST_TOKEN} characters")
    matched = _BEARER(found) if isinstance(found, str) else None
    if matched is None:
        raise CredentialRefusedError("a value of `authorization` that is not `Bearer` and one token")
    return matched[1]


def _person_in(person: str | bytes) -> str:
    if not (isinstance(person, str) and person.startswith("user:") and is_principal(person)):
        raise CredentialRefusedError(f"a value of `{ACT_FOR}` that is no person: expected `user:ID`")
    return person


def _refuse_certificate(certificate: _Certificate, identities: Identities) -> None:
    """Raises CredentialRefusedError if the certificate counts no longer, whatever it names."""
    if time.time() >= certificate.expires_s:
        raise CredentialRefusedError(f"the certificate of `{quote(certificate.shown)}` has expired")
    if identities.refuses(certificate.fingerprint):
        raise CredentialRefusedError(f"the certificate of `{quote(certificate.shown)}` is in `refused`")


def _certificate_caller(certificate: _Certificate, identities: Identities) -> Caller:
    name, unmapped = certificate.name, certificate.caller
    mapped = identities.of_certificate(name) if name is not None and identities.certificates else None
    if mapped is not None and (unmapped is None or mapped != unmapped.principal):
        return Caller(mapped, str(name))
    if unmapped is None:
        raise CredentialRefusedError(certificate.wrong)
    return unmapped


@lru_cache(_CERTIFICATES)
def _certificate_in(pem: bytes) -> _Certificate:
    """Raises CredentialRefusedError."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise CredentialRefusedError(f"the certificate cannot be read: {quote(str(error))}") from None
    name = caller = None
    wrong = ""
    try:
        name = _name_in(certificate)
        caller = Caller(name.principal())
    except CredentialRefusedError as error:
        wrong = error.cause
    except InvalidNameError as error:
        wrong = f"the certificate names no caller: {error}"
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        wrong = f"the certificate cannot be read: {quote(str(error))}"
    if wrong:
        hint = "a row of `identities` may map the name" if name is not None else _EXPECTED
        wrong = f"{wrong}; {hint}"
    expires_s = certificate.not_valid_after_utc.timestamp()
    return _Certificate(name, caller, wrong, certificate.fingerprint(SHA256()), expires_s)


def _name_in(certificate: x509.Certificate) -> CertificateName:
    """Raises CredentialRefusedError, InvalidNameError, and what reading a malformed certificate raises."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return _common_name(certificate)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if uris:
        return CertificateName.parse(NameType.URI, _only("URIs", uris))
    for name in names.get_values_for_type(x509.DNSName):
        return CertificateName.parse(NameType.DNS, name)
    raise CredentialRefusedError("the certificate's alternative names hold neither a URI nor a DNS name")


def _common_name(certificate: x509.Certificate) -> CertificateName:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not found:
        raise CredentialRefusedError("the certificate has neither an alternative name nor a common name")
    return CertificateName.parse(NameType.COMMON_NAME, _only("common names", [str(each.value) for each in found]))


def _only(what: str, names: list[str]) -> str:
    if len(names) > 1:
        raise CredentialRefusedError(f"the certificate holds {len(names)} {what}")
    return names[0]
