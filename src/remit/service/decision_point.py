"""Answers questions: one snapshot decides, and the record is committed before the answer leaves.

The module is long because every way to ask ends in the same steps, which are read in one place.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter_ns
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from remit.audit.batch import EMPTY_BATCH, CallFields, ItemFields, RecordBatch
from remit.audit.errors import JournalUnavailable
from remit.audit.ids import DecisionIds
from remit.audit.journal.pending import Callback
from remit.audit.record import ASKED_TENANT, POSITION, ROUTE, VIA, DecisionRecord
from remit.core.decision import Decision, Reason
from remit.core.errors import MalformedQuestionError
from remit.core.gateway import NO_ROUTES, HttpRequest, RouteTable, route_of
from remit.core.names import RESOURCE_ID_LIMIT, Principal, Tenant
from remit.core.question import Question, QuestionType, ReachQuestion
from remit.core.rows import Effect
from remit.engine.inquiry import Inquiry
from remit.engine.queries.operations import Compound
from remit.engine.snapshot import Snapshot
from remit.policy.live import LivePolicies, Requirement
from remit.service.compute_turns import waiting
from remit.service.sampling import RECORD_EVERYTHING, RecordPolicy

_UNKNOWN_TENANT: Final = Decision(Effect.DENY, Reason.UNKNOWN_TENANT)
_NO_ROUTE: Final = Decision(Effect.DENY, Reason.NO_ROUTE)
_SINGLE: Final = -1
_DETAILS: Final = 1_024
_NOTHING: Final[Mapping[str, object]] = {}
_FEW: Final = 16
_QUICK_NS: Final = 2_000_000
"""Records of an answer, and its time, up to which another thread may work for the same caller while they are written."""
NO_HURRY_NS: Final = 1 << 62

_Answer = TypeVar("_Answer")
_Other = TypeVar("_Other")
_Asked = TypeVar("_Asked")
_Answer_co = TypeVar("_Answer_co", covariant=True)


class CallOrigin(NamedTuple):
    """The origin of a call. It is recorded and never changes a decision."""

    caller: str
    """The authenticated service that sends the call."""
    on_behalf_of: str = ""
    trace_id: str = ""
    via: str = ""
    """The name of the caller's credential, if `caller` does not show it."""


class CallTerms(NamedTuple):
    origin: CallOrigin
    required: Requirement | None = None
    """Which policy may answer; None for the one that serves."""
    timeout_s: float = 10.0
    waits: bool = True
    """False if the call must not wait for the required policy: MustWaitError."""


AskedQuestion = tuple[Question | ReachQuestion, str]
"""A question and the id of its resource. The id is recorded and never changes a decision."""
Ask = Callable[[Snapshot | None], _Asked]
"""From the snapshot that answers, None for an unknown tenant, to what is asked."""

Decided = tuple[Decision, bytes]
"""The decision of one batch item, and the id of that decision."""


class OverBudgetError(Exception):
    """The decisions of a batch took longer than allowed. Nothing was answered or recorded."""


class MustWaitError(Exception):
    """The required policy does not serve yet, and the call must not wait for it. Nothing was answered or recorded."""


class CheckAnswer(NamedTuple):
    decision: Decision
    decision_id: bytes
    revision: str
    position: str
    """The position of the policy that decided, as text; '' without a policy store."""


class SeveralAnswers(NamedTuple, Generic[_Asked]):
    """Answers by one policy."""

    revision: str
    position: str
    answers: Sequence[_Asked]


@dataclass(frozen=True, slots=True)
class InquiryAnswer(Generic[_Answer]):
    answer: _Answer | None
    """None if there is no answer; `reason` says why."""
    reason: Reason | None
    decision: Decision | None
    """The decision, if the answer amounts to a single one."""
    decision_id: bytes
    revision: str
    position: str


class PendingAnswer(NamedTuple, Generic[_Answer_co]):
    """An answer that waits for its records: `DecisionPoint.commit` writes the records and releases the answer."""

    answer: _Answer_co
    records: RecordBatch
    counted: Mapping[tuple[str, str, str], int]
    """Number of decisions by tenant, effect and reason."""
    timeout_s: float
    """The longest time that the answer may wait, in seconds."""
    took_ns: int = 0
    """The time that the decisions took, in nanoseconds."""

    def with_answer(self, answer: _Other) -> "PendingAnswer[_Other]":
        """Returns a copy with another answer and the same records."""
        return PendingAnswer(answer, *self[1:])


_Called = tuple[CallFields, Sequence[bytes], str]
"""The fields of a call, the ids of its records, and the position of its policy."""


