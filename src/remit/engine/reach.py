from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from typing import Final

from remit.core.decision import Decision, Reason
from remit.core.names import Namespace
from remit.core.policy import Policy
from remit.core.question import ReachQuestion
from remit.core.rows import Effect, ReachRule
from remit.engine.coverage import Coverage
from remit.engine.pace import Pace, at_once

_NAMESPACES: Final = 131_072
"""Namespaces whose covering patterns are kept ready, as those of a snapshot are."""

_UNKNOWN_RELATION: Final = Decision(Effect.DENY, Reason.UNKNOWN_RELATION)
_SAME_NAMESPACE: Final = Decision(Effect.ALLOW, Reason.SAME_NAMESPACE)
_INHERITED: Final = Decision(Effect.ALLOW, Reason.INHERITED)
_NO_MATCHING_RULE: Final = Decision(Effect.DENY, Reason.NO_MATCHING_RULE)


class ReachIndex:
    """Reach rows found by the patterns that cover a caller and an owner, so that a question does not scan them."""

    def __init__(self, rules: Sequence[ReachRule], pace: Pace = at_once) -> None:
        self._rules = rules
        callers = self._callers = Coverage(rule.caller for rule in pace(rules))
        owners = self._owners = Coverage(rule.owner for rule in pace(rules))
        # Without `self` in them, as the caches of a snapshot.
        self._callers_of = lru_cache(_NAMESPACES)(callers.of)
        self._owners_of = lru_cache(_NAMESPACES)(owners.of)
        self._rows: defaultdict[str, defaultdict[str, list[tuple[int, ReachRule]]]]
        self._rows = defaultdict(lambda: defaultdict(list))
        for order, rule in enumerate(pace(rules)):
            self._rows[rule.caller.text][rule.owner.text].append((order, rule))

    def first_match(self, question: ReachQuestion) -> int | None:
        """The position of the first row, in file order, that matches."""
        return self._first(
            self._callers_of(question.caller),
            self._owners_of(question.owner),
            lambda rule: rule.names(question.relation),
        )

    def first_covering(self, row: ReachRule) -> ReachRule | None:
        """The first row, in file order, that matches all that `row` matches: `row` itself if no other does."""
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
            # Whichever is fewer: the two sets of patterns multiplied can be far more than there are rows.
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

    The namespace itself; else the first matching row; else inheritance; else deny.
    """

    def __init__(self, policy: Policy, pace: Pace = at_once) -> None:
        self._relations = policy.vocabulary.relations
        self._index = ReachIndex(policy.reach, pace)
        self._decisions = [_by_rule(rule) for rule in pace(policy.reach)]

    def decide(self, question: ReachQuestion) -> Decision:
        relation = self._relations.get(question.relation)
        if relation is None:
            return _UNKNOWN_RELATION
        if question.caller == question.owner:
            return _SAME_NAMESPACE
        first = self._index.first_match(question)
        if first is not None:
            return self._decisions[first]
        if relation.inherited and is_ancestor(question.owner, question.caller):
            return _INHERITED
        return _NO_MATCHING_RULE


def is_ancestor(ancestor: Namespace, descendant: Namespace) -> bool:
    """Whether `descendant` lies below `ancestor`, by whole segments."""
    return descendant.startswith(f"{ancestor}.")


def _by_rule(rule: ReachRule) -> Decision:
    allowed = rule.effect is Effect.ALLOW
    return Decision(rule.effect, Reason.ALLOWED_BY_RULE if allowed else Reason.DENIED_BY_RULE, rule)
