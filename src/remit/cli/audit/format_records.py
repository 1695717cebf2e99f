import json
from collections.abc import Sequence
from typing import Any

from remit.audit.ids import format_id
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.cli.audit.options import time_text
from remit.cli.common.output import styled
from remit.cli.common.table import Cell, print_table
from remit.core.question import QuestionType
from remit.core.rows import Effect


def record_json(record: DecisionRecord | LifecycleRecord) -> dict[str, Any]:
    fields = record._asdict()
    fields["id"] = format_id(record.id)
    fields["time"] = time_text(fields.pop("time_us"))
    if isinstance(record, DecisionRecord):
        fields["call_id"] = format_id(record.call_id)
    fields["detail"] = _detail(record.detail)
    return {"id": fields.pop("id"), "time": fields.pop("time"), **fields}


def _detail(text: str) -> Any:
    """An object, also of a record that somebody altered."""
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return {"unreadable": text}


def print_decisions(page: Sequence[DecisionRecord]) -> None:
    rows: list[Sequence[Cell]] = []
    for each in page:
        colour = "green" if each.effect == Effect.ALLOW else "red"
        cells = (time_text(each.time_us), each.asked_tenant, each.namespace, each.principal, question_told(each))
        rows.append((*cells, styled((each.effect, colour)), each.reason, each.rule, format_id(each.id)))
    names = ("time", "tenant", "namespace", "principal", "question", "effect", "reason", "rule", "id")
    print_table(names, rows)


def decision_line(record: DecisionRecord) -> str:
    place = f"{record.namespace or 'the tenant itself'} of {record.asked_tenant}"
    answer = f"{record.effect} {record.reason}".strip() or "a list"
    words = (time_text(record.time_us), record.principal, question_told(record), "in", place, answer, record.rule)
    return " ".join(filter(None, (*words, format_id(record.id))))


def print_lifecycle(page: Sequence[LifecycleRecord]) -> None:
    rows = (
        (time_text(each.time_us), each.node, each.type, each.tenant, each.revision[:12], each.detail) for each in page
    )
    print_table(("time", "node", "type", "tenant", "revision", "detail"), rows)


def question_told(record: DecisionRecord) -> str:
    question = f"{record.action} {record.kind}".strip()
    return question if record.question == QuestionType.CHECK else f"{record.question} {question}".strip()
