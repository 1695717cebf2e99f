from collections.abc import Iterable

from remit.audit.chain.chain import READS, ChainId
from remit.audit.verify.diagnosis import findings
from remit.audit.verify.expectations import Expectations, plain
from remit.audit.verify.finding import AuditFinding, ChainReport, VerificationReport
from remit.clock import now_us

UNSIGNED_US = 3_600_000_000
"""The age that a record may reach without a signature, in microseconds. A server signs every minute."""


def reported(
    known: Expectations, unsigned_us: int, at_us: int | None, others: Iterable[AuditFinding] = ()
) -> VerificationReport:
    """The result of the walks after every record is taken. Ages are measured to `at_us` (None: now)."""
    keyring = known.keyring
    walks = known.all_walks()
    found = [*known.problems(), *others]
    end_us = now_us() if at_us is None else at_us
    with_keys = known.nodes_with_keys
    keyless = {
        walk.chain
        for walk in walks
        if keyring and with_keys is not None and walk.signed is None and _server(walk.chain) not in with_keys
    }
    for walk in walks:
        signed_until = (end_us, unsigned_us) if keyring and walk.chain not in keyless else None
        found += findings(walk, headed=walk.chain in known.headed, signed_until=signed_until)
    has_records = any(walk.upto > walk.base.seq for walk in walks)
    has_signatures = keyring.believed or bool(with_keys)
    return VerificationReport(
        chains=[
            ChainReport(
                plain(walk.chain),
                walk.base.seq,
                walk.upto,
                0 if walk.signed is None else walk.signed.seq,
                walk.unchained,
                walk.chain in keyless,
            )
            for walk in walks
        ],
        findings=[_sound(each) for each in found],
        checkpoints=known.checkpoints,
        tombstones=known.tombstones,
        unchecked=dict(keyring.unchecked),
        never_signed=bool(keyring) and has_records and not has_signatures,
        against=known.against,
        beyond_reach=known.beyond_reach,
    )


def _server(chain: ChainId) -> str:
    return plain(chain).node.removesuffix(READS)


def _sound(finding: AuditFinding) -> AuditFinding:
    """The finding with printable names and a numeric place, even if those values themselves were altered."""
    return finding._replace(chain=plain(finding.chain), seq=finding.seq if type(finding.seq) is int else 0)
