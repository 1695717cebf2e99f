"""The chain of a tenant's changes: every state that a tenant ever had, in one order. docs/reference/releases.md specifies it."""

import json
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, NamedTuple, Self

from remit.audit.chain.chain import Head
from remit.audit.chain.signing import PublicKey, SigningKey
from remit.core.names import Tenant
from remit.core.position import Position

_TITLE: Final = "remit change 1"
_SHOWN: Final = 16


class ChangeKind(StrEnum):
    RELEASE = "RELEASE"
    """A release has other files for the tenant."""
    REMOVED = "REMOVED"
    """A release has the tenant no more."""
    BINDINGS = "BINDINGS"
    """Rows of run time were granted or revoked, or became rows of the files."""


class PolicyChange(NamedTuple):
    """One row of table `changes`, in column order."""

    tenant: str
    seq: int
    """From 1, without gaps."""
    hash: bytes
    """SHA-256 over the hash before and the other fields as lines of text."""
    time_us: int
    kind: str
    caller: str
    body: str
    """JSON, without line breaks."""
    request_id: str = ""
    """The name that the caller gave to the request; '' for none. No other change of the tenant has it."""
    key_id: str = ""
    """'' if it is not signed."""
    signature: bytes = b""

    @classmethod
    def of(cls, row: Any) -> Self:
        """The change of a row of the table."""
        change = cls(*row)
        return change._replace(hash=bytes(change.hash), signature=bytes(change.signature))

    @property
    def head(self) -> Head:
        return Head(self.seq, self.hash)

    @property
    def members(self) -> dict[str, Any]:
        """What the body says."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    def follows(self, head: Head) -> bool:
        expected = linked(head, Tenant(self.tenant), self.time_us, self.kind, self.caller, self.body, self.request_id)
        return self._replace(key_id="", signature=b"") == expected

    def signed(self, key: SigningKey) -> Self:
        return self._replace(key_id=key.public.id, signature=key.sign(self._statement))

    def is_signed_by(self, key: PublicKey) -> bool:
        return self.key_id == key.id and key.made(self.signature, self._statement)

    @property
    def _statement(self) -> str:
        # The hash covers all changes of the tenant up to this one, and so does a signature under it.
        return f"{_TITLE} signed\n{self.hash.hex()}"


def genesis(tenant: Tenant) -> Head:
    """The head of a tenant without changes."""
    return Head(0, sha256(f"{_TITLE}\n{tenant}".encode()).digest())


def linked(  # noqa: PLR0917 (the columns of a change)
    head: Head, tenant: Tenant, time_us: int, kind: str, caller: str, body: str, request_id: str = ""
) -> PolicyChange:
    """The change that follows `head`."""
    seq = head.seq + 1
    named = json.dumps(caller), json.dumps(request_id)
    lines = "\n".join((head.hash.hex(), tenant, str(seq), str(time_us), kind, *named, body))
    return PolicyChange(tenant, seq, sha256(lines.encode()).digest(), time_us, kind, caller, body, request_id)


def position_of(tenant: Tenant, head: Head) -> Position:
    return Position(tenant, head.seq, head.hash.hex()[:_SHOWN])


def body_of(**members: Any) -> str:
    return json.dumps(members, sort_keys=True, separators=(",", ":"))
