import copy
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial
from typing import Final, Self

from remit.core.decision import Decision, Reason
from remit.core.errors import violation
from remit.core.gateway import RouteTable
from remit.core.names import Namespace, Principal, Word
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.policy import Policy
from remit.core.position import Position
from remit.core.question import Question, ReachQuestion
from remit.core.rows import Effect, Link, Rule
from remit.engine.compiled import AnswerList, CompiledAnswers, always
from remit.engine.memo import BoundedDict, BoundedMemo, by_items
from remit.engine.pacing import Pacing, unpaced
from remit.engine.pattern_trie import PatternTrie
from remit.engine.permissions import Index, Permissions, first_of
from remit.engine.reach import Reach
from remit.engine.role_graph import RoleGraph, Version

_NAMESPACES: Final = 131_072
"""Namespaces with cached covering patterns; one with many patterns counts several times. No cache of a snapshot holds
answers, and all are bounded, so names from requests cannot fill memory."""
_ANSWER_LISTS: Final = 4_194_304
"""Cached answer lists of principals, empty ones included. A list takes a pointer, and some
hundred bytes once it is filled."""
_NEW_SCOPES: Final = 65_536
"""Patterns that only scopes of added rows have, before a change walks all rows to find the patterns in use."""

_UNKNOWN_KIND: Final = Decision(Effect.DENY, Reason.UNKNOWN_KIND)
_UNKNOWN_ACTION: Final = Decision(Effect.DENY, Reason.UNKNOWN_ACTION)
_WRONG_CLASS: Final = Decision(Effect.DENY, Reason.WRONG_CLASS)


class Snapshot:
    """One tenant's policy at one moment, compiled and frozen. Safe to share between threads."""

    def __init__(self, policy: Policy, pacing: Pacing = unpaced) -> None:
        """`pacing` walks the rows. Beside a server that answers, pass one that pauses."""
        self.tenant = policy.tenant
        self.position: Position | None = None
        """The position in the tenant's history that this policy is of; None without a policy store."""
        self.reach = Reach(policy, pacing)
        self.routes = RouteTable(policy.routes)
        self.permissions = permissions = Permissions(policy.vocabulary, policy.tenant)
        graph = RoleGraph(policy.rules, policy.links, pacing)
        self._answers = CompiledAnswers(graph.rules, permissions)
        self._lists_limit = _ANSWER_LISTS // max(1, len(permissions))
        self._compiled: _CompiledLists = BoundedDict(self._lists_limit)
        self._take(policy, graph, _patterns_of(policy, pacing))

    def _take(self, policy: Policy, graph: RoleGraph, patterns: "_Patterns") -> None:
        """Takes everything that depends on g rows."""
        self.policy = policy
        self.revision = policy.revision
        self.graph = graph
        self.admitted = AccessList(policy.access, graph) if policy.access is not None else None
        self._patterns = patterns
        self._covering = patterns.covering
        unfilled = _unfilled(graph, self.admitted, self._compiled, len(self.permissions))
        self._answer_lists = BoundedMemo(self._lists_limit, unfilled)

    def changed(self, revision: str, added: Iterable[Link], removed: Iterable[Link]) -> Self:
        """The snapshot of the policy without the g rows `removed` and with the g rows `added` behind the others. It has
        no position yet. This snapshot goes on answering as before.

        The cost depends on the principals that the rows touch, not on the number of rows. A row touches its member, and
        everybody who is in that group or holds that role. The new snapshot shares with this one the answer lists of all
        others. The first change of a row of a group or a role walks all rows, unless `expect_changes` did.

        The caller makes sure that the new policy is valid, above all that it has no cycle and no chain of more than
        CHAIN_LIMIT g rows: ask `closes_cycle` and `longest_chain` of either graph. Raises ValueError if a row to remove
        is not there, a row to add is, or a row to add is of another tenant.
        """
        added = tuple(added)
        for link in added:
            if link.tenant != self.tenant:
                raise ValueError(f"{link.place}: expected a row of tenant `{self.tenant}`: `{link.text}`")
        graph = self.graph.changed(added, removed)
        policy = replace(self.policy, revision=revision, links=graph.links)
        snapshot = copy.copy(self)
        snapshot.position = None
        patterns = self._patterns.plus({link.scope for link in added}, policy)
        snapshot._take(policy, graph, patterns)  # noqa: SLF001 (its own copy)
        return snapshot

    def expect_changes(self, pacing: Pacing = unpaced) -> None:
        """Walks all rows now, so that no change has to. Beside a server that answers, pass a pacing that pauses."""
        self.graph.index_holders(pacing)

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
            answers = answer_lists[permission] = self._answers.answer_list(self.graph, principal, permission)
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


