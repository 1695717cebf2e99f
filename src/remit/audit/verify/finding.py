from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from remit.audit.chain.chain import ChainId


class FindingKind(StrEnum):
    """What is wrong, as well as can be known."""

    ALTERED = "ALTERED"
    """A field of the record is not what it was, or what stands before it was exchanged, hash and all."""
    REMOVED = "REMOVED"
    INSERTED = "INSERTED"
    REORDERED = "REORDERED"
    REWRITTEN = "REWRITTEN"
    """The chain holds in itself, and is another one than was signed or kept elsewhere."""
    HEAD = "HEAD"
    """Table `chains` does not name the chain's newest record."""
    CHECKPOINT = "CHECKPOINT"
    TOMBSTONE = "TOMBSTONE"
    COUNTS = "COUNTS"
    """Table `counts` is not what the records add up to."""
    SCHEMA = "SCHEMA"
    """The database's schema has what remit's has not, or lacks something: a trigger may keep records from being written."""
    UNSIGNED = "UNSIGNED"
    """The end of the chain, or all of it, is under no signature of a given key, and older than what a server takes to sign
    it."""
    UNVERIFIED = "UNVERIFIED"
    """Too far out of order to be followed."""


class AuditFinding(NamedTuple):
    chain: ChainId
    kind: FindingKind
    seq: int
    """The place in the chain; 0 where it is about no place."""
    id: Any
    """The record's id, 16 bytes unless that is what was altered; None where the record is not there."""
    told: str


@dataclass(frozen=True, slots=True)
class ChainReport:
    chain: ChainId
    after: int
    """The seq that its records follow: 0, that of a tombstone, or that before a part."""
    upto: int
    """The seq up to which there is a record for each place."""
    signed_upto: int
    """The last of them under a signature that a given key made; 0 for none."""
    unchained: int
    """Records from before there were chains, which nothing proves."""
    keyless: bool
    """Whether keys were given, none of them signed anything of it, and its node never said that it signs."""

    @property
    def unsigned(self) -> int:
        """Records after the last signature."""
        return self.upto - max(self.signed_upto, self.after)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    chains: list[ChainReport]
    findings: list[AuditFinding]
    """What is wrong; `is_whole` where nothing is."""
    checkpoints: int
    tombstones: int
    unchecked: dict[str, int]
    """Signatures that were not checked, since no key was given, by the id of their key."""
    never_signed: bool
    """Whether keys were given, none of them signed anything, and no node ever said that it signs."""
    against: int
    """Heads kept elsewhere that were held against the chains."""
    beyond_reach: int
    """Heads kept elsewhere of records that have been purged since."""

    @property
    def is_whole(self) -> bool:
        return not self.findings and not self.never_signed

    @property
    def records(self) -> int:
        return sum(each.upto - each.after for each in self.chains)

    @property
    def sound(self) -> list[ChainReport]:
        """Chains in which nothing is wrong but that their end may be unsigned."""
        wrong = {each.chain for each in self.findings if each.kind is not FindingKind.UNSIGNED}
        return [each for each in self.chains if each.chain not in wrong]
