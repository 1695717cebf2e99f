"""Lists of the reach plane: what a namespace can use, who can use what it owns, and if it may use all of these."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Final

from remit.core.decision import Decision, Reason
from remit.core.errors import violation
from remit.core.names import Namespace, Word
from remit.core.namespace_set import NamespaceSet
from remit.core.patterns import NamespacePattern, exactly, subtree_of
from remit.core.question import QuestionType, ReachQuestion
from remit.core.rows import Effect, ReachRule
from remit.engine.inquiry import Inquiry, TooLargeError
from remit.engine.minimal_sets import PAIRS_LIMIT, limited, simplest, within
from remit.engine.pattern_trie import PatternTrie
from remit.engine.snapshot import Snapshot

OWNERS_RECORDED: Final = 100
"""Refusing owners that a record names; the record counts the others."""


@dataclass(frozen=True, slots=True)
class AllReached:
    """May a namespace use what every one of these owners owns?"""

    decision: Decision
    """The decision of the first owner that refuses; if none refuses, of the first owner."""
    refused: tuple[tuple[Namespace, Reason], ...]


@dataclass(frozen=True, slots=True)
class ReachesAll(Inquiry[AllReached]):
    question_type: ClassVar = QuestionType.REACH_ALL
    decides: ClassVar = True
    caller: Namespace
    relation: Word
    owners: tuple[Namespace, ...]

    def __post_init__(self) -> None:
        """Raises MalformedQuestionError if there are no owners."""
        if not self.owners:
            raise violation("owners", "is empty: name at least one owner")

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return (f"namespace:{self.caller}", self.relation, "", "")

    def answer(self, snapshot: Snapshot) -> AllReached:
        decided = [
            (owner, snapshot.reach.decide(ReachQuestion(self.caller, owner, self.relation))) for owner in self.owners
        ]
        refused = [(owner, decision) for owner, decision in decided if not decision.allowed]
        _, first = (refused or decided)[0]
        return AllReached(first, tuple((owner, decision.reason) for owner, decision in refused))

    def decision(self, answer: AllReached) -> Decision:
        return answer.decision

    def detail(self, answer: AllReached) -> Mapping[str, object]:
        named, others = answer.refused[:OWNERS_RECORDED], answer.refused[OWNERS_RECORDED:]
        return {"owners": len(self.owners), "refused": [owner for owner, _ in named], "other_refused": len(others)}


@dataclass(frozen=True, slots=True)
class Reachable:
    """What a namespace can use by one relation, and who can use what it owns: unions of sets, and the given namespaces
    that are in them."""

    relation: Word
    uses: tuple[NamespaceSet, ...]
    used_by: tuple[NamespaceSet, ...]
    uses_among: tuple[Namespace, ...]
    used_by_among: tuple[Namespace, ...]


@dataclass(frozen=True, slots=True)
class ReachableFrom(Inquiry[tuple[Reachable, ...]]):
    """What can work in a namespace use, and whose work can use what the namespace owns?"""

    question_type: ClassVar = QuestionType.REACHABLE
    namespace: Namespace
    relations: tuple[Word, ...] = ()
    """Only these relations; all that the vocabulary declares if empty."""
    among: tuple[Namespace, ...] = ()

    @property
    def columns(self) -> tuple[str, str, str, str]:
        return (f"namespace:{self.namespace}", "|".join(self.relations), "", "")

    def refusal(self, snapshot: Snapshot) -> Reason | None:
        known = snapshot.policy.vocabulary.relations
        return None if all(relation in known for relation in self.relations) else Reason.UNKNOWN_RELATION

    def answer(self, snapshot: Snapshot) -> tuple[Reachable, ...]:
        relations = self.relations or tuple(snapshot.policy.vocabulary.relations)
        rows = snapshot.policy.reach
        calls = [(row, row.owner) for row in rows if row.caller.contains(self.namespace)]
        owns = [(row, row.caller) for row in rows if row.owner.contains(self.namespace)]
        first_match = _FirstMatch()
        found: list[Reachable] = []
        for relation in relations:
            found.append(self._by(relation, snapshot, calls, owns, first_match))
            limited(part for each in found for part in (*each.uses, *each.used_by))
        return tuple(found)

    def detail(self, answer: tuple[Reachable, ...]) -> Mapping[str, object]:
        return {
            "among": len(self.among),
            "relations": {
                each.relation: {"uses": len(each.uses_among), "used_by": len(each.used_by_among)} for each in answer
            },
        }

    def _by(
        self,
        name: Word,
        snapshot: Snapshot,
        calls: Iterable[tuple[ReachRule, NamespacePattern]],
        owns: Iterable[tuple[ReachRule, NamespacePattern]],
        first_match: "_FirstMatch",
    ) -> Reachable:
        here = self.namespace
        decide = snapshot.reach.decide
        inherited = snapshot.policy.vocabulary.relations[name].inherited
        above = [
            each for each in _ancestors(here) if decide(ReachQuestion(here, each, name)).reason is Reason.INHERITED
        ]
        below = subtree_of(here) if inherited else ()
        uses = first_match.allows(name, calls, unmatched=(), always=[here, *above])
        used_by = first_match.allows(name, owns, unmatched=below, always=[here])
        return Reachable(name, uses, used_by, within(uses, self.among), within(used_by, self.among))


class _FirstMatch:
    """Turns reach rows, which apply in order, into sets, which have no order. PAIRS_LIMIT is for all calls together."""

    def __init__(self) -> None:
        self._left = PAIRS_LIMIT

    def allows(
        self,
        relation: Word,
        rows: Iterable[tuple[ReachRule, NamespacePattern]],
        *,
        unmatched: Iterable[NamespacePattern],
        always: Iterable[Namespace],
    ) -> tuple[NamespaceSet, ...]:
        """The namespaces in which the first matching row allows; `always` and, if no row matches, `unmatched` too."""
        allowed, denied = PatternTrie(), PatternTrie()
        by_exclusion: defaultdict[tuple[str, ...], list[NamespacePattern]] = defaultdict(list)
        named = [(row.effect, pattern) for row, pattern in rows if row.names(relation)]
        # An allow row opens all that it matches, so `unmatched` may come after all rows.
        for effect, pattern in [*named, *((Effect.ALLOW, each) for each in unmatched)]:
            if allowed.of_pattern(pattern) or denied.of_pattern(pattern):
                # A row above decides.
                continue
            if effect is Effect.DENY:
                denied.add(pattern)
            else:
                allowed.add(pattern)
                by_exclusion[self._taken(denied.overlapping(pattern))].append(pattern)
        patterns = {pattern.text: pattern for effect, pattern in named if effect is Effect.DENY}
        bare = by_exclusion.pop((), [])
        sets = limited(simplest(only, map(patterns.__getitem__, excluded)) for excluded, only in by_exclusion.items())
        bare += [exactly(each) for each in always if not any(found.contains(each) for found in sets)]
        return limited(each for each in (simplest(bare, ()), *sets) if each.only)

    def _taken(self, overlapping: Iterable[str]) -> tuple[str, ...]:
        taken = tuple(islice(overlapping, self._left + 1))
        self._left -= len(taken)
        if self._left < 0:
            raise TooLargeError("the rows that allow and the rows that deny multiply beyond the limit of a list")
        return taken


def _ancestors(namespace: Namespace) -> list[Namespace]:
    segments = namespace.split(".")
    return [Namespace(".".join(segments[:count])) for count in range(1, len(segments))]
