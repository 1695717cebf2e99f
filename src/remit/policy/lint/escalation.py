"""Rules about people: who can gain more than the rows give them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from remit.core.names import Principal, Word
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.rows import ANY, Effect, Link, ReachRule, Rule
from remit.core.runtime import BINDING, GRANT_ANY
from remit.engine.pattern_cover import below, covered, namespaces_of
from remit.engine.pattern_trie import PatternTrie
from remit.policy.lint.context import LintedTenant, Permission
from remit.policy.lint.finding import LintFinding, RuleId
from remit.policy.lint.holders import Grant, People

# Permissions that change who holds what, in words of the example vocabulary. Undeclared words have no effect. In a tenant
# that opens rows of run time, remit itself answers BINDING CREATE and DELETE, and nobody grants more than they hold.
_CLIMBING: Final = {
    "BINDING": ("CREATE", "UPDATE", "DELETE"),
    "ROLE": ("CREATE", "UPDATE", "DELETE"),
    "GROUP": ("UPDATE", "DELETE", "MANAGE_MEMBERS"),
    "USER": ("MANAGE_GROUP_MEMBERSHIP", "IMPERSONATE"),
    "INVITATION": ("CREATE",),
    "SERVICE_ACCOUNT": ("UPDATE",),  # this action issues tokens
}
_GATED: Final = {**_CLIMBING, BINDING: ("UPDATE", GRANT_ANY)}
_WORK: Final = Word("FLOW")
_WRITING: Final = (Word("CREATE"), Word("UPDATE"))
_SECRETS: Final = (Word("SECRET"), Word("CREDENTIAL"))
_SHOWN: Final = 10
"""People named in one finding."""


def privilege_escalation(tenant: LintedTenant) -> Iterator[LintFinding]:
    steps = frozenset(
        (Word(kind), Word(action))
        for kind, actions in (_CLIMBING if tenant.policy.runtime is None else _GATED).items()
        if (declared := tenant.policy.vocabulary.kinds.get(Word(kind))) is not None and declared.lives_in(tenant.name)
        for action in actions
        if action in declared.actions
    )
    if not steps:
        return
    found: dict[int, tuple[Rule | Link, set[Principal], set[Permission]]] = {}
    named: dict[tuple[tuple[Word, ...], tuple[Word, ...]], list[Permission]] = {}
    for people in tenant.holders.people:
        for grant in people.of(Effect.ALLOW):
            words = (grant.rule.kinds, grant.rule.actions)
            if words not in named:
                named[words] = [step for step in steps if grant.rule.names(*step)]
            taken = {step for step in named[words] if _allowed(tenant, people, grant.region, step)}
            if taken and not _holds_everything(people):
                _, names, can = found.setdefault(id(grant.place), (grant.place, set(), set()))
                names.update(people.names)
                can |= taken
    for place, names, can in found.values():
        kinds = sorted({kind for kind, _ in can})
        taken_steps = ", ".join(f"{kind} {'|'.join(sorted(act for its, act in can if its == kind))}" for kind in kinds)
        yield tenant.texts.at(
            place,
            1,
            RuleId.PRIVILEGE_ESCALATION,
            f"{_people(names)} may {taken_steps}, and so change what they hold themselves",
        )


def _holds_everything(people: People) -> bool:
    """True if there is nothing more to gain: everything is allowed in the whole tenant, and nothing denied."""
    return not any(people.of(Effect.DENY)) and any(
        grant.region == EVERYWHERE and grant.rule.kinds == ANY and grant.rule.actions == ANY
        for grant in people.of(Effect.ALLOW)
    )


def _allowed(tenant: LintedTenant, people: People, region: NamespacePattern, permission: Permission) -> bool:
    """True if these people's denies together do not remove the permission from all of `region`."""
    kind = tenant.policy.vocabulary.kinds[permission[0]]
    denied = [grant.region for grant in people.of(Effect.DENY) if grant.rule.names(*permission)]
    if not kind.namespaced:
        return region == EVERYWHERE and EVERYWHERE not in denied
    return not covered(namespaces_of(region), [namespaces_of(each) for each in denied])


