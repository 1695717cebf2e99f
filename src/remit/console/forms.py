"""Inputs of a form. What was typed stays in the form, also when it cannot be asked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from remit.client import DecisionUnavailable, MalformedQuestion
from remit.console.visit import BadInputError, Visit


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    label: str
    value: str
    hint: str = ""
    error: str = ""
    options: Sequence[str] | Mapping[str, str] | None = None
    """All values that can be chosen, or the words for each; None for any text."""
    list: str = ""


@dataclass(frozen=True, slots=True)
class Input:
    """A field of a page, before anybody has typed."""

    name: str
    label: str
    hint: str = ""
    asked_as: str = ""
    """The field of the server's request, where it has another name."""
    options: Sequence[str] | None = None
    list: str = ""
    """Which words of the vocabulary it takes: `kinds`, `actions` or `relations`."""


def fields(
    inputs: Iterable[Input],
    visit: Visit,
    errors: Mapping[str, str] | None = None,
    typed: Mapping[str, str] | None = None,
) -> list[Field]:
    """`typed` is what a posted form says, in place of the URL."""
    given = typed if typed is not None else visit.query
    return [
        Field(
            each.name,
            each.label,
            given.get(each.name, "").strip(),
            each.hint,
            (errors or {}).get(each.name, ""),
            each.options,
            each.list,
        )
        for each in inputs
    ]


def missing(inputs: Iterable[Input], given: Mapping[str, str], *required: str) -> dict[str, str]:
    """Errors of the required inputs that somebody left empty. A link that names only some of them is no mistake."""
    hints = {each.name: each.hint for each in inputs}
    return {
        name: f"is missing{f': for example {hints[name]}' if hints[name] else ''}"
        for name in required
        if name in given and not given[name].strip()
    }


def errors_of(inputs: Iterable[Input], refusal: MalformedQuestion) -> dict[str, str]:
    """What the server says of each input. What is about none of them stands under ''."""
    names = {each.asked_as or each.name: each.name for each in inputs}
    found: dict[str, str] = {}
    for violation in refusal.violations:
        path = violation.field.rpartition(".")[2]
        found.setdefault(names.get(path, ""), violation.description)
    return found or {"": refusal.message}


def errors_at(inputs: Iterable[Input], visit: Visit, refusal: DecisionUnavailable | BadInputError) -> dict[str, str]:
    """What stands at the inputs. Raises the error if it is about none of them."""
    if isinstance(refusal, BadInputError):
        if refusal.field not in {each.name for each in inputs}:
            raise refusal
        return {refusal.field: refusal.message}
    if isinstance(refusal, MalformedQuestion):
        return errors_of(inputs, refusal)
    if refusal.code != "FAILED_PRECONDITION" or not visit.text("rev"):
        raise refusal
    return {"rev": refusal.message}
