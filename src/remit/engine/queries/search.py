from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import ClassVar, Final

from remit.core.decision import Decision, Reason
from remit.core.errors import violation
from remit.core.names import INSTANCE, WHOLE_TENANT, Namespace, Principal, Word
from remit.core.namespace_set import NamespaceSet
from remit.core.patterns import NamespacePattern
from remit.core.question import QuestionType
from remit.core.rows import Effect, Link, Rule
from remit.engine.inquiry import Inquiry, TooLargeError
from remit.engine.minimal_sets import PAIRS_LIMIT, simplest, united, within
from remit.engine.permissions import Rows, every
from remit.engine.role_graph import TooManyPathsError
from remit.engine.snapshot import Snapshot

ANY_WORD: Final = Word("")
"""Stands for any kind or any action in a question that leaves it open."""


@dataclass(frozen=True, slots=True)
class ActionsOf(Inquiry[Mapping[Word, Sequence[Word]]]):
    """What may this principal do in one namespace, or in the tenant itself? The actions that Check allows, by kind."""

    question_type: ClassVar = QuestionType.ACTIONS
    principal: Principal
    namespace: Namespace = WHOLE_TENANT
    kinds: tuple[Word, ...] = ()
    """Only these kinds; all if empty."""

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return (self.principal, "", "", self.namespace)

    def refusal(self, snapshot: Snapshot) -> Reason | None:
        if self.namespace and snapshot.tenant == INSTANCE:
            raise violation("namespace", f"`{self.namespace}` is superfluous: `{INSTANCE}` has no namespaces")
        return _no_access(snapshot, self.principal)

    def answer(self, snapshot: Snapshot) -> Mapping[Word, Sequence[Word]]:
        for position, kind in enumerate(self.kinds):
            if kind not in snapshot.policy.vocabulary.kinds:
                raise violation(f"kinds[{position}]", f"`{kind}` is no kind that the vocabulary declares")
        found: defaultdict[Word, list[Word]] = defaultdict(list)
        for kind, action in snapshot.permitted(self.principal, self.namespace):
            if not self.kinds or kind in self.kinds:
                found[kind].append(action)
        return found

    def detail(self, answer: Mapping[Word, Sequence[Word]]) -> Mapping[str, object]:
        return {"kinds": len(answer), "actions": sum(map(len, answer.values()))}


@dataclass(frozen=True, slots=True)
class FoundNamespaces:
    """Namespaces, as sets to unite, and the given namespaces that are in the union."""

    sets: tuple[NamespaceSet, ...]
    among: tuple[Namespace, ...]


@dataclass(frozen=True, slots=True)
class NamespacesOf(Inquiry[FoundNamespaces]):
    """Where may this principal do an action on a kind? Without an action or a kind, any one counts."""

    question_type: ClassVar = QuestionType.NAMESPACES
    principal: Principal
    action: Word = ANY_WORD
    kind: Word = ANY_WORD
    among: tuple[Namespace, ...] = ()

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return (self.principal, self.action, self.kind, "")

    def refusal(self, snapshot: Snapshot) -> Reason | None:
        kinds = snapshot.policy.vocabulary.kinds
        kind = kinds.get(self.kind)
        if kind is None:
            if self.kind:
                return Reason.UNKNOWN_KIND
            if self.action and not any(self.action in each.actions for each in kinds.values()):
                return Reason.UNKNOWN_ACTION
        else:
            if self.action and self.action not in kind.actions:
                return Reason.UNKNOWN_ACTION
            if not kind.namespaced:
                raise violation("kind", f"`{kind.name}` is of class `{kind.kind_class}` and lives in no namespace")
            if not kind.lives_in(snapshot.tenant):
                return Reason.WRONG_CLASS
        return _no_access(snapshot, self.principal)

    def answer(self, snapshot: Snapshot) -> FoundNamespaces:
        wanted = [
            number
            for kind, actions in snapshot.permissions.within_namespace.items()
            for action, number in actions.items()
            if self.kind in {ANY_WORD, kind} and self.action in {ANY_WORD, action}
        ]
        sets = united(_allowed(snapshot, self.principal, wanted))
        return FoundNamespaces(sets, within(sets, self.among))

    def detail(self, answer: FoundNamespaces) -> Mapping[str, object]:
        return {
            "patterns": sum(len(each.only) + len(each.excluded) for each in answer.sets),
            "among": len(self.among),
            "matching": len(answer.among),
        }


@dataclass(frozen=True, slots=True)
class FilterFor(Inquiry[NamespaceSet]):
    """The namespaces to filter by: in these, a principal may do an action on a kind."""

    question_type: ClassVar = QuestionType.FILTER
    principal: Principal
    action: Word
    kind: Word

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return (self.principal, self.action, self.kind, "")

    def refusal(self, snapshot: Snapshot) -> Reason | None:
        return self._where.refusal(snapshot)

    def answer(self, snapshot: Snapshot) -> NamespaceSet:
        # One permission gives one set at most.
        return next(iter(self._where.answer(snapshot).sets), NamespaceSet())

    def detail(self, answer: NamespaceSet) -> Mapping[str, object]:
        return {"patterns": len(answer.only) + len(answer.excluded)}

    @property
    def _where(self) -> NamespacesOf:
        return NamespacesOf(self.principal, self.action, self.kind)


