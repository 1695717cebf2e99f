"""The names that a policy uses, and how many rows use each."""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Final, NamedTuple, Self

from remit.core.patterns import NamespacePattern
from remit.core.policy import Policy
from remit.core.str_enum import StrEnum
from remit.engine.pacing import Pacing, unpaced

_SORTED_AT_ONCE: Final = 1_000
"""Names that are sorted without a pause."""


class NameCategory(StrEnum):
    """What a name is a name of."""

    NAMESPACE = "namespace"
    PATTERN = "pattern"
    GROUP = "group"
    ROLE = "role"
    PRINCIPAL = "principal"


_SUBJECTS: Final = {
    NameCategory.GROUP: ("group:",),
    NameCategory.ROLE: ("role:",),
    NameCategory.PRINCIPAL: ("user:", "service:"),
}


class UsedName(NamedTuple):
    name: str
    rows: int
    others: int
    """What else uses it: dedicated resources, catalogue entries, entries of the access list."""


@dataclass(frozen=True, slots=True)
class NamePage:
    names: Sequence[UsedName]
    total: int
    """The names on all pages."""
    last: bool


@dataclass(frozen=True, slots=True)
class NameIndex:
    """The names of a policy, by type, sorted."""

    names: Mapping[NameCategory, "_Names"]

    @classmethod
    def of(cls, policy: Policy, pacing: Pacing = unpaced) -> Self:
        """`pacing` walks the rows and the names. Beside a server that answers, pass one that pauses."""
        subjects: defaultdict[str, int] = defaultdict(int)
        # By text: to hash a pattern takes far longer.
        patterns: defaultdict[str, int] = defaultdict(int)
        written: dict[str, NamespacePattern] = {}
        for rule in pacing(policy.rules):
            subjects[rule.subject] += 1
            patterns[rule.namespaces.text] += 1
            written[rule.namespaces.text] = rule.namespaces
        for link in pacing(policy.links):
            subjects[link.member] += 1
            subjects[link.holds] += 1
            patterns[link.scope.text] += 1
            written[link.scope.text] = link.scope
        namespaces: defaultdict[str, int] = defaultdict(int)
        for text, count in pacing(patterns.items()):
            for name in _named_by(written[text]):
                namespaces[name] += count
        for row in pacing(policy.reach):
            # A row that names a namespace on both sides uses it once.
            for text in {row.caller.text, row.owner.text}:
                patterns[text] += 1
            for name in set(_named_by(row.caller, row.owner)):
                namespaces[name] += 1
        others: Counter[str] = Counter(policy.access or ())
        found = {
            NameCategory.NAMESPACE: _Names.of((), namespaces, _used_elsewhere(policy), pacing),
            NameCategory.PATTERN: _Names.of((), patterns, {}, pacing),
        }
        for type_, prefixes in _SUBJECTS.items():
            found[type_] = _Names.of(prefixes, subjects, others, pacing)
        return cls(found)

    def page(self, type_: NameCategory, prefix: str, contains: str, after: str, size: int) -> NamePage:
        """The first `size` names behind `after` that begin with `prefix` and have `contains` in them, in capitals or
        not."""
        names = self.names[type_]
        found = [*_matching(names.sorted, prefix, contains.casefold())]
        start = bisect_right(found, after) if after else 0
        shown = [names.used(name) for name in found[start : start + size]]
        return NamePage(shown, len(found), start + size >= len(found))


@dataclass(frozen=True, slots=True)
class _Names:
    """The names of one type, and what uses each."""

    sorted: Sequence[str]
    rows: Mapping[str, int]
    others: Mapping[str, int]

    @classmethod
    def of(cls, prefixes: tuple[str, ...], rows: Mapping[str, int], others: Mapping[str, int], pacing: Pacing) -> Self:
        """Those of the names that begin with one of the prefixes, if there are any."""
        names = [name for name in pacing(dict.fromkeys((*rows, *others))) if not prefixes or name.startswith(prefixes)]
        starts = pacing(range(0, len(names), _SORTED_AT_ONCE))
        runs = [sorted(names[start : start + _SORTED_AT_ONCE]) for start in starts]
        return cls(list(pacing(merge(*runs))), rows, others)

    def used(self, name: str) -> UsedName:
        return UsedName(name, self.rows.get(name, 0), self.others.get(name, 0))


def _used_elsewhere(policy: Policy) -> Mapping[str, int]:
    """How often dedicated resources and catalogues name a namespace."""
    found: Counter[str] = Counter()
    for namespace, resources in policy.dedicated.items():
        found[namespace] += len(resources)
    for catalogue in policy.authzen.catalogue.values():
        found.update(catalogue.namespaces.values())
    # The tenant itself has resources under the empty name.
    found.pop("", None)
    return found


def named_namespaces(policy: Policy) -> set[str]:
    """The namespaces of a NameIndex, without counts."""
    patterns = {rule.namespaces for rule in policy.rules} | {link.scope for link in policy.links}
    patterns |= {pattern for row in policy.reach for pattern in (row.caller, row.owner)}
    catalogued = (name for catalogue in policy.authzen.catalogue.values() for name in catalogue.namespaces.values())
    return {*_named_by(*patterns), *policy.dedicated, *catalogued} - {""}


def _matching(names: Sequence[str], prefix: str, contains: str) -> Iterator[str]:
    for index in range(bisect_left(names, prefix), len(names)):
        name = names[index]
        if not name.startswith(prefix):
            return
        if contains in name.casefold():
            yield name


def _named_by(*patterns: NamespacePattern) -> Iterator[str]:
    """The namespaces that patterns name: each is one namespace, or one with all below it."""
    for pattern in patterns:
        if pattern.segments and "*" not in pattern.segments:
            yield ".".join(pattern.segments)
