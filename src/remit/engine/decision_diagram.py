"""Decision diagrams: exact sets of namespaces, with union, intersection, complement, emptiness and short patterns.

A namespace is a path of segments, and a pattern distinguishes only the segments that it spells. So any combination of
patterns turns the infinite space of namespaces into a tree. A node has a value, a branch for each spelled segment, and
one branch for all other segments.
"""

import operator
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import count, product
from typing import Final, Generic, NamedTuple, TypeVar, cast

from remit.core.errors import RemitError
from remit.core.names import NAMESPACE_LIMIT, Namespace
from remit.core.patterns import NamespacePattern

DIAGRAMS_LIMIT: Final = 1_000_000
"""Diagrams that one factory makes. Scopes such as `*.*.a.**` can split the namespaces in exponentially many ways, and
no exact answer avoids that in the worst case."""

PATTERNS_LIMIT: Final = 100_000
"""Patterns that describe one region."""

_PIECES_COST: Final = 100_000
"""Diagrams made to describe one region in pieces."""

_FIRST: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_REST: Final = f"{_FIRST}_-"

Value = TypeVar("Value", bound=Hashable)
_Left = TypeVar("_Left", bound=Hashable)
_Right = TypeVar("_Right", bound=Hashable)


class TooManyDiagramsError(RemitError):
    """The patterns make more diagrams than DIAGRAMS_LIMIT, or a region needs more patterns than PATTERNS_LIMIT."""


class Diagram(Generic[Value]):
    """A value for each namespace. A DiagramFactory makes equal diagrams once: two diagrams of one factory are equal
    exactly if they are the same object."""

    __slots__ = ("branches", "here", "other")

    def __init__(
        self, here: Value, branches: Mapping[str, "Diagram[Value]"], other: "Diagram[Value] | None" = None
    ) -> None:
        self.here = here
        """The value of the namespace that ends here; at the root, the value of the tenant itself."""
        self.branches = branches
        """The diagrams below, by next segment."""
        self.other: Diagram[Value] = self if other is None else other
        """The diagram below every other segment."""

    @property
    def constant(self) -> bool:
        """True if every namespace has the same value."""
        return self.other is self

    def below(self, segment: str) -> "Diagram[Value]":
        return self.branches.get(segment, self.other)

    def at(self, namespace: Namespace) -> Value:
        diagram = self
        for segment in namespace.split(".") if namespace else ():
            diagram = diagram.below(segment)
        return diagram.here


Region = Diagram[bool]
"""A set of namespaces."""


class Piece(NamedTuple):
    """The namespaces of `only` without any of `excepted`. Every pattern has a namespace of at most 150 characters."""

    only: NamespacePattern
    excepted: tuple[NamespacePattern, ...] = ()

    def contains(self, namespace: Namespace) -> bool:
        return self.only.contains(namespace) and not any(pattern.contains(namespace) for pattern in self.excepted)

    def __str__(self) -> str:
        but = f" except {', '.join(map(str, self.excepted))}" if self.excepted else ""
        return f"{self.only}{but}"


class _Tail(NamedTuple):
    """The rest of a pattern from some node of the tree on, without its text."""

    segments: tuple[str, ...]
    subtree: bool

    def behind(self, segment: str) -> "_Tail":
        return _Tail((segment, *self.segments), self.subtree)

    @property
    def shortest(self) -> int:
        """Characters of the shortest namespace."""
        return sum(map(len, self.segments)) + len(self.segments) - 1


class _Part(NamedTuple):
    only: _Tail
    excepted: tuple[_Tail, ...] = ()

    def behind(self, segment: str) -> "_Part":
        return _Part(self.only.behind(segment), tuple(tail.behind(segment) for tail in self.excepted))


_Parts = Sequence[_Part]
_ENDS_HERE: Final = _Tail((), subtree=False)
_ALL_BELOW: Final = _Tail((), subtree=True)
_STRICTLY_BELOW: Final = _Tail(("*",), subtree=True)


