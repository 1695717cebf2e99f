import copy
from collections.abc import Callable
from typing import Final, Self

from remit.core.decision import Decision, Reason
from remit.core.errors import violation
from remit.core.gateway import RouteTable
from remit.core.names import Namespace, Principal, Word
from remit.core.patterns import EVERYWHERE
from remit.core.policy import Policy
from remit.core.position import Position
from remit.core.question import Question, ReachQuestion
from remit.core.rows import Effect, Rule
from remit.engine.compiled import AnswerList, CompiledAnswers, always
from remit.engine.memo import BoundedMemo, by_items
from remit.engine.pacing import Pacing, unpaced
from remit.engine.pattern_trie import PatternTrie
from remit.engine.permissions import Index, Permissions, first_of
from remit.engine.reach import Reach
from remit.engine.role_graph import RoleGraph

_NAMESPACES: Final = 131_072
"""Namespaces with cached covering patterns; one with many patterns counts several times. No cache of a snapshot holds
answers, and all are bounded, so names from requests cannot fill memory."""
_ANSWER_LISTS: Final = 4_194_304
"""Cached answer lists of principals, empty ones included. A list takes a pointer, and some
hundred bytes once it is filled."""

_UNKNOWN_KIND: Final = Decision(Effect.DENY, Reason.UNKNOWN_KIND)
_UNKNOWN_ACTION: Final = Decision(Effect.DENY, Reason.UNKNOWN_ACTION)
_WRONG_CLASS: Final = Decision(Effect.DENY, Reason.WRONG_CLASS)


