from collections.abc import Collection
from typing import Final

from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.engine.pattern_trie import PatternTrie

NAMESPACES: Final = NamespacePattern.parse("*.**")
"""Every namespace, but not the tenant itself."""


def covered(pattern: NamespacePattern, by: Collection[NamespacePattern]) -> bool:
    """True if every namespace of `pattern` is in one of the patterns `by`.

    Names are endless, so `*` also stands for a segment that no pattern spells out. So one pattern alone covers all
    namespaces of one depth, or none does. Only the depths of a subtree can be divided between patterns.
    """
    coverage = PatternTrie(by)
    deepest = max((len(each.segments) for each in by), default=0)
    return bool(coverage.of_pattern(pattern)) or all(map(coverage.of_pattern, depths(pattern, deepest)))


def depths(pattern: NamespacePattern, deepest: int) -> list[NamespacePattern]:
    """The namespaces of `pattern` by depth; for a subtree the last part is all namespaces deeper than `deepest`
    segments. One pattern of at most `deepest` segments covers a whole part, or none does."""
    if not pattern.subtree:
        return [pattern]
    parts = []
    segments = pattern.segments
    while len(segments) <= deepest:
        parts.append(NamespacePattern(".".join(segments), segments, subtree=False) if segments else EVERYWHERE)
        segments = (*segments, "*")
    return [*parts, NamespacePattern(".".join((*segments, "**")), segments, subtree=True)]


def below(pattern: NamespacePattern) -> NamespacePattern:
    """The proper descendants of the namespaces of a pattern."""
    segments = (*pattern.segments, "*")
    return NamespacePattern(".".join((*segments, "**")), segments, subtree=True)


def namespaces_of(pattern: NamespacePattern) -> NamespacePattern:
    """The pattern without the tenant itself."""
    return NAMESPACES if pattern == EVERYWHERE else pattern
