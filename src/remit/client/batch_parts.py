"""A batch that is longer than a server takes, asked in parts."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message

from remit.client.answers import Answer
from remit.client.call import Terms
from remit.client.decode import results_of
from remit.client.errors import DecisionUnavailable, MalformedQuestion
from remit.client.retry import only_questions

_PART: Final = 100
"""A server's default `batch_limit`."""

Question = TypeVar("Question")


class BatchParts(Generic[Question]):
    """The requests of one batch, one after another, and their results in the order of the questions.

    Until there is no part left, send `request` and give its response to `read`, or its refusal to `halve`.
    """

    def __init__(
        self, request: Callable[[Sequence[Question]], Message], terms: Terms, questions: Sequence[Question]
    ) -> None:
        """`request` asks some of the questions. Raises MalformedQuestion if `questions` are none."""
        with only_questions():
            self._questions = list(questions)
        self._request = request
        self._terms = terms
        self._decided_by: str | None = None
        self._size = _PART
        self.results: list[Answer | DecisionUnavailable] = []

    @property
    def left(self) -> bool:
        """Whether a part is left. A batch without questions has one: the server refuses it."""
        return not self.results or len(self.results) < len(self._questions)

    def _part(self) -> Sequence[Question]:
        done = len(self.results)
        return self._questions[done : done + self._size]

    def request(self) -> Message:
        """The request for the next part."""
        return self._terms.bind(self._request(self._part()))

    def read(self, response: Any) -> None:
        """Raises DecisionUnavailable if another revision than that of the parts before decided."""
        results = results_of(response, len(self._part()))
        for each in results:
            if isinstance(each, Answer):
                if self._decided_by is None:
                    self._decided_by = each.revision
                    self._terms = self._terms._replace(revision=self._terms.revision or each.revision)
                elif self._decided_by != each.revision:
                    raise DecisionUnavailable("FAILED_PRECONDITION", "the policy changed while the batch was asked")
        self.results += results

    def halve(self, refusal: MalformedQuestion) -> None:
        """Asks for smaller parts from now on. Raises the refusal if it is not about the number of questions."""
        asked = len(self._part())
        if asked < 2 or all(each.field != "questions" for each in refusal.violations):  # noqa: PLR2004 (one is not halved)
            raise refusal
        self._size = asked // 2
