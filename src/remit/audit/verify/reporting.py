from collections.abc import Iterable

from remit.audit.verify.finding import ChainReport, Finding, Report
from remit.audit.verify.judge import findings
from remit.audit.verify.known import Known

UNSIGNED_US = 3_600_000_000
"""For how long the end of a chain may be without a signature: a server signs every minute."""


def reported(known: Known, unsigned_us: int, others: Iterable[Finding] = ()) -> Report:
    """What the walks have come to, once every record is taken."""
    keyring = known.keyring
    walks = known.all_walks()
    found = known.problems()
    for walk in walks:
        headed = walk.chain in known.headed
        found += findings(walk, headed=headed, unsigned_us=unsigned_us if keyring else None)
    return Report(
        chains=[
            ChainReport(
                walk.chain, walk.base.seq, walk.upto, 0 if walk.signed is None else walk.signed.seq, walk.unchained
            )
            for walk in walks
        ],
        findings=[*found, *others],
        checkpoints=known.checkpoints,
        tombstones=known.tombstones,
        unchecked=dict(keyring.unchecked),
        against=known.against,
        beyond_reach=known.beyond_reach,
    )
