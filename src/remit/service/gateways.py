"""What the settings say of gateways: the tenants of hosts, and what names the principal of a request."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from remit.core.errors import InvalidNameError
from remit.core.names import Tenant, parse_tenant
from remit.service.callers import parse_entries

ANY_HOST: Final = "*"
CERTIFICATE: Final = "certificate"
FORWARDED_CERTIFICATE: Final = "forwarded-certificate"


class PrincipalType(StrEnum):
    """The types of principals that a claim may name."""

    USER = "user"
    SERVICE = "service"


class ClaimSource(NamedTuple):
    """A claim of a token that the gateway has verified."""

    key: str
    """Under which the gateway keeps the token's claims: `payload_in_metadata` of its provider."""
    claim: str
    type: PrincipalType


PrincipalSource = ClaimSource | str
"""A claim, CERTIFICATE or FORWARDED_CERTIFICATE."""


def parse_hosts(text: str) -> Mapping[str, Tenant]:
    """Parses the setting `envoy_hosts` into tenants by host in lower case. Raises ValueError."""
    hosts: dict[str, Tenant] = {}

    def host(entry: str) -> tuple[str, Tenant]:
        name, binds, tenant = (each.strip() for each in entry.partition("="))
        if not binds or not name or not name.isascii() or " " in name:
            raise InvalidNameError("expected `HOST=TENANT`, or `*=TENANT` for all other hosts")
        if name != plain_host(name):
            raise InvalidNameError(f"expected the host without a port, in lower case: `{plain_host(name)}`")
        return name, parse_tenant(tenant)

    for name, tenant in parse_entries("envoy_hosts", text, host):
        if name in hosts:
            raise ValueError(f"`envoy_hosts` names `{name}` twice")
        hosts[name] = tenant
    return hosts


def plain_host(text: str) -> str:
    """A host in lower case, without its port and without a final dot."""
    host, colon, port = text.rpartition(":")
    # Without a number it means the usual port.
    name = host if colon and (port.isdigit() or not port) else text
    return name.lower().removesuffix(".")


def parse_principal_sources(text: str) -> tuple[PrincipalSource, ...]:
    """Parses the setting `envoy_principal`. Raises ValueError."""
    return tuple(parse_entries("envoy_principal", text, _source))


def _source(entry: str) -> PrincipalSource:
    if entry in {CERTIFICATE, FORWARDED_CERTIFICATE}:
        return entry
    named, _, type_ = (each.strip() for each in entry.rpartition("="))
    key, _, claim = named.partition("/")
    if not key or not claim or type_ not in list(PrincipalType):
        raise InvalidNameError(
            f"expected `KEY/CLAIM=user`, `KEY/CLAIM=service`, `{CERTIFICATE}` or `{FORWARDED_CERTIFICATE}`"
        )
    return ClaimSource(key, claim, PrincipalType(type_))