class Snapshot:
    """One tenant's policy at one moment, compiled and frozen. Safe to share between threads."""

    def __init__(self, policy: Policy, pacing: Pacing = unpaced) -> None:
        """`pacing` walks the rows. Beside a server that answers, pass one that pauses."""
        self.policy = policy
        self.tenant = policy.tenant
        self.revision = policy.revision
        self.position: Position | None = None
        """The position in the tenant's history that this policy is of; None without a policy store."""
        self.graph = graph = RoleGraph(pacing(policy.rules), pacing(policy.links))
        self.reach = Reach(policy, pacing)
        self.routes = RouteTable(policy.routes)
        self.admitted = _admitted(policy, pacing)
        self.permissions = permissions = Permissions(policy.vocabulary, policy.tenant)
        self._answers = CompiledAnswers(graph, permissions)
        patterns = {rule.namespaces for rule in pacing(policy.rules)} | {link.scope for link in pacing(policy.links)}
        self._covering = BoundedMemo(_NAMESPACES, PatternTrie(pacing(patterns | {EVERYWHERE})).of, by_items)
        count = len(permissions)
        self._answer_lists = BoundedMemo(_ANSWER_LISTS // max(1, count), _unfilled(graph, self.admitted, count))

    def at(self, position: Position | None) -> Self:
        """A copy at another position that shares everything, caches included."""
        moved = copy.copy(self)
        moved.position = position
        return moved

    def decide(self, question: Question) -> Decision:
        """The decision of the access plane.

        Raises MalformedQuestionError if a namespace is missing or superfluous for the kind.
        """
        principal, action, kind, namespace = question
        permissions = self.permissions
        doors = permissions.within_namespace if namespace else permissions.without_namespace
        try:
            permission = doors[kind][action]
        except KeyError:
            return self._closed_door(kind, action, namespace)
        answer_lists = self._answer_lists[principal]
        answers = answer_lists[permission]
        if answers is None:
            answers = answer_lists[permission] = self._answers.answer_list(principal, permission)
        within = namespace + "." if namespace else ""
        for answer in answers:
            if within.startswith(answer.begins) and (answer.enough or answer.patterns <= self._covering[namespace]):
                return answer.decision
        return self._first(principal, permission, self._covering[namespace]) or answers[-1].decision

    def answer(self, question: Question | ReachQuestion) -> Decision:
        """The decision of the plane that the question belongs to. Raises MalformedQuestionError as `decide` does."""
        return self.decide(question) if isinstance(question, Question) else self.reach.decide(question)

    def held(self, subject: str, namespace: Namespace) -> frozenset[str]:
        """The subjects with p rows that `subject` holds in a namespace, itself included."""
        return self.graph.held(subject, self.covering(namespace))

    def covering(self, namespace: Namespace) -> frozenset[str]:
        """The texts of the policy's patterns that cover `namespace`."""
        return self._covering[namespace]

    def rows(self, subject: str) -> Index:
        return self._answers.index[subject]

    def door(self, kind: Word, action: Word, namespace: Namespace) -> int | Decision:
        """The number of the requested permission, or the decision if it is made before any row is read.

        Raises MalformedQuestionError as `decide` does.
        """
        try:
            return self.permissions.doors(namespace)[kind][action]
        except KeyError:
            return self._closed_door(kind, action, namespace)

    def admits(self, principal: str) -> bool:
        """True if the principal is on the access list, or there is none."""
        return self.admitted is None or principal in self.admitted

    def permitted(self, principal: Principal, namespace: Namespace) -> list[tuple[Word, Word]]:
        """Every (kind, action) that `decide` allows this principal in the namespace, in the vocabulary's order."""
        if not self.admits(principal):
            return []
        covering = self.covering(namespace)
        held = self._held(principal, covering)
        return [
            (kind, action)
            for kind, actions in self.permissions.doors(namespace).items()
            for action, permission in actions.items()
            if _allows(first_of(held, permission, covering))
        ]

    def would_allow(self, subject: str, question: Question) -> bool:
        """True if what `subject` holds would by itself allow the question's action."""
        covering = self.covering(question.namespace)
        permission = self.permissions.doors(question.namespace).get(question.kind, {}).get(question.action)
        return permission is not None and _allows(first_of(self._held(subject, covering), permission, covering))

    def _closed_door(self, name: Word, action: Word, namespace: Namespace) -> Decision:
        kind = self.policy.vocabulary.kinds.get(name)
        if kind is None:
            return _UNKNOWN_KIND
        if action not in kind.actions:
            return _UNKNOWN_ACTION
        if kind.namespaced and not namespace:
            raise violation("namespace", f"is missing: kind `{kind.name}` lives in namespaces, so name one")
        if namespace and not kind.namespaced:
            superfluous = f"kind `{kind.name}` is of class `{kind.kind_class}`, so leave it empty"
            raise violation("namespace", f"`{namespace}` is superfluous: {superfluous}")
        return _WRONG_CLASS

    def _first(self, principal: Principal, permission: int, covering: frozenset[str]) -> Decision | None:
        """The decision of the first matching row, for an answer list that is too wide."""
        rule = first_of(self._held(principal, covering), permission, covering)
        return None if rule is None else self._answers.decision(rule)

    def _held(self, subject: str, covering: frozenset[str]) -> list[Index]:
        return [self.rows(held) for held in self.graph.held(subject, covering)]


def _unfilled(
    graph: RoleGraph, admitted: frozenset[str] | None, permissions: int
) -> Callable[[Principal], list[AnswerList | None]]:
    """Makes the answer lists of a principal, which questions fill. Unknown principals share full lists."""
    unbound: list[AnswerList | None] = [always(Reason.NO_BINDING)] * permissions
    shut_out: list[AnswerList | None] = [always(Reason.NO_ACCESS)] * permissions

    def unfilled(principal: Principal) -> list[AnswerList | None]:
        if admitted is not None and principal not in admitted:
            return shut_out
        return [None] * permissions if graph.knows(principal) else unbound

    return unfilled


def _allows(rule: Rule | None) -> bool:
    return rule is not None and rule.effect is Effect.ALLOW


def _admitted(policy: Policy, pacing: Pacing) -> frozenset[str] | None:
    """The principals on the access list and the members of listed groups, whatever the scope of the membership."""
    if policy.access is None:
        return None
    members: dict[str, list[str]] = {}
    for link in pacing(policy.links):
        members.setdefault(link.holds, []).append(link.member)
    admitted = set()
    waiting: list[str] = list(policy.access)
    while waiting:
        subject = waiting.pop()
        if subject not in admitted:
            admitted.add(subject)
            waiting += members.get(subject, ())
    return frozenset(admitted)