def inherited_secrets(tenant: LintedTenant) -> Iterator[LintFinding]:
    """Finds people who may write work in a namespace that inherits an ancestor's secrets, but who at the ancestor may
    neither write work nor hold anything on secrets."""
    vocabulary = tenant.policy.vocabulary
    work = vocabulary.kinds.get(_WORK)
    relations = [word for word in _SECRETS if word in vocabulary.relations and vocabulary.relations[word].inherited]
    if work is None or not work.namespaced or not relations:
        return
    descent = _Descent(tenant)
    found: dict[int, tuple[Rule | Link, set[Principal], defaultdict[str, set[Word]]]] = {}
    for people in tenant.holders.people:
        for grant, owner, relation in descent.taken_by(people, relations):
            _, names, taken = found.setdefault(id(grant.place), (grant.place, set(), defaultdict(set)))
            names.update(people.names)
            taken[owner.text].add(relation)
    for place, names, taken in found.values():
        owners = " and ".join(f"{'|'.join(sorted(words))} of `{owner}`" for owner, words in sorted(taken.items()))
        yield tenant.texts.at(
            place,
            1,
            RuleId.INHERITED_SECRETS,
            f"{_people(names)} may write work that inherits {owners}, where they hold nothing on it",
        )


class _Descent:
    """The inherited secrets that people can use by writing work further down."""

    def __init__(self, tenant: LintedTenant) -> None:
        self._kinds = tenant.policy.vocabulary.kinds
        self._owners = PatternTrie(rule.owner for rule in tenant.policy.reach)
        self._rows: defaultdict[str, list[ReachRule]] = defaultdict(list)
        for rule in tenant.policy.reach:
            self._rows[rule.owner.text].append(rule)
        self._open: dict[tuple[str, ...], bool] = {}

    def taken_by(self, people: People, relations: Sequence[Word]) -> Iterator[tuple[Grant, NamespacePattern, Word]]:
        """The grants that let these people write work below a namespace, the namespace, and what they take from it."""
        for action in _WRITING:
            writing = {
                namespaces_of(grant.region): grant
                for grant in people.of(Effect.ALLOW)
                if grant.rule.names(_WORK, action)
            }
            denied = [
                namespaces_of(grant.region)
                for grant in people.of(Effect.DENY)
                if grant.rule.names(_WORK, action) and writing
            ]
            for region, grant in writing.items():
                for owner in _above(region, denied):
                    callers = region.intersection(below(owner))
                    if callers is None or any(self._may(people, _WORK, each, owner) for each in _WRITING):
                        continue
                    for relation in relations:
                        if not self._touches(people, relation, owner) and self._flows(callers, owner, relation, denied):
                            yield grant, owner, relation

    def _touches(self, people: People, relation: Word, owner: NamespacePattern) -> bool:
        """True if the people hold anything on the kind that has the relation's name."""
        kind = self._kinds.get(relation)
        return kind is not None and any(self._may(people, relation, action, owner) for action in kind.actions)

    def _may(self, people: People, kind: Word, action: Word, owner: NamespacePattern) -> bool:
        named = [grant for grant in people.grants if grant.region.covers(owner) and grant.rule.names(kind, action)]
        return bool(named) and all(grant.rule.effect is Effect.ALLOW for grant in named)

    def _flows(
        self, callers: NamespacePattern, owner: NamespacePattern, relation: Word, denied: Sequence[NamespacePattern]
    ) -> bool:
        """True if reach allows one of `callers`, all below `owner` and not in `denied`, to use what `owner` owns."""
        key = (callers.text, owner.text, relation, *sorted(each.text for each in denied))
        if key not in self._open:
            self._open[key] = self._find(callers, owner, relation, denied)
        return self._open[key]

    def _find(
        self, callers: NamespacePattern, owner: NamespacePattern, relation: Word, denied: Sequence[NamespacePattern]
    ) -> bool:
        over = self._owners.of_pattern(owner)
        rows = (rule for text in over for rule in self._rows[text] if rule.names(relation))
        decided = list(denied)
        for rule in sorted(rows, key=lambda rule: rule.line):
            part = callers.intersection(rule.caller)
            if part is not None:
                if rule.effect is Effect.ALLOW and not covered(part, decided):
                    return True
                decided.append(rule.caller)
        return not covered(callers, decided)


def _above(region: NamespacePattern, denied: Iterable[NamespacePattern]) -> Iterator[NamespacePattern]:
    """The namespaces above `region`, and the namespaces in it that are denied while some below them are not."""
    yield from (_prefix(region, length) for length in range(1, len(region.segments)))
    yield from (overlap for each in denied if not each.subtree and (overlap := each.intersection(region)) is not None)


def _prefix(pattern: NamespacePattern, length: int) -> NamespacePattern:
    segments = pattern.segments[:length]
    return NamespacePattern(".".join(segments), segments, subtree=False)


def _people(names: Iterable[Principal]) -> str:
    distinct = sorted(set(names))
    shown = ", ".join(f"`{name}`" for name in distinct[:_SHOWN])
    return shown if len(distinct) <= _SHOWN else f"{shown} and {len(distinct) - _SHOWN} more"
