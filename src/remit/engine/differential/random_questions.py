from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random
from typing import Final

from remit.core.names import NAMESPACE_LIMIT, WHOLE_TENANT, Namespace, Principal, Word
from remit.core.patterns import NamespacePattern
from remit.core.policy import Policy
from remit.core.question import Question, ReachQuestion

_FRESH: Final = ("zz", "zz2", "a-b_c", "system")
"""Segments that a policy may or may not name."""
_UNKNOWN: Final = Word("NO_SUCH_WORD")
_TAILS: Final = ("x", "2", "-2", "_")
"""Suffixes that turn a segment into a sibling with the same beginning."""


def random_questions(policy: Policy, random: Random, count: int) -> Iterator[Question]:
    """`count` questions that are not malformed. Most use the policy's vocabulary and principals."""
    return islice(_questions(policy, random), count)


def random_reach_questions(policy: Policy, random: Random, count: int) -> Iterator[ReachQuestion]:
    return islice(_reach_questions(policy, random), count)


def _questions(policy: Policy, random: Random) -> Iterator[Question]:
    principals = _principals(policy)
    kinds = list(policy.vocabulary.kinds.values())
    here = [kind for kind in kinds if kind.lives_in(policy.tenant)] or kinds
    actions = {kind.name: sorted(kind.actions) for kind in kinds}
    every_action = sorted({action for named in actions.values() for action in named}) or [_UNKNOWN]
    patterns = sorted({rule.namespaces.text for rule in policy.rules} | {link.scope.text for link in policy.links})
    namespaces = _Namespaces(patterns, random)
    while True:
        principal = _principal(principals, random)
        if not here or random.randrange(50) == 0:
            yield Question(principal, _UNKNOWN, _UNKNOWN, namespaces.near())
            continue
        kind = random.choice(here if random.randrange(30) else kinds)
        action = random.choice((actions[kind.name] if random.randrange(30) else every_action) or every_action)
        yield Question(principal, action, kind.name, namespaces.near() if kind.namespaced else WHOLE_TENANT)


def _reach_questions(policy: Policy, random: Random) -> Iterator[ReachQuestion]:
    relations = [*policy.vocabulary.relations, _UNKNOWN]
    patterns = sorted({text for rule in policy.reach for text in (rule.caller.text, rule.owner.text)})
    namespaces = _Namespaces(patterns, random)
    while True:
        caller, owner = namespaces.near(), namespaces.near()
        if random.randrange(4) == 0:
            # Take an ancestor or a descendant, to test inherited rows.
            owner = Namespace(caller.rpartition(".")[0]) or owner
        if random.randrange(4) == 0:
            caller, owner = owner, caller
        yield ReachQuestion(caller, owner, random.choice(relations))


def _principals(policy: Policy) -> list[str]:
    named = {rule.subject for rule in policy.rules} | {link.member for link in policy.links} | (policy.access or set())
    return sorted(name for name in named if name.startswith(("user:", "service:")))


def _principal(known: Sequence[str], random: Random) -> Principal:
    """Usually a principal that the policy names, sometimes a similar name."""
    name = random.choice(known) if known else "user:nobody"
    kind, _, identity = name.partition(":")
    match random.randrange(20):
        case 0:
            name = f"{'service' if kind == 'user' else 'user'}:{identity}"
        case 1:
            name = f"{kind}:{identity.swapcase()}"
        case 2:
            name = f"{kind}:{identity[:-1]}" if len(identity) > 1 else "user:nobody"
        case 3:
            name = f"user:role:{identity}"[:256]
    return Principal(name)


class _Namespaces:
    def __init__(self, patterns: Sequence[str], random: Random) -> None:
        self._patterns = [NamespacePattern.parse(text) for text in patterns]
        literals = {segment for pattern in self._patterns for segment in pattern.segments if segment != "*"}
        self._segments = [*sorted(literals), *_FRESH]
        self._random = random

    def near(self) -> Namespace:
        """A namespace in or near a pattern, never the tenant itself."""
        random = self._random
        segments: list[str] = []
        subtree = True
        if self._patterns:
            pattern = random.choice(self._patterns)
            segments = [self._segment() if segment == "*" else segment for segment in pattern.segments]
            subtree = pattern.subtree
        if subtree:
            segments += [self._segment() for _ in range(random.randrange(3))]
        if segments:
            self._shift(segments)
        segments = segments or [self._segment()]
        while len(".".join(segments)) > NAMESPACE_LIMIT:
            segments.pop()
        return Namespace(".".join(segments or [_FRESH[0]]))

    def _shift(self, segments: list[str]) -> None:
        """In half of the calls, moves to a child, parent, sibling, sibling with the same beginning, or a level down."""
        random = self._random
        match random.randrange(10):
            case 0:
                segments.append(self._segment())
            case 1:
                segments.pop()
            case 2:
                segments[random.randrange(len(segments))] = self._segment()
            case 3:
                segments[-1] += random.choice(_TAILS)
            case 4:
                segments.insert(0, self._segment())

    def _segment(self) -> str:
        return self._random.choice(self._segments)
