from bisect import bisect_left
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

from remit.audit.chain.signing import Checkpoint
from remit.audit.verify.finding import FindingKind

NEVER: Final = 1 << 63
"""Behind every seq that a column holds."""
PAGE: Final = 500

_seq = attrgetter("seq")


class Claim(NamedTuple):
    """What somebody says of one place in a chain."""

    seq: int
    hash: bytes | None
    """None: that nothing stands there."""
    by: str
    """Who says so, as it is told."""
    kind: FindingKind
    """What it means where it is not so."""
    checkpoint: Checkpoint | None = None
    """What it was read from."""


class Claims:
    """All that is said of one chain, looked up along it: a page of it is in memory at a time."""

    def __init__(self, kept: Sequence[Claim] = (), page: Callable[[int], list[Claim]] | None = None) -> None:
        """`kept` stay in memory. `page` gives those that follow, PAGE of them at most, from a seq on."""
        self._kept = sorted(kept, key=_seq)
        self._page = page
        self._paged: list[Claim] = []
        # What the page is known to hold all of.
        self._low, self._high = NEVER, NEVER - 1
        # From the one to the other nothing is said.
        self._asked, self._next = NEVER, NEVER - 1

    def next_from(self, seq: int) -> int:
        """The first place from there on that something is said of; NEVER where there is none."""
        if not self._asked <= seq <= self._next:
            self._asked, self._next = seq, min(_first(self._kept, seq), _first(self._paged_from(seq), seq))
        return self._next

    def at(self, seq: int) -> list[Claim]:
        if self.next_from(seq) != seq:
            return []
        return [each for some in (self._kept, self._paged_from(seq)) for each in _at(some, seq)]

    def last(self) -> Claim | None:
        """The last record that is said to be there, by those that are kept."""
        return next((each for each in reversed(self._kept) if each.hash is not None), None)

    def _paged_from(self, seq: int) -> list[Claim]:
        if self._page is not None and not self._low <= seq <= self._high:
            self._paged = self._page(seq)
            self._low = seq
            self._high = self._paged[-1].seq if len(self._paged) == PAGE else NEVER
        return self._paged


def _first(claims: Sequence[Any], seq: int) -> int:
    at = bisect_left(claims, seq, key=_seq)
    return claims[at].seq if at < len(claims) else NEVER


def _at(claims: Sequence[Claim], seq: int) -> list[Claim]:
    at = bisect_left(claims, seq, key=_seq)
    found = []
    while at < len(claims) and claims[at].seq == seq:
        found.append(claims[at])
        at += 1
    return found
