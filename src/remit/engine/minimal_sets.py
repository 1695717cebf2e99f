"""Minimal sets: the namespaces of an answer in few patterns, within a limit."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from remit.core.names import Namespace
from remit.core.namespace_set import NamespaceSet
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.engine.inquiry import TooLargeError
from remit.engine.pattern_trie import PatternTrie

PATTERNS_LIMIT: Final = 10_000
"""Patterns in one answer."""

PAIRS_LIMIT: Final = 250_000
"""Pairs that one answer expands: a row and a scope in which it is held, or an allow row of reach and a deny row above
it. Pairs multiply: a thousand rows held in a thousand scopes make a million pairs."""
_LOOK_UPS_LIMIT: Final = 2_500_000
"""Names multiplied by the sets with exclusions that are searched for the names."""

# A set covers namespaces, not the tenant itself.
_EVERY_NAMESPACE: Final = NamespacePattern.parse("*.**")


def simplest(only: Iterable[NamespacePattern], excluded: Iterable[NamespacePattern]) -> NamespaceSet:
    """The same set in fewer patterns, sorted. Leaves out every pattern that another pattern makes superfluous."""
    outer = _outermost(only)
    without = _outermost(excluded)
    shadow = PatternTrie(without)
    outer = [each for each in outer if not shadow.of_pattern(_EVERY_NAMESPACE if each == EVERYWHERE else each)]
    left, by_text = PatternTrie(outer), {each.text: each for each in outer}
    without = [each for each in without if any(each.overlaps(by_text[text]) for text in left.overlapping(each))]
    return NamespaceSet(tuple(outer), tuple(without))


def united(sets: Iterable[NamespaceSet]) -> tuple[NamespaceSet, ...]:
    """The union, with at most one set per distinct exclusion."""
    by_exclusion: defaultdict[tuple[NamespacePattern, ...], list[NamespacePattern]] = defaultdict(list)
    for each in sets:
        by_exclusion[each.excluded] += each.only
    united = [simplest(only, excluded) for excluded, only in by_exclusion.items() if only]
    bare = PatternTrie(chain.from_iterable(each.only for each in united if not each.excluded))
    return limited(
        each for each in united if not each.excluded or not all(bare.of_pattern(pattern) for pattern in each.only)
    )


def limited(sets: Iterable[NamespaceSet]) -> tuple[NamespaceSet, ...]:
    """All of the sets. Raises TooLargeError as soon as they have more than PATTERNS_LIMIT patterns."""
    found: list[NamespaceSet] = []
    patterns = 0
    for each in sets:
        found.append(each)
        patterns += len(each.only) + len(each.excluded)
        if patterns > PATTERNS_LIMIT:
            raise TooLargeError(f"the answer needs more than {PATTERNS_LIMIT} patterns, the limit")
    return tuple(found)


def within(sets: Iterable[NamespaceSet], names: Sequence[Namespace]) -> tuple[Namespace, ...]:
    """The names that are in one of the sets. Raises TooLargeError if names times sets exceeds the limit."""
    bare = PatternTrie()
    others: list[tuple[PatternTrie, PatternTrie]] = []
    for each in sets:
        if each.excluded:
            others.append((PatternTrie(each.only), PatternTrie(each.excluded)))
        else:
            for pattern in each.only:
                bare.add(pattern)
    if len(others) * len(names) > _LOOK_UPS_LIMIT:
        raise TooLargeError(f"{len(names)} names and {len(others)} sets to look for them in: ask about fewer names")
    return tuple(
        name
        for name in names
        if bare.covers(name) or any(only.covers(name) and not excluded.covers(name) for only, excluded in others)
    )


def _outermost(patterns: Iterable[NamespacePattern]) -> list[NamespacePattern]:
    """The patterns that no other pattern covers."""
    distinct = sorted({*patterns}, key=str)
    coverage = PatternTrie(distinct)
    return [each for each in distinct if coverage.of_pattern(each) == {each.text}]
