"""The role graph: bindings, memberships and inclusions (g rows), with the rules (p rows) of its subjects."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Final, TypeVar

from remit.core.errors import RemitError
from remit.core.names import Subject
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.rows import Link, Rule
from remit.engine.memo import BoundedMemo, by_items
from remit.engine.pattern_trie import PatternTrie

STATES_LIMIT: Final = 4096
"""Role paths from one subject that the graph distinguishes. Scopes such as `*.*.a.**` along a chain multiply: 40 rows
can make 390,625 paths."""

CHAIN_LIMIT: Final = 9
"""G rows in a chain. Casbin walks no further, so a deny behind a longer chain would vanish."""

_WIDE: Final = 16
"""If a member has more g rows than this, rows are found by scope instead of tried in turn."""
_HELD: Final = 65_536
"""Cached results of walks over the g rows. A large result counts several times: some 64 MiB at most."""
_REACHED: Final = 8_192
"""Principals with cached role paths. A principal with many paths counts several times: some 64 MiB at most."""
_ANYWHERE: Final[frozenset[str]] = frozenset()

_Row = TypeVar("_Row", Rule, Link)


class TooManyPathsError(RemitError):
    """There are more than STATES_LIMIT role paths from a subject."""


@dataclass(slots=True, eq=False)
class RolePath:
    """A chain of g rows that leads to `subject` in the namespaces that all its scopes cover; `scopes` omits `**`. Never
    changed. Not frozen, because a frozen one takes three times as long to make."""

    subject: str
    scopes: frozenset[str]
    where: NamespacePattern
    """The namespaces that are in all the scopes."""


class RoleGraph:
    """The g rows of a policy, with the p rows of its subjects."""

    def __init__(self, rules: Iterable[Rule], links: Iterable[Link]) -> None:
        self._rules = _grouped(rules, lambda rule: rule.subject)
        self._links = _grouped(links, lambda link: link.member)
        # Caches, filled on the first question. The rows bound them: no name from a request gets in.
        self._by_scope: dict[str, Mapping[str, Sequence[Link]]] = {}
        self._ways: dict[str, Sequence[RolePath] | None] = {}
        self._held = BoundedMemo(_HELD, self._walked, by_items)
        self._reachable = BoundedMemo(_REACHED, self._reached, by_items)

    def rules_of(self, subject: str) -> Sequence[Rule]:
        return self._rules.get(subject, ())

    def links_of(self, subject: str) -> Sequence[Link]:
        return self._links.get(subject, ())

    def knows(self, subject: str) -> bool:
        """True if any row allows or denies the subject something, or makes it a member."""
        return subject in self._rules or subject in self._links

    def roles(self) -> list[Subject]:
        """Every role that the policy defines, sorted."""
        return sorted(Subject(name) for name in {*self._rules, *self._links} if name.startswith("role:"))

    @cached_property
    def members(self) -> Mapping[str, Sequence[Link]]:
        """The g rows, by the subject that they lead to."""
        return _grouped((link for links in self._links.values() for link in links), lambda link: link.holds)

    def may_be_bound(self, role: Subject) -> bool:
        """True if every chain stays within CHAIN_LIMIT after a principal is bound to this role."""
        reached = {role}
        for _ in range(CHAIN_LIMIT):
            reached = {link.holds for subject in reached for link in self.links_of(subject)}
            if not reached:
                return True
        return False

    def held(self, subject: str, covering: frozenset[str] | None) -> frozenset[str]:
        """The subjects with p rows that `subject` reaches, itself included, over the g rows whose scope is in
        `covering`. None means over all g rows."""
        if subject not in self._links:
            return frozenset((subject,)) if subject in self._rules else _ANYWHERE
        return self._held[subject, covering]

    def _walked(self, asked: tuple[str, frozenset[str] | None]) -> frozenset[str]:
        subject, covering = asked
        seen = {subject}
        waiting = [subject]
        while waiting:
            for link in self._counting(waiting.pop(), covering):
                if link.holds not in seen:
                    seen.add(link.holds)
                    waiting.append(link.holds)
        return frozenset(subject for subject in seen if subject in self._rules)

    def _counting(self, member: str, covering: frozenset[str] | None) -> Iterable[Link]:
        links = self._links.get(member, ())
        if covering is None:
            return links
        if len(links) <= _WIDE:
            return (link for link in links if link.scope.text in covering)
        by_scope = self._by_scope.get(member)
        if by_scope is None:
            by_scope = self._by_scope[member] = _grouped(links, lambda link: link.scope.text)
        return chain.from_iterable(by_scope[scope] for scope in covering if scope in by_scope)

    def ways(self, subject: str) -> Iterator[RolePath]:
        """The role paths from `subject` to all subjects with p rows, itself first. Raises TooManyPathsError."""
        if subject in self._rules:
            yield RolePath(subject, _ANYWHERE, EVERYWHERE)
        count = 0
        for link in self._links.get(subject, ()):
            onward = self._onward(link.holds)
            count += len(onward)
            if count > STATES_LIMIT:
                raise TooManyPathsError
            yield from _behind(link, onward) if link.scope.segments else onward

    def reachable(self, principal: str) -> Sequence[RolePath]:
        """Like `ways`. Past STATES_LIMIT it drops the scopes and treats every subject that a chain reaches as held
        everywhere. That selects a reason, never an effect."""
        return self._reachable[principal]

    def _reached(self, principal: str) -> Sequence[RolePath]:
        try:
            return list(self.ways(principal))
        except TooManyPathsError:
            return [RolePath(subject, _ANYWHERE, EVERYWHERE) for subject in self.held(principal, None)]

    def _onward(self, subject: str) -> Sequence[RolePath]:
        """The role paths from a group or a role, found once for all its members."""
        if subject not in self._ways:
            try:
                self._ways[subject] = _distinct(self.ways(subject))
            except TooManyPathsError:
                self._ways[subject] = None
        ways = self._ways[subject]
        if ways is None:
            raise TooManyPathsError
        return ways


def _behind(link: Link, ways: Iterable[RolePath]) -> Iterator[RolePath]:
    """The role paths that begin with `link` and cover a namespace."""
    for way in ways:
        where = link.scope.intersection(way.where)
        if where is not None:
            yield RolePath(way.subject, way.scopes | {link.scope.text}, where)


def _distinct(ways: Iterable[RolePath]) -> Sequence[RolePath]:
    """The role paths without any that an earlier path to the same subject covers."""
    distinct: list[RolePath] = []
    # Most subjects are reached once, so build an index of scopes only for the second path.
    first: dict[str, NamespacePattern] = {}
    several: dict[str, PatternTrie] = {}
    for way in ways:
        known = first.get(way.subject)
        if known is None:
            first[way.subject] = way.where
        elif known.covers(way.where):
            continue
        else:
            coverage = several.get(way.subject) or several.setdefault(way.subject, PatternTrie([known]))
            if coverage.of_pattern(way.where):
                continue
            coverage.add(way.where)
        distinct.append(way)
    return distinct


def _grouped(rows: Iterable[_Row], subject_of: Callable[[_Row], str]) -> Mapping[str, tuple[_Row, ...]]:
    groups: defaultdict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        groups[subject_of(row)].append(row)
    return {subject: tuple(group) for subject, group in groups.items()}
