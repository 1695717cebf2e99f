from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from remit.core.names import Principal, Subject
from remit.engine.decision_diagram import DiagramFactory, Piece, Region, TooManyDiagramsError
from remit.engine.diff.access_regions import AccessRegions, Permission
from remit.engine.diff.change import AccessChange, ChangedNamespaces, Direction

PRINCIPALS: Final = ("user:", "service:")


class Touched:
    """What changed rows can affect: which subjects, which permissions, and through which group or role."""

    def __init__(self, factory: DiagramFactory, old: AccessRegions, new: AccessRegions) -> None:
        self._factory = factory
        self._sides = (old, new)
        self._own: defaultdict[str, set[Permission]] = defaultdict(set)
        self._gates: tuple[defaultdict[str, set[str]], ...] = (defaultdict(set), defaultdict(set))
        """For both sides: the members of g rows that the other side does not have, by the subject held."""
        self._permissions: dict[str, frozenset[Permission]] = {}
        self._closures: dict[str, frozenset[str]] = {}
        self._holders: dict[str, int] = {}
        self._members: defaultdict[str, set[str]] = defaultdict(set)
        for side, other, gates in ((old, new, self._gates[0]), (new, old, self._gates[1])):
            for stated, rule in side.rules.items():
                if stated not in other.rules:
                    self._own[rule.subject] |= side.named(rule)
            for stated, link in side.links.items():
                self._members[link.holds].add(link.member)
                if stated not in other.links:
                    self._own[link.member] |= side.held(link.holds)
                    gates[link.holds].add(link.member)
            self._add_redefined(side, other)

    def groups_and_roles(self) -> Iterator[Subject]:
        """The groups and roles that may give, or deny, whoever holds them something else than before."""
        return (Subject(subject) for subject in self._above(self._own) if not subject.startswith(PRINCIPALS))

    def principals(self) -> Iterator[Principal]:
        """The principals for whom a decision may have changed."""
        old, new = self._sides
        found = {subject for subject in self._above(self._own) if subject.startswith(PRINCIPALS)}
        named = {rule.subject for side in self._sides for rule in side.rules.values()}
        named |= {link.member for side in self._sides for link in side.links.values()}
        for subject in named:
            principal = Principal(subject)
            if subject.startswith(PRINCIPALS) and old.admits(principal) != new.admits(principal):
                self._own[subject] |= old.held(subject) | new.held(subject)
                found.add(subject)
        return map(Principal, sorted(found))

    def permissions(self, subject: str) -> frozenset[Permission]:
        """The permissions of the subject that may have changed."""
        known = self._permissions.get(subject)
        if known is None:
            changed = (self._own.get(held, ()) for held in self._closure(subject))
            known = self._permissions[subject] = frozenset().union(*changed)
        return known

    def through(
        self,
        principals: Sequence[Principal],
        permissions: Sequence[Permission],
        direction: Direction,
        region: Region,
    ) -> Subject | None:
        """The narrowest group or role that by itself makes this change for all of `principals`."""
        common = frozenset.intersection(*map(self._closure, principals))
        held = (name for name in common if not name.startswith(PRINCIPALS))
        for name in sorted(held, key=lambda name: (self.holders(name), name.startswith("role:"), name)):
            ways = self._ways(name, principals)
            if all(self._makes(name, ways, permission, direction, region) for permission in permissions):
                return Subject(name)
        return None

    def holders(self, subject: str) -> int:
        """Number of principals that hold a group or role somewhere, before or after."""
        known = self._holders.get(subject)
        if known is None:
            above = self._above([subject])
            known = self._holders[subject] = sum(1 for name in above if name.startswith(PRINCIPALS))
        return known

    def _ways(self, subject: str, principals: Iterable[Principal]) -> Sequence[AccessRegions]:
        """The sides on which every principal holds the subject by a row that the other side does not have."""
        return [
            side
            for side, gates in zip(self._sides, self._gates, strict=True)
            if all(not gates[subject].isdisjoint(self._closure(principal)) for principal in principals)
        ]

    def _makes(
        self, subject: str, ways: Sequence[AccessRegions], permission: Permission, direction: Direction, region: Region
    ) -> bool:
        """True if a change of the subject's rows, or of its holders, makes the change in all of `region`."""
        if not any(permission in side.held(subject) for side in self._sides):
            return False
        factory = self._factory
        before, after = self._sides if direction is Direction.GAIN else reversed(self._sides)
        lifted, was = before.granted(subject, permission).denied, before.granted(subject, permission).allowed
        given, now = after.granted(subject, permission).allowed, after.granted(subject, permission).denied
        made = factory.union(
            given if after in ways else factory.without(given, was),
            lifted if before in ways else factory.without(lifted, now),
        )
        return factory.without(region, made) is factory.none

    def _closure(self, subject: str) -> frozenset[str]:
        """The subject and every subject that it holds somewhere, before or after."""
        known = self._closures.get(subject)
        if known is None:
            reached = {subject}
            waiting = [subject]
            while waiting:
                # Each version has no cycle, but both together may: a link that was turned round.
                more = self._onward(waiting.pop()) - reached
                reached |= more
                waiting += more
            known = self._closures[subject] = frozenset(reached)
        return known

    def _onward(self, subject: str) -> set[str]:
        return {link.holds for side in self._sides for link in side.graph.links_of(subject)}

    def _above(self, subjects: Iterable[str]) -> set[str]:
        """`subjects` and every subject that holds one of them somewhere."""
        above = set(subjects)
        waiting = list(above)
        while waiting:
            more = self._members.get(waiting.pop(), set()) - above
            above |= more
            waiting += more
        return above

    def _add_redefined(self, side: AccessRegions, other: AccessRegions) -> None:
        """Adds rows about kinds and actions that the vocabulary gained, lost or moved."""
        redefined = {
            permission for permission, kind in side.namespaced.items() if other.namespaced.get(permission) != kind
        }
        if redefined:
            for rule in side.rules.values():
                self._own[rule.subject] |= side.named(rule) & redefined


