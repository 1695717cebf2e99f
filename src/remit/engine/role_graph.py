"""The role graph: bindings, memberships and inclusions (g rows), with the rules (p rows) of its subjects."""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count
from math import inf
from typing import Final, Self, TypeVar

from remit.core.errors import RemitError
from remit.core.names import Subject
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.rows import Link, Rule
from remit.engine.layered import VersionedDict, with_rows, with_values
from remit.engine.memo import BoundedDict, by_items
from remit.engine.pacing import Pacing, unpaced
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
_TOUCHED: Final = 262_144
"""Subjects that changes touch before a graph drops all cached results. One that ten changes touch counts ten times."""
_ANYWHERE: Final[frozenset[str]] = frozenset()

_numbers: Final = count(1)
"""The numbers of changes. No two of this process have the same: a graph may have several next versions."""

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


Version = tuple[str, int]
"""A subject, and the number of the last change of a row that the subject, or a subject that it reaches, is the member
of. Whatever depends only on rows that the subject reaches is the same in all graphs with the same version of it."""


class _Walks:
    """The results of walks over the g rows, by version of the subject that they start from. Graphs share them.

    The rows and _TOUCHED bound them: no name from a request gets in.
    """

    def __init__(self, number: int = 0) -> None:
        self.by_scope: dict[Version, Mapping[str, Sequence[Link]]] = {}
        self.ways: dict[Version, Sequence[RolePath] | None] = {}
        self.held: BoundedDict[tuple[Version, frozenset[str] | None], frozenset[str]] = BoundedDict(_HELD, by_items)
        self.reachable: BoundedDict[Version, Sequence[RolePath]] = BoundedDict(_REACHED, by_items)
        self.number = number
        """The number of the change of all subjects that none touched since."""


