from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from remit.core.decision import Decision, Reason
from remit.core.errors import violation
from remit.core.names import Namespace, Principal, Word
from remit.core.patterns import NamespacePattern
from remit.core.policy import Policy
from remit.core.question import Question, ReachQuestion
from remit.core.rows import Effect
from remit.engine.coverage import Coverage
from remit.engine.graph import Graph
from remit.engine.pace import Pace, at_once
from remit.engine.permissions import Index, Permissions, allows_within, first_of
from remit.engine.reach import Reach

_NAMESPACES: Final = 131_072
"""Namespaces whose covering patterns are kept ready. None of a snapshot's caches remembers an answer, and each is
bounded, so that names asked for cannot fill memory."""
_VIEWS: Final = 65_536
"""Principals whose views are kept ready."""
_CELLS: Final = 16_777_216
"""Cells, the empty ones too, of the subjects whose rows are kept ready: each takes a pointer."""
_HELD: Final = 1_024
"""Combinations of scopes of one principal for which what it holds is kept ready."""

_NO_ACCESS: Final = Decision(Effect.DENY, Reason.NO_ACCESS)
_UNKNOWN_KIND: Final = Decision(Effect.DENY, Reason.UNKNOWN_KIND)
_UNKNOWN_ACTION: Final = Decision(Effect.DENY, Reason.UNKNOWN_ACTION)
_WRONG_CLASS: Final = Decision(Effect.DENY, Reason.WRONG_CLASS)
_OUT_OF_SCOPE: Final = Decision(Effect.DENY, Reason.OUT_OF_SCOPE)
_NOT_GRANTED: Final = Decision(Effect.DENY, Reason.NOT_GRANTED)
_NO_BINDING: Final = Decision(Effect.DENY, Reason.NO_BINDING)


Held = Sequence[Index]
"""The rows of each subject that is held somewhere."""


class _View:
    """A principal's part of the policy."""

    __slots__ = ("held", "reachable", "scopes")

    def __init__(self, scopes: frozenset[str]) -> None:
        self.scopes = scopes
        """The scopes, `**` apart, that its chains could go through."""
        self.held: dict[frozenset[str], Held] = {}
        """By which of these scopes cover."""
        self.reachable: Sequence[tuple[Index, NamespacePattern]] | None = None
        """The rows of each subject that is held anywhere, and where; found at the first refusal."""


