from collections.abc import Callable
from dataclasses import dataclass
from random import random
from typing import Final, NamedTuple

from remit.audit.batch import EMPTY_BATCH, RecordBatch
from remit.audit.record import DecisionRecord
from remit.audit.redaction import Redaction
from remit.core.question import QuestionType
from remit.core.rows import Effect

EVERY: Final = 1.0


class SampledRecords(NamedTuple):
    recorded: RecordBatch
    unrecorded: RecordBatch = EMPTY_BATCH
    """Decisions that were sampled out. They are only counted."""


@dataclass(frozen=True, slots=True)
class RecordPolicy:
    """Redacts and samples decisions before they get a place in a chain."""

    redaction: Redaction | None = None
    sample_allows: float = EVERY
    """The share of allows of plain checks that is recorded: above 0, at most 1. All other decisions are recorded."""
    draw: Callable[[], float] = random

    def split(self, records: RecordBatch) -> SampledRecords:
        if self.redaction is not None:
            records = RecordBatch.of(map(self.redaction, records))
        if self.sample_allows == EVERY:
            return SampledRecords(records)
        recorded: list[DecisionRecord] = []
        unrecorded: list[DecisionRecord] = []
        for record in records:
            plain = record.effect == Effect.ALLOW and record.question == QuestionType.CHECK
            out = plain and self.draw() >= self.sample_allows
            (unrecorded if out else recorded).append(record)
        return SampledRecords(RecordBatch.of(recorded), RecordBatch.of(unrecorded))


RECORD_EVERYTHING: Final = RecordPolicy()
