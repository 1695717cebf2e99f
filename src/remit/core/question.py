from collections.abc import Callable
from typing import NamedTuple

from remit.core.errors import FieldViolation, InvalidNameError, MalformedQuestionError, malformed
from remit.core.names import (
    WHOLE_TENANT,
    Namespace,
    Principal,
    Word,
    is_namespace,
    is_principal,
    is_word,
    optional_namespace,
    parse_action,
    parse_kind,
    parse_namespace,
    parse_principal,
    parse_relation,
)
from remit.core.str_enum import StrEnum


class QuestionType(StrEnum):
    """The type of a question, as the audit records it."""

    CHECK = "CHECK"
    EXPLAIN = "EXPLAIN"
    OPERATION = "OPERATION"
    """A part of a compound operation."""
    REACH = "REACH"
    REACH_EXPLAIN = "REACH_EXPLAIN"
    REACH_ALL = "REACH_ALL"
    REACHABLE = "REACHABLE"
    ACTIONS = "ACTIONS"
    NAMESPACES = "NAMESPACES"
    PRINCIPALS = "PRINCIPALS"
    MATRIX = "MATRIX"
    HELD = "HELD"
    FILTER = "FILTER"
    GRAPH = "GRAPH"
    DEDICATED = "DEDICATED"
    SERVED = "SERVED"


class Question(NamedTuple):
    """One question of the access plane. It has no room for a tenant: the snapshot that answers it has one."""

    principal: Principal
    action: Word
    kind: Word
    namespace: Namespace = WHOLE_TENANT

    @property
    def question_type(self) -> QuestionType:
        return QuestionType.CHECK

    @property
    def columns(self) -> tuple[str, str, str, str]:
        """Principal, action, kind and namespace, as in an audit record."""
        return self


class ReachQuestion(NamedTuple):
    """May work in namespace `caller` use what `owner` owns, by `relation`?"""

    caller: Namespace
    owner: Namespace
    relation: Word

    @property
    def question_type(self) -> QuestionType:
        return QuestionType.REACH

    @property
    def columns(self) -> tuple[str, str, str, str]:
        """Like the columns of a Question, but with the caller as principal, under a prefix that no principal has."""
        return (f"namespace:{self.caller}", self.relation, "", self.owner)


def parse_question(principal: str, action: str, kind: str, namespace: str) -> Question:
    """A question from unparsed names; an empty namespace is the tenant itself.

    Raises MalformedQuestionError with every field that is wrong.
    """
    if is_principal(principal) and is_word(action) and is_word(kind) and (not namespace or is_namespace(namespace)):
        return Question(Principal(principal), Word(action), Word(kind), Namespace(namespace))
    raise _malformed(
        ("principal", parse_principal, principal),
        ("action", parse_action, action),
        ("kind", parse_kind, kind),
        ("namespace", optional_namespace, namespace),
    )


def parse_reach_question(caller: str, owner: str, relation: str) -> ReachQuestion:
    """Like `parse_question`; neither namespace may be empty."""
    if is_namespace(caller) and is_namespace(owner) and is_word(relation):
        return ReachQuestion(Namespace(caller), Namespace(owner), Word(relation))
    raise _malformed(
        ("caller", parse_namespace, caller),
        ("owner", parse_namespace, owner),
        ("relation", parse_relation, relation),
    )


def _malformed(*fields: tuple[str, Callable[[str], object], str]) -> MalformedQuestionError:
    """An error with every field whose text is outside its grammar."""
    violations: list[FieldViolation] = []
    for field, parse, text in fields:
        try:
            parse(text)
        except InvalidNameError as error:
            violations.append(malformed(field, error))
    return MalformedQuestionError(*violations)
