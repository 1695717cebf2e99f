"""The figures of a journal: rows queued, committed and lost, and rows drained at the close."""

from dataclasses import dataclass
from typing import NamedTuple

from remit.audit.journal.pending import WriteState


class Drained(NamedTuple):
    """Rows, counted from the call of `Journal.close` on."""

    written: int
    unwritten: int


@dataclass(frozen=True, slots=True)
class JournalStats:
    committed: int
    """Rows on disk since the start."""
    unrecorded: int
    """Decisions that were counted and not stored, since the start."""
    queued: int
    """Rows accepted that are neither on disk nor lost."""
    lost: int
    """Rows lost after a caller was told that they were accepted. Any value but 0 has been logged."""
    healthy: bool
    error: str
    """Why the journal is not healthy; '' when it is."""
    last_commit_s: float
    """Duration of the last commit, in seconds."""


@dataclass(slots=True)
class Counters:
    """Rows since the start. Guarded by the queue's mutex."""

    queued: int = 0
    committed: int = 0
    unrecorded: int = 0
    lost: int = 0
    unwritten: int = 0
    """Rows that ended without a commit after the journal was closed."""
    last_commit_s: float = 0.0

    def end(self, state: WriteState, rows: int, unrecorded: int, *, closed: bool) -> None:
        """Counts rows that ended in that state; `unrecorded` of them are decisions that are only counted."""
        self.queued -= rows
        if state is WriteState.COMMITTED:
            self.committed += rows - unrecorded
            self.unrecorded += unrecorded
        elif closed:
            self.unwritten += rows
        if state is WriteState.LOST:
            self.lost += rows

    def snapshot(self, error: str) -> JournalStats:
        return JournalStats(
            committed=self.committed,
            unrecorded=self.unrecorded,
            queued=self.queued,
            lost=self.lost,
            healthy=error == "",
            error=error,
            last_commit_s=self.last_commit_s,
        )
