from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Generic, TypeVar

from remit.core.decision import Decision, Reason
from remit.core.errors import RemitError
from remit.core.question import QuestionType
from remit.engine.snapshot import Snapshot

_Answer = TypeVar("_Answer")


class TooLargeError(RemitError):
    """The complete answer exceeds the size limit. remit never truncates an answer."""


class Inquiry(ABC, Generic[_Answer]):
    """A question to one snapshot with more in the answer than one decision."""

    question_type: ClassVar[QuestionType]
    decides: ClassVar[bool] = False
    """True if the answer comes down to one decision."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, str, str, str]:
        """Principal, action, kind and namespace for the audit record; a field that the question leaves open is ''."""

    def refusal(self, snapshot: Snapshot) -> Reason | None:
        """The reason why there is no answer, decided before any row; None if there is an answer.

        Raises MalformedQuestionError as `Snapshot.decide` does.
        """
        del snapshot
        return None

    @abstractmethod
    def answer(self, snapshot: Snapshot) -> _Answer:
        """The whole answer. Raises TooLargeError if it would be too large, MalformedQuestionError if this policy's
        vocabulary does not allow the question."""

    def decision(self, answer: _Answer) -> Decision | None:
        """The one decision that the answer comes down to; None if the answer is a list."""
        del answer
        return None

    def detail(self, answer: _Answer) -> Mapping[str, object]:
        """What the audit keeps of the answer beside its decision: counts, and what was withheld."""
        del answer
        return {}
