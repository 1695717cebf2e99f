"""An explanation in the form that pages show, for both planes and for answers of the past."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from remit.console.cells import Cell, Table, code, effect, plain
from remit.console.pages.ask.rows import allowed, place_cell, reason_name, reason_text, text_cell
from remit.v1 import access_service_pb2, decision_pb2, reach_service_pb2

_CLAUSES: Final = {
    access_service_pb2.CLAUSE_SCOPE: "scope",
    access_service_pb2.CLAUSE_NAMESPACE: "namespace",
    access_service_pb2.CLAUSE_KIND: "kind",
    access_service_pb2.CLAUSE_ACTION: "action",
}


@dataclass(frozen=True, slots=True)
class Grounds:
    allowed: bool
    verdict: str
    """In words, without the question."""
    reason: str
    revision: str
    decision_id: str
    tables: Sequence[Table]
    remedies: Sequence[tuple[str, str]]
    """What would allow it: how, and the row."""
    summary: str
    when: str = ""
    """Of an answer of the past: on which nodes."""


def of_access(tenant: str, answer: access_service_pb2.ExplainResponse, suffix: str = "", when: str = "") -> Grounds:
    steps = [_step(tenant, answer.revision, "held by", each) for each in answer.chain]
    if answer.HasField("rule"):
        steps.append(_step(tenant, answer.revision, "decided by", answer.rule.row, answer.rule.effect))
    tables = [_steps(steps, suffix)]
    if answer.near_misses:
        tables.append(
            Table(
                f"misses{suffix}",
                "Rules that nearly allow it",
                ("rule", "at", "what does not match", "in words", "held by"),
                [
                    [
                        text_cell(each.rule),
                        place_cell(each.rule, tenant, answer.revision),
                        plain(_CLAUSES.get(each.failed, ""), "clause"),
                        plain(each.detail),
                        code("; ".join(link.text for link in each.chain)),
                    ]
                    for each in answer.near_misses
                ],
            )
        )
    remedy = answer.remedy
    remedies = [("A rule", remedy.rule), ("A binding to an existing role", remedy.binding), ("Instead", remedy.instead)]
    return _grounds(answer.decision, answer.revision, (answer.summary, when), tables, remedies)


def of_reach(tenant: str, answer: reach_service_pb2.ExplainReachResponse, suffix: str = "", when: str = "") -> Grounds:
    steps = (
        [_step(tenant, answer.revision, "decided by", answer.rule.row, answer.rule.effect)]
        if answer.HasField("rule")
        else []
    )
    steps += [_step(tenant, answer.revision, "comes too late", each.row, each.effect) for each in answer.too_late]
    tables = [_steps(steps, suffix)]
    if answer.near_misses:
        tables.append(
            Table(
                f"misses{suffix}",
                "Rows that nearly allow it",
                ("row", "at", "in words"),
                [
                    [text_cell(each.rule), place_cell(each.rule, tenant, answer.revision), plain(each.detail)]
                    for each in answer.near_misses
                ],
            )
        )
    remedy = answer.remedy
    where = f"A row above {remedy.above}" if remedy.above else "A row"
    remedies = [(where, remedy.rule), ("Instead", remedy.instead)]
    return _grounds(answer.decision, answer.revision, (answer.summary, when), tables, remedies)


def _grounds(
    decision: decision_pb2.Decision,
    revision: str,
    told: tuple[str, str],
    tables: Sequence[Table],
    remedies: Sequence[tuple[str, str]],
) -> Grounds:
    """`told` is the summary, and when it was so."""
    yes = allowed(decision.effect)
    return Grounds(
        yes,
        "allowed" if yes else "denied",
        reason_text(decision.reason) if decision.reason else reason_name(decision.reason),
        revision,
        decision.decision_id,
        tables,
        [(how, row) for how, row in remedies if row],
        *told,
    )


def _steps(steps: Sequence[Sequence[Cell]], suffix: str) -> Table:
    return Table(
        f"steps{suffix}",
        "The rows that lead to the answer",
        ("step", "row", "at", "effect"),
        steps,
        "No row decides.",
    )


def _step(tenant: str, revision: str, word: str, row: decision_pb2.PolicyRow, outcome: int | None = None) -> list[Cell]:
    told = plain("") if outcome is None else effect("allow" if allowed(outcome) else "deny")
    return [plain(word), text_cell(row), place_cell(row, tenant, revision), told]