class Snapshot:
    """One tenant's policy at one moment, compiled and frozen. Safe to share between threads."""

    def __init__(self, policy: Policy, pace: Pace = at_once) -> None:
        """`pace` walks the rows: beside a server that answers, one that rests."""
        self.policy = policy
        self.tenant = policy.tenant
        self.revision = policy.revision
        self.graph = graph = Graph(pace(policy.rules), pace(policy.links))
        self.reach = Reach(policy, pace)
        self.admitted = _admitted(policy, pace)
        self.permissions = permissions = Permissions(policy.vocabulary, policy.tenant)
        patterns = {rule.namespaces for rule in pace(policy.rules)} | {link.scope for link in pace(policy.links)}
        self._coverage = Coverage(pace(patterns))
        # Without `self` in it: a snapshot in a cycle would outlive its last call until a collection of everything.
        self.index = lru_cache(_CELLS // max(1, len(permissions)))(
            lambda subject: permissions.index(graph.rules_of(subject))
        )
        """The rows of a subject, by the numbers of `permissions`."""
        # Plain dicts on the hot path: a hit of lru_cache relinks its neighbours, which costs as much as all the rest.
        self._covering: dict[Namespace, frozenset[str]] = {}
        self._views: dict[Principal, _View] = {}

    def decide(self, question: Question) -> Decision:
        """The decision of the access plane.

        Raises MalformedQuestionError where a namespace is missing or superfluous for the kind.
        """
        principal, action, kind, namespace = question
        permissions = self.permissions
        doors = permissions.within_namespace if namespace else permissions.without_namespace
        permission = doors.get((kind, action))
        if permission is None:
            return self._closed_door(kind, action, namespace)
        if self.admitted is not None and principal not in self.admitted:
            return _NO_ACCESS
        covering = self._covering.get(namespace)
        if covering is None:
            covering = self._cover(namespace)
        view = self._views.get(principal)
        if view is None:
            view = self._see(principal)
        scopes = view.scopes & covering
        held = view.held.get(scopes)
        if held is None:
            held = self._hold(view, principal, scopes)
        return first_of(held, permission, covering) or self._refusal(view, principal, permission)

    def answer(self, question: Question | ReachQuestion) -> Decision:
        """The decision of the plane that the question belongs to. Raises MalformedQuestionError as `decide` does."""
        return self.decide(question) if isinstance(question, Question) else self.reach.decide(question)

    def held(self, subject: str, namespace: Namespace) -> frozenset[str]:
        """The subjects with p rows that `subject` holds in a namespace, itself among them."""
        return self.graph.held(subject, self.covering(namespace))

    def covering(self, namespace: Namespace) -> frozenset[str]:
        """The texts of the policy's patterns that cover `namespace`."""
        known = self._covering.get(namespace)
        return self._cover(namespace) if known is None else known

    def door(self, kind: Word, action: Word, namespace: Namespace) -> int | Decision:
        """The number of the permission asked for, or the decision where no row is read.

        Raises MalformedQuestionError as `decide` does.
        """
        permissions = self.permissions
        doors = permissions.within_namespace if namespace else permissions.without_namespace
        permission = doors.get((kind, action))
        return self._closed_door(kind, action, namespace) if permission is None else permission

    def permitted(self, principal: Principal, namespace: Namespace) -> list[tuple[Word, Word]]:
        """Every (kind, action) that `decide` allows this principal there, in the vocabulary's order."""
        if self.admitted is not None and principal not in self.admitted:
            return []
        covering = self.covering(namespace)
        held = self._indexes(principal, covering)
        permissions = self.permissions
        doors = permissions.within_namespace if namespace else permissions.without_namespace
        decided = ((pair, first_of(held, number, covering)) for pair, number in doors.items())
        return [pair for pair, decision in decided if decision is not None and decision.allowed]

    def would_allow(self, subject: str, question: Question) -> bool:
        """Whether what `subject` holds would by itself allow the question's action."""
        covering = self.covering(question.namespace)
        permission = self.permissions.number(question.kind, question.action)
        if permission is None:
            return False
        decision = first_of(self._indexes(subject, covering), permission, covering)
        return decision is not None and decision.allowed

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

    def _cover(self, namespace: Namespace) -> frozenset[str]:
        if len(self._covering) >= _NAMESPACES:
            self._covering.clear()
        covering = self._covering[namespace] = self._coverage.of(namespace)
        return covering

    def _see(self, principal: Principal) -> _View:
        if len(self._views) >= _VIEWS:
            self._views.clear()
        view = self._views[principal] = _View(self.graph.scopes(principal))
        return view

    def _hold(self, view: _View, principal: Principal, scopes: frozenset[str]) -> Held:
        if len(view.held) >= _HELD:
            view.held.clear()
        held = view.held[scopes] = self._indexes(principal, scopes)
        return held

    def _indexes(self, subject: str, covering: frozenset[str]) -> Held:
        return [self.index(held) for held in self.graph.held(subject, covering)]

    def _refusal(self, view: _View, principal: Principal, permission: int) -> Decision:
        """Why no row matches."""
        reachable = view.reachable
        if reachable is None:
            found = self.graph.reachable(principal)
            reachable = view.reachable = [(self.index(subject), scope) for subject, scope in found]
        if not reachable:
            return _NO_BINDING
        for index, scope in reachable:
            cell = index[permission]
            if cell is not None and allows_within(cell, scope):
                return _OUT_OF_SCOPE
        return _NOT_GRANTED


def _admitted(policy: Policy, pace: Pace) -> frozenset[str] | None:
    """Those on the access list and the members of listed groups, whatever the scope of the membership."""
    if policy.access is None:
        return None
    members: dict[str, list[str]] = {}
    for link in pace(policy.links):
        members.setdefault(link.holds, []).append(link.member)
    admitted = set()
    waiting: list[str] = list(policy.access)
    while waiting:
        subject = waiting.pop()
        if subject not in admitted:
            admitted.add(subject)
            waiting += members.get(subject, ())
    return frozenset(admitted)
