import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from sqlalchemy import Connection, select

from remit.audit.chain.chain import DECISIONS, LIFECYCLE, Row
from remit.audit.export.errors import ExportError, MissingError
from remit.audit.export.formats import writing_records
from remit.audit.export.plan import EVER, Span, plan
from remit.audit.export.proof import Proof, lifecycle_of, proof_of
from remit.audit.export.verify import held_against
from remit.audit.query.filter import id_range
from remit.audit.schema.tables import chains, checkpoints, decisions, lifecycle
from remit.audit.verify.claims import NEVER
from remit.audit.verify.encoding import ENCODINGS
from remit.audit.verify.finding import VerificationReport
from remit.audit.verify.raw_rows import batches
from remit.audit.verify.store import whose
from remit.audit.verify.walk import Progress
from remit.clock import now_us

# In microseconds. Records committed between two records of a span, or covered by the next signature, were made at about
# that time.
_SLACK_US: Final = 3_600_000_000
_UNFINISHED: Final = ".part"


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Writes a tenant's decisions to `out`, and its lifecycle records and the proof beside it.

    Verifies the records on the way.
    """

    snapshots: Sequence[Connection]
    """One snapshot, or one for each of several stores with their own chains."""
    tenant: str
    out: Path
    format_: str
    """JSONL or PARQUET."""
    span: Span = EVER
    progress: Progress | None = None

    def run(self) -> VerificationReport:
        """Writes the export. The files get their names once all are complete.

        Raises ExportError if a file exists or cannot be written, or if the store holds nothing of the tenant. The
        report lists damage that the files share with the store.
        """
        names = [*self._files.values(), proof_of(self.out)]
        try:
            existing = [path for path in names if path.exists()]
        except OSError as error:
            raise _unwritable(error) from error
        if existing:
            raise ExportError(f"`{existing[0]}` exists, and an export never overwrites a file: name another file")
        if not any(map(self._is_known, self.snapshots)):
            raise ExportError(f"there is nothing of tenant `{self.tenant}` in the store")
        try:
            report = self._found_near() or self._written(EVER)
            for path in names:
                _unfinished(path).rename(path)
        except OSError as error:
            raise _unwritable(error) from error
        finally:
            for path in names:
                _unfinished(path).unlink(missing_ok=True)
        return report

    def _is_known(self, snapshot: Connection) -> bool:
        # A chain's head stays after its records are purged. Records from before there were chains have no head.
        for its in (chains, checkpoints, decisions, lifecycle):
            if snapshot.execute(select(its.c.tenant).where(its.c.tenant == self.tenant).limit(1)).first() is not None:
                return True
        return False

    @property
    def _files(self) -> dict[str, Path]:
        return {DECISIONS: self.out, LIFECYCLE: lifecycle_of(self.out)}

    def _found_near(self) -> VerificationReport | None:
        """Exports from near the span. None if a record is missing there: then the whole store must be searched."""
        since_us, until_us = self.span
        near = Span(since_us and since_us - _SLACK_US, until_us and until_us + _SLACK_US)
        try:
            report = None if near == EVER else self._written(near)
        except MissingError:
            return None
        return None if report is None or report.findings else report

    def _written(self, reach: Span) -> VerificationReport:
        parts = [part for each in self.snapshots for part in plan(each, self.tenant, self.span, reach)]
        names = {table: path.name for table, path in self._files.items()}
        proof = Proof(self.tenant, now_us(), *self.span, self.format_, names, tuple(parts))
        with ExitStack() as stack:
            rows = {
                table: self._copied(proof, table, reach, stack.enter_context(_created(path)))
                for table, path in self._files.items()
            }
            report = held_against(proof, rows, progress=self.progress)
        with _created(proof_of(self.out)) as file:
            file.write(proof.text().encode())
        return report

    def _copied(self, proof: Proof, table: str, reach: Span, file: IO[bytes]) -> Iterator[list[Row]]:
        chosen = _chooser(proof, table)
        records = writing_records(self.format_, table, file)
        for batch in self._found(table, reach):
            some = batch if proof.whole else [row for row in batch if chosen(row)]
            try:
                records.write(some)
            except (AttributeError, TypeError, ValueError) as error:
                raise ExportError(
                    f"a record of the {table} has a value that its column cannot hold: `remit audit verify` names it ({error})"
                ) from error
            yield some
        records.close()

    def _found(self, table: str, reach: Span) -> Iterator[list[Row]]:
        its = ENCODINGS[table].table
        for snapshot in self.snapshots:
            conditions = (*whose(self.tenant, its, snapshot), *id_range(its, *reach))
            yield from batches(snapshot, select(its).where(*conditions).order_by(its.c.id))


def _chooser(proof: Proof, table: str) -> Callable[[Row], bool]:
    node_at = ENCODINGS[table].node
    time_at = [column.name for column in ENCODINGS[table].table.columns].index("time_us")
    parts = {part.chain.node: (part.after.seq, part.upto.seq) for part in proof.parts if part.chain.table == table}
    since_us, until_us = proof.since_us or 0, NEVER if proof.until_us is None else proof.until_us

    def chosen(row: Row) -> bool:
        if row[-2] == 0:
            return bool(since_us <= row[time_at] < until_us)
        after, upto = parts.get(row[node_at], (0, 0))
        return bool(after < row[-2] <= upto)

    return chosen


def _created(path: Path) -> IO[bytes]:
    """Opens a file for its owner only: it is as private as the store."""
    return open(_unfinished(path), "wb", opener=lambda name, flags: os.open(name, flags, 0o600))


def _unwritable(error: OSError) -> ExportError:
    return ExportError(f"`{error.filename}` cannot be written: {error.strerror}")


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + _UNFINISHED)
