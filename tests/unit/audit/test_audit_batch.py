from hypothesis import given
from hypothesis import strategies as st
from support.audit_records import IDS, decision

from remit.audit.batch import EMPTY_BATCH, RecordBatch
from remit.audit.record import DecisionRecord

texts = st.text(max_size=3)
own_fields = st.fixed_dictionaries(
    {
        "namespace": texts,
        "principal": texts,
        "action": texts,
        "kind": texts,
        "resource_id": texts,
        "effect": texts,
        "reason": texts,
        "rule": texts,
        "latency_ns": st.integers(0),
        "batch_index": st.integers(-1),
    }
)
call_fields = st.fixed_dictionaries(
    {
        "time_us": st.integers(0),
        "node": texts,
        "caller": texts,
        "on_behalf_of": texts,
        "tenant": texts,
        "revision": texts,
        "trace_id": texts,
        "question": texts,
        "detail": texts,
    }
)


@st.composite
def made(draw: st.DrawFn) -> list[DecisionRecord]:
    """Records of calls with some questions each; two calls may differ only in their ids."""
    records = []
    for call in draw(st.lists(call_fields, max_size=4)):
        _, ids = IDS.stamp(2)
        call_id = draw(st.sampled_from([ids[0], IDS.next()]))
        items = draw(st.lists(own_fields, min_size=1, max_size=4))
        records += [decision(**call, **item, id=IDS.next(), call_id=call_id) for item in items]
    return records


@given(made())
def test_records_equal_their_parts(records: list[DecisionRecord]) -> None:
    by_call = RecordBatch.of(records)
    assert records == [*by_call]
    assert len(records) == len(by_call)
    assert records[1:3] == by_call[1:3]
    assert records == [*RecordBatch.joined([by_call, EMPTY_BATCH])]
    assert all(isinstance(each, DecisionRecord) for each in by_call)


def test_consecutive_records_with_equal_call_fields_are_one_call() -> None:
    first, second = IDS.take(2)
    shared = {"time_us": 1, "call_id": first}
    records = [
        *(decision(batch_index=at, **shared) for at in range(3)),
        decision(batch_index=3, **{**shared, "trace_id": "t"}),
        decision(time_us=1, call_id=second),
        decision(batch_index=4, **shared),
    ]
    assert [3, 1, 1, 1] == [len(items) for _, items in RecordBatch.of(records).calls]
