"""Sets of namespaces as answers give them: in few patterns, and not in too many."""

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
"""Pairs that one answer takes apart: of a row and a scope that it is held in, or of an allow row of reach and a deny row
above it. Where each meets each they multiply: a thousand rows are held in a thousand scopes at a million places."""
_LOOK_UPS_LIMIT: Final = 2_500_000
"""Names times sets with exclusions in which they are looked for."""

# A set speaks of namespaces, and not of the tenant itself.
_EVERY_NAMESPACE: Final = NamespacePattern.parse("*.**")


def simplest(only: Iterable[NamespacePattern], excluded: Iterable[NamespacePattern]) -> NamespaceSet:
    """The same set in fewer patterns, sorted: none that another one makes superfluous."""
    outer = _outermost(only)
    without = _outermost(excluded)
    shadow = PatternTrie(without)
    outer = [each for each in outer if not shadow.of_pattern(_EVERY_NAMESPACE if each == EVERYWHERE else each)]
    left, by_text = PatternTrie(outer), {each.text: each for each in outer}
    without = [each for each in without if any(each.overlaps(by_text[text]) for text in left.overlapping(each))]
    return NamespaceSet(tuple(outer), tuple(without))


def united(sets: Iterable[NamespaceSet]) -> tuple[NamespaceSet, ...]:
    """The union in as few sets as there are different exclusions."""
    by_exclusion: defaultdict[tuple[NamespacePattern, ...], list[NamespacePattern]] = defaultdict(list)
    for each in sets:
        by_exclusion[each.excluded] += each.only
    united = [simplest(only, excluded) for excluded, only in by_exclusion.items() if only]
    bare = PatternTrie(chain.from_iterable(each.only for each in united if not each.excluded))
    return limited(
        each for each in united if not each.excluded or not all(bare.of_pattern(pattern) for pattern in each.only)
    )


def limited(sets: Iterable[NamespaceSet]) -> tuple[NamespaceSet, ...]:
    """All of them. Raises TooLargeError as soon as they are of more than PATTERNS_LIMIT patterns."""
    found: list[NamespaceSet] = []
    patterns = 0
    for each in sets:
        found.append(each)
        patterns += len(each.only) + len(each.excluded)
        if patterns > PATTERNS_LIMIT:
            raise TooLargeError(f"the answer would be of more than {PATTERNS_LIMIT} patterns, the most that are given")
    return tuple(found)


def within(sets: Iterable[NamespaceSet], names: Sequence[Namespace]) -> tuple[Namespace, ...]:
    """Those of the names that are in one of the sets. Raises TooLargeError where that is too many times too many."""
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
    """Without those that another one covers."""
    distinct = sorted({*patterns}, key=str)
    coverage = PatternTrie(distinct)
    return [each for each in distinct if coverage.of_pattern(each) == {each.text}]
