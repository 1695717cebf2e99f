from random import Random

from support.audit_records import decision

from remit.audit.batch import RecordBatch
from remit.audit.record import DecisionRecord
from remit.audit.redaction import Redaction, parse_redaction
from remit.service.sampling import RECORD_EVERYTHING, RecordPolicy


def kept(keeping: RecordPolicy, records: list[DecisionRecord]) -> tuple[list[DecisionRecord], list[DecisionRecord]]:
    """What is recorded and what is not."""
    recorded, unrecorded = keeping.split(RecordBatch.of(records))
    return [*recorded], [*unrecorded]


def test_everything_is_recorded_by_default() -> None:
    records = [decision(effect=effect) for effect in ("allow", "deny", "allow")]
    assert (records, []) == kept(RECORD_EVERYTHING, records)


def test_only_allows_of_plain_checks_are_sampled_out() -> None:
    never = RecordPolicy(sample_allows=0.5, draw=lambda: 0.5)
    plain = [decision() for _ in range(3)]
    others = [
        decision(effect="deny"),
        decision(question="EXPLAIN"),
        decision(question="REACH", principal="namespace:a.b"),
        decision(question="NAMESPACES", effect=""),
        decision(question="OPERATION"),
    ]
    assert (others, plain) == kept(never, [plain[0], *others, *plain[1:]])


def test_recorded_share_equals_the_setting() -> None:
    keeping = RecordPolicy(sample_allows=0.25, draw=Random(7).random)
    recorded, unrecorded = kept(keeping, [decision()] * 10_000)
    assert 10_000 == len(recorded) + len(unrecorded)
    assert 2_300 < len(recorded) < 2_700


def test_sampled_out_allows_are_redacted() -> None:
    """The counts by principal hold it."""
    keeping = RecordPolicy(Redaction(parse_redaction("principal=drop")), 0.5, draw=lambda: 0.9)
    _, (unrecorded,) = kept(keeping, [decision()])
    assert "" == unrecorded.principal
