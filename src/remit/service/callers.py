"""The names of callers: principals of the policy language, made from credentials."""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from remit.core.errors import InvalidNameError
from remit.core.names import Principal, is_principal, parse_principal, parse_tenant, quote

_Entry = TypeVar("_Entry")


class Caller(NamedTuple):
    """Who calls."""

    principal: str
    """`service:ID` or `user:ID`, as in policies; `anonymous` without TLS."""
    via: str = ""
    """The credential's own name, if the principal does not show it."""
    actor: str = ""
    """The caller that acts for `principal`, and shows the credential. The call has the rights that both have."""

    @property
    def counted(self) -> str:
        """Who holds places and has limits: whoever acts for others could invent their names."""
        return self.actor or self.principal


ANONYMOUS: Final = Caller("anonymous")
"""Every caller without TLS. Only loopback addresses accept such callers."""
EVERY_TENANT: Final = ""
"""Stands for all tenants at once, in the place of a tenant's name."""


def principal_of_uri(uri: str) -> Principal:
    """The principal of a certificate with this URI. Raises InvalidNameError."""
    return _principal(uri, uri)


def principal_of_dns(name: str) -> Principal:
    """The principal of a certificate with this DNS name, and no URI. Raises InvalidNameError."""
    return _principal(f"dns/{name}", name)


def principal_of_common_name(name: str) -> Principal:
    """The principal of a certificate with no alternative name. Raises InvalidNameError."""
    return _principal(f"cn/{name}", name)


def _principal(id_: str, name: str) -> Principal:
    text = f"service:{id_}"
    if not name or not is_principal(text):
        raise InvalidNameError(
            f"`{quote(name)}` cannot be the ID of a principal: expected 1 to 256 printable ASCII characters without "
            'space and , " # \\ | * ( ) [ ] { }'
        )
    return Principal(text)


def parse_caller(text: str) -> Principal:
    """A caller in a setting: a principal, the URI of a certificate, or else its DNS name. Raises InvalidNameError."""
    if text.startswith(("service:", "user:")):
        return parse_principal(text)
    return principal_of_uri(text) if ":" in text else principal_of_dns(text)


def parse_operators(text: str) -> frozenset[Principal]:
    """The callers that the setting `operators` lists. Raises ValueError."""
    return frozenset(parse_entries("operators", text, parse_caller))


def parse_auditors(text: str) -> list[tuple[Principal, str]]:
    """Parses the setting `auditors` into callers and tenants. Raises ValueError.

    The entry `NAME` may read all tenants, which the tenant '' stands for; `NAME=TENANT` only that tenant.
    """
    return parse_entries("auditors", text, _auditor)


def _auditor(entry: str) -> tuple[Principal, str]:
    name, binds, tenant = entry.rpartition("=")
    if not binds:
        return parse_caller(entry), EVERY_TENANT
    if not name.strip():
        raise InvalidNameError("it names no caller: expected `NAME` or `NAME=TENANT`")
    return parse_caller(name.strip()), parse_tenant(tenant.strip())


def parse_entries(setting: str, text: str, parse: Callable[[str], _Entry]) -> list[_Entry]:
    """Parses a setting that lists callers, separated by commas. Empty entries are ignored.

    Raises ValueError, which quotes the entry, if `parse` raises InvalidNameError.
    """
    parsed: list[_Entry] = []
    for entry in filter(None, (entry.strip() for entry in text.split(","))):
        try:
            parsed.append(parse(entry))
        except InvalidNameError as error:
            raise ValueError(f"`{setting}` holds `{quote(entry)}`: {error}") from None
    return parsed
