"""Reach diff: which namespaces gain and lose the use of what others own. Exact over all pairs of namespaces."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from remit.core.names import Namespace, Word
from remit.core.patterns import NamespacePattern, exactly
from remit.core.policy import Policy
from remit.core.rows import Effect, ReachRule
from remit.engine.decision_diagram import Diagram, DiagramFactory, Piece, Region, TooManyDiagramsError
from remit.engine.diff.change import Direction, Pairs, ReachChange

_Ruling = Diagram[Effect | None]
"""The effect of the rows, by owner; None if no row matches."""
_Plane = Diagram[Region]
"""A set of pairs: the owners, by caller."""


def reach_changes(atlas: DiagramFactory, old: Policy | None, new: Policy | None) -> tuple[ReachChange, ...]:
    """Exact and complete: the effect for a caller, owner and relation differs exactly if a change contains it.

    Raises TooManyDiagramsError.
    """
    comparison = _Comparison(atlas, old, new)
    relations: defaultdict[tuple[Direction, Pairs, tuple[Piece, ...], tuple[Piece, ...]], list[Word]]
    relations = defaultdict(list)
    for relation in sorted({name for policy in (old, new) if policy for name in policy.vocabulary.relations}):
        try:
            for change in comparison.of(relation):
                relations[change].append(relation)
        except TooManyDiagramsError as error:
            raise TooManyDiagramsError(f"reach by {relation}: {error}") from None
    changes = [
        ReachChange(direction, tuple(names), callers, owners, pairs)
        for (direction, pairs, callers, owners), names in relations.items()
    ]
    return tuple(sorted(changes, key=str))


class _Comparison:
    def __init__(self, atlas: DiagramFactory, old: Policy | None, new: Policy | None) -> None:
        self._atlas = atlas
        self._policies = (old, new)
        self._moved = _moved(old.reach if old else (), new.reach if new else ())
        self._nowhere = atlas.constant(atlas.none)
        self._unruled: _Ruling = atlas.constant(None)

    def of(self, relation: Word) -> Iterator[tuple[Direction, Pairs, tuple[Piece, ...], tuple[Piece, ...]]]:
        before, after = (policy.vocabulary.relations.get(relation) if policy else None for policy in self._policies)
        moved = [rule for rule in self._moved if rule.names(relation)]
        if before == after and not moved:
            return
        if (before is None) != (after is None):
            everywhere = self._atlas.pieces(self._atlas.all)
            yield Direction.LOSS if after is None else Direction.GAIN, Pairs.ITSELF, everywhere, everywhere
        within = moved if before == after else None
        (plain_before, above_before), (plain_after, above_after) = (
            self._sides(policy, relation, within) for policy in self._policies
        )
        for direction, plain, above in (
            (Direction.GAIN, self._without(plain_after, plain_before), self._without(above_after, above_before)),
            (Direction.LOSS, self._without(plain_before, plain_after), self._without(above_before, above_after)),
        ):
            for pairs, plane in (
                (Pairs.OTHERS, self._intersection(plain, above)),
                (Pairs.NOT_ABOVE, self._without(plain, above)),
                (Pairs.ABOVE, self._without(above, plain)),
            ):
                for callers, owners in self._boxes(plane):
                    if self._any(pairs, callers, owners):
                        yield direction, pairs, self._atlas.pieces(callers), self._atlas.pieces(owners)

    def _sides(
        self, policy: Policy | None, relation: Word, within: Sequence[ReachRule] | None
    ) -> tuple[_Plane, _Plane]:
        """The allowed pairs if the owner is not above the caller, and the allowed pairs if it is. With `within`, only
        pairs that one of these rows matches."""
        atlas = self._atlas
        known = policy.vocabulary.relations.get(relation) if policy is not None else None
        if policy is None or known is None:
            return self._nowhere, self._nowhere
        rules = [rule for rule in policy.reach if rule.names(relation)]
        if within is not None:
            rules = _overlapping(rules, within)
        ruled = atlas.folded(self._first, map(self._ruling, rules), atlas.constant(self._unruled))
        plain = atlas.map(self._allowed, ruled)
        above = atlas.map(self._not_denied, ruled) if known.inherited else plain
        if within is None:
            return plain, above
        window = atlas.folded(self._union, (self._box(rule) for rule in within), self._nowhere)
        return self._intersection(plain, window), self._intersection(above, window)

    def _ruling(self, rule: ReachRule) -> Diagram[_Ruling]:
        effect: Effect | None = rule.effect
        return self._atlas.over(rule.caller, self._atlas.over(rule.owner, effect, None), self._unruled)

    def _box(self, rule: ReachRule) -> _Plane:
        return self._atlas.over(rule.caller, self._atlas.region(rule.owner), self._atlas.none)

    def _first(self, left: Diagram[_Ruling], right: Diagram[_Ruling]) -> Diagram[_Ruling]:
        return self._atlas.combine(self._first_by_owner, left, right)

    def _first_by_owner(self, left: _Ruling, right: _Ruling) -> _Ruling:
        return self._atlas.combine(_either, left, right)

    def _allowed(self, ruling: _Ruling) -> Region:
        return self._atlas.map(_allows, ruling)

    def _not_denied(self, ruling: _Ruling) -> Region:
        return self._atlas.map(_denies_not, ruling)

    def _union(self, left: _Plane, right: _Plane) -> _Plane:
        return self._atlas.combine(self._atlas.union, left, right)

    def _intersection(self, left: _Plane, right: _Plane) -> _Plane:
        return self._atlas.combine(self._atlas.intersection, left, right)

    def _without(self, left: _Plane, right: _Plane) -> _Plane:
        return self._atlas.combine(self._atlas.without, left, right)

    def _boxes(self, plane: _Plane) -> Iterator[tuple[Region, Region]]:
        """Sets of callers with their owners: together the plane, and every set with as many callers as possible."""
        atlas = self._atlas
        rows = atlas.values(plane) - {atlas.none}
        for owners in rows:
            narrower = (each for each in rows if each is not owners and atlas.without(each, owners) is atlas.none)
            own = atlas.without(owners, atlas.folded(atlas.union, narrower, atlas.none))
            if own is not atlas.none:
                holds: Callable[[Region], bool] = _Covers(atlas, owners)
                yield atlas.namespaces(atlas.map(holds, plane)), atlas.namespaces(own)

    def _any(self, pairs: Pairs, callers: Region, owners: Region) -> bool:
        """True if `callers` and `owners` contain a pair of this sort."""
        atlas = self._atlas
        caller = atlas.first(callers)
        if caller is None or atlas.is_empty(owners):
            return False
        if pairs is Pairs.ABOVE:
            return not atlas.is_empty(atlas.intersection(callers, atlas.under(owners)))
        here = atlas.region(exactly(caller))
        if pairs is Pairs.OTHERS:
            others = atlas.without(owners, here), atlas.without(callers, here)
            # If no other owner is left, the owner is this caller, and any other caller will do.
            return not all(map(atlas.is_empty, others))
        lineage = atlas.folded(atlas.union, (atlas.region(exactly(each)) for each in _upward(caller)), atlas.none)
        if not atlas.is_empty(atlas.without(owners, lineage)):
            return True
        # Now every owner is this caller or above it. Find a caller that one of the owners is not above.
        return any(
            owners.at(each) and not atlas.is_empty(atlas.without(callers, atlas.region(_subtree(each))))
            for each in _upward(caller)
        )


class _Covers:
    """Tests if a region contains all of `owners`. Equal for equal owners: a DiagramFactory caches by function."""

    def __init__(self, atlas: DiagramFactory, owners: Region) -> None:
        self._atlas = atlas
        self._owners = owners

    def __call__(self, region: Region) -> bool:
        return self._atlas.without(self._owners, region) is self._atlas.none

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Covers) and self._owners is other._owners

    def __hash__(self) -> int:
        return hash(self._owners)


def _either(first: Effect | None, then: Effect | None) -> Effect | None:
    return then if first is None else first


def _allows(effect: Effect | None) -> bool:
    return effect is Effect.ALLOW


def _denies_not(effect: Effect | None) -> bool:
    return effect is not Effect.DENY


def _upward(namespace: Namespace) -> Iterator[Namespace]:
    """The namespace, its parent, and so on up to the top."""
    while namespace:
        yield namespace
        namespace = Namespace(namespace.rpartition(".")[0])


def _subtree(namespace: Namespace) -> NamespacePattern:
    return NamespacePattern(f"{namespace}.**", tuple(namespace.split(".")), subtree=True)


def _moved(old: Sequence[ReachRule], new: Sequence[ReachRule]) -> list[ReachRule]:
    """Rows that only one of the two has, or that moved relative to the others. If none of them matches a question, the
    same row decides it in both."""
    places = {rule.fields: place for place, rule in enumerate(old)}
    common = [rule.fields for rule in new if rule.fields in places]
    in_order = {common[index] for index in _longest_rise([places[fields] for fields in common])}
    return [rule for rule in (*old, *new) if rule.fields not in in_order]


def _longest_rise(numbers: Sequence[int]) -> Iterator[int]:
    """The indexes of a longest rising subsequence, last first."""
    ends: list[int] = []
    """By length: the index of the lowest number that ends a rise of that length."""
    before: list[int | None] = []
    for index, number in enumerate(numbers):
        place = bisect_left(ends, number, key=numbers.__getitem__)
        before.append(ends[place - 1] if place else None)
        ends[place : place + 1] = [index]
    last = ends[-1] if ends else None
    while last is not None:
        yield last
        last = before[last]


def _overlapping(rules: Iterable[ReachRule], windows: Sequence[ReachRule]) -> list[ReachRule]:
    """The rows that match a pair that one of `windows` matches too."""
    return [
        rule
        for rule in rules
        if any(rule.caller.overlaps(window.caller) and rule.owner.overlaps(window.owner) for window in windows)
    ]
