from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from remit.core.errors import InvalidNameError, RemitError, violation
from remit.core.names import parse_tenant

_EVERY: Final = ""
"""In the place of a tenant: all of them."""


class NotAnAuditorError(RemitError):
    """The caller may not read what it asks for, whether there is anything or not."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Whose records somebody may read."""

    caller: str
    tenants: frozenset[str]
    """`_EVERY` among them is all there are."""

    def may_read(self, tenant: str) -> bool:
        return _EVERY in self.tenants or tenant in self.tenants

    def tenant(self, asked: str) -> str:
        """The tenant that is read where `asked` is asked for; '' is all, for both.

        Raises NotAnAuditorError where it may not be, and MalformedQuestionError where one must be named.
        """
        if self.may_read(asked):
            return asked
        if asked:
            raise NotAnAuditorError(f"`{self.caller}` is no auditor of tenant `{asked}`")
        if len(self.tenants) > 1:
            raise violation("tenant", f"is missing: expected one of {', '.join(sorted(self.tenants))}")
        (only,) = self.tenants
        return only


def every_right(caller: str) -> Rights:
    return Rights(caller, frozenset([_EVERY]))


def parse_auditors(text: str) -> Mapping[str, Rights]:
    """By caller: `NAME` may read all, `NAME=TENANT` that one. Raises ValueError."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for entry in filter(None, (each.strip() for each in text.split(","))):
        name, binds, tenant = entry.rpartition("=")
        if binds and not name:
            raise ValueError(f"`auditors` holds `{entry}`, which names no caller: expected `NAME` or `NAME=TENANT`")
        try:
            found[name if binds else entry].add(parse_tenant(tenant) if binds else _EVERY)
        except InvalidNameError as error:
            raise ValueError(f"`auditors` holds `{entry}`: {error}") from None
    return {name: Rights(name, frozenset(tenants)) for name, tenants in found.items()}
