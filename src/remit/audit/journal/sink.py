from collections.abc import Sequence
from typing import Protocol

from remit.audit.record import DecisionRecord, LifecycleRecord


class RecordSink(Protocol):
    """What a journal writes to: `AuditStore`, or one with a spool before it."""

    def append(
        self,
        records: Sequence[DecisionRecord],
        happened: Sequence[LifecycleRecord] = (),
        unrecorded: Sequence[DecisionRecord] = (),
    ) -> None:
        """One transaction, durable on return. Raises RecordRefused or AuditStoreError, and then nothing is written."""

    def check(self) -> None:
        """Raises AuditStoreError where nothing would be taken any more, whatever is tried. It writes nothing."""

    def probe(self) -> None:
        """Raises AuditStoreError where the next batch of records would not be taken."""

    def decision(self, id_: bytes) -> DecisionRecord | None:
        """What is recorded under that id."""
