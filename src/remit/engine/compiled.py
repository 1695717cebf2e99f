from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Final

from remit.core.decision import Decision, Reason
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.rows import Effect, Rule
from remit.engine.memo import BoundedMemo
from remit.engine.pattern_trie import PatternTrie
from remit.engine.permissions import Index, Permissions, every
from remit.engine.role_graph import RoleGraph, RolePath, TooManyPathsError

_WIDE: Final = 64
"""If a principal holds more rows for one permission, rows are found by namespace instead of tried in turn."""
_TRIED: Final = 4_096
"""Rows tried for one answer list; a row counts once per role path. A list with more is too wide."""
OVERLAPS_LIMIT: Final = 131_072
_FIRST: Final = 4
"""Patterns compared in turn before a trie of all patterns is built."""
_INDEXED: Final = 16_777_216
"""Permissions of all subjects whose rows are cached. One permission takes one pointer, even if it has no rows."""
_ANSWERS: Final = 1_048_576
"""Cached answers that lists share."""

_NO_SCOPES: Final[frozenset[str]] = frozenset()


@dataclass(slots=True, eq=False)
class CompiledAnswer:
    """The answer for the namespaces of one pattern. Never changed. Not frozen, because a frozen one takes three times
    as long to make.

    Usually the beginning of a namespace's name shows that the pattern covers it. Then no look-up is needed: in a large
    policy a look-up waits for memory.
    """

    begins: str
    """How the covered namespaces begin, with a final dot."""
    enough: bool
    """True if every namespace that begins so is covered."""
    patterns: frozenset[str]
    """If `enough` is false: a namespace is covered if all these patterns cover it."""
    decision: Decision


AnswerList = tuple[CompiledAnswer, ...]
"""The answers for one principal and one permission: the first that covers the namespace applies.

The last answer is for namespaces that no row matches, and covers everything. In a list that is too wide it is the only
answer and covers nothing.
"""


def always(reason: Reason) -> AnswerList:
    """The answer list that denies everywhere."""
    return (_within(EVERYWHERE, _NO_SCOPES, Decision(Effect.DENY, reason)),)


def _within(pattern: NamespacePattern, patterns: frozenset[str], decision: Decision) -> CompiledAnswer:
    literal = pattern.segments
    if "*" in literal:
        literal = literal[: literal.index("*")]
    begins = f"{'.'.join(literal)}." if literal else ""
    return CompiledAnswer(begins, pattern.subtree and len(literal) == len(pattern.segments), patterns, decision)


_LAST: Final = {reason: always(reason) for reason in (Reason.OUT_OF_SCOPE, Reason.NOT_GRANTED, Reason.NO_BINDING)}
# No namespace begins with a star.
_ALONE: Final = {reason: (CompiledAnswer("*", False, _NO_SCOPES, last.decision),) for reason, (last,) in _LAST.items()}


