from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

_Name = TypeVar("_Name")


class RemitError(Exception):
    """Base of every error that remit raises on purpose."""


class InvalidNameError(RemitError, ValueError):
    """A text is outside the grammar of the name it should be. The message quotes it and says what was expected."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A wrong field of a question: its path (`namespace`, `question.kind`), and what was expected."""

    field: str
    description: str


class MalformedQuestionError(RemitError, ValueError):
    """No decision is possible: the question itself is wrong. Neither an allow nor a deny, and never recorded as one."""

    def __init__(self, *violations: FieldViolation) -> None:
        super().__init__("; ".join(f"{each.field}: {each.description}" for each in violations))
        self.violations = violations

    def __reduce__(self) -> tuple[type["MalformedQuestionError"], tuple[FieldViolation, ...]]:
        """Keeps the error equal when it is pickled to another process."""
        return type(self), self.violations


def malformed(field: str, error: InvalidNameError) -> FieldViolation:
    """The violation of a field by a text outside its grammar. It names the field once: `tenant: is missing`."""
    return FieldViolation(field, str(error).removeprefix(f"{field} "))


def named(field: str, parse: Callable[[str], _Name], text: str) -> _Name:
    """The name in a field of a question; raises MalformedQuestionError if the text is outside its grammar."""
    try:
        return parse(text)
    except InvalidNameError as error:
        raise MalformedQuestionError(malformed(field, error)) from None


def each_named(field: str, parse: Callable[[str], _Name], texts: Sequence[str]) -> tuple[_Name, ...]:
    """The names in a repeated field. The first text outside the grammar is a violation at its own index."""
    try:
        return tuple(map(parse, texts))
    except InvalidNameError:
        for position, text in enumerate(texts):
            named(f"{field}[{position}]", parse, text)
        raise


def violation(field: str, description: str) -> MalformedQuestionError:
    return MalformedQuestionError(FieldViolation(field, description))
