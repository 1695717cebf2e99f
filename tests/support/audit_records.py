"""Records for tests of the audit store: valid everywhere, and each field of its own making where asked."""

from collections.abc import Iterable

from remit.audit.batch import ITEM_FIELDS, CallFields, RecordBatch
from remit.audit.chain.chain import Head, Row, link_decisions
from remit.audit.ids import DecisionIds
from remit.audit.record import DecisionRecord, LifecycleRecord

IDS = DecisionIds()
REVISION = "5e" * 32


def decision(**fields: object) -> DecisionRecord:
    time_us, (id_, call_id) = IDS.stamp(2)
    record = DecisionRecord(
        id=id_,
        time_us=time_us,
        node="node-1",
        caller="anonymous",
        on_behalf_of="",
        tenant="acme",
        namespace="prod.etl",
        principal="user:ada",
        action="VIEW",
        kind="FLOW",
        resource_id="orders",
        effect="allow",
        reason="ALLOWED_BY_RULE",
        rule="acme/roles.csv:12",
        revision=REVISION,
        latency_ns=2_100,
        call_id=call_id,
        batch_index=-1,
        trace_id="",
    )
    return record._replace(**fields)  # type: ignore[arg-type]


def decision_at(time_us: int, **fields: object) -> DecisionRecord:
    """A record of that time, id included."""
    ids = DecisionIds(lambda: time_us * 1_000)
    return decision(id=ids.next(), time_us=time_us, **fields)


def happened(type_: str = "POLICY_LOADED", **fields: object) -> LifecycleRecord:
    time_us, (id_,) = IDS.stamp()
    record = LifecycleRecord(id_, time_us, "node-1", type_, "acme", REVISION, '{"rows":12}')
    return record._replace(**fields)  # type: ignore[arg-type]


def linked(records: Iterable[DecisionRecord], head: Head) -> tuple[Head, list[Row]]:
    """Rows of table `decisions`: the records as they follow `head`."""
    head, calls = link_decisions(RecordBatch.of(records).calls, head)
    columns = (*DecisionRecord._fields, "seq", "hash")
    made = [
        dict(zip((*CallFields._fields, *ITEM_FIELDS, "seq", "hash"), call + row, strict=True))
        for call, rows in calls
        for row in rows
    ]
    return head, [tuple(map(each.__getitem__, columns)) for each in made]
