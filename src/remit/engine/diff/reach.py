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


def reach_changes(factory: DiagramFactory, old: Policy | None, new: Policy | None) -> tuple[ReachChange, ...]:
    """Exact and complete: the effect for a caller, owner and relation differs exactly if a change contains it.

    Raises TooManyDiagramsError.
    """
    comparison = _Comparison(factory, old, new)
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
    def __init__(self, factory: DiagramFactory, old: Policy | None, new: Policy | None) -> None:
        self._factory = factory
        self._policies = (old, new)
        self._moved = _moved(old.reach if old else (), new.reach if new else ())
        self._nowhere = factory.constant(factory.none)
        self._unruled: _Ruling = factory.constant(None)

    def of(self, relation: Word) -> Iterator[tuple[Direction, Pairs, tuple[Piece, ...], tuple[Piece, ...]]]:
        before, after = (policy.vocabulary.relations.get(relation) if policy else None for policy in self._policies)
        moved = [rule for rule in self._moved if rule.names(relation)]
        if before == after and not moved:
            return
        if (before is None) != (after is None):
            everywhere = self._factory.pieces(self._factory.all)
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
                        yield direction, pairs, self._factory.pieces(callers), self._factory.pieces(owners)

    def _sides(
        self, policy: Policy | None, relation: Word, within: Sequence[ReachRule] | None
    ) -> tuple[_Plane, _Plane]:
        """The allowed pairs if the owner is not above the caller, and the allowed pairs if it is. With `within`, only
        pairs that one of these rows matches."""
        factory = self._factory
        known = policy.vocabulary.relations.get(relation) if policy is not None else None
        if policy is None or known is None:
            return self._nowhere, self._nowhere
        rules = [rule for rule in policy.reach if rule.names(relation)]
        if within is not None:
            rules = _overlapping(rules, within)
        ruled = factory.folded(self._first, map(self._ruling, rules), factory.constant(self._unruled))
        plain = factory.map(self._allowed, ruled)
        above = factory.map(self._not_denied, ruled) if known.inherited else plain
        if within is None:
            return plain, above
        window = factory.folded(self._union, (self._box(rule) for rule in within), self._nowhere)
        return self._intersection(plain, window), self._intersection(above, window)

    def _ruling(self, rule: ReachRule) -> Diagram[_Ruling]:
        effect: Effect | None = rule.effect
        return self._factory.over(rule.caller, self._factory.over(rule.owner, effect, None), self._unruled)

    def _box(self, rule: ReachRule) -> _Plane:
        return self._factory.over(rule.caller, self._factory.region(rule.owner), self._factory.none)

    def _first(self, left: Diagram[_Ruling], right: Diagram[_Ruling]) -> Diagram[_Ruling]:
        return self._factory.apply(self._first_by_owner, left, right)

    def _first_by_owner(self, left: _Ruling, right: _Ruling) -> _Ruling:
        return self._factory.apply(_either, left, right)

    def _allowed(self, ruling: _Ruling) -> Region:
        return self._factory.map(_allows, ruling)

    def _not_denied(self, ruling: _Ruling) -> Region:
        return self._factory.map(_denies_not, ruling)

    def _union(self, left: _Plane, right: _Plane) -> _Plane:
        return self._factory.apply(self._factory.union, left, right)

    def _intersection(self, left: _Plane, right: _Plane) -> _Plane:
        return self._factory.apply(self._factory.intersection, left, right)

    def _without(self, left: _Plane, right: _Plane) -> _Plane:
        return self._factory.apply(self._factory.without, left, right)

    def _boxes(self, plane: _Plane) -> Iterator[tuple[Region, Region]]:
        """Sets of callers with their owners: together the plane, and every set with as many callers as possible."""
        factory = self._factory
        rows = factory.values(plane) - {factory.none}
        for owners in rows:
            narrower = (each for each in rows if each is not owners and factory.without(each, owners) is factory.none)
            own = factory.without(owners, factory.folded(factory.union, narrower, factory.none))
            if own is not factory.none:
                holds: Callable[[Region], bool] = _Covers(factory, owners)
                yield factory.namespaces(factory.map(holds, plane)), factory.namespaces(own)

    def _any(self, pairs: Pairs, callers: Region, owners: Region) -> bool:
        """True if `callers` and `owners` contain a pair of this sort."""
        factory = self._factory
        caller = factory.first(callers)
        if caller is None or factory.is_empty(owners):
            return False
        if pairs is Pairs.ABOVE:
            return not factory.is_empty(factory.intersection(callers, factory.under(owners)))
        here = factory.region(exactly(caller))
        if pairs is Pairs.OTHERS:
            others = factory.without(owners, here), factory.without(callers, here)
            # If no other owner is left, the owner is this caller, and any other caller will do.
            return not all(map(factory.is_empty, others))
        lineage = factory.folded(
            factory.union, (factory.region(exactly(each)) for each in _upward(caller)), factory.none
        )
        if not factory.is_empty(factory.without(owners, lineage)):
            return True
        # Now every owner is this caller or above it. Find a caller that one of the owners is not above.
        return any(
            owners.at(each) and not factory.is_empty(factory.without(callers, factory.region(_subtree(each))))
            for each in _upward(caller)
        )


class _Covers:
    """Tests if a region contains all of `owners`. Equal for equal owners: a DiagramFactory caches by function."""

    def __init__(self, factory: DiagramFactory, owners: Region) -> None:
        self._factory = factory
        self._owners = owners

    def __call__(self, region: Region) -> bool:
        return self._factory.without(self._owners, region) is self._factory.none

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
