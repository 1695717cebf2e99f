from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Final, TypeVar

from remit.core.names import Principal, Subject
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.rows import Link, Rule
from remit.engine.coverage import Coverage

STATES_LIMIT: Final = 4096
"""How many (subject, scope) pairs `Graph.reachable` tells apart for one principal. Scopes such as `*.*.a.**` along a
chain multiply: 40 rows can make 390,625 of them."""

CHAIN_LIMIT: Final = 9
"""G rows in a chain. Casbin walks no further, and a deny behind a longer chain would vanish."""

_Row = TypeVar("_Row", Rule, Link)


class Graph:
    """The g rows of a policy with the p rows at its nodes."""

    def __init__(self, rules: Iterable[Rule], links: Iterable[Link]) -> None:
        self._rules = _grouped(rules, lambda rule: rule.subject)
        self._links = _grouped(links, lambda link: link.member)

    def rules_of(self, subject: str) -> Sequence[Rule]:
        return self._rules.get(subject, ())

    def links_of(self, subject: str) -> Sequence[Link]:
        return self._links.get(subject, ())

    def roles(self) -> list[Subject]:
        """Every role the policy defines, sorted."""
        return sorted(Subject(name) for name in {*self._rules, *self._links} if name.startswith("role:"))

    @cached_property
    def members(self) -> Mapping[str, Sequence[Link]]:
        """The g rows by what they lead to."""
        return _grouped((link for links in self._links.values() for link in links), lambda link: link.holds)

    def may_be_bound(self, role: Subject) -> bool:
        """Whether a binding of a principal to this role keeps every chain within CHAIN_LIMIT."""
        reached = {role}
        for _ in range(CHAIN_LIMIT):
            reached = {link.holds for subject in reached for link in self.links_of(subject)}
            if not reached:
                return True
        return False

    def scopes(self, principal: Principal) -> frozenset[str]:
        """The scopes, `**` apart, of all g rows that a chain of the principal's could go through."""
        scopes: set[str] = set()
        seen: set[str] = {principal}
        waiting: list[str] = [principal]
        while waiting:
            for link in self._links.get(waiting.pop(), ()):
                scopes.add(link.scope.text)
                if link.holds not in seen:
                    seen.add(link.holds)
                    waiting.append(link.holds)
        scopes.discard(EVERYWHERE.text)
        return frozenset(scopes)

    def held(self, principal: str, covering: frozenset[str]) -> frozenset[str]:
        """The subjects with p rows, `principal` among them, that it reaches over the g rows whose scope is the whole
        tenant or in `covering`."""
        everywhere = EVERYWHERE.text
        seen = {principal}
        waiting = [principal]
        while waiting:
            for link in self._links.get(waiting.pop(), ()):
                if link.holds not in seen:
                    scope = link.scope.text
                    if scope == everywhere or scope in covering:
                        seen.add(link.holds)
                        waiting.append(link.holds)
        return frozenset(subject for subject in seen if subject in self._rules)

    def reachable(self, principal: Principal) -> list[tuple[str, NamespacePattern]]:
        """Every subject with p rows that the principal reaches somewhere, and where: the meets of the scopes along each
        chain, without those that another chain to the same subject covers.

        Past STATES_LIMIT the scopes are given up, and each subject that any chain reaches is said to be held
        everywhere; that serves for a reason, never for an effect.
        """
        exact = self.held_where(principal)
        if exact is None:
            return [(held, EVERYWHERE) for held in self.held(principal, self.scopes(principal))]
        return exact

    def held_where(self, principal: Principal) -> list[tuple[str, NamespacePattern]] | None:
        """As `reachable`, but None past STATES_LIMIT."""
        states: list[tuple[str, NamespacePattern]] = [(principal, EVERYWHERE)]
        # Most subjects are reached once: an index of their scopes is made at the second time.
        first: dict[str, NamespacePattern] = {principal: EVERYWHERE}
        several: dict[str, Coverage] = {}
        for subject, scope in states:
            for link in self._links.get(subject, ()):
                meet = scope.meet(link.scope)
                if meet is None:
                    continue
                known = first.get(link.holds)
                if known is None:
                    first[link.holds] = meet
                else:
                    coverage = several.get(link.holds) or several.setdefault(link.holds, Coverage([known]))
                    if coverage.of_pattern(meet):
                        continue
                    coverage.add(meet)
                if len(states) == STATES_LIMIT:
                    return None
                states.append((link.holds, meet))
        return [(subject, scope) for subject, scope in states if subject in self._rules]


def _grouped(rows: Iterable[_Row], subject_of: Callable[[_Row], str]) -> Mapping[str, tuple[_Row, ...]]:
    groups: defaultdict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        groups[subject_of(row)].append(row)
    return {subject: tuple(group) for subject, group in groups.items()}
