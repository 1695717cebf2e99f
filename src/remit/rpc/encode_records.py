"""Encodes audit records, and counts and explanations of them, as messages of the API."""

from collections.abc import Iterable, Sequence
from typing import Final

from remit import wire
from remit.audit.ids import format_id, parse_id
from remit.audit.query.aggregate import TIMES, Count, Grouping
from remit.audit.query.heads import ChainHead, LastVerification
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.core.explanation import Explanation
from remit.engine.explain.access import summary
from remit.engine.explain.reach import reach_summary
from remit.service.history import ExplainedRecord, PastAnswer
from remit.v1 import audit_service_pb2 as messages

GROUPINGS: Final = {messages.CountGrouping.Value(f"COUNT_GROUPING_{each.name}"): each for each in Grouping}
_IDS: Final = ("id", "call_id")


def record_to(record: DecisionRecord) -> messages.Record:
    told = record._asdict()
    for name in _IDS:
        told[name] = format_id(told[name])
    return messages.Record(**told)


def record_from(message: messages.Record) -> DecisionRecord:
    told = {name: getattr(message, name) for name in DecisionRecord._fields}
    for name in _IDS:
        told[name] = parse_id(told[name])
    return DecisionRecord(**told)


def lifecycle_to(record: LifecycleRecord) -> messages.LifecycleRecord:
    return messages.LifecycleRecord(**{**record._asdict(), "id": format_id(record.id)})


def heads_to(found: Iterable[ChainHead], verified: LastVerification | None) -> messages.ListHeadsResponse:
    response = messages.ListHeadsResponse()
    for chain, head, checkpoint in found:
        shown = response.heads.add(
            table=chain.table, tenant=chain.tenant, node=chain.node, seq=head.seq, hash=head.hash.hex()
        )
        if checkpoint is not None:
            shown.signed_seq, shown.signed_us, shown.key_id = checkpoint
        if verified is not None:
            shown.verified_seq = verified.upto.get(chain, 0)
            shown.finding = verified.findings.get(chain, "")
    if verified is not None:
        response.verification.time_us = verified.time_us
        response.verification.whole = verified.whole
        response.verification.tenant = verified.tenant
        response.verification.key_ids[:] = verified.keys
    return response


def lifecycle_from(message: messages.LifecycleRecord) -> LifecycleRecord:
    told = {name: getattr(message, name) for name in LifecycleRecord._fields}
    return LifecycleRecord(**{**told, "id": parse_id(message.id)})


def count_to(count: Count, by: Sequence[Grouping]) -> messages.RecordCount:
    message = messages.RecordCount(recorded=count.recorded, unrecorded=count.unrecorded)
    for grouping, value in zip(by, count.group, strict=True):
        setattr(message, "from_us" if grouping in TIMES else grouping.value, value)
    return message


def past_answer_to(answer: PastAnswer, decision_id: str = "", position: str = "") -> messages.PastAnswer:
    message = messages.PastAnswer(revision=answer.revision)
    for served in answer.nodes:
        message.nodes.add(node=served.node, since_us=served.since_us)
    why = answer.why
    if isinstance(why, Explanation):
        message.access.CopyFrom(wire.explanation_to(why, decision_id, answer.revision, summary(why), position))
    else:
        text = reach_summary(why)
        message.reach.CopyFrom(wire.reach_explanation_to(why, decision_id, answer.revision, text, position))
    return message


def shown_to(shown: ExplainedRecord) -> messages.GetRecordResponse:
    record, place = shown.record, shown.place
    message = messages.GetRecordResponse(
        record=record_to(record),
        place=messages.Place(seq=place.seq, hash=place.hash, head=place.head),
        agrees=shown.agrees,
        unexplained=shown.unexplained,
    )
    if shown.why is not None:
        answer = PastAnswer(record.revision, (), shown.why)
        message.explanation.CopyFrom(past_answer_to(answer, format_id(record.id), record.position))
    return message