_Covering = BoundedMemo[Namespace, frozenset[str]]
_CompiledLists = BoundedDict[Version, list[AnswerList | None]]


def _unfilled(
    graph: RoleGraph, admitted: "AccessList | None", compiled: _CompiledLists, permissions: int
) -> Callable[[Principal], list[AnswerList | None]]:
    """Makes the answer lists of a principal, which questions fill, or takes them from an earlier snapshot. Unknown
    principals share full lists."""
    unbound: list[AnswerList | None] = [always(Reason.NO_BINDING)] * permissions
    shut_out: list[AnswerList | None] = [always(Reason.NO_ACCESS)] * permissions

    def unfilled(principal: Principal) -> list[AnswerList | None]:
        if admitted is not None and principal not in admitted:
            return shut_out
        if not graph.knows(principal):
            return unbound
        version = graph.version(principal)
        lists = compiled.get(version)
        return lists if lists is not None else compiled.keep(version, [None] * permissions)

    return unfilled


class AccessList:
    """The subjects on the access list and the members of listed groups, whatever the scope of the membership."""

    def __init__(self, listed: Collection[str], graph: RoleGraph) -> None:
        self._listed = listed
        self._links_of = graph.links_of
        self._held: dict[str, bool] = {}

    def __contains__(self, subject: str) -> bool:
        return subject in self._listed or any(self._admits(link.holds) for link in self._links_of(subject))

    def _admits(self, held: str) -> bool:
        """Caches the answer for groups and roles. A name from a request gets in nowhere."""
        admits = self._held.get(held)
        if admits is None:
            admits = self._held[held] = held in self
        return admits


class _Patterns:
    """The patterns of a policy's rows: those of a build, and more that scopes of added rows have."""

    def __init__(self, built: PatternTrie, covering: _Covering, more: PatternTrie, count: int = 0) -> None:
        self._built = built
        self._built_covering = covering
        self._more = more
        self._count = count
        of_both = partial(_of_both, covering, more)
        self.covering = BoundedMemo(_NAMESPACES, of_both, by_items) if count else covering
        """The patterns that cover a namespace, and perhaps some that only removed rows had."""

    def plus(self, scopes: Iterable[NamespacePattern], policy: Policy) -> "_Patterns":
        """The patterns of the next policy, whose added rows have these scopes."""
        new = [scope for scope in scopes if scope not in self._built and scope not in self._more]
        if not new:
            return self
        count = self._count + len(new)
        if count > _NEW_SCOPES:
            return _patterns_of(policy, unpaced)
        return _Patterns(self._built, self._built_covering, self._more.plus(new), count)


def _of_both(built: _Covering, more: PatternTrie, namespace: Namespace) -> frozenset[str]:
    found = more.of(namespace)
    return built[namespace] | found if found else built[namespace]


def _patterns_of(policy: Policy, pacing: Pacing) -> _Patterns:
    patterns = {rule.namespaces for rule in pacing(policy.rules)} | {link.scope for link in pacing(policy.links)}
    trie = PatternTrie(pacing(patterns | {EVERYWHERE}))
    return _Patterns(trie, BoundedMemo(_NAMESPACES, trie.of, by_items), PatternTrie())


def _allows(rule: Rule | None) -> bool:
    return rule is not None and rule.effect is Effect.ALLOW