@dataclass(frozen=True, slots=True)
class Permitted:
    """The principals that may, sorted, with the deciding rule and the g rows that lead to it."""

    principals: tuple[Principal, ...]
    _subjects: Mapping[str, str]
    _rules: Mapping[str, Rule]
    _ways: Mapping[str, Link]
    """The first g row on the way to the rule's subject, by member."""

    def rule(self, principal: Principal) -> Rule:
        return self._rules[self._subjects[principal]]

    def chain(self, principal: Principal) -> tuple[Link, ...]:
        rows: list[Link] = []
        member: str = principal
        while member in self._ways:
            row = self._ways[member]
            rows.append(row)
            member = row.holds
        return tuple(rows)


@dataclass(frozen=True, slots=True)
class PrincipalsFor(Inquiry[Permitted]):
    """Which of the principals that a row names may do this action on this kind in this namespace?"""

    question_type: ClassVar = QuestionType.PRINCIPALS
    action: Word
    kind: Word
    namespace: Namespace = WHOLE_TENANT

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return ("", self.action, self.kind, self.namespace)

    def refusal(self, snapshot: Snapshot) -> Reason | None:
        door = snapshot.door(self.kind, self.action, self.namespace)
        return door.reason if isinstance(door, Decision) else None

    def answer(self, snapshot: Snapshot) -> Permitted:
        covering = snapshot.covering(self.namespace)
        # By subject: the first matching row in deciding order. This is a deny if the subject has one.
        rows: dict[str, Rule] = {}
        for rule in snapshot.policy.rules:
            if rule.namespaces.text in covering and rule.names(self.kind, self.action):
                before = rows.get(rule.subject)
                if before is None or rule.order < before.order:
                    rows[rule.subject] = rule
        denied: dict[str, str] = {}
        for subject, rule in rows.items():
            if rule.effect is Effect.DENY:
                reach_back(snapshot, subject, covering, denied, {})
        allowed: dict[str, str] = {}
        ways: dict[str, Link] = {}
        # Start with the lowest row: it is the deciding rule of all members that it reaches.
        for rule in sorted((each for each in rows.values() if each.effect is Effect.ALLOW), key=attrgetter("order")):
            reach_back(snapshot, rule.subject, covering, allowed, ways)
        principals = sorted(
            Principal(name)
            for name in allowed
            if name not in denied and name.startswith(("user:", "service:")) and snapshot.admits(name)
        )
        return Permitted(tuple(principals), allowed, rows, ways)

    def detail(self, answer: Permitted) -> Mapping[str, object]:
        return {"principals": len(answer.principals)}


def reach_back(
    snapshot: Snapshot, subject: str, covering: frozenset[str], reached: dict[str, str], ways: dict[str, Link]
) -> None:
    """Adds every subject that holds `subject` and is not in `reached`, with the first g row on the shortest path."""
    if subject in reached:
        return
    reached[subject] = subject
    waiting = [subject]
    members_of = snapshot.graph.members_of
    for holder in waiting:
        for link in members_of(holder):
            member = link.member
            if member not in reached and link.scope.text in covering:
                reached[member] = subject
                ways[member] = link
                waiting.append(member)


def _allowed(snapshot: Snapshot, principal: Principal, permissions: Iterable[int]) -> Iterator[NamespaceSet]:
    """The namespaces of the principal's permissions. Permissions with the same rows give one set."""
    try:
        held = [(snapshot.rows(way.subject), way.where) for way in snapshot.graph.ways(principal)]
    except TooManyPathsError:
        raise TooLargeError(
            f"the scopes along the chains of `{principal}` multiply beyond the limit of a list"
        ) from None
    seen: set[tuple[tuple[int, str], ...]] = set()
    pairs = 0
    for permission in permissions:
        found = [(rows, where) for index, where in held if (rows := index[permission])]
        key = tuple((id(rows), where.text) for rows, where in found)
        if key not in seen:
            seen.add(key)
            pairs += sum(sum(1 for _ in every(rows)) for rows, _ in found)
            if pairs > PAIRS_LIMIT:
                raise TooLargeError(f"the rows of `{principal}` and their scopes multiply beyond the limit of a list")
            yield _set_of(found)


def _set_of(found: Iterable[tuple[Rows, NamespacePattern]]) -> NamespaceSet:
    only: set[NamespacePattern] = set()
    excluded: set[NamespacePattern] = set()
    for rows, where in found:
        for rule in every(rows):
            pattern = rule.namespaces.intersection(where)
            if pattern is not None:
                (only if rule.effect is Effect.ALLOW else excluded).add(pattern)
    return simplest(only, excluded)


def _no_access(snapshot: Snapshot, principal: Principal) -> Reason | None:
    return None if snapshot.admits(principal) else Reason.NO_ACCESS
