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
    """Sampled out: they are counted, and nothing else is left of them."""


@dataclass(frozen=True, slots=True)
class RecordPolicy:
    """What is kept of decisions, before they have a place in a chain."""

    redaction: Redaction | None = None
    sample_allows: float = EVERY
    """Of the allows of plain checks, how many are recorded: above 0, at most 1. All others always are."""
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
