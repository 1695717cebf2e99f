from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from remit.client.answers import Answer
    from remit.core.errors import FieldViolation


class AccessDenied(Exception):  # noqa: N818 (reads as the fact it states)
    """The answer is a deny. `answer` holds it."""

    def __init__(self, answer: "Answer") -> None:
        super().__init__(f"access denied: {answer.reason} (decision {answer.decision_id})")
        self.answer = answer


class DecisionUnavailable(Exception):  # noqa: N818
    """There is no answer: the server was not reached in time, could not decide, or refused the question. Never treat it
    as an allow.

    `code` is the name of the gRPC status code (`UNAVAILABLE`, `INVALID_ARGUMENT`, ...). A question that is malformed
    raises the subclass MalformedQuestion.
    """

    def __init__(self, code: str, message: str, violations: "Sequence[FieldViolation]" = ()) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.violations = tuple(violations)

    def __bool__(self) -> bool:
        """No answer is not an allow, also as a result of a batch."""
        return False


class MalformedQuestion(DecisionUnavailable):
    """The question has no answer, because a name in it has the wrong form or a value has the wrong type. To ask it again
    does not help.

    `code` is `INVALID_ARGUMENT`. `violations` names the fields, if the server refused the question.
    """

    def __init__(self, message: str, violations: "Sequence[FieldViolation]" = ()) -> None:
        super().__init__("INVALID_ARGUMENT", message, violations)
