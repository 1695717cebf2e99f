"""An export, verified without the store that it is from."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from remit.audit.export.files import read_records
from remit.audit.export.proof import Proof, proof_of
from remit.audit.signing import Checkpoint, PublicKey
from remit.audit.verify.claims import Claim
from remit.audit.verify.finding import Kind, Report
from remit.audit.verify.keyring import Keyring
from remit.audit.verify.known import Known
from remit.audit.verify.reporting import UNSIGNED_US, reported
from remit.audit.verify.walk import Batches, Meter, Progress, walk

_PROOF: Final = "the export's proof"


def verify_export(
    path: Path,
    *,
    keys: Iterable[PublicKey] = (),
    against: Iterable[tuple[Checkpoint, str]] = (),
    unsigned_us: int = UNSIGNED_US,
    progress: Progress | None = None,
) -> Report:
    """Every record of an export, by any of its files. ExportError where they are no export."""
    proof = Proof.read(proof_of(path))
    rows = {table: read_records(proof.records, table, path.with_name(name)) for table, name in proof.files.items()}
    return held_against(proof, rows, keys=keys, against=against, unsigned_us=unsigned_us, progress=progress)


def held_against(
    proof: Proof,
    rows: Mapping[str, Batches],
    *,
    keys: Iterable[PublicKey] = (),
    against: Iterable[tuple[Checkpoint, str]] = (),
    unsigned_us: int = UNSIGNED_US,
    progress: Progress | None = None,
) -> Report:
    """Records, by table, as an export's proof says that they are."""
    known = Known(Keyring(keys))
    for part in proof.parts:
        if part.tombstone is not None:
            known.add_tombstone(part.tombstone)
        if part.after.seq:
            known.add_base(part.chain, part.after)
        known.add_head(part.chain, part.upto, _PROOF)
        if proof.whole and part.head != part.upto:
            known.expect(part.chain, Claim(*part.head, _PROOF, Kind.HEAD))
        for checkpoint in part.checkpoints:
            # The one before it is not always in the export.
            known.add_checkpoint(checkpoint, checkpoint.previous)
    known.add_kept_elsewhere(_within(proof, against, known))
    meter = Meter(sum(part.upto.seq - part.after.seq for part in proof.parts), progress)
    for table, batches in rows.items():
        walk(table, batches, known.walk_of, meter)
    return reported(known, unsigned_us)


def _within(proof: Proof, heads: Iterable[tuple[Checkpoint, str]], known: Known) -> Iterator[tuple[Checkpoint, str]]:
    """Those that the export can be held against: it may be older than a head, or a part that does not reach it."""
    parts = {part.chain: part for part in proof.parts}
    for head, place in heads:
        if head.tenant != proof.tenant:
            continue
        part = parts.get(head.chain)
        missing = part is None and proof.whole and head.time_us <= proof.made_us
        if missing or (part is not None and head.seq <= part.upto.seq):
            yield head, place
        else:
            known.beyond_reach += 1