def access_changes(
    factory: DiagramFactory, before: AccessRegions, after: AccessRegions, touched: Touched
) -> tuple[AccessChange, ...]:
    """Exact and complete: the effect for a principal, permission and namespace differs exactly if a change contains it.

    If only one of the two policies allows the question (a kind that moved between classes), the other counts as a deny.
    Raises TooManyDiagramsError.
    """
    found: defaultdict[tuple[Direction, Region, Permission], list[Principal]] = defaultdict(list)
    for principal in touched.principals():
        for permission in touched.permissions(principal):
            with naming(principal, permission):
                was, now = before.allows(principal, permission), after.allows(principal, permission)
            if was is not now:
                found[Direction.GAIN, factory.without(now, was), permission].append(principal)
                found[Direction.LOSS, factory.without(was, now), permission].append(principal)
    changes = []
    for direction, principals, permissions, where in grouped(factory, found):
        through = touched.through(principals, permissions, direction, _region(factory, where))
        holders = 0 if through is None else touched.holders(through)
        changes.append(AccessChange(direction, principals, through, holders, permissions, where))
    return tuple(sorted(changes, key=_order))


_Group = tuple[Direction, tuple[Principal, ...], tuple[Permission, ...], ChangedNamespaces]


def grouped(
    factory: DiagramFactory, found: Mapping[tuple[Direction, Region, Permission], Sequence[Principal]]
) -> Iterator[_Group]:
    """The same changes, with the principals, permissions and regions together that change alike."""
    principals: defaultdict[tuple[Direction, Piece | None, Permission], set[Principal]] = defaultdict(set)
    pieces_of: dict[Region, tuple[Piece | None, ...]] = {}
    for (direction, region, permission), who in found.items():
        if region not in pieces_of:
            with naming(who[0], permission):
                pieces_of[region] = (*factory.pieces(region), *([None] if region.here else []))
        for piece in pieces_of[region]:
            principals[direction, piece, permission].update(who)
    permissions: defaultdict[tuple[Direction, Piece | None, frozenset[Principal]], list[Permission]] = defaultdict(list)
    for (direction, piece, permission), whose in principals.items():
        permissions[direction, piece, frozenset(whose)].append(permission)
    pieces: defaultdict[tuple[Direction, frozenset[Principal], tuple[Permission, ...]], list[Piece | None]]
    pieces = defaultdict(list)
    for (direction, piece, group), which in permissions.items():
        pieces[direction, group, tuple(sorted(which))].append(piece)
    for (direction, group, sorted_permissions), places in pieces.items():
        namespaces = sorted((piece for piece in places if piece is not None), key=str)
        yield direction, tuple(sorted(group)), sorted_permissions, ChangedNamespaces(tuple(namespaces), None in places)


@contextmanager
def naming(subject: str, permission: Permission) -> Iterator[None]:
    """Adds the subject and permission to the error."""
    try:
        yield
    except TooManyDiagramsError as error:
        raise TooManyDiagramsError(f"{subject}, {' '.join(reversed(permission))}: {error}") from None


def _region(factory: DiagramFactory, where: ChangedNamespaces) -> Region:
    namespaces = factory.folded(factory.union, map(factory.within, where.namespaces), factory.none)
    # The text `**` also stands for all namespaces without the tenant itself.
    return factory.diagram(where.tenant_itself, namespaces.branches, namespaces.other)


def _order(change: AccessChange) -> tuple[object, ...]:
    alone = change.through is None
    return (change.direction, alone, change.through or "", change.principals, change.permissions, str(change.where))
