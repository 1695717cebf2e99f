from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from remit.core.names import CALLERS, NAMESPACE_LIMIT
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.rows import ANY, Effect, Link, ReachRule, Rule
from remit.policy.testing.coverage import Row

_FIELDS: Final[Mapping[type[Row], tuple[Sequence[str], Sequence[str]]]] = {
    Rule: (("namespaces",), ("kinds", "actions")),
    Link: (("scope",), ()),
    ReachRule: (("caller", "owner"), ("relations",)),
}
"""The fields of a row that can be widened: its patterns, its words."""


class RowChange(StrEnum):
    DELETED = "deleted"
    FLIPPED = "flipped"
    """Allow becomes deny, or the reverse."""
    WIDENED = "widened"
    """In one field: a pattern by one step, words to `*`."""


@dataclass(frozen=True, slots=True)
class Mutant:
    row: Row
    change: RowChange
    mutated: Row | None

    @property
    def text(self) -> str:
        """The row as it is in the mutant; a deleted row as it was."""
        return (self.mutated or self.row).text


def mutants(row: Row) -> Iterator[Mutant]:
    """Every mutant of a row. Widens by the smallest step only: a test that notices it also notices a wider one."""
    yield Mutant(row, RowChange.DELETED, None)
    if not isinstance(row, Link):
        yield Mutant(
            row, RowChange.FLIPPED, replace(row, effect=Effect.DENY if row.effect is Effect.ALLOW else Effect.ALLOW)
        )
    for widened in _widened(row):
        yield Mutant(row, RowChange.WIDENED, widened)


def _widened(row: Row) -> Iterator[Row]:
    patterns, words = _FIELDS[type(row)]
    for name in patterns:
        wider = _wider_tenants if row.tenant == CALLERS else _wider
        if pattern := wider(getattr(row, name)):
            yield _changed(row, name, pattern)
    for name in words:
        if getattr(row, name) != ANY:
            yield _changed(row, name, ANY)


def _changed(row: Row, name: str, value: Any) -> Row:
    return replace(row, **{name: value})


def _wider(pattern: NamespacePattern) -> NamespacePattern | None:
    """Widens `a.b` to `a.b.**`, `a.b.**` to `a.**`, `a.**` to `**`; returns None for `**`."""
    if not pattern.segments:
        return None
    segments = pattern.segments[:-1] if pattern.subtree or len(pattern.text) + 3 > NAMESPACE_LIMIT else pattern.segments
    return NamespacePattern.parse(".".join([*segments, "**"]))


def _wider_tenants(pattern: NamespacePattern) -> NamespacePattern | None:
    """In `_callers` nothing is below a tenant: widens `acme` to `*`, `*` to `**`; returns None for `**`."""
    if not pattern.segments:
        return None
    return EVERYWHERE if pattern.segments == ("*",) else NamespacePattern.parse("*")
