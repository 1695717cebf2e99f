from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from remit.core.decision import Decision, Reason
from remit.core.errors import FieldViolation, MalformedQuestionError
from remit.core.names import Namespace, Principal, Word
from remit.core.policy import Policy
from remit.core.question import Question
from remit.core.rows import Effect, Rule
from remit.engine.coverage import Coverage
from remit.engine.graph import Graph
from remit.engine.reach import Reach

_REMEMBERED: Final = 131_072
"""Entries each of the caches of a snapshot may hold, so that names asked for cannot fill memory. None of them
remembers an answer: they hold the patterns over a namespace, a principal's scopes, what is held there, and the rows
of what is held."""

_NO_ACCESS: Final = Decision(Effect.DENY, Reason.NO_ACCESS)
_UNKNOWN_KIND: Final = Decision(Effect.DENY, Reason.UNKNOWN_KIND)
_UNKNOWN_ACTION: Final = Decision(Effect.DENY, Reason.UNKNOWN_ACTION)
_WRONG_CLASS: Final = Decision(Effect.DENY, Reason.WRONG_CLASS)
_OUT_OF_SCOPE: Final = Decision(Effect.DENY, Reason.OUT_OF_SCOPE)
_NOT_GRANTED: Final = Decision(Effect.DENY, Reason.NOT_GRANTED)
_NO_BINDING: Final = Decision(Effect.DENY, Reason.NO_BINDING)

_Cell = Mapping[str, tuple[int, Decision]]
"""The rows of what is held for a kind and an action in deciding order (a deny before an allow, then the lowest
(file, line)): by the text of their namespaces the rank of the first, and the decision it gives."""


class Snapshot:
    """One tenant's policy at one moment, compiled and frozen. Safe to share between threads."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.tenant = policy.tenant
        self.revision = policy.revision
        self.graph = Graph(policy.rules, policy.links)
        self.reach = Reach(policy)
        self.admitted = _admitted(policy)
        self._doors = {
            (kind.name, action): kind.namespaced
            for kind in policy.vocabulary.kinds.values()
            if kind.lives_in(policy.tenant)
            for action in kind.actions
        }
        patterns = {rule.namespaces for rule in policy.rules} | {link.scope for link in policy.links}
        self._covering = lru_cache(_REMEMBERED)(Coverage(patterns).of)
        self._scopes = lru_cache(_REMEMBERED)(self.graph.scopes)
        self._held = lru_cache(_REMEMBERED)(self.graph.held)
        self._cell = lru_cache(_REMEMBERED)(self._rows)
        self._refusal = lru_cache(_REMEMBERED)(self._refuse)

    def decide(self, question: Question) -> Decision:
        """The decision of the access plane.

        Raises MalformedQuestionError where a namespace is missing or superfluous for the kind.
        """
        principal, action, kind, namespace = question
        namespaced = self._doors.get((kind, action))
        if namespaced is not bool(namespace):
            return self._closed_door(question)
        if self.admitted is not None and principal not in self.admitted:
            return _NO_ACCESS
        covering = self._covering(namespace)
        held = self._held(principal, self._scopes(principal) & covering)
        return _first(self._cell(held, kind, action), covering) or self._refusal(principal, kind, action)

    def held(self, subject: str, namespace: Namespace) -> frozenset[str]:
        """The subjects with p rows that `subject` holds in a namespace, itself among them."""
        return self.graph.held(subject, self._covering(namespace))

    def would_allow(self, subject: str, question: Question) -> bool:
        """Whether what `subject` holds would by itself allow the question's action."""
        covering = self._covering(question.namespace)
        cell = self._cell(self.held(subject, question.namespace), question.kind, question.action)
        decision = _first(cell, covering)
        return decision is not None and decision.allowed

    def _closed_door(self, question: Question) -> Decision:
        kind = self.policy.vocabulary.kinds.get(question.kind)
        if kind is None:
            return _UNKNOWN_KIND
        if question.action not in kind.actions:
            return _UNKNOWN_ACTION
        if kind.namespaced and not question.namespace:
            raise MalformedQuestionError(
                FieldViolation("namespace", f"is missing: kind `{kind.name}` lives in namespaces, so name one")
            )
        if question.namespace and not kind.namespaced:
            raise MalformedQuestionError(
                FieldViolation(
                    "namespace",
                    f"`{question.namespace}` is superfluous: kind `{kind.name}` is of class `{kind.kind_class}`, "
                    f"so leave it empty",
                )
            )
        return _WRONG_CLASS

    def _rows(self, held: frozenset[str], kind: Word, action: Word) -> _Cell:
        """The rows of `held` for this kind and action."""
        rules = [rule for subject in held for rule in self.graph.rules_of(subject) if rule.names(kind, action)]
        rules.sort(key=_deciding_order)
        cell: dict[str, tuple[int, Decision]] = {}
        for rank, rule in enumerate(rules):
            if rule.namespaces.text not in cell:
                cell[rule.namespaces.text] = (rank, _decided_by(rule))
        return cell

    def _refuse(self, principal: Principal, kind: Word, action: Word) -> Decision:
        """Why no row matches."""
        reachable = self.graph.reachable(principal)
        if not reachable:
            return _NO_BINDING
        for subject, scope in reachable:
            for rule in self.graph.rules_of(subject):
                if rule.effect is Effect.ALLOW and rule.names(kind, action) and rule.namespaces.overlaps(scope):
                    return _OUT_OF_SCOPE
        return _NOT_GRANTED


def _first(cell: _Cell, covering: frozenset[str]) -> Decision | None:
    """The decision of the first row whose namespaces cover, in steps of whichever is fewer."""
    if len(cell) <= len(covering):
        for namespaces, (_, decision) in cell.items():
            if namespaces in covering:
                return decision
        return None
    found = [cell[namespaces] for namespaces in covering if namespaces in cell]
    return min(found)[1] if found else None


def _deciding_order(rule: Rule) -> tuple[bool, str, int]:
    return (rule.effect is Effect.ALLOW, rule.file, rule.line)


def _decided_by(rule: Rule) -> Decision:
    reason = Reason.ALLOWED_BY_RULE if rule.effect is Effect.ALLOW else Reason.DENIED_BY_RULE
    return Decision(rule.effect, reason, rule)


def _admitted(policy: Policy) -> frozenset[str] | None:
    """Those on the access list and the members of listed groups, whatever the scope of the membership."""
    if policy.access is None:
        return None
    members: dict[str, list[str]] = {}
    for link in policy.links:
        members.setdefault(link.holds, []).append(link.member)
    admitted = set()
    waiting: list[str] = list(policy.access)
    while waiting:
        subject = waiting.pop()
        if subject not in admitted:
            admitted.add(subject)
            waiting += members.get(subject, ())
    return frozenset(admitted)
