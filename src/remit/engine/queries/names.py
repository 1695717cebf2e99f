"""The names that a policy uses, and how many rows use each."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from remit.core.patterns import NamespacePattern
from remit.core.policy import Policy
from remit.core.str_enum import StrEnum

_PRINCIPALS = ("user:", "service:")


class NameCategory(StrEnum):
    """What a name is a name of."""

    NAMESPACE = "namespace"
    PATTERN = "pattern"
    GROUP = "group"
    ROLE = "role"
    PRINCIPAL = "principal"


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

    names: Mapping[NameCategory, Sequence[UsedName]]

    @classmethod
    def of(cls, policy: Policy) -> Self:
        """Walks all rows."""
        subjects: Counter[str] = Counter(rule.subject for rule in policy.rules)
        subjects.update(link.member for link in policy.links)
        subjects.update(link.holds for link in policy.links)
        # By text: to hash a pattern takes far longer.
        patterns = Counter(rule.namespaces.text for rule in policy.rules)
        patterns.update(link.scope.text for link in policy.links)
        written = {rule.namespaces.text: rule.namespaces for rule in policy.rules}
        written |= {link.scope.text: link.scope for link in policy.links}
        namespaces: Counter[str] = Counter()
        for text, count in patterns.items():
            for name in _named_by(written[text]):
                namespaces[name] += count
        for row in policy.reach:
            # A row that names a namespace on both sides uses it once.
            patterns.update({row.caller.text, row.owner.text})
            namespaces.update(set(_named_by(row.caller, row.owner)))
        others: Counter[str] = Counter(policy.access or ())
        elsewhere: Counter[str] = Counter()
        for namespace, resources in policy.dedicated.items():
            elsewhere[namespace] += len(resources)
        for catalogue in policy.authzen.catalogue.values():
            elsewhere.update(catalogue.namespaces.values())
        # The tenant itself has resources under the empty name.
        elsewhere.pop("", None)
        return cls(
            {
                NameCategory.NAMESPACE: _used(namespaces, elsewhere),
                NameCategory.PATTERN: _used(patterns, {}),
                NameCategory.GROUP: _used(*_only(("group:",), subjects, others)),
                NameCategory.ROLE: _used(*_only(("role:",), subjects, others)),
                NameCategory.PRINCIPAL: _used(*_only(_PRINCIPALS, subjects, others)),
            }
        )

    def page(self, type_: NameCategory, prefix: str, contains: str, after: str, size: int) -> NamePage:
        """The first `size` names behind `after` that begin with `prefix` and have `contains` in them, in capitals or
        not."""
        names = self.names[type_]
        begin = bisect_left(names, prefix, key=_name)
        found = [*_matching(names, begin, prefix, contains.casefold())]
        start = bisect_right(found, after, key=_name) if after else 0
        return NamePage(found[start : start + size], len(found), start + size >= len(found))


def named_namespaces(policy: Policy) -> set[str]:
    """The namespaces of a NameIndex, without counts."""
    patterns = {rule.namespaces for rule in policy.rules} | {link.scope for link in policy.links}
    patterns |= {pattern for row in policy.reach for pattern in (row.caller, row.owner)}
    catalogued = (name for catalogue in policy.authzen.catalogue.values() for name in catalogue.namespaces.values())
    return {*_named_by(*patterns), *policy.dedicated, *catalogued} - {""}


def _matching(names: Sequence[UsedName], begin: int, prefix: str, contains: str) -> Iterator[UsedName]:
    for index in range(begin, len(names)):
        used = names[index]
        if not used.name.startswith(prefix):
            return
        if contains in used.name.casefold():
            yield used


def _name(used: UsedName) -> str:
    return used.name


def _named_by(*patterns: NamespacePattern) -> Iterator[str]:
    """The namespaces that patterns name: each is one namespace, or one with all below it."""
    for pattern in patterns:
        if pattern.segments and "*" not in pattern.segments:
            yield ".".join(pattern.segments)


def _only(
    prefixes: tuple[str, ...], subjects: Mapping[str, int], others: Mapping[str, int]
) -> tuple[Mapping[str, int], Mapping[str, int]]:
    rows, rest = ({each: count for each, count in of.items() if each.startswith(prefixes)} for of in (subjects, others))
    return rows, rest


def _used(rows: Mapping[str, int], others: Mapping[str, int]) -> Sequence[UsedName]:
    names: Iterable[str] = rows.keys() | others.keys()
    return sorted(UsedName(name, rows.get(name, 0), others.get(name, 0)) for name in names)