class DiagramFactory:
    """Makes diagrams and caches them and all results. For one thread."""

    def __init__(self) -> None:
        self._limit = DIAGRAMS_LIMIT
        self._diagrams: dict[Hashable, Diagram[Hashable]] = {}
        self._combined: dict[Hashable, Diagram[Hashable]] = {}
        self._mapped: dict[Hashable, Diagram[Hashable]] = {}
        self._regions: dict[str, Region] = {}
        self._nearest: dict[Region, tuple[str, ...] | None] = {}
        self._parts: dict[Region, _Parts] = {}
        self.none: Region = self.constant(False)
        self.all: Region = self.constant(True)

    def constant(self, value: Value) -> Diagram[Value]:
        return self._remembered(("constant", value), lambda: Diagram(value, {}))

    def diagram(self, here: Value, branches: Mapping[str, Diagram[Value]], other: Diagram[Value]) -> Diagram[Value]:
        """Raises TooManyDiagramsError past DIAGRAMS_LIMIT."""
        branches = {segment: diagram for segment, diagram in branches.items() if diagram is not other}
        if not branches and other.constant and other.here == here:
            return other
        return self._remembered((here, other, frozenset(branches.items())), lambda: Diagram(here, branches, other))

    def over(self, pattern: NamespacePattern, inside: Value, outside: Value) -> Diagram[Value]:
        """`inside` in the namespaces of the pattern, `outside` elsewhere."""
        return self._over(_Tail(pattern.segments, pattern.subtree), inside, outside)

    def region(self, pattern: NamespacePattern) -> Region:
        known = self._regions.get(pattern.text)
        if known is None:
            known = self._regions[pattern.text] = self.over(pattern, inside=True, outside=False)
        return known

    def apply(
        self, how: Callable[[_Left, _Right], Value], left: Diagram[_Left], right: Diagram[_Right]
    ) -> Diagram[Value]:
        """`how` of both values at each namespace. Caches results under `how` itself."""
        key = (how, left, right)
        known = cast("Diagram[Value] | None", self._combined.get(key))
        if known is None:
            here = how(left.here, right.here)
            if left.constant and right.constant:
                known = self.constant(here)
            else:
                other = self.apply(how, left.other, right.other)
                segments = left.branches.keys() | right.branches.keys()
                branches = {each: self.apply(how, left.below(each), right.below(each)) for each in segments}
                known = self.diagram(here, branches, other)
            self._combined[key] = cast("Diagram[Hashable]", known)
        return known

    def map(self, how: Callable[[_Left], Value], diagram: Diagram[_Left]) -> Diagram[Value]:
        """`how` of the value at each namespace, cached like `apply`."""
        key = (how, diagram)
        known = cast("Diagram[Value] | None", self._mapped.get(key))
        if known is None:
            here = how(diagram.here)
            if diagram.constant:
                known = self.constant(here)
            else:
                branches = {segment: self.map(how, below) for segment, below in diagram.branches.items()}
                known = self.diagram(here, branches, self.map(how, diagram.other))
            self._mapped[key] = cast("Diagram[Hashable]", known)
        return known

    def within(self, piece: Piece) -> Region:
        return self.without(self.region(piece.only), self.union_of(piece.excepted))

    def union(self, left: Region, right: Region) -> Region:
        return self.apply(operator.or_, left, right)

    def intersection(self, left: Region, right: Region) -> Region:
        return self.apply(operator.and_, left, right)

    def complement(self, region: Region) -> Region:
        return self.map(operator.not_, region)

    def without(self, left: Region, right: Region) -> Region:
        # Of two booleans the first is greater exactly if only the first is true.
        return self.apply(operator.gt, left, right)

    def union_of(self, patterns: Iterable[NamespacePattern]) -> Region:
        return self.folded(self.union, map(self.region, patterns), self.none)

    def folded(
        self,
        how: Callable[[Diagram[Value], Diagram[Value]], Diagram[Value]],
        diagrams: Iterable[Diagram[Value]],
        empty: Diagram[Value],
    ) -> Diagram[Value]:
        """An associative `how` over all diagrams in order. Combines neighbours first: a step costs the size of both."""
        folded = list(diagrams) or [empty]
        while len(folded) > 1:
            paired = [how(left, right) for left, right in zip(folded[::2], folded[1::2], strict=False)]
            folded = [*paired, *folded[len(paired) * 2 :]]
        return folded[0]

    def namespaces(self, region: Region) -> Region:
        """The region without the tenant itself."""
        return self.diagram(False, region.branches, region.other) if region.here else region

    def under(self, region: Region) -> Region:
        """The namespaces strictly below some namespace of the region."""
        return self._under(self.namespaces(region))

    def first(self, region: Region) -> Namespace | None:
        """A shortest namespace of the region, empty if the region contains the tenant itself. None if the region has no
        namespace of 150 characters or fewer."""
        nearest = self._first(region)
        if nearest is None:
            return None
        text = ".".join(nearest)
        return Namespace(text) if len(text) <= NAMESPACE_LIMIT else None

    def is_empty(self, region: Region) -> bool:
        return region is self.none or self.first(region) is None

    def values(self, diagram: Diagram[Value]) -> set[Value]:
        """Every value that some path of segments has."""
        found: set[Value] = set()
        seen: set[Diagram[Value]] = {diagram}
        waiting = [diagram]
        while waiting:
            place = waiting.pop()
            found.add(place.here)
            more = {*place.branches.values(), place.other} - seen
            seen |= more
            waiting += more
        return found

    def pieces(self, region: Region) -> tuple[Piece, ...]:
        """Pieces that together equal the region, except the tenant itself, in few patterns. Pieces may overlap."""
        limit = self._limit
        self._limit = min(limit, len(self._diagrams) + _PIECES_COST)
        try:
            # Here the tenant itself makes no difference, so include it if that gives the shorter text.
            wide = any(part.only == _ALL_BELOW for part in self._in_parts(region.other))
            parts = self._in_parts(self.diagram(wide, region.branches, region.other))
            return tuple(sorted(self._written(parts), key=lambda piece: (str(piece.only), str(piece))))
        finally:
            self._limit = limit

    def _remembered(self, key: Hashable, make: Callable[[], Diagram[Value]]) -> Diagram[Value]:
        known = cast("Diagram[Value] | None", self._diagrams.get(key))
        if known is None:
            if len(self._diagrams) >= self._limit:
                raise TooManyDiagramsError(
                    "the patterns divide the namespaces into too many parts: "
                    "fewer `*` segments before literal ones would help"
                )
            known = make()
            self._diagrams[key] = cast("Diagram[Hashable]", known)
        return known

    def _over(self, tail: _Tail, inside: Value, outside: Value) -> Diagram[Value]:
        nowhere = self.constant(outside)
        diagram = self.constant(inside) if tail.subtree else self.diagram(inside, {}, nowhere)
        for segment in reversed(tail.segments):
            branches, other = ({}, diagram) if segment == "*" else ({segment: diagram}, nowhere)
            diagram = self.diagram(outside, branches, other)
        return diagram

    def _under(self, region: Region) -> Region:
        if region.here:
            return self.diagram(False, {}, self.all)
        if region.constant:
            return region
        branches = {segment: self._under(below) for segment, below in region.branches.items()}
        return self.diagram(False, branches, self._under(region.other))

    def _first(self, region: Region) -> tuple[str, ...] | None:
        if region.here:
            return ()
        if region.constant:
            return None
        if region not in self._nearest:
            ways = [*region.branches.items(), (_unspelled(region.branches), region.other)]
            found = [(segment, *rest) for segment, below in ways if (rest := self._first(below)) is not None]
            self._nearest[region] = min(found, key=lambda path: (len(".".join(path)), path), default=None)
        return self._nearest[region]

    def _in_parts(self, region: Region) -> _Parts:
        if region.constant:
            return [_Part(_ALL_BELOW)] if region.here else []
        known = self._parts.get(region)
        if known is None:
            found: list[_Part] = []
            covered = dict.fromkeys(region.branches, self.none)
            for part in self._in_parts(region.other):
                inside = self._region(part)
                holes = [tail.behind("*") for tail in part.excepted]
                for segment, below in region.branches.items():
                    more = self._holes(inside, below)
                    if more is None:
                        # Leave the whole branch out here, and describe it separately.
                        more = [part.only]
                    else:
                        covered[segment] = self.union(covered[segment], self.intersection(inside, below))
                    holes += [tail.behind(segment) for tail in more]
                found.append(_Part(part.only.behind("*"), tuple(holes)))
            if region.here:
                # `a.**` covers more than `a` and `a.*.**`.
                wide = next((part for part in found if part.only == _STRICTLY_BELOW), None)
                found = [each for each in found if each is not wide]
                found.insert(0, _Part(_ENDS_HERE) if wide is None else _Part(_ALL_BELOW, wide.excepted))
            for segment, below in sorted(region.branches.items()):
                if self.without(below, covered[segment]) is not self.none:
                    found += [part.behind(segment) for part in self._uncovered(below, covered[segment])]
            if _patterns_in(found) > PATTERNS_LIMIT:
                raise TooManyDiagramsError(f"it takes more than {PATTERNS_LIMIT} patterns to say where")
            known = self._parts[region] = found
        return known

    def _uncovered(self, region: Region, covered: Region) -> Iterator[_Part]:
        """The parts of `region` that cover more than `covered`."""
        for part in self._in_parts(region):
            if covered is self.none or self.without(self._region(part), covered) is not self.none:
                yield part

    def _holes(self, inside: Region, below: Region) -> Sequence[_Tail] | None:
        """Patterns to exclude from `inside` so that the rest is in `below`. No pattern contains namespaces of both.
        None if there are no such patterns."""
        if self.without(inside, below) is self.none:
            return []
        background = below
        while not background.constant:
            background = background.other
        for outside in (*([self.complement(below)] if background.here else []), self.without(inside, below)):
            parts = self._in_parts(outside)
            if not any(part.excepted for part in parts):
                tails = [part.only for part in parts]
                return [tail for tail in tails if self.intersection(inside, self._tail(tail)) is not self.none]
        return None

    def _tail(self, tail: _Tail) -> Region:
        return self._over(tail, inside=True, outside=False)

    def _region(self, part: _Part) -> Region:
        excepted = self.folded(self.union, map(self._tail, part.excepted), self.none)
        return self.without(self._tail(part.only), excepted)

    def _written(self, parts: _Parts) -> Iterator[Piece]:
        """The parts that have a namespace, with the exceptions that have one."""
        for part in parts:
            if not self.is_empty(self._region(part)):
                excepted = {_pattern(tail) for tail in part.excepted if tail.shortest <= NAMESPACE_LIMIT}
                yield Piece(_pattern(part.only), tuple(sorted(excepted, key=str)))


def _patterns_in(parts: _Parts) -> int:
    return sum(1 + len(part.excepted) for part in parts)


def _pattern(tail: _Tail) -> NamespacePattern:
    # If no longer namespace fits below, a subtree equals its root.
    subtree = tail.subtree and (not tail.segments or tail.shortest + 2 <= NAMESPACE_LIMIT)
    text = ".".join([*tail.segments, "**"] if subtree else tail.segments)
    return NamespacePattern(text, tail.segments, subtree)


def _unspelled(segments: Container[str]) -> str:
    """The first of the shortest segments that are not in `segments`."""
    return next(
        segment
        for length in count(1)
        for parts in product(_FIRST, *[_REST] * (length - 1))
        if (segment := "".join(parts)) not in segments
    )
