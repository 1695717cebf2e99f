"""Claims about places in a chain: what heads, checkpoints and proofs say that the records are."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

from remit.audit.chain.signing import Checkpoint
from remit.audit.verify.finding import FindingKind

NEVER: Final = 1 << 63
"""Greater than every seq that a column holds."""
PAGE: Final = 500

_seq = attrgetter("seq")


class Claim(NamedTuple):
    """What a head, checkpoint or proof says about one place in a chain."""

    seq: int
    hash: bytes | None
    """None means that no record stands there."""
    by: str
    """The source of the claim, as the finding names it."""
    kind: FindingKind
    """The kind of finding if the claim is false."""
    checkpoint: Checkpoint | None = None
    """The checkpoint that makes the claim."""


class Claims:
    """All claims about one chain, in its order, with one page in memory at a time."""

    def __init__(self, claims: Sequence[Claim] = (), page: Callable[[int], list[Claim]] | None = None) -> None:
        """`claims` stay in memory. `page` returns the claims that follow from a seq on, PAGE of them at most."""
        self._claims = sorted(claims, key=_seq)
        self._page = page
        self._paged: list[Claim] = []
        # The page holds every claim in this range.
        self._low, self._high = NEVER, NEVER - 1
        # This range holds no claim before its end.
        self._asked, self._next = NEVER, NEVER - 1

    def next_from(self, seq: int) -> int:
        """The first place from `seq` on that has a claim. NEVER if there is none."""
        if not self._asked <= seq <= self._next:
            self._asked, self._next = seq, min(_first(self._claims, seq), _first(self._paged_from(seq), seq))
        return self._next

    def at(self, seq: int) -> list[Claim]:
        if self.next_from(seq) != seq:
            return []
        return [each for some in (self._claims, self._paged_from(seq)) for each in _at(some, seq)]

    def last(self) -> Claim | None:
        """The last record that a kept claim says exists."""
        return next((each for each in reversed(self._claims) if each.hash is not None), None)

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
