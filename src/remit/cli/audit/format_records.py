import json
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE
from rich.table import Column, Table

from remit.audit.ids import format_id
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.cli.audit.options import time_text
from remit.cli.common.output import styled
from remit.core.question import QuestionType
from remit.core.rows import Effect


def record_json(record: DecisionRecord | LifecycleRecord) -> dict[str, Any]:
    fields = record._asdict()
    fields["id"] = format_id(record.id)
    fields["time"] = time_text(fields.pop("time_us"))
    if isinstance(record, DecisionRecord):
        fields["call_id"] = format_id(record.call_id)
    else:
        fields["detail"] = json.loads(record.detail) if record.detail else {}
    return {"id": fields.pop("id"), "time": fields.pop("time"), **fields}


def decision_table(page: Sequence[DecisionRecord]) -> Table:
    names = ("time", "tenant", "namespace", "principal", "question", "effect", "reason", "rule", "id")
    table = Table(*(Column(name, overflow="fold") for name in names), box=SIMPLE)
    for each in page:
        colour = "green" if each.effect == Effect.ALLOW else "red"
        cells = (time_text(each.time_us), each.asked_tenant, each.namespace, each.principal, question_told(each))
        table.add_row(*cells, styled((each.effect, colour)), each.reason, each.rule, format_id(each.id))
    return table


def decision_line(record: DecisionRecord) -> str:
    place = f"{record.namespace or 'the tenant itself'} of {record.asked_tenant}"
    answer = f"{record.effect} {record.reason}".strip() or "a list"
    words = (time_text(record.time_us), record.principal, question_told(record), "in", place, answer, record.rule)
    return " ".join(filter(None, (*words, format_id(record.id))))


def lifecycle_table(page: Sequence[LifecycleRecord]) -> Table:
    names = ("time", "node", "type", "tenant", "revision", "detail")
    table = Table(*(Column(name, overflow="fold") for name in names), box=SIMPLE)
    for each in page:
        table.add_row(time_text(each.time_us), each.node, each.type, each.tenant, each.revision[:12], each.detail)
    return table


def question_told(record: DecisionRecord) -> str:
    question = f"{record.action} {record.kind}".strip()
    return question if record.question == QuestionType.CHECK else f"{record.question} {question}".strip()
