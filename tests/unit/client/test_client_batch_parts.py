"""A long batch: which parts are asked, by which revision, and what counts as its results."""

from collections.abc import Sequence
from typing import Any

import pytest

from remit.client import Answer, DecisionUnavailable, MalformedQuestion
from remit.client.batch_parts import BatchParts
from remit.client.call import ClientCall
from remit.core.decision import Reason
from remit.core.errors import FieldViolation
from remit.core.rows import Effect

TOO_MANY = MalformedQuestion("too many", [FieldViolation("questions", "holds 100 questions: expected 1 to 30")])


def answer(number: int, revision: str = "r1") -> Answer:
    return Answer(Effect.ALLOW, Reason.ALLOWED_BY_RULE, str(number), revision)


class FakeServer:
    """Answers each question with its number, or refuses parts longer than `limit`."""

    def __init__(self, limit: int = 100, revisions: Sequence[str] = ("r1",)) -> None:
        self.asked: list[tuple[int, str]] = []
        self._limit, self._revisions = limit, list(revisions)

    def call(self, part: Sequence[int], revision: str) -> ClientCall[Any, list[Answer | DecisionUnavailable]]:
        def read(_: Any) -> list[Answer | DecisionUnavailable]:
            self.asked.append((len(part), revision))
            if len(part) > self._limit:
                raise TOO_MANY
            now = self._revisions.pop(0) if len(self._revisions) > 1 else self._revisions[0]
            return [answer(each, now) if each >= 0 else MalformedQuestion("no") for each in part]

        return ClientCall(lambda: None, read)  # type: ignore[arg-type, return-value]

    def answers(self, questions: Sequence[int], revision: str = "") -> list[Answer | DecisionUnavailable]:
        batch = BatchParts(self.call, questions, revision)
        while (call := batch.next_call()) is not None:
            try:
                batch.add(call.read(None))
            except MalformedQuestion as refusal:
                batch.halve(refusal)
        return batch.results


def test_results_are_in_the_order_of_the_questions() -> None:
    server = FakeServer()

    assert [answer(each) for each in range(250)] == server.answers(range(250))
    assert [(100, ""), (100, "r1"), (50, "r1")] == server.asked


@pytest.mark.parametrize(("questions", "calls"), [(0, [0]), (1, [1]), (100, [100]), (101, [100, 1]), (200, [100, 100])])
def test_parts_are_as_long_as_a_server_takes_by_default(questions: int, calls: list[int]) -> None:
    server = FakeServer()
    batch = BatchParts(server.call, range(questions), "")
    for _ in calls:
        call = batch.next_call()
        assert call
        batch.add(call.read(None))

    assert calls == [each for each, _ in server.asked]
    assert (batch.next_call() is None) == (questions > 0)


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
    batch = BatchParts(FakeServer().call, range(questions), "")

    with pytest.raises(MalformedQuestion, match="no tenant"):
        batch.halve(refusal)
