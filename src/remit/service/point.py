from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import NamedTuple

from remit.audit.ids import DecisionIds
from remit.audit.journal import Journal
from remit.audit.record import DecisionRecord
from remit.core.decision import Decision, Reason
from remit.core.errors import MalformedQuestionError
from remit.core.explanation import Explanation
from remit.core.names import Tenant
from remit.core.question import Question
from remit.core.rows import Effect
from remit.engine.explain import explain, unknown_tenant
from remit.engine.snapshot import Snapshot
from remit.policy.cell import Cell
from remit.service.metrics import Metrics

_UNKNOWN_TENANT = Decision(Effect.DENY, Reason.UNKNOWN_TENANT)
_SINGLE = -1


class Origin(NamedTuple):
    """Where a call comes from. Recorded; never decides."""

    caller: str
    """The authenticated service that asks."""
    on_behalf_of: str = ""
    trace_id: str = ""


class Asked(NamedTuple):
    """A question and the id of the resource it is about, which is recorded and never decides."""

    question: Question
    resource_id: str = ""


class Answer(NamedTuple):
    decision: Decision
    decision_id: bytes
    revision: str


class _Call(NamedTuple):
    """What the records of one call share."""

    tenant: Tenant
    revision: str
    origin: Origin
    time_us: int
    call_id: bytes


class _Made(NamedTuple):
    """A decision and how it came about."""

    decision: Decision
    decision_id: bytes
    took_ns: int
    position: int = _SINGLE


@dataclass(frozen=True, slots=True)
class DecisionPoint:
    """Answers questions: each answer is of one snapshot, and leaves after its record (delivery `before_answer`)."""

    node: str
    cell: Cell
    journal: Journal
    ids: DecisionIds
    metrics: Metrics
    revision_wait_s: float

    def check(
        self, tenant: Tenant, asked: Asked, origin: Origin, revision: str = "", timeout_s: float = 10.0
    ) -> Answer:
        """One decision, recorded.

        Raises MalformedQuestionError, TenantUnavailableError, RevisionNotCurrentError or JournalUnavailable; then
        nothing was answered.
        """
        snapshot = self._snapshot(tenant, revision, timeout_s)
        began = perf_counter_ns()
        decision = _UNKNOWN_TENANT if snapshot is None else snapshot.decide(asked.question)
        took_ns = perf_counter_ns() - began
        call, decision_id = self._call(tenant, snapshot, origin)
        return self._answer(call, asked, _Made(decision, decision_id, took_ns), timeout_s)

    def explain(
        self, tenant: Tenant, asked: Asked, origin: Origin, revision: str = "", timeout_s: float = 10.0
    ) -> tuple[Answer, Explanation]:
        """As `check`, with the grounds."""
        snapshot = self._snapshot(tenant, revision, timeout_s)
        began = perf_counter_ns()
        question = asked.question
        explanation = unknown_tenant(tenant, question) if snapshot is None else explain(snapshot, question)
        took_ns = perf_counter_ns() - began
        call, decision_id = self._call(tenant, snapshot, origin)
        answer = self._answer(call, asked, _Made(explanation.decision, decision_id, took_ns), timeout_s)
        return answer, explanation

    def batch(
        self,
        tenant: Tenant,
        items: Sequence[Asked | MalformedQuestionError],
        origin: Origin,
        revision: str = "",
        timeout_s: float = 10.0,
    ) -> tuple[str, list[Answer | MalformedQuestionError]]:
        """The revision and one result an item, in order. A malformed item stays what it is and is not recorded."""
        snapshot = self._snapshot(tenant, revision, timeout_s)
        time_us, ids = self.ids.stamp(len(items) + 1)
        call = _Call(tenant, "" if snapshot is None else snapshot.revision, origin, time_us, ids.pop())
        results: list[Answer | MalformedQuestionError] = []
        records: list[DecisionRecord] = []
        counts: Counter[tuple[str, str, str]] = Counter()
        for position, (item, decision_id) in enumerate(zip(items, ids, strict=True)):
            if isinstance(item, MalformedQuestionError):
                results.append(item)
                continue
            began = perf_counter_ns()
            try:
                decision = _UNKNOWN_TENANT if snapshot is None else snapshot.decide(item.question)
            except MalformedQuestionError as error:
                results.append(error)
                continue
            took_ns = perf_counter_ns() - began
            counts[decision.recorded] += 1
            results.append(Answer(decision, decision_id, call.revision))
            records.append(self._record(call, item, _Made(decision, decision_id, took_ns, position)))
        self.journal.offer(records, timeout_s)
        for recorded, count in counts.items():
            self._count(call, recorded, count)
        return call.revision, results

    def _snapshot(self, tenant: Tenant, revision: str, timeout_s: float) -> Snapshot | None:
        if revision:
            return self.cell.snapshot_at(tenant, revision, min(self.revision_wait_s, timeout_s))
        return self.cell.snapshot(tenant)

    def _call(self, tenant: Tenant, snapshot: Snapshot | None, origin: Origin) -> tuple[_Call, bytes]:
        """A call of one decision, and that decision's id."""
        time_us, (decision_id, call_id) = self.ids.stamp(2)
        return _Call(tenant, "" if snapshot is None else snapshot.revision, origin, time_us, call_id), decision_id

    def _answer(self, call: _Call, asked: Asked, made: _Made, timeout_s: float) -> Answer:
        self.journal.offer((self._record(call, asked, made),), timeout_s)
        self._count(call, made.decision.recorded)
        return Answer(made.decision, made.decision_id, call.revision)

    def _count(self, call: _Call, recorded: tuple[str, str, str], count: int = 1) -> None:
        # Names of tenants that do not exist are the caller's invention: as labels they would grow without bound.
        self.metrics.decided(call.tenant if call.revision else "", recorded[0], recorded[1], count)

    def _record(self, call: _Call, asked: Asked, made: _Made) -> DecisionRecord:
        tenant, revision, (caller, on_behalf_of, trace_id), time_us, call_id = call
        decision, decision_id, took_ns, position = made
        (principal, action, kind, namespace), resource_id = asked
        effect, reason, rule = decision.recorded
        return DecisionRecord(
            decision_id,
            time_us,
            self.node,
            caller,
            on_behalf_of,
            tenant,
            namespace,
            principal,
            action,
            kind,
            resource_id,
            effect,
            reason,
            rule,
            revision,
            took_ns,
            call_id,
            position,
            trace_id,
        )
