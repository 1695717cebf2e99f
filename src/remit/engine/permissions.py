"""The permissions of a tenant, numbered, and an index of rows by permission."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Final

from remit.core.names import Namespace, Tenant, Word
from remit.core.rows import Rule
from remit.core.vocabulary import Vocabulary

_WIDE: Final = 64
"""If one subject has more rows than this for one permission, they are found by namespace instead of tried in turn."""

Doors = Mapping[Word, Mapping[Word, int]]
"""The number of the permission, by kind and action."""
Rows = tuple[Rule, ...] | dict[str, list[Rule]]
"""The rows of one subject for one permission; grouped by namespace pattern if there are many. Among equal rows, only
the deciding one is present."""
Index = Sequence[Rows]
"""The rows of one subject, by number of the permission."""


class Permissions:
    """The numbered (kind, action) pairs of a tenant's side of the instance wall, and the rows for them."""

    def __init__(self, vocabulary: Vocabulary, tenant: Tenant) -> None:
        within: dict[Word, dict[Word, int]] = {}
        without: dict[Word, dict[Word, int]] = {}
        self._pairs: list[tuple[Word, Word]] = []
        for kind in vocabulary.kinds.values():
            if kind.lives_in(tenant):
                doors = (within if kind.namespaced else without).setdefault(kind.name, {})
                for action in sorted(kind.actions):
                    doors[action] = len(self._pairs)
                    self._pairs.append((kind.name, action))
        self.within_namespace: Doors = within
        self.without_namespace: Doors = without
        self._named: dict[tuple[tuple[Word, ...], tuple[Word, ...]], Sequence[int]] = {}

    def __len__(self) -> int:
        return len(self._pairs)

    def doors(self, namespace: Namespace) -> Doors:
        """The permissions for a namespace, or for the tenant itself."""
        return self.within_namespace if namespace else self.without_namespace

    def index(self, rules: Iterable[Rule]) -> Index:
        index: list[Rows] = [()] * len(self._pairs)
        several: dict[int, list[Rule]] = {}
        for rule in rules:
            alone = (rule,)
            for number in self._named_by(rule):
                before = index[number]
                if before:
                    several.setdefault(number, [*before]).append(rule)
                else:
                    index[number] = alone
        for number, found in several.items():
            index[number] = _rows(found)
        return tuple(index)

    def _named_by(self, rule: Rule) -> Sequence[int]:
        named = self._named.get((rule.kinds, rule.actions))
        if named is None:
            named = [number for number, pair in enumerate(self._pairs) if rule.names(*pair)]
            self._named[rule.kinds, rule.actions] = named
        return named


def every(rows: Rows) -> Iterable[Rule]:
    return chain.from_iterable(rows.values()) if isinstance(rows, dict) else rows


def first_of(held: Iterable[Index], permission: int, covering: frozenset[str]) -> Rule | None:
    """The first row, in deciding order over all that is held, with its namespaces in `covering`."""
    matching = [rule for index in held if (rows := index[permission]) for rule in _matching(rows, covering)]
    return min(matching, key=attrgetter("order")) if matching else None


def _matching(rows: Rows, covering: frozenset[str]) -> Iterable[Rule]:
    if isinstance(rows, dict):
        return chain.from_iterable(rows[namespaces] for namespaces in covering if namespaces in rows)
    return (rule for rule in rows if rule.namespaces.text in covering)


def _rows(rules: Sequence[Rule]) -> Rows:
    if len(rules) <= _WIDE:
        return tuple(rules)
    found: defaultdict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        same = found[rule.namespaces.text]
        # Many rows may be equal: one that allows and one that denies are enough.
        for position, before in enumerate(same):
            if before.effect is rule.effect:
                if (rule.file, rule.line) < (before.file, before.line):
                    same[position] = rule
                break
        else:
            same.append(rule)
    if sum(map(len, found.values())) <= _WIDE:
        return tuple(chain.from_iterable(found.values()))
    return dict(found)
