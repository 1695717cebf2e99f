"""The name in a certificate, with its type: what one row of `callers` matches."""

import re
from enum import StrEnum
from typing import Final, NamedTuple

from remit.core.errors import InvalidNameError
from remit.core.names import Principal, quote
from remit.service.callers import principal_of_common_name, principal_of_dns, principal_of_uri

_LONGEST: Final = 512
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+").fullmatch
_DNS: Final = re.compile(r"[A-Za-z0-9._*-]+").fullmatch
_READS_AS_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:").match


class NameType(StrEnum):
    """The types of names, by the keys of the file `identities`."""

    URI = "uri"
    DNS = "dns"
    COMMON_NAME = "cn"


_WORDS: Final = {NameType.URI: "URI", NameType.DNS: "DNS name", NameType.COMMON_NAME: "common name"}


class CertificateName(NamedTuple):
    """The one name by which a certificate counts."""

    type: NameType
    text: str

    @classmethod
    def parse(cls, type_: NameType, text: str) -> "CertificateName":
        """Raises InvalidNameError if no certificate may name a caller so."""
        if problem := _problem(type_, text):
            raise InvalidNameError(f"`{quote(text)}` cannot be the {_WORDS[type_]} of a caller: {problem}")
        return cls(type_, text)

    def principal(self) -> Principal:
        """The principal of a certificate that no row maps. Raises InvalidNameError if the name is no ID."""
        match self.type:
            case NameType.URI:
                return principal_of_uri(self.text)
            case NameType.DNS:
                return principal_of_dns(self.text)
            case NameType.COMMON_NAME:
                return principal_of_common_name(self.text)

    def __str__(self) -> str:
        """The name with its type, as in the principal of a certificate that no row maps."""
        return self.text if self.type is NameType.URI else f"{self.type}/{self.text}"


def _problem(type_: NameType, text: str) -> str:
    if not text or len(text) > _LONGEST:
        return f"expected 1 to {_LONGEST} characters"
    match type_:
        case NameType.URI if not _URI(text):
            return "expected a URI such as `spiffe://acme.example/web`, in printable ASCII without blanks"
        case NameType.DNS if not _DNS(text):
            return "expected letters, digits, `.`, `_`, `-` and `*`"
        case NameType.COMMON_NAME:
            if not text.isprintable() or text != text.strip():
                return "expected printable characters without blanks at an end"
            # A CA that checks only URI names might sign a URI as a common name.
            if _READS_AS_URI(text):
                return "it reads as a URI"
    return ""
