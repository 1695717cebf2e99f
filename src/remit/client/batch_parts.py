"""A batch that is longer than a server takes, asked in parts."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from remit.client.answers import Answer
from remit.client.call import ClientCall
from remit.client.errors import DecisionUnavailable, MalformedQuestion
from remit.client.retry import only_questions

_PART: Final = 100
"""A server's default `batch_limit`."""

Question = TypeVar("Question")


class BatchParts(Generic[Question]):
    """The calls of one batch, one after another, and their results in the order of the questions.

    Until there is no `next_call`, give each one's results to `add`, or its refusal to `halve`.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Question], str], ClientCall[Any, list[Answer | DecisionUnavailable]]],
        questions: Sequence[Question],
        revision: str,
    ) -> None:
        """`call` makes the call for some questions and the revision that must answer them. Raises MalformedQuestion if
        `questions` are none."""
        with only_questions():
            self._questions = list(questions)
        self._call = call
        self._revision = revision
        self._decided_by: str | None = None
        self._size = _PART
        self.results: list[Answer | DecisionUnavailable] = []

    def next_call(self) -> ClientCall[Any, list[Answer | DecisionUnavailable]] | None:
        """The call for the next questions. A batch without questions is asked too: the server refuses it."""
        done = len(self.results)
        if done and done == len(self._questions):
            return None
        return self._call(self._questions[done : done + self._size], self._revision)

    def add(self, results: list[Answer | DecisionUnavailable]) -> None:
        """Raises DecisionUnavailable if another revision than that of the parts before decided."""
        for each in results:
            if isinstance(each, Answer):
                if self._decided_by is None:
                    self._decided_by = each.revision
                    self._revision = self._revision or each.revision
                elif self._decided_by != each.revision:
                    raise DecisionUnavailable("FAILED_PRECONDITION", "the policy changed while the batch was asked")
        self.results += results

    def halve(self, refusal: MalformedQuestion) -> None:
        """Asks for smaller parts from now on. Raises the refusal if it is not about the number of questions."""
        asked = min(self._size, len(self._questions) - len(self.results))
        if asked < 2 or all(each.field != "questions" for each in refusal.violations):  # noqa: PLR2004 (one is not halved)
            raise refusal
        self._size = asked // 2
