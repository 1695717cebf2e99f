from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from remit.core.names import Principal, Subject
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.rows import Effect, Link, Rule
from remit.engine.pattern_trie import PatternTrie
from remit.engine.role_graph import STATES_LIMIT
from remit.engine.snapshot import Snapshot

_PRINCIPALS: Final = ("user:", "service:")
REGIONS: Final = 4096
"""Patterns that are distinguished for one group or role; past the limit it counts as held everywhere."""


class Grant(NamedTuple):
    """A p row that somebody holds, the namespaces where it counts, and the binding that gives it."""

    rule: Rule
    region: NamespacePattern
    """The namespaces where it counts: in all scopes along the chain and in the row's own namespaces."""
    binding: Link | None
    """The g row from a principal or group to a role; None if the p row names the principal or a group itself."""

    @property
    def place(self) -> Rule | Link:
        """The row to change, if this person should not have it."""
        return self.binding or self.rule


@dataclass(frozen=True, slots=True)
class People:
    """Principals with the same memberships and bindings, and so with the same grants."""

    names: Sequence[Principal]
    grants: Sequence[Grant]

    def of(self, effect: Effect) -> Iterator[Grant]:
        return (grant for grant in self.grants if grant.rule.effect is effect)


class Holders:
    """Who holds what in a tenant, and where. Principals that are not on the access list hold nothing, unless `runtime` opens
    a group that is."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._graph = snapshot.graph
        self._opened = list(_opened(snapshot))
        self._links = snapshot.policy.links
        self._roles: dict[Subject, Sequence[tuple[str, NamespacePattern]] | None] = {}
        self._bindings: dict[tuple[int, str], Sequence[Grant]] = {}
        self.admitted = snapshot.admitted
        self._admits_later = any(self.admits(subject) for subject, _ in self._opened)
        named = (*(rule.subject for rule in snapshot.policy.rules), *(link.member for link in self._links))
        self.principals = [Principal(each) for each in dict.fromkeys(named) if each.startswith(_PRINCIPALS)]
        self.populated, self.regions = self._spread()
        self.undecided: list[Principal | Subject] = []
        """Principals and roles whose chains have more scopes than are distinguished."""
        self.people = list(self._people(admitted=True))
        self.outside = list(self._people(admitted=False)) if self._admits_later else []
        """The people who are not on the access list, and may come onto it at run time."""
        self.at_run_time = [grant for opened in self._opened for grant in self._later(*opened)]
        """What whoever is granted something at run time may come to hold beside their own."""

    def admits(self, subject: str) -> bool:
        """True if there is no access list, or it admits the principal, or it has the group or a group above it."""
        return self.admitted is None or subject in self.admitted

    def held(self, subject: str) -> Sequence[NamespacePattern]:
        """Where somebody holds a subject: patterns that together match exactly."""
        if subject.startswith(_PRINCIPALS):
            return (EVERYWHERE,) if self._admits_later or self.admits(subject) else ()
        return self.regions.get(subject, ())

    def reached(self, role: Subject) -> Sequence[tuple[str, NamespacePattern]]:
        """The role itself and the roles that it includes, if they have p rows, with the patterns where they count."""
        if role not in self._roles:
            self._roles[role] = self._walk(role, "role:")
            if self._roles[role] is None:
                self.undecided.append(role)
        return self._roles[role] or ()

    def _spread(self) -> tuple[set[str], Mapping[str, Sequence[NamespacePattern]]]:
        """The groups and roles that a principal belongs to or holds, and the patterns where each is held."""
        populated: set[str] = set()
        regions: defaultdict[str, _Region] = defaultdict(_Region)
        # At run time somebody may be put there.
        for subject, scope in self._opened:
            populated.add(subject)
            regions[subject].widen(scope)
        for member, links in self._members_first():
            if member.startswith(_PRINCIPALS):
                populated.update(link.holds for link in links)
                held: Sequence[NamespacePattern] = self.held(member)
            else:
                populated.update(link.holds for link in links if member in populated)
                held = regions[member].patterns
            for link in links:
                for region in held:
                    overlap = region.intersection(link.scope)
                    if overlap is not None:
                        regions[link.holds].widen(overlap)
        return populated, {subject: region.patterns for subject, region in regions.items()}

    def _members_first(self) -> Iterator[tuple[str, Sequence[Link]]]:
        """Members with their g rows, every member after all of its own members."""
        links: defaultdict[str, list[Link]] = defaultdict(list)
        waiting: defaultdict[str, int] = defaultdict(int)
        for link in self._links:
            links[link.member].append(link)
            waiting[link.holds] += 1
        ready = [member for member in links if member not in waiting]
        while ready:
            member = ready.pop()
            yield member, links[member]
            for link in links[member]:
                waiting[link.holds] -= 1
                if not waiting[link.holds] and link.holds in links:
                    ready.append(link.holds)

    def _people(self, *, admitted: bool) -> Iterator[People]:
        alike: defaultdict[tuple[str, ...], list[Principal]] = defaultdict(list)
        for principal in self.principals:
            if self.admits(principal) is admitted:
                links = sorted(f"{link.holds} {link.scope.text}" for link in self._graph.links_of(principal))
                own = (principal,) if self._graph.rules_of(principal) else ()
                alike[(*own, *links)].append(principal)
        for names in alike.values():
            grants = self._grants(names[0])
            if grants is None:
                self.undecided.append(names[0])
            else:
                yield People(names, grants)

    def _later(self, subject: Subject, scope: NamespacePattern) -> Sequence[Grant]:
        grants = self._grants(subject, scope)
        if grants is None:
            self.undecided.append(subject)
        return grants or ()

    def _grants(self, holder: str, within: NamespacePattern = EVERYWHERE) -> Sequence[Grant] | None:
        groups = self._walk(holder, "group:", within)
        if groups is None:
            return None
        grants: list[Grant] = []
        for subject, scope in groups:
            grants += self._given(subject, scope, None)
            for link in self._graph.links_of(subject):
                region = scope.intersection(link.scope) if link.holds.startswith("role:") else None
                if region is not None:
                    grants += self._bound(link, region)
        return grants

    def _bound(self, link: Link, region: NamespacePattern) -> Sequence[Grant]:
        """The grants of a binding in `region`: the same for all its holders, and cached once."""
        key = (id(link), region.text)
        known = self._bindings.get(key)
        if known is None:
            known = self._bindings[key] = [
                grant
                for role, within in self.reached(link.holds)
                if (overlap := region.intersection(within)) is not None
                for grant in self._given(role, overlap, link)
            ]
        return known

    def _given(self, subject: str, scope: NamespacePattern, binding: Link | None) -> Sequence[Grant]:
        return [
            Grant(rule, region, binding)
            for rule in self._graph.rules_of(subject)
            if (region := scope.intersection(rule.namespaces)) is not None
        ]

    def _walk(
        self, start: str, through: str, within: NamespacePattern = EVERYWHERE
    ) -> Sequence[tuple[str, NamespacePattern]] | None:
        """The subjects reached from `start`, which is held `within` a pattern, over g rows that hold names beginning with `through`, with their patterns;
        None if there are more than STATES_LIMIT."""
        states: list[tuple[str, NamespacePattern]] = [(start, within)]
        seen = {(start, within.text)}
        for subject, scope in states:
            for link in self._graph.links_of(subject):
                overlap = scope.intersection(link.scope) if link.holds.startswith(through) else None
                if overlap is not None and (link.holds, overlap.text) not in seen:
                    if len(states) == STATES_LIMIT:
                        return None
                    seen.add((link.holds, overlap.text))
                    states.append((link.holds, overlap))
        return states


def _opened(snapshot: Snapshot) -> Iterator[tuple[Subject, NamespacePattern]]:
    """The groups and roles that somebody may be granted at run time, and where."""
    runtime = snapshot.policy.runtime
    if runtime is None:
        return
    listed = (Subject(name) for name in snapshot.policy.access or () if name.startswith("group:"))
    for subject in dict.fromkeys((*snapshot.graph.groups, *snapshot.graph.roles(), *listed)):
        scopes = runtime.scopes if runtime.opens(subject) else ()
        for scope in (EVERYWHERE,) if subject == runtime.suspend else scopes:
            yield subject, scope


class _Region:
    """Namespaces as patterns. No pattern is covered by an earlier one."""

    def __init__(self) -> None:
        self.patterns: list[NamespacePattern] = []
        self._coverage = PatternTrie()

    def widen(self, pattern: NamespacePattern) -> None:
        if self._coverage.of_pattern(pattern):
            return
        if len(self.patterns) >= REGIONS:
            self.patterns, pattern = [], EVERYWHERE
        self.patterns.append(pattern)
        self._coverage.add(pattern)
