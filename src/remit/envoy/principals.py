"""Who sends a request: only what Envoy has verified counts."""

import re
from collections.abc import Sequence
from typing import Final

from remit.core.errors import InvalidNameError
from remit.core.names import Principal, is_principal
from remit.envoy.request import header
from remit.envoy.v1 import ext_authz_pb2 as messages
from remit.service.gateways import CERTIFICATE, ClaimSource, PrincipalSource
from remit.service.identities.certificate_names import CertificateName, NameType

JWT_AUTHN: Final = "envoy.filters.http.jwt_authn"
"""The filter of Envoy that verifies tokens. Its metadata cannot come from a client."""
FORWARDED: Final = "x-forwarded-client-cert"

_PAIR: Final = r'([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",;]*)'
_ELEMENT: Final = re.compile(rf"{_PAIR}(?:;{_PAIR})*").fullmatch
_PAIRS: Final = re.compile(_PAIR).findall
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:").match


def principal_of(attributes: messages.AttributeContext, sources: Sequence[PrincipalSource]) -> Principal | None:
    """The principal by the first source that the request has; None if it has none, or if that one names nobody."""
    for source in sources:
        if isinstance(source, ClaimSource):
            claim = _claim(attributes, source)
            if claim is not None:
                text = f"{source.type}:{claim}"
                return Principal(text) if is_principal(text) else None
        else:
            name = _verified_name(attributes) if source == CERTIFICATE else _forwarded_name(attributes)
            if name is not None:
                return _principal(*name)
    return None


def _claim(attributes: messages.AttributeContext, source: ClaimSource) -> str | None:
    """None if no token with this claim was verified; '' for a claim that is no text."""
    filters = attributes.metadata_context.filter_metadata
    # A look-up of an absent key would add it.
    if JWT_AUTHN not in filters or source.key not in filters[JWT_AUTHN].fields:
        return None
    claims = filters[JWT_AUTHN].fields[source.key].struct_value.fields
    return claims[source.claim].string_value if source.claim in claims else None


def _verified_name(attributes: messages.AttributeContext) -> tuple[NameType, str] | None:
    """The name in the certificate of the client's connection. Envoy gives its URI, else its DNS name, else its
    subject; None without a certificate."""
    text = attributes.source.principal.decode("ascii", "replace")
    if not text:
        return None
    return (NameType.URI if _URI(text) else NameType.DNS), text


def _forwarded_name(attributes: messages.AttributeContext) -> tuple[NameType, str] | None:
    """The name in the header that Envoy sets: the URI, else the first DNS name."""
    text = header(attributes.request.http, FORWARDED).decode("ascii", "replace")
    if not text:
        return None
    # An Envoy that sets the header itself sends one element.
    pairs = [(key.lower(), value.strip('"')) for key, value in _PAIRS(text)] if _ELEMENT(text) else []
    named = [(key, value) for key, value in pairs if key in {"uri", "dns"}]
    uris, names = ([value for key, value in named if key == wanted] for wanted in ("uri", "dns"))
    # Envoy writes names as the certificate has them, DNS names last: what looks like a URI behind one is a part of it.
    if len(uris) > 1 or (uris and named[0][0] == "dns"):
        return NameType.URI, ""
    # Without a URI in the certificate, Envoy writes an empty one.
    if any(uris):
        return NameType.URI, uris[0]
    return NameType.DNS, names[0] if names else ""


def _principal(type_: NameType, text: str) -> Principal | None:
    try:
        return CertificateName.parse(type_, text).principal()
    except InvalidNameError:
        return None
