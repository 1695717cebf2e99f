"""Rows of run time as changes hold them: who was granted what, and who it was taken from."""

import json
from collections.abc import MutableMapping
from typing import Any, NamedTuple

from remit.core.names import Subject
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.runtime import RuntimeRow
from remit.fleet.change import body_of

_NEVER = 0


class RowKey(NamedTuple):
    """What makes two rows of run time the same row. Its end may be another."""

    member: Subject
    holds: Subject
    scope: str

    @classmethod
    def of(cls, row: RuntimeRow) -> "RowKey":
        return cls(row.member, row.holds, row.scope.text)


class GrantedRow(NamedTuple):
    row: RuntimeRow
    seq: int
    """The change of the tenant that granted it."""


class BindingChange(NamedTuple):
    """What a change of kind BINDINGS says. A row that was granted again with another end is in both."""

    granted: tuple[RuntimeRow, ...]
    revoked: tuple[RowKey, ...]
    ended: tuple[RowKey, ...] = ()
    """Rows whose end had passed before this change."""
    granter: str = ""
    """The principal who may grant this; the caller acted for it."""
    reason: str = ""

    @property
    def body(self) -> str:
        granted = [[row.member, row.holds, row.scope.text, row.expires_us or _NEVER] for row in self.granted]
        return body_of(
            granted=granted, revoked=self.revoked, ended=self.ended, granter=self.granter, reason=self.reason
        )

    @classmethod
    def parse(cls, body: str) -> "BindingChange":
        """The change of a body that this program wrote."""
        members = json.loads(body)
        granted = tuple(row_of(*each) for each in members["granted"])
        revoked, ended = (
            tuple(RowKey(Subject(who), Subject(what), scope) for who, what, scope in members[name])
            for name in ("revoked", "ended")
        )
        return cls(granted, revoked, ended, members["granter"], members["reason"])


def row_of(member: str, holds: str, scope: str, expires_us: int) -> RuntimeRow:
    where = EVERYWHERE if scope == EVERYWHERE.text else NamespacePattern.parse(scope)
    return RuntimeRow(Subject(member), Subject(holds), where, expires_us or None)


def columns_of(granted: GrantedRow) -> dict[str, Any]:
    row = granted.row
    return {**RowKey.of(row)._asdict(), "expires_us": row.expires_us or _NEVER, "seq": granted.seq}


def apply(rows: MutableMapping[RowKey, GrantedRow], seq: int, change: BindingChange) -> None:
    """Changes the rows as change `seq` says."""
    for key in (*change.revoked, *change.ended):
        rows.pop(key, None)
    rows.update((RowKey.of(row), GrantedRow(row, seq)) for row in change.granted)
