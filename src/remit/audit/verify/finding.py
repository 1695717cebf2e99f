from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from remit.audit.chain.chain import ChainId


class FindingKind(StrEnum):
    """What is wrong, as far as the verifier can know."""

    ALTERED = "ALTERED"
    """A field of the record has changed, or the record before it was replaced together with its hash."""
    REMOVED = "REMOVED"
    INSERTED = "INSERTED"
    REORDERED = "REORDERED"
    REWRITTEN = "REWRITTEN"
    """The chain is consistent, but differs from what was signed or kept elsewhere."""
    HEAD = "HEAD"
    """Table `chains` does not name the chain's newest record."""
    CHECKPOINT = "CHECKPOINT"
    TOMBSTONE = "TOMBSTONE"
    COUNTS = "COUNTS"
    """Table `counts` differs from the sum of the records."""
    SCHEMA = "SCHEMA"
    """The database's schema has more or less than remit's. A trigger may suppress records."""
    UNSIGNED = "UNSIGNED"
    """The end of the chain, or all of it, has no signature of a given key although it is old enough."""
    UNVERIFIED = "UNVERIFIED"
    """Too far out of order to be followed."""


class AuditFinding(NamedTuple):
    chain: ChainId
    kind: FindingKind
    seq: int
    """The place in the chain. 0 if the finding is about no place."""
    id: Any
    """The record's id: 16 bytes unless it was altered. None if there is no record."""
    text: str


@dataclass(frozen=True, slots=True)
class ChainReport:
    chain: ChainId
    after: int
    """The seq before the first record: 0, the seq of a tombstone, or the seq before an exported part."""
    upto: int
    """Every place up to this seq has a record."""
    signed_upto: int
    """The last record that a given key's signature covers. 0 for none."""
    unchained: int
    """Records from before there were chains. Nothing proves them."""
    keyless: bool
    """Whether keys were given, none of them signed anything of this chain, and no record says that its node signs."""

    @property
    def unsigned(self) -> int:
        """Records after the last signature."""
        return self.upto - max(self.signed_upto, self.after)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    chains: list[ChainReport]
    findings: list[AuditFinding]
    """What is wrong. `is_whole` is True if nothing is."""
    checkpoints: int
    tombstones: int
    unchecked: dict[str, int]
    """Signatures by the id of their key, not checked because no key was given."""
    never_signed: bool
    """Whether keys were given, none of them signed anything, and no record says that a node signs."""
    against: int
    """Heads kept elsewhere that were compared with the chains."""
    beyond_reach: int
    """Heads kept elsewhere whose records have been purged since."""

    @property
    def is_whole(self) -> bool:
        return not self.findings and not self.never_signed

    @property
    def records(self) -> int:
        return sum(each.upto - each.after for each in self.chains)

    @property
    def sound(self) -> list[ChainReport]:
        """Chains with nothing wrong, except that their end may be unsigned."""
        wrong = {each.chain for each in self.findings if each.kind is not FindingKind.UNSIGNED}
        return [each for each in self.chains if each.chain not in wrong]