class RecordQueue(Protocol):
    """What takes the records before their answers leave: a `Journal`, or nothing that keeps them."""

    def offer(
        self, records: Sequence[DecisionRecord], timeout_s: float | None, unrecorded: Sequence[DecisionRecord], /
    ) -> None:
        """Returns once they are recorded. Raises JournalUnavailable if they may not be."""

    def offer_then(
        self, records: Sequence[DecisionRecord], callback: Callback, unrecorded: Sequence[DecisionRecord], /
    ) -> bool:
        """As `offer`, without a wait: calls `callback`. False, and nothing is offered, if there is no room."""


class DecisionMetrics(Protocol):
    """Counts decisions."""

    def decided(self, tenant: str, effect: str, reason: str, count: int = 1) -> None: ...

    def unrecorded(self, decisions: int) -> None: ...


class DecisionReader(Protocol):
    """Reads every decision after it is recorded, and is not waited for."""

    def offer(self, records: Sequence[DecisionRecord], /) -> None: ...


@dataclass(frozen=True, slots=True)
class DecisionPoint:
    """Answers questions. One snapshot gives each answer, and the record is committed first (delivery `before_answer`).

    Every method raises MalformedQuestionError, TenantUnavailableError, RevisionNotCurrentError, MustWaitError or
    JournalUnavailable. After such an error nothing was answered.
    """

    node: str
    live: LivePolicies
    journal: RecordQueue
    ids: DecisionIds
    metrics: DecisionMetrics
    revision_wait_s: float
    record_policy: RecordPolicy = RECORD_EVERYTHING
    shadow: DecisionReader | None = None
    """The shadow, which receives every decision after it is recorded; None without the setting `shadow`."""

    def check(self, tenant: Tenant, asked: AskedQuestion, terms: CallTerms) -> PendingAnswer[CheckAnswer]:
        return self.check_as(tenant, lambda _: asked, terms)

    def check_as(self, tenant: Tenant, ask: Ask[AskedQuestion], terms: CallTerms) -> PendingAnswer[CheckAnswer]:
        """The same for a question that the policy itself spells: one snapshot gives the question and the answer."""
        snapshot = self.snapshot(tenant, terms)
        question, resource_id = ask(snapshot)
        began = perf_counter_ns()
        decision = _UNKNOWN_TENANT if snapshot is None else snapshot.answer(question)
        took_ns = perf_counter_ns() - began
        called = self._call(tenant, snapshot, terms, question.question_type)
        return _checked(called, (question.columns, resource_id), decision, took_ns, terms.timeout_s)

    def check_request(
        self, tenant: Tenant, principal: Principal, request: HttpRequest, routes: RouteTable | None, terms: CallTerms
    ) -> PendingAnswer[CheckAnswer]:
        """Decides a request of a gateway by the question of its route: one of `routes`, or without them one of the
        tenant's own, from the snapshot whose rows decide.

        Raises RefusedPathError too.
        """
        snapshot = self.snapshot(tenant, terms)
        began = perf_counter_ns()
        table = routes if routes is not None else NO_ROUTES if snapshot is None else snapshot.routes
        route, segments = route_of(table, request)
        decision = _UNKNOWN_TENANT if snapshot is None else _NO_ROUTE
        # The path is where audits look for the id of a resource, and where they may hash it.
        asked = (principal, request.method, "", ""), "/".join(("", *segments))[:RESOURCE_ID_LIMIT]
        detail = _NOTHING
        if route is not None:
            question, resource_id = route.question(principal, segments)
            if snapshot is not None:
                decision = snapshot.decide(question)
            asked, detail = (question, resource_id), {ROUTE: route.text}
        took_ns = perf_counter_ns() - began
        called = self._call(tenant, snapshot, terms, QuestionType.CHECK, detail=detail)
        return _checked(called, asked, decision, took_ns, terms.timeout_s)

    def batch(
        self,
        tenant: Tenant,
        items: Sequence[AskedQuestion | MalformedQuestionError],
        terms: CallTerms,
        question_type: QuestionType = QuestionType.CHECK,
        *,
        within_ns: int = NO_HURRY_NS,
    ) -> PendingAnswer[SeveralAnswers[Decided | MalformedQuestionError]]:
        """Decides every item. Returns one answer per item, in order.

        The answer to a malformed item is its error, and it is not recorded. Raises OverBudgetError, with nothing
        recorded, if the first items took longer than `within_ns`.
        """
        return self.batch_as(tenant, lambda _: items, terms, question_type, within_ns=within_ns)

    def batch_as(
        self,
        tenant: Tenant,
        ask: Ask[Sequence[AskedQuestion | MalformedQuestionError]],
        terms: CallTerms,
        question_type: QuestionType = QuestionType.CHECK,
        *,
        within_ns: int = NO_HURRY_NS,
        stop_at: Effect | None = None,
    ) -> PendingAnswer[SeveralAnswers[Decided | MalformedQuestionError]]:
        """The same for questions that the policy itself spells.

        With `stop_at`, the first decision with this effect is the last, and later items are neither decided nor recorded.
        A malformed item counts as a deny.
        """
        snapshot = self.snapshot(tenant, terms)
        items = ask(snapshot)
        called = self._call(tenant, snapshot, terms, question_type, records=len(items))
        return self._batch(called, snapshot, items, terms.timeout_s, within_ns=within_ns, stop_at=stop_at)

    def commit(self, held: PendingAnswer[_Answer]) -> _Answer:
        """Waits until the records are committed or accepted, as the delivery asks, and returns the answer."""
        if not held.records:
            return held.answer
        recorded, unrecorded = self.record_policy.split(held.records)
        # After much work the caller has had its turn: others come first until the record is written.
        light = len(recorded) <= _FEW and held.took_ns <= _QUICK_NS
        with waiting() if light else nullcontext():
            self.journal.offer(recorded, held.timeout_s, unrecorded)
        self._count(held, len(unrecorded))
        return held.answer

    def commit_then(self, held: PendingAnswer[_Answer], callback: Callback) -> bool:
        """Does the same as `commit` without waiting: see `Journal.offer_then`."""
        if not held.records:
            callback(None)
            return True

        recorded, unrecorded = self.record_policy.split(held.records)

        def committed(error: JournalUnavailable | None) -> None:
            if error is None:
                self._count(held, len(unrecorded))
            callback(error)

        return self.journal.offer_then(recorded, committed, unrecorded)

    def operation(
        self,
        tenant: Tenant,
        compound: Compound,
        resource_id: str,
        terms: CallTerms,
    ) -> SeveralAnswers[tuple[Question, Decided]]:
        """Decides a compound operation. Returns each part with its decision."""
        snapshot = self.snapshot(tenant, terms)
        # An unknown tenant has no known operations: one part stands for the whole operation.
        parts = [compound.whole] if snapshot is None else compound.parts(snapshot.policy)
        detail = {"operation": compound.operation, "namespace": compound.namespace}
        called = self._call(tenant, snapshot, terms, QuestionType.OPERATION, detail=detail, records=len(parts))
        items = [(part, resource_id) for part in parts]
        answered: list[tuple[Question, Decided]] = []
        decided = self.commit(self._batch(called, snapshot, items, terms.timeout_s))
        for part, answer in zip(parts, decided.answers, strict=True):
            if isinstance(answer, MalformedQuestionError):
                raise answer
            answered.append((part, answer))
        return SeveralAnswers(decided.revision, decided.position, answered)

    def survey(
        self,
        tenant: Tenant,
        inquiry: Inquiry[_Answer],
        terms: CallTerms,
        resource_id: str = "",
    ) -> InquiryAnswer[_Answer]:
        """Answers a question that needs more than one decision, and writes one record. Raises TooLargeError too."""
        return self.survey_as(tenant, lambda _: (inquiry, resource_id), terms)

    def survey_as(
        self, tenant: Tenant, ask: Ask[tuple[Inquiry[_Answer], str]], terms: CallTerms
    ) -> InquiryAnswer[_Answer]:
        """The same for a question that the policy itself spells."""
        snapshot = self.snapshot(tenant, terms)
        inquiry, resource_id = ask(snapshot)
        began = perf_counter_ns()
        reason = Reason.UNKNOWN_TENANT if snapshot is None else inquiry.refusal(snapshot)
        answer: _Answer | None = None
        decision = Decision(Effect.DENY, reason) if inquiry.decides and reason is not None else None
        if snapshot is not None and reason is None:
            answer = inquiry.answer(snapshot)
            decision = inquiry.decision(answer)
        took_ns = perf_counter_ns() - began
        detail = inquiry.detail(answer) if answer is not None else _NOTHING
        call, (decision_id,), position = self._call(tenant, snapshot, terms, inquiry.question_type, detail=detail)
        recorded = decision.recorded if decision is not None else ("", reason.value if reason is not None else "", "")
        item = (decision_id, *inquiry.columns, resource_id, *recorded, took_ns, _SINGLE)
        surveyed = InquiryAnswer(answer, reason, decision, decision_id, call.revision, position)
        counted = {} if decision is None else {(call.tenant, recorded[0], recorded[1]): 1}
        return self.commit(PendingAnswer(surveyed, RecordBatch((call, (item,))), counted, terms.timeout_s, took_ns))

    def _batch(
        self,
        called: _Called,
        snapshot: Snapshot | None,
        items: Sequence[AskedQuestion | MalformedQuestionError],
        timeout_s: float,
        *,
        within_ns: int = NO_HURRY_NS,
        stop_at: Effect | None = None,
    ) -> PendingAnswer[SeveralAnswers[Decided | MalformedQuestionError]]:
        started = perf_counter_ns()
        call, ids, position = called
        until = started + within_ns
        results: list[Decided | MalformedQuestionError] = []
        made: list[ItemFields] = []
        counts: dict[tuple[str, str, str], int] = {}
        answer = None if snapshot is None else snapshot.answer
        for index, (item, decision_id) in enumerate(zip(items, ids, strict=True)):
            if isinstance(item, MalformedQuestionError):
                results.append(item)
                if stop_at is Effect.DENY:
                    break
                continue
            question, resource_id = item
            began = perf_counter_ns()
            if began > until:
                raise OverBudgetError
            try:
                decision = _UNKNOWN_TENANT if answer is None else answer(question)
            except MalformedQuestionError as error:
                results.append(error)
                if stop_at is Effect.DENY:
                    break
                continue
            took_ns = perf_counter_ns() - began
            recorded = decision.recorded
            counts[recorded] = counts.get(recorded, 0) + 1
            results.append((decision, decision_id))
            made.append((decision_id, *question.columns, resource_id, *recorded, took_ns, index))
            if decision.effect is stop_at:
                break
        counted: Counter[tuple[str, str, str]] = Counter()
        for recorded, count in counts.items():
            counted[call.tenant, recorded[0], recorded[1]] += count
        records = RecordBatch((call, made)) if made else EMPTY_BATCH
        answers = SeveralAnswers(call.revision, position, results)
        return PendingAnswer(answers, records, counted, timeout_s, perf_counter_ns() - started)

    def _count(self, held: PendingAnswer[_Answer], unrecorded: int) -> None:
        if unrecorded:
            self.metrics.unrecorded(unrecorded)
        for (tenant, effect, reason), count in held.counted.items():
            self.metrics.decided(tenant, effect, reason, count)
        if self.shadow is not None:
            self.shadow.offer(held.records)

    def snapshot(self, tenant: Tenant, terms: CallTerms) -> Snapshot | None:
        """The policy that may answer; None if no such tenant is configured. Raises TenantUnavailableError,
        RevisionNotCurrentError, and MustWaitError as the terms say."""
        required = terms.required
        if required is None:
            return self.live.snapshot(tenant)
        snapshot = self.live.snapshot_as(tenant, required)
        if snapshot is not None:
            return snapshot
        if not terms.waits:
            raise MustWaitError
        with waiting():
            return self.live.snapshot_at(tenant, required, min(self.revision_wait_s, terms.timeout_s))

    def _call(
        self,
        tenant: Tenant,
        snapshot: Snapshot | None,
        terms: CallTerms,
        question_type: QuestionType,
        *,
        detail: Mapping[str, object] = _NOTHING,
        records: int = 1,
    ) -> _Called:
        time_us, ids = self.ids.stamp(records + 1)
        revision = position = ""
        recorded_tenant: str = tenant
        if snapshot is not None:
            revision = snapshot.revision
            if snapshot.position is not None:
                position = str(snapshot.position)
        else:
            # Callers can invent any number of tenant names: all their records share one chain, which has no tenant.
            recorded_tenant, detail = "", {**detail, ASKED_TENANT: tenant}
        caller, on_behalf_of, trace_id, via = terms.origin
        if via or position:
            detail_json = _json({**detail, **_of_call(via, position)}) if detail else _of_call_json(via, position)
        else:
            detail_json = _json(detail) if detail else ""
        asked = question_type.value
        call = CallFields(
            time_us, self.node, caller, on_behalf_of, recorded_tenant, revision, ids.pop(), trace_id, asked, detail_json
        )
        return call, ids, position


def _checked(
    called: _Called,
    asked: tuple[tuple[str, str, str, str], str],
    decision: Decision,
    took_ns: int,
    timeout_s: float,
) -> PendingAnswer[CheckAnswer]:
    call, (decision_id,), position = called
    columns, resource_id = asked
    item = (decision_id, *columns, resource_id, *decision.recorded, took_ns, _SINGLE)
    effect, reason, _ = decision.recorded
    counted = {(call.tenant, effect, reason): 1}
    answer = CheckAnswer(decision, decision_id, call.revision, position)
    return PendingAnswer(answer, RecordBatch((call, (item,))), counted, timeout_s, took_ns)


def _json(detail: Mapping[str, object]) -> str:
    return json.dumps(detail, sort_keys=True, separators=(",", ":"))


@lru_cache(_DETAILS)
def _of_call_json(via: str, position: str) -> str:
    """The detail of a plain check: the same for every call by this credential at this position."""
    return _json(_of_call(via, position))


def _of_call(via: str, position: str) -> dict[str, str]:
    return {name: text for name, text in ((VIA, via), (POSITION, position)) if text}
