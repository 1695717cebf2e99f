"""Finds out what happened to a chain, from the records that do not fit, and names the first damaged place."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from remit.audit.ids import format_id, id_time_ms
from remit.audit.verify.chain_walk import ChainWalk, HashMismatch, hexed
from remit.audit.verify.claims import NEVER, Claim
from remit.audit.verify.encoding import RawRecord
from remit.audit.verify.expectations import format_time
from remit.audit.verify.finding import AuditFinding, FindingKind

_MOST_TRIED: Final = 300
_ID_BYTES: Final = 16


def findings(walk: ChainWalk, *, headed: bool, signed_until: tuple[int, int] | None) -> Iterator[AuditFinding]:
    """Yields at most two findings: the first in the order of the chain, and the first record without a place in it.

    `headed`: the chain has a head. `signed_until`: the time to which ages are measured, and the age that a record may
    reach without a signature, in microseconds. None if no signatures are required.
    """
    judge = _Diagnosis(walk)
    found = judge.first()
    if found is None and walk.upto > walk.base.seq:
        if not headed:
            found = judge.finding(FindingKind.HEAD, walk.upto, walk.newest, "table `chains` has no row for the chain")
        elif signed_until is not None:
            found = judge.unsigned(*signed_until)
    if found is not None:
        yield found
    if walk.slipped_in is not None:
        yield judge.finding(
            FindingKind.INSERTED, 0, walk.slipped_in, "it has no place in the chain, although every record had one"
        )


class _Diagnosis:
    def __init__(self, walk: ChainWalk) -> None:
        self._walk = walk
        self._strays = sorted(walk.strays, key=_seq)
        self._misfits = {each.place.seq: each for each in sorted(walk.misfits, key=lambda each: _seq(each.place))}

    def finding(self, kind: FindingKind, seq: int, place: RawRecord | None, text: str) -> AuditFinding:
        return AuditFinding(self._walk.chain, kind, seq, None if place is None else place.id, text)

    def first(self) -> AuditFinding | None:
        walk = self._walk
        misfit = next(iter(self._misfits.values()), None)
        stray = self._strays[0] if self._strays else None
        gap = self._gap()
        claim = walk.contradiction
        contradicted = claim.seq if claim else NEVER
        first = min(misfit.place.seq if misfit else NEVER, stray.seq if stray else NEVER, gap, contradicted)
        # A record's own contradiction comes before a claim about it, unless the claim says that there is no record.
        if claim and contradicted == first and claim.hash is None:
            return self._judge_contradiction(claim)
        if misfit and misfit.place.seq == first:
            return self._judge_misfit(misfit)
        if gap == first < NEVER:
            return self._judge_gap(gap)
        if claim and contradicted == first:
            return self._judge_contradiction(claim)
        return self._judge_stray(stray) if stray else None

    def unsigned(self, at_us: int, allowed_us: int) -> AuditFinding | None:
        """The first unsigned record of a chain that is whole, if it is too old."""
        walk = self._walk
        first = walk.oldest if walk.signed is None else walk.first_unsigned
        if first is None:
            return None
        since_us = _time_us(first)
        # A record from the future is not young: someone who rewrites a chain also writes its times.
        if abs(at_us - since_us) <= allowed_us:
            return None
        which = f"seq {first.seq} is" if first.seq == walk.upto else f"seq {first.seq} to {walk.upto} are"
        return self.finding(
            FindingKind.UNSIGNED,
            first.seq,
            None,
            f"{which} under no signature of a given key, since {format_time(since_us)}",
        )

    def _gap(self) -> int:
        """The first place without a record. NEVER if there is no gap."""
        walk = self._walk
        last = walk.claims.last()
        open_ended = len(walk.runs) == 1 and walk.limit == NEVER and (last is None or last.seq <= walk.upto)
        return NEVER if open_ended else walk.upto + 1

    def _judge_gap(self, gap: int) -> AuditFinding:
        walk = self._walk
        if gap == walk.limit:
            return self.finding(FindingKind.UNVERIFIED, gap, None, "the records from here on are too far out of order")
        after = walk.runs[1].first if len(walk.runs) > 1 else None
        for each in self._others(None):
            if each.hash_at(gap, walk.runs[0].hex) == each.hash:
                return self.finding(
                    FindingKind.REORDERED, gap, each, f"it belongs here but names seq {_shown(each.seq)}"
                )
        last = walk.claims.last()
        if after is not None and (last is None or last.seq < gap):
            known = "is not known to table `chains`" if last is None else f"ends at seq {last.seq}, says {last.by}"
            return self.finding(FindingKind.INSERTED, after.seq, after, f"its chain {known}")
        if after is None and last is not None and last.seq >= gap:
            text = f"{_span(gap, last.seq)}, the chain's end: {last.by} says that it continues to seq {last.seq}"
            return self.finding(FindingKind.REMOVED, gap, None, text)
        if after is None:
            return self.finding(
                FindingKind.REMOVED, gap, None, f"{_span(gap, walk.limit - 1)}, and later records were not checked"
            )
        text = f"{_span(gap, after.seq - 1)}, before record {_shown(after.id)}"
        return self.finding(FindingKind.REMOVED, gap, None, text)

    def _judge_misfit(self, misfit: HashMismatch) -> AuditFinding:
        place, seq = misfit.place, misfit.place.seq
        for each in self._others(place):
            fitting = each.hash_at(seq, misfit.previous)
            if fitting is not None and fitting == each.hash and each.seq == seq:
                return self.finding(FindingKind.INSERTED, seq, place, f"record {_shown(each.id)} belongs there")
            if fitting is not None and fitting in (each.hash, place.hash):
                text = f"record {_shown(each.id)} belongs here but names seq {_shown(each.seq)}"
                return self.finding(FindingKind.REORDERED, seq, place, text)
        return self.finding(
            FindingKind.ALTERED, seq, place, "its hash does not follow from its fields and the hash before it"
        )

    def _judge_stray(self, stray: RawRecord) -> AuditFinding:
        walk = self._walk
        if self._gap() < NEVER and stray.hash_at(self._gap(), walk.runs[0].hex) == stray.hash:
            text = f"it belongs at seq {self._gap()} and says seq {_shown(stray.seq)}"
            return self.finding(FindingKind.REORDERED, stray.seq, stray, text)
        if stray.seq == NEVER:
            return self.finding(FindingKind.INSERTED, 0, stray, "its seq is not a valid number")
        if stray.seq <= walk.base.seq:
            return self.finding(FindingKind.INSERTED, stray.seq, stray, f"the chain begins after seq {walk.base.seq}")
        behind = self._misfits.get(stray.seq + 1)
        if behind is not None and behind.place.hash_at(stray.seq + 1, hexed(stray.hash)) == behind.place.hash:
            text = "two records have this seq: the chain continues from this one, and the other is not part of it"
            return self.finding(FindingKind.INSERTED, stray.seq, stray, text)
        return self.finding(
            FindingKind.INSERTED, stray.seq, stray, "another record has this seq, and the chain continues from that one"
        )

    def _judge_contradiction(self, claim: Claim) -> AuditFinding:
        walk = self._walk
        place = walk.contradicted
        for each in self._strays:
            if (each.seq, each.hash) == (claim.seq, claim.hash):
                return self.finding(FindingKind.INSERTED, claim.seq, place, f"record {_shown(each.id)} belongs there")
        # Matching records may have come out of the order of the chain.
        since = f" back to seq {walk.matched + 1}" if walk.matched < claim.seq else ""
        which = "it" if walk.matched + 1 == claim.seq else f"it, or one before it{since},"
        text = {
            FindingKind.HEAD: f"{claim.by} names another hash for the chain's newest record",
            FindingKind.INSERTED: f"{claim.by} says that the chain ends at seq {claim.seq - 1}",
        }.get(claim.kind, f"{claim.by} says otherwise: {which} was rewritten")
        return self.finding(claim.kind, claim.seq, place, text)

    def _others(self, but: RawRecord | None) -> Iterator[RawRecord]:
        runs = (run.first for run in islice(self._walk.runs, 1, _MOST_TRIED))
        misfits = (each.place for each in self._misfits.values())
        return (each for some in (self._strays, misfits, runs) for each in some if each is not None and each is not but)


def _seq(place: RawRecord) -> int:
    seq: int = place.seq
    return seq


def _time_us(place: RawRecord) -> int:
    return id_time_ms(place.id) * 1000


def _span(first: int, last: int) -> str:
    return f"seq {first} is gone" if first == last else f"seq {first} to {last} are gone"


def _shown(value: Any) -> str:
    if isinstance(value, bytes) and len(value) == _ID_BYTES:
        return format_id(value)
    return "none" if value == NEVER else str(value)
