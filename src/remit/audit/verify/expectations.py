"""Collects what heads, tombstones and checkpoints say about chains, for comparison with the records."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from remit.audit.chain.chain import DECISIONS, ChainId, Head, genesis
from remit.audit.chain.signing import Checkpoint, Tombstone
from remit.audit.verify.chain_walk import ChainWalk
from remit.audit.verify.claims import Claim, Claims
from remit.audit.verify.finding import AuditFinding, FindingKind
from remit.audit.verify.keyring import Keyring
from remit.clock import utc_text

CheckpointPage = Callable[[ChainId, int], list[Checkpoint]]
"""Returns the checkpoints of a chain from a seq on, in their order, `claims.PAGE` of them at most."""


class Expectations:
    """The statements about chains apart from their records: where they begin and end, and what was signed.

    Add tombstones and checkpoints in the order of their chains and seqs, tombstones first.
    """

    def __init__(self, keyring: Keyring, page: CheckpointPage | None = None) -> None:
        """Without `page`, all added checkpoints stay in memory."""
        self.keyring = keyring
        self.walks: dict[ChainId, ChainWalk] = {}
        self.headed: set[ChainId] = set()
        """Chains that have a head."""
        self.purged_before: dict[ChainId, int] = {}
        """Microseconds since the Unix epoch: some decisions before that time are purged."""
        self.checkpoints = 0
        self.tombstones = 0
        self.against = 0
        self.beyond_reach = 0
        self.nodes_with_keys: set[str] | None = None
        """Nodes with a record that they sign with a key. None if there are no such records to read."""
        self._page = page
        self._bases: dict[ChainId, Head] = {}
        self._claims: dict[ChainId, list[Claim]] = defaultdict(list)
        self._newest: dict[ChainId, Checkpoint] = {}
        # The first finding of each sort, and how many there are.
        self._problems: dict[tuple[ChainId, FindingKind, str], tuple[AuditFinding, int]] = {}

    def add_head(self, chain: ChainId, head: Head, by: str = "table `chains`") -> int:
        """Adds the head of a chain. Returns the number of records that the chain must have."""
        self.headed.add(chain)
        if not _is_head(head) or head.seq < self.base(chain).seq:
            text = f"what {by} names as the newest record does not exist, or has been purged"
            self._report(AuditFinding(chain, FindingKind.HEAD, 0, None, text), "")
            return 0
        self._claims[chain] += (
            Claim(head.seq, head.hash, by, FindingKind.HEAD),
            Claim(head.seq + 1, None, by, FindingKind.INSERTED),
        )
        return head.seq - self.base(chain).seq

    def expect(self, chain: ChainId, claim: Claim) -> None:
        self._claims[chain].append(claim)

    def add_base(self, chain: ChainId, base: Head) -> None:
        """Sets the head that the chain's first record follows."""
        self._bases[chain] = base

    def add_tombstone(self, tombstone: Tombstone) -> None:
        self.tombstones += 1
        # The column may hold a value of any type.
        node: Any = tombstone.node
        chain = tombstone.chain if isinstance(node, str) else ChainId(DECISIONS, tombstone.tenant, node)
        problem = self.keyring.problem(tombstone)
        if problem and not tombstone.key_id:
            problem += ": if a purge without its key left it, `remit audit checkpoint --key FILE --tombstones` signs it"
        if not _is_head(tombstone.head) or type(tombstone.before_us) is not int:
            problem = "names no record, or no time"
        else:
            self._bases[chain] = tombstone.head
            self.purged_before[chain] = max(self.purged_before.get(chain, 0), tombstone.before_us)
        # A later tombstone includes what an earlier one says.
        self._problems.pop((chain, FindingKind.TOMBSTONE, ""), None)
        if problem:
            text = f"the tombstone of {format_time(tombstone.time_us)} {problem}"
            self._report(AuditFinding(chain, FindingKind.TOMBSTONE, tombstone.seq, None, text), "")

    def add_checkpoint(self, checkpoint: Checkpoint, before: Head | None) -> None:
        """Adds a checkpoint. `before` is the chain's checkpoint at `previous_seq`, or None if there is none."""
        self.checkpoints += 1
        chain = checkpoint.chain
        whose = f"the checkpoint of {format_time(checkpoint.time_us)}"
        problem = self.keyring.problem(checkpoint)
        previous = checkpoint.previous
        if not (_is_head(checkpoint.head) and _is_head(previous)):
            problem = "names no record"
        if problem:
            self._report(
                AuditFinding(chain, FindingKind.CHECKPOINT, checkpoint.seq, None, f"{whose} {problem}"), problem
            )
            return
        self._newest[chain] = checkpoint
        if self._page is None:
            self._claims[chain].append(_claim(checkpoint))
        if previous.seq > self.base(chain).seq and before != previous:
            text = f"{whose} follows one of this seq, which is {'gone' if before is None else 'another one'}"
            if self._report(AuditFinding(chain, FindingKind.CHECKPOINT, previous.seq, None, text), "previous"):
                self._claims[chain].append(
                    Claim(*previous, f"{whose}, which follows it,", FindingKind.REWRITTEN, checkpoint)
                )

    def add_kept_elsewhere(self, heads: Iterable[tuple[Checkpoint, str]]) -> None:
        """Adds anchors: heads, signed or not, each with the place it was found. Add them last."""
        for head, place in heads:
            problem = self.keyring.problem(head) if head.key_id else ""
            if problem:
                self._report(
                    AuditFinding(head.chain, FindingKind.CHECKPOINT, head.seq, None, f"what {place} says {problem}"),
                    place,
                )
            elif head.seq < self.base(head.chain).seq:
                self.beyond_reach += 1
            else:
                self.against += 1
                self._claims[head.chain].append(
                    Claim(*head.head, place, FindingKind.REWRITTEN, head if head.key_id else None)
                )

    def base(self, chain: ChainId) -> Head:
        """The head that the chain's first record follows."""
        found = self._bases.get(chain)
        return genesis(plain(chain)) if found is None else found

    def walk_of(self, chain: ChainId) -> ChainWalk:
        walk = self.walks.get(chain)
        if walk is None:
            claims = self._claims[chain]
            page = None
            newest = self._newest.get(chain)
            if newest is not None and self._page is not None:
                claims.append(_claim(newest))
                page = partial(self._paged, self._page, chain)
            purged = chain in self.purged_before
            walk = ChainWalk(chain, self.base(chain), Claims(claims, page), self.keyring, purged=purged)
            self.walks[chain] = walk
        return walk

    def all_walks(self) -> list[ChainWalk]:
        """The walks of all chains, including those that must have records and have none."""
        for chain in {*self.headed, *self._bases, *self._newest, *self._claims}:
            self.walk_of(chain)
        return [self.walks[chain] for chain in sorted(self.walks, key=repr)]

    def problems(self) -> list[AuditFinding]:
        """Findings about the statements themselves: the first of each kind in a chain."""
        return [
            first._replace(text=f"{first.text}, as {number - 1} more are" if number > 1 else first.text)
            for first, number in self._problems.values()
        ]

    def _report(self, finding: AuditFinding, problem: str) -> bool:
        """Notes a finding. True if it is the first of its sort."""
        key = finding.chain, finding.kind, problem
        first, number = self._problems.get(key, (finding, 0))
        self._problems[key] = first, number + 1
        return not number

    @staticmethod
    def _paged(page: CheckpointPage, chain: ChainId, seq: int) -> list[Claim]:
        # SQLite sorts values that are not numbers after all numbers.
        return [_claim(checkpoint) for checkpoint in page(chain, seq) if _is_head(checkpoint.head)]


def format_time(time_us: Any) -> str:
    try:
        return utc_text(time_us)
    except (TypeError, ValueError, OverflowError, OSError):
        return f"{time_us} us"


def _claim(checkpoint: Checkpoint) -> Claim:
    by = f"the checkpoint of {format_time(checkpoint.time_us)}"
    return Claim(checkpoint.seq, checkpoint.hash, by, FindingKind.REWRITTEN, checkpoint)


def _is_head(head: Head) -> bool:
    """False for other values that a column may hold."""
    return type(head.seq) is int and head.seq >= 0 and isinstance(head.hash, bytes)


def plain(chain: ChainId) -> ChainId:
    """The chain with names that can be printed, whatever the columns hold."""
    names: tuple[Any, ...] = chain
    return ChainId(*(each.encode(errors="replace").decode() if isinstance(each, str) else repr(each) for each in names))
