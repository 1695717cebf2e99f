from collections.abc import Sequence
from typing import Protocol

from remit.audit.record import ArchivedRevision, DecisionRecord, LifecycleRecord


class RecordSink(Protocol):
    """What a journal writes to: `AuditStore`, or one with a spool in front."""

    def append(
        self,
        records: Sequence[DecisionRecord],
        happened: Sequence[LifecycleRecord] = (),
        unrecorded: Sequence[DecisionRecord] = (),
        revisions: Sequence[ArchivedRevision] = (),
    ) -> None:
        """One transaction, durable on return. Raises RecordRefused or AuditStoreError; then nothing is written."""

    def check(self) -> None:
        """Writes nothing. Raises AuditStoreError if the store can take no more records, whatever is tried."""

    def probe(self) -> None:
        """Raises AuditStoreError if the store would not take the next batch."""

    def decision(self, id_: bytes) -> DecisionRecord | None:
        """The decision with that id."""
