"""Regions are sets: each operation against the same on memberships, over namespaces of every kind."""

import itertools
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from strategies import namespaces, patterns, randoms

from remit.core.names import NAMESPACE_LIMIT, Namespace
from remit.core.patterns import NamespacePattern
from remit.engine.decision_diagram import DiagramFactory, Region

SEGMENTS = ("a", "b", "a2")
DEPTH = 3
EVERY = [
    Namespace(".".join(parts))
    for depth in range(DEPTH + 2)
    for parts in itertools.product((*SEGMENTS, "z"), repeat=depth)
]
"""One at least of each set that patterns over these segments, no deeper than this, tell apart."""


@st.composite
def small_patterns(draw: st.DrawFn) -> NamespacePattern:
    segments = draw(st.lists(st.sampled_from((*SEGMENTS, "*")), max_size=DEPTH))
    subtree = not segments or draw(st.booleans())
    return NamespacePattern.parse(".".join([*segments, "**"] if subtree else segments))


few_patterns = st.lists(small_patterns(), max_size=5)


def region_of(factory: DiagramFactory, random: Random, given_patterns: list[NamespacePattern]) -> Region:
    """A union, then meets, differences and complements, drawn."""
    region = factory.none
    for pattern in given_patterns:
        how = random.choice((factory.union, factory.union, factory.without, factory.intersection))
        region = how(region, factory.region(pattern))
        if random.randrange(3) == 0:
            region = factory.complement(region)
    return region


@given(patterns(), namespaces)
def test_the_region_of_a_pattern_is_the_pattern(pattern: NamespacePattern, namespace: str) -> None:
    assert pattern.contains(Namespace(namespace)) == DiagramFactory().region(pattern).at(Namespace(namespace))


@given(few_patterns, few_patterns, randoms)
def test_operations_are_those_of_sets(
    mine: list[NamespacePattern], its: list[NamespacePattern], random: Random
) -> None:
    factory = DiagramFactory()
    left, right = region_of(factory, random, mine), region_of(factory, random, its)
    union, meet, without = factory.union(left, right), factory.intersection(left, right), factory.without(left, right)
    complement, under = factory.complement(left), factory.under(left)
    for name in EVERY:
        one, two = left.at(name), right.at(name)
        assert (one or two, one and two, one and not two) == (union.at(name), meet.at(name), without.at(name))
        assert (not one) == complement.at(name)
        above = [Namespace(".".join(name.split(".")[:depth])) for depth in range(1, len(name.split(".")))]
        assert any(map(left.at, above)) == under.at(name)


@given(few_patterns, few_patterns, randoms)
def test_equal_sets_are_the_same_diagram(
    mine: list[NamespacePattern], its: list[NamespacePattern], random: Random
) -> None:
    """However they came to be: the same object if and only if no namespace tells them apart."""
    factory = DiagramFactory()
    left, right = region_of(factory, random, mine), region_of(factory, random, its)
    assert (left is right) == all(left.at(name) == right.at(name) for name in EVERY)
    assert factory.union(left, right) is factory.complement(
        factory.intersection(factory.complement(left), factory.complement(right))
    )
    assert left is factory.union(factory.intersection(left, right), factory.without(left, right))


@given(few_patterns, randoms)
def test_pieces_cover_exactly_the_region(given_patterns: list[NamespacePattern], random: Random) -> None:
    """Every namespace of the region is in a piece and no other is; no piece is empty, and each pattern parses."""
    factory = DiagramFactory()
    region = region_of(factory, random, given_patterns)
    pieces = factory.pieces(region)
    for name in EVERY[1:]:
        assert region.at(name) == any(piece.contains(name) for piece in pieces)
    for piece in pieces:
        assert any(map(piece.contains, EVERY[1:]))
        for pattern in (piece.only, *piece.excepted):
            assert pattern == NamespacePattern.parse(pattern.text)


@given(few_patterns, randoms)
def test_the_first_namespace_is_a_shortest(given_patterns: list[NamespacePattern], random: Random) -> None:
    factory = DiagramFactory()
    region = region_of(factory, random, given_patterns)
    first = factory.first(region)
    inside = [name for name in EVERY if region.at(name)]
    assert factory.is_empty(region) == (first is None) == (not inside)
    if first is not None:
        assert region.at(first)
        assert len(first) <= min(map(len, inside))


@given(st.integers(140, NAMESPACE_LIMIT), st.integers(0, 5), st.booleans(), st.sampled_from(("", "z.", "*.")))
def test_no_namespace_is_longer_than_the_limit(length: int, stars: int, subtree: bool, before: str) -> None:
    """Near the limit a region is empty as soon as nothing fits, and no piece promises a namespace that cannot be."""
    text = ".".join([before + "x" * (length - len(before)), *["*"] * stars, *["**"] * subtree])
    segments = tuple(text.removesuffix(".**").split("."))
    pattern = NamespacePattern(text, segments, subtree)
    factory = DiagramFactory()
    fits = length + 2 * stars <= NAMESPACE_LIMIT
    assert fits == (not factory.is_empty(factory.region(pattern)))
    (*pieces,) = factory.pieces(factory.region(pattern))
    assert fits == bool(pieces)
    for piece in pieces:
        assert len(piece.only.text.removesuffix(".**")) <= NAMESPACE_LIMIT
    complement = factory.complement(factory.region(pattern))
    assert len([each for piece in factory.pieces(complement) for each in piece.excepted]) == fits
