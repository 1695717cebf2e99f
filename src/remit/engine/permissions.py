from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from remit.core.decision import Decision, Reason
from remit.core.names import Tenant, Word
from remit.core.patterns import NamespacePattern
from remit.core.rows import ANY, Effect, Rule
from remit.core.vocabulary import Vocabulary

_WIDE: Final = 16
"""Rows of one subject for one permission past which they are found by their namespaces and not one after the other."""


class Answer(NamedTuple):
    """What one row says where its namespaces cover."""

    namespaces: str
    order: tuple[bool, str, int]
    """The place in the deciding order: a deny before an allow, then the lowest (file, line)."""
    decision: Decision
    pattern: NamespacePattern


Cell = tuple[Answer, ...] | Mapping[str, Sequence[Answer]]
"""The rows of one subject for one permission in deciding order; by their namespaces where they are many."""
Index = Sequence[Cell | None]
"""The rows of one subject: a cell, or None, for each permission's number."""


class Permissions:
    """The (kind, action) pairs of a tenant's side of the instance wall, numbered, and the rows found by them."""

    def __init__(self, vocabulary: Vocabulary, tenant: Tenant) -> None:
        kinds = [kind for kind in vocabulary.kinds.values() if kind.lives_in(tenant)]
        pairs = [(kind, action) for kind in kinds for action in sorted(kind.actions)]
        self._pairs = [(kind.name, action) for kind, action in pairs]
        numbered = list(zip(pairs, range(len(pairs)), strict=True))
        self.without_namespace = {(kind.name, action): n for (kind, action), n in numbered if not kind.namespaced}
        self.within_namespace = {(kind.name, action): n for (kind, action), n in numbered if kind.namespaced}
        self._named: dict[tuple[tuple[Word, ...], tuple[Word, ...]], Sequence[int]] = {}

    def __len__(self) -> int:
        return len(self._pairs)

    def named(self, number: int) -> tuple[Word, Word]:
        """The (kind, action) of a number."""
        return self._pairs[number]

    def number(self, kind: Word, action: Word) -> int | None:
        return self.within_namespace.get((kind, action), self.without_namespace.get((kind, action)))

    def index(self, rules: Iterable[Rule]) -> Index:
        """A subject's rows by permission."""
        index: list[Any] = [None] * len(self._pairs)
        several: dict[int, list[Answer]] = {}
        for answer, rule in sorted(((_answer(rule), rule) for rule in rules), key=lambda row: row[0].order):
            alone = (answer,)
            for permission in self._named_by(rule):
                before = index[permission]
                if before is None:
                    index[permission] = alone
                else:
                    several.setdefault(permission, [*before]).append(answer)
        for permission, answers in several.items():
            index[permission] = tuple(answers) if len(answers) <= _WIDE else _by_namespaces(answers)
        return tuple(index)

    def _named_by(self, rule: Rule) -> Sequence[int]:
        """The permissions that a row is about."""
        named = self._named.get((rule.kinds, rule.actions))
        if named is None:
            kinds, actions = rule.kinds, rule.actions
            named = self._named[kinds, actions] = [
                number
                for number, (kind, action) in enumerate(self._pairs)
                if (kinds == ANY or kind in kinds) and (actions == ANY or action in actions)
            ]
        return named


def first_of(held: Iterable[Index], permission: int, covering: frozenset[str]) -> Decision | None:
    """The decision of the first row, in deciding order over all that is held, whose namespaces are in `covering`."""
    best: Answer | None = None
    for index in held:
        cell = index[permission]
        if cell is None:
            continue
        if isinstance(cell, tuple):
            for answer in cell:
                if answer[0] in covering:
                    if best is None or answer[1] < best[1]:
                        best = answer
                    break
        else:
            for namespaces in covering:
                if namespaces in cell:
                    answer = cell[namespaces][0]
                    if best is None or answer[1] < best[1]:
                        best = answer
    return None if best is None else best[2]


def allows_within(cell: Cell, scope: NamespacePattern) -> bool:
    """Whether some row of the cell allows in some namespace of `scope`."""
    if not isinstance(cell, tuple):
        return any(allows_within(tuple(answers), scope) for answers in cell.values())
    # The order begins with whether the row allows.
    return any(order[0] and pattern.overlaps(scope) for _, order, _, pattern in cell)


def _answer(rule: Rule) -> Answer:
    allows = rule.effect is Effect.ALLOW
    decision = Decision(rule.effect, Reason.ALLOWED_BY_RULE if allows else Reason.DENIED_BY_RULE, rule)
    return Answer(rule.namespaces.text, (allows, rule.file, rule.line), decision, rule.namespaces)


def _by_namespaces(answers: Iterable[Answer]) -> Mapping[str, Sequence[Answer]]:
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        found.setdefault(answer.namespaces, []).append(answer)
    return found
