from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from remit.audit.chain.signing import Checkpoint, PublicKey
from remit.audit.export.errors import ExportError, NoExportError, OtherExportError
from remit.audit.export.formats import read_records
from remit.audit.export.proof import Proof, proofs_of
from remit.audit.verify.claims import Claim
from remit.audit.verify.encoding import ENCODINGS
from remit.audit.verify.expectations import Expectations
from remit.audit.verify.finding import FindingKind, VerificationReport
from remit.audit.verify.keyring import Keyring
from remit.audit.verify.report import UNSIGNED_US, reported
from remit.audit.verify.walk import Batches, Meter, Progress, walk

_PROOF: Final = "the export's proof"


class ExportFiles(NamedTuple):
    proof_file: Path
    proof: Proof
    records: Mapping[str, Path]
    """The file of each table."""

    @property
    def all(self) -> list[Path]:
        return [*self.records.values(), self.proof_file]


def find_export(path: Path) -> ExportFiles:
    """Finds the export that `path` belongs to.

    Raises NoExportError if there is no such file or no proof beside it, OtherExportError if the proof describes other
    files, and ExportError if the proof file is no proof.
    """
    if not path.is_file():
        raise NoExportError(f"there is no file `{path}`")
    candidates = proofs_of(path)
    present = [each for each in candidates if each.is_file()]
    if not present:
        raise NoExportError(
            f"`{path}` has no proof beside it: expected `{candidates[0].name}`, which `remit audit export` writes"
        )
    described = []
    for proof_file in present:
        export = _described(proof_file)
        if path in export.all:
            return export
        names = ", ".join(f"`{file.name}`" for file in export.records.values())
        described.append(f"the files of `{proof_file.name}` are {names}")
    raise OtherExportError(f"`{path}` is not of the export that its proof describes: {'; '.join(described)}")


def _described(proof_file: Path) -> ExportFiles:
    proof = Proof.read(proof_file)
    try:
        records = {table: proof_file.with_name(proof.files[table]) for table in ENCODINGS}
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(
            f"`{proof_file}` is no proof of an export: expected the name of a file beside it for each of {', '.join(ENCODINGS)}"
        ) from error
    return ExportFiles(proof_file, proof, records)


def verify_export(
    export: ExportFiles,
    *,
    keys: Iterable[PublicKey] = (),
    against: Iterable[tuple[Checkpoint, str]] = (),
    unsigned_us: int = UNSIGNED_US,
    at_us: int | None = None,
    progress: Progress | None = None,
) -> VerificationReport:
    """Verifies every record of an export, as `verify_store` does.

    Raises ExportError if a file does not match the proof.
    """
    proof = export.proof
    rows = {table: read_records(proof.records, table, file) for table, file in export.records.items()}
    return held_against(
        proof, rows, keys=keys, against=against, unsigned_us=unsigned_us, at_us=at_us, progress=progress
    )


def held_against(
    proof: Proof,
    rows: Mapping[str, Batches],
    *,
    keys: Iterable[PublicKey] = (),
    against: Iterable[tuple[Checkpoint, str]] = (),
    unsigned_us: int = UNSIGNED_US,
    at_us: int | None = None,
    progress: Progress | None = None,
) -> VerificationReport:
    """Compares records, by table, with an export's proof."""
    known = Expectations(Keyring(keys))
    for part in proof.parts:
        if part.tombstone is not None:
            known.add_tombstone(part.tombstone)
        if part.after.seq:
            known.add_base(part.chain, part.after)
        known.add_head(part.chain, part.upto, _PROOF)
        if proof.whole and part.head != part.upto:
            known.expect(part.chain, Claim(*part.head, _PROOF, FindingKind.HEAD))
        for checkpoint in part.checkpoints:
            # The previous checkpoint is not always in the export.
            known.add_checkpoint(checkpoint, checkpoint.previous)
    known.add_kept_elsewhere(_within(proof, against, known))
    meter = Meter(sum(part.upto.seq - part.after.seq for part in proof.parts), progress)
    for table, batches in rows.items():
        walk(table, batches, known.walk_of, meter)
    return reported(known, unsigned_us, at_us)


def _within(
    proof: Proof, heads: Iterable[tuple[Checkpoint, str]], known: Expectations
) -> Iterator[tuple[Checkpoint, str]]:
    """Yields the heads that the export can be compared with.

    The export may be older than a head, or a part may end before it.
    """
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
