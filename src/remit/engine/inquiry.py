from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Generic, TypeVar

from remit.core.decision import Decision, Reason
from remit.core.errors import RemitError
from remit.core.question import QuestionType
from remit.engine.snapshot import Snapshot

_Answer = TypeVar("_Answer")


class TooLargeError(RemitError):
    """The complete answer is larger than an answer may be. It is never cut instead."""


class Inquiry(ABC, Generic[_Answer]):
    """A question to one snapshot whose answer is more than one decision."""

    question_type: ClassVar[QuestionType]
    decides: ClassVar[bool] = False
    """Whether the answer comes down to one decision."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, str, str, str]:
        """Principal, action, kind and namespace as an audit record holds them; what is left open is empty."""

    def refusal(self, snapshot: Snapshot) -> Reason | None:
        """Why there can be no answer, decided before any row; None where there can be one.

        Raises MalformedQuestionError as `Snapshot.decide` does.
        """
        del snapshot
        return None

    @abstractmethod
    def answer(self, snapshot: Snapshot) -> _Answer:
        """The whole answer. Raises TooLargeError where it would be too large, MalformedQuestionError for a question that
        this policy's vocabulary cannot put."""

    def decision(self, answer: _Answer) -> Decision | None:
        """The one decision that the answer comes down to; None where it is a list."""
        del answer
        return None

    def detail(self, answer: _Answer) -> Mapping[str, object]:
        """What the audit keeps of the answer beside its decision: counts, and what was withheld."""
        del answer
        return {}
