"""A long batch: which parts are asked, by which revision, and what counts as its results."""

from collections.abc import Sequence
from typing import Any

import pytest

from remit.client import Answer, DecisionUnavailable, MalformedQuestion
from remit.client.batch_parts import BatchParts
from remit.client.call import Terms
from remit.core.decision import Reason
from remit.core.errors import FieldViolation
from remit.core.rows import Effect
from remit.v1.access_service_pb2 import BatchCheckRequest, BatchCheckResponse, Question
from remit.v1.decision_pb2 import BatchResult, Decision, ItemError

TOO_MANY = MalformedQuestion("too many", [FieldViolation("questions", "holds 100 questions: expected 1 to 30")])


def answer(number: int, revision: str = "r1") -> Answer:
    return Answer(Effect.ALLOW, Reason.ALLOWED_BY_RULE, str(number), revision)


class FakeServer:
    """Answers each question with its number, or refuses parts longer than `limit`."""

    def __init__(self, limit: int = 100, revisions: Sequence[str] = ("r1",)) -> None:
        self.asked: list[tuple[int, str]] = []
        self._limit, self._revisions = limit, list(revisions)

    def batch(self, questions: Sequence[int], revision: str = "") -> BatchParts[int]:
        return BatchParts(_request, Terms("acme", revision=revision), questions)

    def ask(self, batch: BatchParts[int]) -> None:
        request: Any = batch.request()
        self.asked.append((len(request.questions), request.revision))
        if len(request.questions) > self._limit:
            batch.halve(TOO_MANY)
            return
        now = self._revisions.pop(0) if len(self._revisions) > 1 else self._revisions[0]
        batch.read(BatchCheckResponse(revision=now, results=[_result(each) for each in request.questions]))

    def answers(self, questions: Sequence[int], revision: str = "") -> list[Answer | DecisionUnavailable]:
        batch = self.batch(questions, revision)
        while batch.left:
            self.ask(batch)
        return batch.results


def _request(part: Sequence[int]) -> BatchCheckRequest:
    return BatchCheckRequest(questions=[Question(principal=str(each)) for each in part])


def _result(question: Question) -> BatchResult:
    if question.principal.startswith("-"):
        return BatchResult(error=ItemError())
    allow = Decision(effect="EFFECT_ALLOW", reason="REASON_ALLOWED_BY_RULE", decision_id=question.principal)
    return BatchResult(decision=allow)


def test_results_are_in_the_order_of_the_questions() -> None:
    server = FakeServer()

    assert [answer(each) for each in range(250)] == server.answers(range(250))
    assert [(100, ""), (100, "r1"), (50, "r1")] == server.asked


@pytest.mark.parametrize(("questions", "calls"), [(0, [0]), (1, [1]), (100, [100]), (101, [100, 1]), (200, [100, 100])])
def test_parts_are_as_long_as_a_server_takes_by_default(questions: int, calls: list[int]) -> None:
    server = FakeServer()
    batch = server.batch(range(questions))
    for _ in calls:
        assert batch.left
        server.ask(batch)

    assert calls == [each for each, _ in server.asked]
    assert (not batch.left) == (questions > 0)


def test_a_required_revision_is_required_of_every_part() -> None:
    server = FakeServer()
    server.answers(range(101), "r1")

    assert [(100, "r1"), (1, "r1")] == server.asked


def test_a_first_part_of_malformed_questions_names_no_revision() -> None:
    server = FakeServer(revisions=["r1", "r2"])
    results = server.answers([*[-1] * 100, *range(101)])

    assert [(100, ""), (100, ""), (1, "r2")] == server.asked
    assert [answer(each, "r2") for each in range(101)] == results[100:]


def test_parts_by_two_revisions_are_no_answer() -> None:
    """As of a tenant that is unknown first: its answers have no revision to require."""
    with pytest.raises(DecisionUnavailable, match="the policy changed") as caught:
        FakeServer(revisions=["", "r2"]).answers(range(101))

    assert "FAILED_PRECONDITION" == caught.value.code


def test_a_server_that_takes_fewer_gets_smaller_parts() -> None:
    server = FakeServer(limit=30)

    assert [answer(each) for each in range(120)] == server.answers(range(120))
    assert [100, 50, 25, 25, 25, 25, 20] == [each for each, _ in server.asked]


@pytest.mark.parametrize("questions", [1, 100])
def test_another_refusal_is_raised(questions: int) -> None:
    refusal = MalformedQuestion("no tenant", [FieldViolation("tenant" if questions > 1 else "questions", "no")])
    batch = FakeServer().batch(range(questions))

    with pytest.raises(MalformedQuestion, match="no tenant"):
        batch.halve(refusal)
