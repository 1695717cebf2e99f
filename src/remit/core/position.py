"""A position in the history of a tenant's policy: which changes an answer knows of."""

import re
from typing import Final, NamedTuple

from remit.core.names import Tenant, invalid_name, is_tenant

POSITION_GRAMMAR: Final = (
    "a position as an answer gives it: the tenant, a number from 1 and 16 lower-case hexadecimal digits, joined by `:`"
)
_POSITION = re.compile(r"([^:]+):([1-9][0-9]{0,17}):([0-9a-f]{16})").fullmatch


class Position(NamedTuple):
    """A place in the one chain of a tenant's changes. As text `TENANT:SEQ:DIGEST`, which callers need not understand."""

    tenant: Tenant
    seq: int
    """The number of the tenant's last change, from 1 on."""
    digest: str
    """The first 8 bytes of that change's hash in the chain, as 16 lower-case hexadecimal digits."""

    def __str__(self) -> str:
        return f"{self.tenant}:{self.seq}:{self.digest}"


def parse_position(text: str) -> Position:
    found = _POSITION(text)
    if found is None or not is_tenant(found[1]):
        raise invalid_name("position", text, POSITION_GRAMMAR)
    return Position(Tenant(found[1]), int(found[2]), found[3])
