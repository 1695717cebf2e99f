"""Reads the caller's identity from its certificate.

grpcio's own properties are not enough: they mix names of all types in one list, and end at a NUL character.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import grpc
from cryptography import x509
from cryptography.x509.oid import NameOID

from remit.core.errors import InvalidNameError, RemitError
from remit.core.names import Principal, quote
from remit.service.callers import Caller, principal_of_common_name, principal_of_dns, principal_of_uri

_CERTIFICATES: Final = 4096
"""Certificates with a cached identity: reading one costs as much as a Check."""
_EXPECTED: Final = (
    "expected exactly one URI, such as a SPIFFE id, or without one a DNS name, or without any alternative name exactly "
    "one common name"
)
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+").fullmatch
_DNS_NAME: Final = re.compile(r"[A-Za-z0-9._*-]+").fullmatch
_NOBODY: Final = Caller("")
_READS_AS_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:").match


class UnnamedCallerError(RemitError):
    """The caller's certificate has no name, more than one name, or a name that a record cannot hold."""


class _Identity(NamedTuple):
    caller: Caller
    wrong: str
    """Why there is no caller."""


def caller_of(context: grpc.ServicerContext) -> Caller:
    """The caller that the certificate names. Raises UnnamedCallerError if it has none."""
    # grpcio's stubs say `bytes`, but it gives a list of them.
    properties: Mapping[str, Iterable[bytes]] = cast("Any", context.auth_context())
    for pem in properties.get("x509_pem_cert", ()):
        caller, wrong = _identity_in(pem)
        if wrong:
            raise UnnamedCallerError(wrong)
        return caller
    raise UnnamedCallerError(f"there is no certificate: {_EXPECTED}")


@lru_cache(_CERTIFICATES)
def _identity_in(pem: bytes) -> _Identity:
    try:
        return _Identity(Caller(_principal_in(x509.load_pem_x509_certificate(pem))), "")
    except UnnamedCallerError as error:
        wrong = str(error)
    except InvalidNameError as error:
        wrong = f"the certificate's name cannot be a caller's: {error}"
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        wrong = f"the certificate cannot be read: {quote(str(error))}"
    return _Identity(_NOBODY, f"{wrong}; {_EXPECTED}")


def _principal_in(certificate: x509.Certificate) -> Principal:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return _common_name(certificate)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if uris:
        uri = _only("URIs", uris)
        if not _URI(uri):
            raise UnnamedCallerError(f"the certificate's URI `{quote(uri)}` is no URI")
        return principal_of_uri(uri)
    for name in names.get_values_for_type(x509.DNSName):
        if not _DNS_NAME(name):
            raise UnnamedCallerError(f"the certificate's first DNS name `{quote(name)}` is no DNS name")
        return principal_of_dns(name)
    raise UnnamedCallerError("the certificate's alternative names hold neither a URI nor a DNS name")


def _common_name(certificate: x509.Certificate) -> Principal:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not found:
        raise UnnamedCallerError("the certificate has neither an alternative name nor a common name")
    name = _only("common names", [str(each.value) for each in found])
    # A CA that checks only URI names might sign a URI as a common name.
    if _READS_AS_URI(name):
        raise UnnamedCallerError(f"the certificate's common name `{quote(name)}` reads as a URI")
    return principal_of_common_name(name)


def _only(what: str, names: list[str]) -> str:
    if len(names) > 1:
        raise UnnamedCallerError(f"the certificate holds {len(names)} {what}")
    return names[0]
