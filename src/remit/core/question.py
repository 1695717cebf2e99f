from functools import partial
from typing import NamedTuple

from remit.core.errors import FieldViolation, InvalidNameError, MalformedQuestionError
from remit.core.names import (
    WHOLE_TENANT,
    Namespace,
    Principal,
    Word,
    is_namespace,
    is_principal,
    is_word,
    parse_namespace,
    parse_principal,
    parse_word,
)


class Question(NamedTuple):
    """One question of the access plane. Its tenant is the snapshot it is put to: there is no room for a second."""

    principal: Principal
    action: Word
    kind: Word
    namespace: Namespace = WHOLE_TENANT


class ReachQuestion(NamedTuple):
    """May work in namespace `caller` use what `owner` owns, by `relation`?"""

    caller: Namespace
    owner: Namespace
    relation: Word


def parse_question(principal: str, action: str, kind: str, namespace: str) -> Question:
    """Names from outside, each held against its grammar; an empty namespace is the tenant itself.

    Raises MalformedQuestionError with every field that is wrong.
    """
    if is_principal(principal) and is_word(action) and is_word(kind) and (not namespace or is_namespace(namespace)):
        return Question(Principal(principal), Word(action), Word(kind), Namespace(namespace))
    violations: list[FieldViolation] = []
    for field, parse, text in (
        ("principal", parse_principal, principal),
        ("action", partial(parse_word, "action"), action),
        ("kind", partial(parse_word, "kind"), kind),
        ("namespace", lambda text: text and parse_namespace(text), namespace),
    ):
        try:
            parse(text)
        except InvalidNameError as error:
            violations.append(FieldViolation(field, str(error)))
    raise MalformedQuestionError(*violations)
