from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from remit.core.errors import InvalidNameError, RemitError, violation
from remit.core.names import parse_tenant
from remit.service.callers import parse_caller, parse_entries

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
    for name, tenant in parse_entries("auditors", text, _auditor):
        found[name].add(tenant)
    return {name: Rights(name, frozenset(tenants)) for name, tenants in found.items()}


def _auditor(entry: str) -> tuple[str, str]:
    name, binds, tenant = entry.rpartition("=")
    if not binds:
        return parse_caller(entry), _EVERY
    if not name.strip():
        raise InvalidNameError("it names no caller: expected `NAME` or `NAME=TENANT`")
    return parse_caller(name.strip()), parse_tenant(tenant.strip())
