from hypothesis import given
from hypothesis import strategies as st
from reference import covers
from strategies import namespaces, patterns

from remit.core.names import NAMESPACE_LIMIT, Namespace
from remit.core.patterns import NamespacePattern, exactly
from remit.engine.pattern_trie import PatternTrie


@given(patterns(), namespaces)
def test_contains_agrees_with_regex(pattern: NamespacePattern, namespace: str) -> None:
    """A pattern contains what the regular expression of its text matches, the tenant itself included."""
    assert covers(pattern.text, namespace) == pattern.contains(Namespace(namespace))


@given(patterns(), patterns(), namespaces)
def test_meet_is_the_greatest_lower_bound(one: NamespacePattern, other: NamespacePattern, namespace: str) -> None:
    """A namespace is in the meet exactly if it is in both, so whatever is below both is below the meet."""
    meet = one.intersection(other)
    both = covers(one.text, namespace) and covers(other.text, namespace)
    assert both == (meet is not None and covers(meet.text, namespace))
    assert meet == other.intersection(one)
    assert one.overlaps(other) == (meet is not None)
    if meet is not None:
        assert one.covers(meet)
        assert other.covers(meet)
        assert NamespacePattern.parse(meet.text) == meet


@given(patterns(), patterns(), patterns())
def test_pattern_covered_by_both_is_covered_by_their_meet(
    one: NamespacePattern, other: NamespacePattern, below: NamespacePattern
) -> None:
    """Each pattern that two cover is covered by their meet."""
    meet = one.intersection(other)
    if one.covers(below) and other.covers(below):
        assert meet is not None
        assert meet.covers(below)


@given(patterns(), patterns(), patterns(), namespaces)
def test_covers_is_a_partial_order(
    one: NamespacePattern, two: NamespacePattern, three: NamespacePattern, namespace: str
) -> None:
    """Reflexive, antisymmetric, transitive; and what is covered is contained."""
    assert one.covers(one)
    assert not (one.covers(two) and two.covers(one)) or one == two
    assert not (one.covers(two) and two.covers(three)) or one.covers(three)
    if one.covers(two) and covers(two.text, namespace):
        assert covers(one.text, namespace)


@given(patterns(), patterns())
def test_covers_holds_iff_every_namespace_is_contained(one: NamespacePattern, two: NamespacePattern) -> None:
    """A pattern that does not cover another misses one of a few telling namespaces of it."""
    segments = ["zz" if segment == "*" else segment for segment in two.segments]
    telling = [segments, [*segments, "zz"], [*segments, "a"]] if two.subtree else [segments]
    contained = all(covers(one.text, ".".join(each)) for each in telling)
    assert contained == one.covers(two)


@given(namespaces, namespaces)
def test_exactly_contains_one_namespace_only(one: str, other: str) -> None:
    """The pattern of one namespace contains no second; that of the tenant itself is `**`."""
    assert exactly(Namespace(one)).contains(Namespace(other)) == (one in {"", other})


@given(patterns(), patterns(), patterns(), namespaces)
def test_coverage_finds_all_that_contain(
    one: NamespacePattern, two: NamespacePattern, three: NamespacePattern, namespace: str
) -> None:
    """The index finds exactly the patterns over a namespace, and over a pattern, that looking at each would find; and of
    those that overlap one all, and too many only by what no namespace is short enough for."""
    coverage = PatternTrie([one, two])
    assert {each.text for each in (one, two) if covers(each.text, namespace)} == coverage.of(Namespace(namespace))
    assert {each.text for each in (one, two) if each.covers(three)} == coverage.of_pattern(three)
    overlapping = sorted(coverage.overlapping(three))
    assert {each.text for each in (one, two) if each.overlaps(three)} <= {*overlapping}
    if len(one.text) + len(two.text) + len(three.text) <= NAMESPACE_LIMIT:
        assert sorted({each.text for each in (one, two) if each.overlaps(three)}) == overlapping


@given(st.lists(patterns()), st.lists(patterns()), patterns(), namespaces)
def test_a_trie_with_more_patterns_leaves_the_first_as_it_was(
    first: list[NamespacePattern], more: list[NamespacePattern], asked: NamespacePattern, name: str
) -> None:
    trie = PatternTrie(first)
    both = trie.plus(more)
    for each, of in ((trie, first), (both, [*first, *more])):
        assert {pattern.text for pattern in of if pattern.contains(Namespace(name))} == each.of(Namespace(name))
        assert (asked in of) == (asked in each)
