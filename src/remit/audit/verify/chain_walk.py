from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from remit.audit.chain.chain import ChainId, Head
from remit.audit.chain.signing import Checkpoint
from remit.audit.verify.claims import NEVER, Claim, Claims
from remit.audit.verify.encoding import RawRecord
from remit.audit.verify.keyring import Keyring

_MOST_RUNS: Final = 20_000
"""Runs of a chain in memory at once. Calls in flight at one time cause hundreds of records out of order."""
_MOST_KEPT: Final = 100
_HASH_BYTES: Final = 32


@dataclass(slots=True)
class Run:
    """Records without a gap between them, each checked against the one before it."""

    start: int
    next: int
    """The seq of the record that extends the run."""
    hex: str
    """The hash of the run's last record."""
    stop: int
    """Before this seq only the hash of the next record needs a check."""
    first: RawRecord | None
    """The first record, whose predecessor has not come yet. None for the run that begins the chain."""


class HashMismatch(NamedTuple):
    """A record whose hash does not follow from the record before it."""

    place: RawRecord
    previous: str


class ChainWalk:
    """Takes the records of one chain, roughly in order. A missing record may still come.

    A call stamps its record before the commit, and a clock may be set back: ids and chain positions are in different
    orders. Records are kept as runs, and adjacent runs merge: an unbroken chain is one run at the end.
    """

    def __init__(self, chain: ChainId, base: Head, claims: Claims, keyring: Keyring, *, purged: bool = False) -> None:
        """The first record follows `base`. `purged` means that all records before it are deleted, not only unread."""
        self.chain = chain
        self.base = base
        self.claims = claims
        self._keyring = keyring
        self._purged = purged
        self.runs = [Run(base.seq, base.seq + 1, base.hash.hex(), NEVER, None)]
        self._starts = [base.seq]
        self.limit = NEVER
        """From this seq on, records were too far out of order to be followed."""
        self.misfits: list[HashMismatch] = []
        self.strays: list[RawRecord] = []
        """Records in a place that is taken, or that cannot exist."""
        self.contradiction: Claim | None = None
        """The first claim that is false."""
        self.contradicted: RawRecord | None = None
        self.matched = base.seq
        """The last place before the contradiction with a true claim."""
        self.signed: Checkpoint | None = None
        """The newest true checkpoint that a given key signed."""
        self.first_unsigned: RawRecord | None = None
        """The record after that checkpoint."""
        self.oldest: RawRecord | None = None
        self.newest: RawRecord | None = None
        self.unchained = 0
        self.slipped_in: RawRecord | None = None
        """A record without a place, written when all records had one."""
        if base.seq:
            self._hold_against_claims(RawRecord(base.seq, None, None, base.hash))
        self._set_stop(0)

    @property
    def upto(self) -> int:
        return self.runs[0].next - 1

    def take(self, place: RawRecord) -> Run:
        """Puts a record in the place that it states. Returns the run that the next record most likely extends."""
        seq = place.seq
        if type(seq) is not int or seq < 0:
            self._stray(place._replace(seq=NEVER))
            return self.runs[0]
        if seq == 0:
            self._take_unchained(place)
            return self.runs[0]
        at = bisect_right(self._starts, seq) - 1
        run = self.runs[max(at, 0)]
        if seq < run.next:
            self._stray(place)
        elif seq < self.limit:
            if seq == run.next:
                self._extend(run, place)
            else:
                at += 1
                run = Run(seq, seq + 1, hexed(place.hash), NEVER, place)
                self.runs.insert(at, run)
                self._starts.insert(at, seq)
                self._set_stop(at - 1)
            self._note(place)
            self._hold_against_claims(place)
            self._merge(at)
            self._set_stop(at)
            self._bound()
        return run

    def _take_unchained(self, place: RawRecord) -> None:
        self.unchained += 1
        began = self._purged or len(self.runs) > 1 or self.upto > self.base.seq
        if began and self.slipped_in is None:
            self.slipped_in = place

    def _note(self, place: RawRecord) -> None:
        """Tracks the first and the last record. The fast path of `walk.walk` may skip others, but not these two."""
        if self.oldest is None or place.seq < self.oldest.seq:
            self.oldest = place
        if self.newest is None or place.seq > self.newest.seq:
            self.newest = place
        if self.signed is not None and place.seq == self.signed.seq + 1:
            self.first_unsigned = place

    def _extend(self, run: Run, place: RawRecord) -> None:
        if place.hash_at(run.next, run.hex) != place.hash:
            self._misfit(HashMismatch(place, run.hex))
        run.next += 1
        run.hex = hexed(place.hash)

    def _merge(self, at: int) -> None:
        run = self.runs[at]
        if at + 1 == len(self.runs) or self.runs[at + 1].start != run.next:
            return
        behind = self.runs.pop(at + 1)
        self._starts.pop(at + 1)
        assert behind.first is not None
        if behind.first.hash_at(run.next, run.hex) != behind.first.hash:
            self._misfit(HashMismatch(behind.first, run.hex))
        run.next, run.hex = behind.next, behind.hex

    def _set_stop(self, at: int) -> None:
        run = self.runs[at]
        run.stop = self.claims.next_from(run.next)
        if at + 1 < len(self.runs):
            run.stop = min(run.stop, self.runs[at + 1].start - 1)
        if self.signed is not None and run.next == self.signed.seq + 1:
            run.stop = run.next

    def _hold_against_claims(self, place: RawRecord) -> None:
        agreed = False
        for claim in self.claims.at(place.seq):
            before = self.contradiction is None or claim.seq < self.contradiction.seq
            if claim.hash == place.hash:
                agreed = agreed or before
                self._note_signature(claim)
            elif before and (claim.checkpoint is None or not self._keyring or self._keyring.holds(claim.checkpoint)):
                self.contradiction, self.contradicted = claim, place
        if agreed and place is not self.contradicted:
            self.matched = max(self.matched, place.seq)

    def _note_signature(self, claim: Claim) -> None:
        signed = claim.checkpoint
        newer = self.signed is None or claim.seq > self.signed.seq
        if signed is not None and newer and signed.head == (claim.seq, claim.hash) and self._keyring.knows(signed):
            self.signed = signed
            # The record after the checkpoint has not come yet, or came early.
            at = bisect_left(self._starts, signed.seq + 1)
            follows = at < len(self.runs) and self.runs[at].start == signed.seq + 1
            self.first_unsigned = self.runs[at].first if follows else None

    def _misfit(self, misfit: HashMismatch) -> None:
        self.misfits.append(misfit)
        if len(self.misfits) > 2 * _MOST_KEPT:
            self.misfits.sort(key=lambda each: each.place.seq)
            del self.misfits[_MOST_KEPT:]

    def _stray(self, place: RawRecord) -> None:
        self.strays.append(place)
        if len(self.strays) > 2 * _MOST_KEPT:
            self.strays.sort(key=lambda each: each.seq)
            del self.strays[_MOST_KEPT:]

    def _bound(self) -> None:
        if len(self.runs) > _MOST_RUNS:
            self.limit = self.runs.pop().start
            self._starts.pop()


def hexed(hash_: Any) -> str:
    """Returns '' if the value is no hash: no record follows from it."""
    return hash_.hex() if isinstance(hash_, bytes) and len(hash_) == _HASH_BYTES else ""