class RoleGraph:
    """The g rows of a policy, with the p rows of its subjects. It never changes."""

    def __init__(self, rules: Iterable[Rule], links: Sequence[Link], pacing: Pacing = unpaced) -> None:
        self.links = links
        self.rules: Mapping[str, Sequence[Rule]] = _grouped(pacing(rules), lambda rule: rule.subject)
        """The p rows, by subject."""
        self.by_member: VersionedDict[str, Link | tuple[Link, ...]] = _by_member(pacing(links))
        """The g rows by member. An only row stands for itself: with a million members, a tuple around each takes 64 MB."""
        self.walks = _Walks()
        self.numbers: VersionedDict[str, int] = {}
        """The number of the last change that touched a subject."""
        self.touched = 0

    def changed(self, added: Iterable[Link], removed: Iterable[Link]) -> Self:
        """The graph without the rows `removed`, and with the rows `added` behind the others.

        It shares with this graph what it can, cached results of all untouched subjects too. The caller makes sure that
        the new graph has no cycle and no chain longer than CHAIN_LIMIT (`closes_cycle`, `longest_chain`). Raises
        ValueError if a row to remove is not there, or a row to add is.

        A change of a row of a group or a role needs `by_holder`: the first use walks all rows, or `index_holders` did.
        """
        added = tuple(added)
        rows, gone = self._changed_rows(added, removed)
        touched = self.holders(rows, _TOUCHED)
        graph = copy.copy(self)
        graph.links = with_rows(self.links, added, gone)
        graph.by_member = with_values(
            self.by_member, {member: links[0] if len(links) == 1 else links for member, links in rows.items()}
        )
        if "by_holder" in vars(graph):
            graph.by_holder = with_values(self.by_holder, _changed_holders(self, added, gone))
        if any(subject.startswith("role:") for subject in rows):
            vars(graph).pop("_roles", None)
        vars(graph).pop("groups", None)
        number = next(_numbers)
        graph.touched += len(touched)
        if graph.touched <= _TOUCHED:
            graph.numbers = with_values(self.numbers, dict.fromkeys(touched, number))
        else:
            graph.walks, graph.numbers, graph.touched = _Walks(number), {}, 0
        return graph

    def _changed_rows(
        self, added: Sequence[Link], removed: Iterable[Link]
    ) -> tuple[dict[str, tuple[Link, ...]], Sequence[Link]]:
        """The changed rows by member, and the rows that are gone."""
        removed = tuple(removed)
        rows = {member: [*self.links_of(member)] for member in {link.member for link in chain(added, removed)}}
        gone = []
        for link in removed:
            links = rows[link.member]
            if link not in links:
                raise ValueError(f"{link.place}: the policy has no row `{link.text}` of this place to remove")
            gone.append(links.pop(links.index(link)))
        for link in added:
            if link in rows[link.member]:
                raise ValueError(f"{link.place}: the policy has the row `{link.text}` of this place already")
            rows[link.member].append(link)
        return {member: tuple(links) for member, links in rows.items()}, gone

    def version(self, subject: str) -> Version:
        return subject, self.numbers.get(subject, self.walks.number)

    def rules_of(self, subject: str) -> Sequence[Rule]:
        return self.rules.get(subject, ())

    def links_of(self, subject: str) -> Sequence[Link]:
        links = self.by_member.get(subject, ())
        return links if isinstance(links, tuple) else (links,)

    def members_of(self, subject: str) -> Sequence[Link]:
        """The g rows that lead to a group or a role."""
        # Nobody holds a principal: do not walk all rows for it.
        return self.by_holder.get(subject, ()) if subject.startswith(("group:", "role:")) else ()

    @cached_property
    def by_holder(self) -> VersionedDict[str, Sequence[Link]]:
        """The g rows, by the subject that they lead to."""
        return _grouped(self.links, lambda link: link.holds)

    def index_holders(self, pacing: Pacing = unpaced) -> None:
        """Makes `by_holder` now."""
        if "by_holder" not in vars(self):
            self.by_holder = _grouped(pacing(self.links), lambda link: link.holds)

    def holders(self, subjects: Iterable[str], enough: float = inf) -> set[str]:
        """These subjects and every subject that may hold one of them somewhere; not all if there are more than
        `enough`."""
        found = set(subjects)
        waiting = list(found)
        for subject in waiting:
            for link in self.members_of(subject):
                if link.member not in found:
                    found.add(link.member)
                    waiting.append(link.member)
            if len(found) > enough:
                break
        return found

    def knows(self, subject: str) -> bool:
        """True if any row allows or denies the subject something, or makes it a member."""
        return subject in self.rules or bool(self.links_of(subject))

    def roles(self) -> Sequence[Subject]:
        """Every role that the policy defines, sorted."""
        return self._roles

    @cached_property
    def _roles(self) -> Sequence[Subject]:
        return sorted(Subject(name) for name in {*self.rules, *self.by_member} if name.startswith("role:"))

    @cached_property
    def groups(self) -> frozenset[Subject]:
        """Every group that a row names."""
        named = {*self.rules, *(link.member for link in self.links), *(link.holds for link in self.links)}
        return frozenset(Subject(name) for name in named if name.startswith("group:"))

    def may_be_bound(self, role: Subject) -> bool:
        """True if every chain stays within CHAIN_LIMIT after a principal is bound to this role."""
        return _height(role, self._holds) < CHAIN_LIMIT

    def closes_cycle(self, link: Link) -> bool:
        """True if `link`, which need not be in the graph, is part of a cycle. Walks what `link.holds` reaches."""
        reached: set[str] = {link.holds}
        waiting = list(reached)
        for subject in waiting:
            onward = self._holds(subject) - reached
            reached |= onward
            waiting += onward
        return link.member in reached

    def longest_chain(self, link: Link) -> int:
        """The number of g rows in the longest chain through `link`, which need not be in the graph; more than
        CHAIN_LIMIT may not be all. Walks what `link.holds` reaches and what reaches `link.member`."""
        return _height(link.member, self._held_by) + 1 + _height(link.holds, self._holds)

    def _holds(self, subject: str) -> set[Subject]:
        return {link.holds for link in self.links_of(subject)}

    def _held_by(self, subject: str) -> set[Subject]:
        return {link.member for link in self.members_of(subject)}

    def held(self, subject: str, covering: frozenset[str] | None) -> frozenset[str]:
        """The subjects with p rows that `subject` reaches, itself included, over the g rows whose scope is in
        `covering`. None means over all g rows."""
        if not self.links_of(subject):
            return frozenset((subject,)) if subject in self.rules else _ANYWHERE
        key = (self.version(subject), covering)
        held = self.walks.held.get(key)
        return held if held is not None else self.walks.held.keep(key, self._walked(subject, covering))

    def _walked(self, subject: str, covering: frozenset[str] | None) -> frozenset[str]:
        seen = {subject}
        waiting = [subject]
        while waiting:
            for link in self._counting(waiting.pop(), covering):
                if link.holds not in seen:
                    seen.add(link.holds)
                    waiting.append(link.holds)
        return frozenset(subject for subject in seen if subject in self.rules)

    def _counting(self, member: str, covering: frozenset[str] | None) -> Iterable[Link]:
        links = self.links_of(member)
        if covering is None:
            return links
        if len(links) <= _WIDE:
            return (link for link in links if link.scope.text in covering)
        version = self.version(member)
        by_scope = self.walks.by_scope.get(version)
        if by_scope is None:
            by_scope = self.walks.by_scope[version] = _grouped(links, lambda link: link.scope.text)
        return chain.from_iterable(by_scope[scope] for scope in covering if scope in by_scope)

    def ways(self, subject: str) -> Iterator[RolePath]:
        """The role paths from `subject` to all subjects with p rows, itself first. Raises TooManyPathsError."""
        if subject in self.rules:
            yield RolePath(subject, _ANYWHERE, EVERYWHERE)
        paths = 0
        for link in self.links_of(subject):
            onward = self._onward(link.holds)
            paths += len(onward)
            if paths > STATES_LIMIT:
                raise TooManyPathsError
            yield from _behind(link, onward) if link.scope.segments else onward

    def reachable(self, principal: str) -> Sequence[RolePath]:
        """Like `ways`. Past STATES_LIMIT it drops the scopes and treats every subject that a chain reaches as held
        everywhere. That selects a reason, never an effect."""
        version = self.version(principal)
        reachable = self.walks.reachable.get(version)
        return reachable if reachable is not None else self.walks.reachable.keep(version, self._reached(principal))

    def _reached(self, principal: str) -> Sequence[RolePath]:
        try:
            return list(self.ways(principal))
        except TooManyPathsError:
            return [RolePath(subject, _ANYWHERE, EVERYWHERE) for subject in self.held(principal, None)]

    def _onward(self, subject: str) -> Sequence[RolePath]:
        """The role paths from a group or a role, found once for all its members."""
        version, found = self.version(subject), self.walks.ways
        if version not in found:
            try:
                found[version] = _distinct(self.ways(subject))
            except TooManyPathsError:
                found[version] = None
        ways = found[version]
        if ways is None:
            raise TooManyPathsError
        return ways


