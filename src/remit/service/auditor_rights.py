"""The rights of auditors: which callers may read the audit of which tenants."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from remit.core.errors import InvalidNameError, RemitError, violation
from remit.core.names import parse_tenant
from remit.service.callers import parse_caller, parse_entries

_EVERY: Final = ""
"""Stands for all tenants, in the place of a tenant's name."""


class NotAnAuditorError(RemitError):
    """The caller may not read these records. The error does not say whether such records exist."""


@dataclass(frozen=True, slots=True)
class Rights:
    """The tenants whose records a caller may read."""

    caller: str
    tenants: frozenset[str]
    """If it contains `_EVERY`, the caller may read all tenants."""

    def may_read(self, tenant: str) -> bool:
        return _EVERY in self.tenants or tenant in self.tenants

    def tenant(self, asked: str) -> str:
        """Returns the tenant to read if the caller asks for `asked`. '' means all tenants, as argument and as result.

        Raises NotAnAuditorError if the caller may not read that tenant, and MalformedQuestionError if the caller must
        name one of several tenants.
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
    """Parses the setting `auditors` into rights by caller. Raises ValueError.

    The entry `NAME` may read all tenants, `NAME=TENANT` only that tenant.
    """
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