class CompiledAnswers:
    """The answers of a policy's rows by principal and permission, compiled on the first question. Everything cached here
    depends on the p rows alone."""

    def __init__(self, rules: Mapping[str, Sequence[Rule]], permissions: Permissions) -> None:
        """`rules` are the p rows, by subject."""
        self.index: BoundedMemo[str, Index] = BoundedMemo(
            _INDEXED // max(1, len(permissions)), lambda subject: permissions.index(rules.get(subject, ()))
        )
        """The rows of a subject, by permission."""
        self._allowing: BoundedMemo[tuple[str, int], _Allowing | None] = BoundedMemo(
            _ANSWERS, self._found_allowing, _size
        )
        self._made: dict[tuple[int, frozenset[str]], CompiledAnswer] = {}
        # At most one entry per rule.
        self._decisions: dict[int, Decision] = {}

    def answer_list(self, graph: RoleGraph, principal: str, permission: int) -> AnswerList:
        """The answers of every row that the principal holds anywhere, in deciding order."""
        order: dict[CompiledAnswer, tuple[bool, str, int]] = {}
        bound = False
        tried = 0
        try:
            for way in graph.ways(principal):
                bound = True
                rows = self.index[way.subject][permission]
                if not rows:
                    continue
                tried += len(rows)
                if isinstance(rows, dict) or len(order) + len(rows) > _WIDE or tried > _TRIED:
                    return self._wide(graph, principal, permission)
                for rule in rows:
                    answer = self._over(way, rule)
                    if answer is not None:
                        order[answer] = rule.order
        except TooManyPathsError:
            return self._wide(graph, principal, permission)
        answers = sorted(order, key=order.__getitem__)
        # Denies come first, so the last answer shows whether any row allows.
        allowed = bool(answers) and answers[-1].decision.allowed
        return (*answers, *_LAST[_unmatched(bound=bound, allowed=allowed)])

    def decision(self, rule: Rule) -> Decision:
        """The decision of a row that matches before all others."""
        decision = self._decisions.get(id(rule))
        if decision is None:
            allows = rule.effect is Effect.ALLOW
            reason = Reason.ALLOWED_BY_RULE if allows else Reason.DENIED_BY_RULE
            decision = self._decisions[id(rule)] = Decision(rule.effect, reason, rule)
        return decision

    def _wide(self, graph: RoleGraph, principal: str, permission: int) -> AnswerList:
        ways = graph.reachable(principal)
        budget = _Budget(OVERLAPS_LIMIT)
        try:
            allowed = any(
                (allowing := self._allowing[way.subject, permission]) is not None
                and allowing.overlaps(way.where, budget.spend)
                for way in ways
            )
        except _SpentError:
            # Rows that allow are held. This value selects a reason, never an effect.
            allowed = True
        return _ALONE[_unmatched(bound=bool(ways), allowed=allowed)]

    def _found_allowing(self, key: tuple[str, int]) -> "_Allowing | None":
        subject, permission = key
        rows = every(self.index[subject][permission])
        patterns = {rule.namespaces.text: rule.namespaces for rule in rows if rule.effect is Effect.ALLOW}
        return _Allowing(patterns) if patterns else None

    def _over(self, way: RolePath, rule: Rule) -> CompiledAnswer | None:
        """The answer of a row held over this role path; None if it covers no namespace."""
        where = way.where.intersection(rule.namespaces)
        if where is None:
            return None
        scopes = way.scopes if where is not rule.namespaces else _NO_SCOPES
        # Rules are compared by identity and live as long as the policy. Hashing the fields would double the time.
        key = (id(rule), scopes)
        answer = self._made.get(key)
        if answer is None:
            if len(self._made) >= _ANSWERS:
                self._made.clear()
            patterns = scopes | {rule.namespaces.text}
            answer = self._made[key] = _within(where, patterns, self.decision(rule))
        return answer


class _Allowing:
    """The patterns in which the rows of one subject allow one permission."""

    def __init__(self, patterns: Mapping[str, NamespacePattern]) -> None:
        self.patterns = patterns

    def overlaps(self, where: NamespacePattern, spend: Callable[[int], object]) -> bool:
        """True if a namespace of `where` is in one of the patterns. Calls `spend` per step; `spend` may raise."""
        # Usually one of the first patterns overlaps, and no trie is needed.
        if any(where.overlaps(pattern) for pattern in islice(self.patterns.values(), _FIRST)):
            return True
        return len(self.patterns) > _FIRST and any(
            where.overlaps(self.patterns[text]) for text in self._coverage.overlapping(where, spend)
        )

    @cached_property
    def _coverage(self) -> PatternTrie:
        return PatternTrie(self.patterns.values())


def _size(allowing: _Allowing | None) -> int:
    return 1 + len(allowing.patterns) if allowing is not None else 1


class _SpentError(Exception):
    pass


class _Budget:
    def __init__(self, steps: int) -> None:
        self._left = steps

    def spend(self, steps: int) -> None:
        """Raises _SpentError if the steps exceed the budget."""
        self._left -= steps
        if self._left < 0:
            raise _SpentError


def _unmatched(*, bound: bool, allowed: bool) -> Reason:
    if allowed:
        return Reason.OUT_OF_SCOPE
    return Reason.NOT_GRANTED if bound else Reason.NO_BINDING
