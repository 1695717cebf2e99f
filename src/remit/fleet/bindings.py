"""Rows of run time as changes hold them: who was granted what, and who it was taken from."""

import json
from collections.abc import Iterable, Iterator, MutableMapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from remit.core.names import Subject
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.rows import Link
from remit.core.runtime import RuntimeRow
from remit.fleet.change import body_of
from remit.fleet.packed_rows import pack, unpack

_NEVER: Final = 0
_PACKED_FROM: Final = 1_001
"""Rows from which on a body packs them: more than one request can grant."""
_GRANTED, _REVOKED, _ENDED = "+", "-", "x"


class RowKey(NamedTuple):
    """What makes two rows of run time the same row. Its end may be another."""

    member: Subject
    holds: Subject
    scope: str

    @classmethod
    def of(cls, row: RuntimeRow) -> "RowKey":
        return cls(row.member, row.holds, row.scope.text)

    @classmethod
    def of_link(cls, link: Link) -> "RowKey":
        return cls(link.member, link.holds, link.scope.text)

    @property
    def text(self) -> str:
        """For messages."""
        where = f" in `{self.scope}`" if self.scope != EVERYWHERE.text else ""
        return f"`{self.member}` in `{self.holds}`{where}"


class GrantedRow(NamedTuple):
    row: RuntimeRow
    seq: int
    """The change of the tenant that granted it."""


class BindingChange(NamedTuple):
    """What a change of kind BINDINGS says. A row that was granted again is in `revoked` or in `ended` too."""

    granted: tuple[RuntimeRow, ...]
    revoked: tuple[RowKey, ...]
    ended: tuple[RowKey, ...] = ()
    """Rows whose end had passed before this change."""
    granter: str = ""
    """The principal who may grant this; the caller acted for it."""
    reason: str = ""

    @property
    def gone(self) -> tuple[RowKey, ...]:
        """Rows that are as they were no more."""
        return self.revoked + self.ended

    @property
    def only_revoked(self) -> set[RowKey]:
        """Rows that were revoked and not granted again."""
        return {*self.revoked}.difference(map(RowKey.of, self.granted))

    @property
    def body(self) -> str:
        granted, revoked, ended = [_columns(row) for row in self.granted], self.revoked, self.ended
        named = {"granter": self.granter, "reason": self.reason}
        if len(granted) + len(revoked) + len(ended) < _PACKED_FROM:
            return body_of(granted=granted, revoked=revoked, ended=ended, **named)
        lines = [f"{_GRANTED}\t{_line(row)}" for row in self.granted]
        lines += ["\t".join((sign, *key)) for sign, keys in ((_REVOKED, revoked), (_ENDED, ended)) for key in keys]
        return body_of(granted=(), revoked=(), ended=(), packed=pack(lines), **named)

    @classmethod
    def parse(cls, body: str) -> "BindingChange":
        """The change of a body that this program wrote. Raises ValueError if packed rows are damaged."""
        members = json.loads(body)
        granted = [row_of(*each) for each in members["granted"]]
        revoked, ended = ([_key_of(*each) for each in members[name]] for name in ("revoked", "ended"))
        for sign, *columns in unpack(members["packed"]) if "packed" in members else ():
            if sign == _GRANTED:
                granted.append(_row_of_line(columns))
            else:
                (revoked if sign == _REVOKED else ended).append(_key_of(*columns))
        return cls(tuple(granted), tuple(revoked), tuple(ended), members["granter"], members["reason"])


def row_of(member: str, holds: str, scope: str, expires_us: int) -> RuntimeRow:
    return RuntimeRow(Subject(member), *_held(holds, scope), expires_us or None)


def packed(rows: Iterable[GrantedRow]) -> str:
    """The rows with the changes that granted them, as one text."""
    return pack(f"{_line(each.row)}\t{each.seq}" for each in rows)


def unpacked(text: str) -> Iterator[GrantedRow]:
    """The rows of such a text. Raises ValueError if it is damaged."""
    return (GrantedRow(_row_of_line(columns), int(seq)) for *columns, seq in unpack(text))


@lru_cache(65_536)
def _held(holds: str, scope: str) -> tuple[Subject, NamespacePattern]:
    """Many rows hold the same in the same scope: they share the objects."""
    return Subject(holds), EVERYWHERE if scope == EVERYWHERE.text else NamespacePattern.parse(scope)


def _key_of(member: str, holds: str, scope: str) -> RowKey:
    held, where = _held(holds, scope)
    return RowKey(Subject(member), held, where.text)


def _row_of_line(columns: list[str]) -> RuntimeRow:
    member, holds, scope, expires = columns
    return row_of(member, holds, scope, int(expires))


def _columns(row: RuntimeRow) -> list[str | int]:
    return [row.member, row.holds, row.scope.text, row.expires_us or _NEVER]


def _line(row: RuntimeRow) -> str:
    return f"{row.member}\t{row.holds}\t{row.scope.text}\t{row.expires_us or _NEVER}"


def columns_of(granted: GrantedRow) -> dict[str, Any]:
    row = granted.row
    return {**RowKey.of(row)._asdict(), "expires_us": row.expires_us or _NEVER, "seq": granted.seq}


def apply(rows: MutableMapping[RowKey, GrantedRow], seq: int, change: BindingChange) -> None:
    """Changes the rows as change `seq` says."""
    for key in change.gone:
        rows.pop(key, None)
    rows.update((RowKey.of(row), GrantedRow(row, seq)) for row in change.granted)
