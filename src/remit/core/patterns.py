import re
from dataclasses import dataclass, field
from typing import Final

from remit.core.errors import InvalidNameError
from remit.core.names import NAMESPACE_LIMIT, SEGMENT, Namespace, quote

_PATTERN = re.compile(rf"(?:{SEGMENT}|\*)(?:\.(?:{SEGMENT}|\*))*(?:\.\*\*)?").fullmatch

PATTERN_GRAMMAR: Final = (
    "segments joined by `.`, each a literal or `*` for exactly one segment, "
    f"then optionally `.**` for this and everything below; or `**` alone; at most {NAMESPACE_LIMIT} characters"
)


@dataclass(frozen=True, slots=True, eq=False)
class NamespacePattern:
    """A set of namespaces: all that begin with `segments`, or, without `subtree`, all that equal them.

    A segment `*` stands for any one segment. `**` has no segments and `subtree`: it alone covers the tenant itself,
    which is the empty namespace. Patterns are compared by their text.
    """

    text: str
    segments: tuple[str, ...] = field(repr=False)
    subtree: bool = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "NamespacePattern":
        """Raises InvalidNameError if `text` is not a pattern."""
        if text == "**":
            return cls(text, (), subtree=True)
        if len(text) > NAMESPACE_LIMIT or not _PATTERN(text):
            raise InvalidNameError(f"`{quote(text)}` is not a namespace pattern: expected {PATTERN_GRAMMAR}")
        subtree = text.endswith(".**")
        return cls(text, tuple((text[:-3] if subtree else text).split(".")), subtree=subtree)

    def contains(self, namespace: Namespace) -> bool:
        segments = tuple(namespace.split(".")) if namespace else ()
        if len(segments) < len(self.segments) or (len(segments) > len(self.segments) and not self.subtree):
            return False
        return _fit(segments, self.segments)

    def covers(self, other: "NamespacePattern") -> bool:
        """True if every namespace of `other` is in this set."""
        if len(other.segments) < len(self.segments):
            return False
        if not self.subtree and (other.subtree or len(other.segments) > len(self.segments)):
            return False
        return _fit(other.segments, self.segments)

    def intersection(self, other: "NamespacePattern") -> "NamespacePattern | None":
        """The intersection of both sets, which is again one pattern; None if it is empty."""
        if not self.segments:
            return other
        if not other.segments:
            return self
        short, long = (self, other) if len(self.segments) <= len(other.segments) else (other, self)
        if len(short.segments) < len(long.segments) and not short.subtree:
            return None
        if short.subtree and short.segments == long.segments[: len(short.segments)]:
            return long
        segments = list(long.segments)
        for index, segment in enumerate(short.segments):
            if segments[index] == "*":
                segments[index] = segment
            elif segment not in ("*", segments[index]):
                return None
        subtree = short.subtree and long.subtree
        # A segment is longer than the `*` that it replaced: past the limit no namespace fits any more.
        if sum(map(len, segments)) + len(segments) - 1 > NAMESPACE_LIMIT:
            return None
        return NamespacePattern(_text(segments, subtree), tuple(segments), subtree)

    def overlaps(self, other: "NamespacePattern") -> bool:
        """True if some namespace is in both sets: like `intersection`, without making the pattern."""
        mine, its = self.segments, other.segments
        if (len(mine) < len(its) and not self.subtree) or (len(its) < len(mine) and not other.subtree):
            return False
        if mine[: len(its)] == its[: len(mine)]:
            return True
        for one, two in zip(mine, its, strict=False):
            if one not in ("*", two) and two != "*":
                return False
        return len(self.text) + len(other.text) <= NAMESPACE_LIMIT or self.intersection(other) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamespacePattern) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text


EVERYWHERE: Final = NamespacePattern("**", (), subtree=True)
"""All of a tenant and the tenant itself: the scope of a g row that names only the tenant."""


def exactly(namespace: Namespace) -> NamespacePattern:
    """The pattern of this one namespace. For the tenant itself there is none narrower than `**`."""
    return NamespacePattern(namespace, tuple(namespace.split(".")), subtree=False) if namespace else EVERYWHERE


def subtree_of(namespace: Namespace) -> tuple[NamespacePattern, ...]:
    """The patterns of this namespace and everything below it; for the tenant itself, `**`.

    One pattern, unless the name is so long that `.**` does not fit after it.
    """
    if not namespace:
        return (EVERYWHERE,)
    if len(namespace) + len(".**") <= NAMESPACE_LIMIT:
        return (NamespacePattern.parse(f"{namespace}.**"),)
    below = f"{namespace}.*"
    return (
        (exactly(namespace), NamespacePattern.parse(below)) if len(below) <= NAMESPACE_LIMIT else (exactly(namespace),)
    )


def _fit(segments: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """True if `segments` begin as `pattern` requires."""
    # Usually they are equal, and one comparison is enough.
    return segments[: len(pattern)] == pattern or all(
        mine in ("*", its) for mine, its in zip(pattern, segments, strict=False)
    )


def _text(segments: list[str], subtree: bool) -> str:
    return ".".join([*segments, "**"] if subtree else segments)
