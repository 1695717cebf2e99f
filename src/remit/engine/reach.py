from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Final

from remit.core.decision import Decision, Reason
from remit.core.names import Namespace, Word
from remit.core.policy import Policy
from remit.core.question import ReachQuestion
from remit.core.rows import Effect, ReachRule
from remit.engine.memo import BoundedMemo
from remit.engine.pacing import Pacing, unpaced
from remit.engine.pattern_trie import PatternTrie

_NAMESPACES: Final = 131_072
"""Namespaces with cached covering patterns, as in a snapshot."""
_ANSWER_LISTS: Final = 262_144
"""Cached answer lists of callers, for all relations together. A list takes a pointer per row."""
_WIDE: Final = 64
"""If more rows than this cover one caller, rows are also found by owner instead of tried in turn."""

_UNKNOWN_RELATION: Final = Decision(Effect.DENY, Reason.UNKNOWN_RELATION)
_SAME_NAMESPACE: Final = Decision(Effect.ALLOW, Reason.SAME_NAMESPACE)
_INHERITED: Final = Decision(Effect.ALLOW, Reason.INHERITED)
_NO_MATCHING_RULE: Final = Decision(Effect.DENY, Reason.NO_MATCHING_RULE)

_Answer = tuple[str, Decision]
"""The answer of one row: the pattern that must cover the owner, and the decision."""
_AnswerList = Sequence[_Answer]
"""The answers for one caller and one relation: the first that covers the owner applies."""


class ReachIndex:
    """An index of reach rows by the patterns that cover a caller and an owner. A question does not scan all rows."""

    def __init__(self, rules: Sequence[ReachRule], pacing: Pacing = unpaced) -> None:
        self._rules = rules
        callers = self._callers = PatternTrie(rule.caller for rule in pacing(rules))
        owners = self._owners = PatternTrie(rule.owner for rule in pacing(rules))
        self._callers_of = BoundedMemo(_NAMESPACES, callers.of)
        self.owners_of = BoundedMemo(_NAMESPACES, owners.of)
        """The texts of the rows' owner patterns that cover a namespace."""
        self._rows: defaultdict[str, defaultdict[str, list[tuple[int, ReachRule]]]]
        self._rows = defaultdict(lambda: defaultdict(list))
        for order, rule in enumerate(pacing(rules)):
            self._rows[rule.caller.text][rule.owner.text].append((order, rule))

    def rows_from(self, caller: Namespace) -> Iterator[tuple[int, ReachRule]]:
        """The rows whose caller pattern covers `caller`, with their positions, in no order."""
        for pattern in self._callers_of[caller]:
            yield from chain.from_iterable(self._rows[pattern].values())

    def first_match(self, question: ReachQuestion) -> int | None:
        """The position of the first matching row in file order."""
        return self._first(
            self._callers_of[question.caller],
            self.owners_of[question.owner],
            lambda rule: rule.names(question.relation),
        )

    def first_covering(self, row: ReachRule) -> ReachRule | None:
        """The first row in file order that matches all that `row` matches; `row` itself if no other does."""
        first = self._first(
            self._callers.of_pattern(row.caller),
            self._owners.of_pattern(row.owner),
            lambda rule: rule.covers(row),
        )
        return self._rules[first] if first is not None else None

    def _first(
        self, callers: Iterable[str], owners: Collection[str], wanted: Callable[[ReachRule], bool]
    ) -> int | None:
        first: int | None = None
        for caller in callers:
            by_owner = self._rows[caller]
            # Iterate over the smaller set: all combinations of both sets can be far more than there are rows.
            both = (
                (owner for owner in owners if owner in by_owner)
                if len(owners) < len(by_owner)
                else (owner for owner in by_owner if owner in owners)
            )
            for owner in both:
                found = next((order for order, rule in by_owner[owner] if wanted(rule)), None)
                if found is not None and (first is None or found < first):
                    first = found
        return first


class Reach:
    """The reach plane of one tenant: may work in one namespace use what another owns?

    A namespace may use what it owns. Otherwise the first matching row decides, then inheritance, then deny.
    """

    def __init__(self, policy: Policy, pacing: Pacing = unpaced) -> None:
        self._relations = relations = policy.vocabulary.relations
        self._index = index = ReachIndex(policy.reach, pacing)
        self._answers = answers = [(rule.owner.text, _by_rule(rule)) for rule in pacing(policy.reach)]
        limit = _ANSWER_LISTS // max(1, len(relations))
        self._answer_lists = {
            name: BoundedMemo(limit, partial(_answer_list, index, answers, name)) for name in relations
        }

    def decide(self, question: ReachQuestion) -> Decision:
        caller, owner, relation = question
        answer_lists = self._answer_lists.get(relation)
        if answer_lists is None:
            return _UNKNOWN_RELATION
        if caller == owner:
            return _SAME_NAMESPACE
        answers = answer_lists[caller]
        if answers is not None:
            owners = self._index.owners_of[owner]
            for pattern, decision in answers:
                if pattern in owners:
                    return decision
        else:
            first = self._index.first_match(question)
            if first is not None:
                return self._answers[first][1]
        if self._relations[relation].inherited and is_ancestor(owner, caller):
            return _INHERITED
        return _NO_MATCHING_RULE


def _answer_list(
    index: ReachIndex, answers: Sequence[_Answer], relation: Word, caller: Namespace
) -> _AnswerList | None:
    """The answer list of a caller; None if it would be too wide."""
    rows = list(islice(index.rows_from(caller), _WIDE + 1))
    if len(rows) > _WIDE:
        return None
    return tuple(answers[position] for position in sorted(position for position, rule in rows if rule.names(relation)))


def is_ancestor(ancestor: Namespace, descendant: Namespace) -> bool:
    """True if `descendant` lies below `ancestor`, by whole segments."""
    return descendant.startswith(f"{ancestor}.")


def _by_rule(rule: ReachRule) -> Decision:
    allowed = rule.effect is Effect.ALLOW
    return Decision(rule.effect, Reason.ALLOWED_BY_RULE if allowed else Reason.DENIED_BY_RULE, rule)