def _changed_holders(graph: RoleGraph, added: Iterable[Link], gone: Iterable[Link]) -> dict[str, Sequence[Link]]:
    """The changed rows by the subject that they lead to."""
    more, less = (_grouped(rows, lambda link: link.holds) for rows in (added, gone))
    return {
        holder: with_rows(graph.members_of(holder), more.get(holder, ()), less.get(holder, ()))
        for holder in {**more, **less}
    }


def _height(subject: str, step: Callable[[str], set[Subject]]) -> int:
    """The number of steps in the longest chain from `subject`, at most CHAIN_LIMIT."""
    reached: set[str] = {subject}
    for height in range(CHAIN_LIMIT):
        reached = {onward for each in reached for onward in step(each)}
        if not reached:
            return height
    return CHAIN_LIMIT


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


def _by_member(links: Iterable[Link]) -> dict[str, Link | tuple[Link, ...]]:
    found: dict[str, Link | tuple[Link, ...]] = {}
    more: defaultdict[str, list[Link]] = defaultdict(list)
    for link in links:
        if found.setdefault(link.member, link) is not link:
            more[link.member].append(link)
    for member, others in more.items():
        first = found[member]
        assert isinstance(first, Link)
        found[member] = (first, *others)
    return found


def _grouped(rows: Iterable[_Row], subject_of: Callable[[_Row], str]) -> dict[str, Sequence[_Row]]:
    groups: defaultdict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        groups[subject_of(row)].append(row)
    return {subject: tuple(group) for subject, group in groups.items()}
