"""Grants and revokes of g rows: who may make them, and who would gain by them what the granter does not hold."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from remit.core.errors import RemitError
from remit.core.names import Principal, Subject, Word
from remit.core.patterns import NamespacePattern
from remit.core.question import Question
from remit.core.rows import Link
from remit.core.runtime import BINDING, GRANT_ANY
from remit.engine.decision_diagram import DiagramFactory, Region
from remit.engine.diff.access import grouped, naming
from remit.engine.diff.access_regions import AccessRegions, Permission
from remit.engine.diff.change import ChangedNamespaces, Direction
from remit.engine.snapshot import Snapshot

_SHOWN: Final = 3
"""Subjects and patterns named in a text."""


@dataclass(frozen=True, slots=True)
class Escalation:
    """All of `subjects` would gain all of `permissions` everywhere in `where`, and the granter holds none of that."""

    subjects: tuple[Subject, ...]
    """Principals, and groups: a group stands for whoever joins it."""
    permissions: tuple[Permission, ...]
    where: ChangedNamespaces

    @property
    def text(self) -> str:
        who = _listed(f"`{subject}`" for subject in self.subjects)
        actions: defaultdict[Word, list[Word]] = defaultdict(list)
        for kind, action in self.permissions:
            actions[kind].append(action)
        what = _listed(f"{kind} {'|'.join(names)}" for kind, names in actions.items())
        places = [f"`{piece}`" for piece in self.where.namespaces]
        where = _listed([*places, *(["the tenant itself"] if self.where.tenant_itself else [])])
        return f"{who} would gain {what} in {where}"


class TooManyWaysError(RemitError):
    """The subjects of a change hold more different things than may be compared."""


def escalations(
    before: Snapshot, after: Snapshot, changed: Iterable[Link], granter: Principal, most: float = inf
) -> tuple[Escalation, ...]:
    """All that somebody gains from `before` to `after` and the granter does not hold in `before`: exact and complete.

    `changed` are the g rows that only one of the two has. Neither may have a cycle; in all but g rows they must be equal.
    Where the granter may GRANT_ANY, nobody gains too much. Raises TooManyDiagramsError, as a diff does, and TooManyWaysError
    if the subjects hold more than `most` different things before and after.
    """
    factory = DiagramFactory()
    changed = tuple(changed)
    old = AccessRegions(factory, before)
    new = AccessRegions(factory, after, old.permission_rows)
    free = _free(factory, old, granter)
    if free is factory.all:
        return ()
    # A row that is removed leads on by rows that stay, or that are removed too and stand for themselves.
    changing = frozenset().union(*(new.held(link.holds) for link in changed))
    found: defaultdict[tuple[Direction, Region, Permission], list[Principal]] = defaultdict(list)
    ways = _alike(old, new, affected(before, after, changed))
    if len(ways) > most:
        raise TooManyWaysError(f"the rows give rights in {len(ways):,} different ways")
    for alike in ways:
        subject = alike[0]
        held = old.held(subject) | new.held(subject)
        for permission in held & changing if old.admits(subject) == new.admits(subject) else held:
            with naming(subject, permission):
                gained = _gained(factory, old, new, subject, permission)
                if gained is factory.none:
                    continue
                beyond = factory.without(gained, factory.union(free, old.allows(granter, permission)))
                if not factory.is_empty(beyond):
                    found[Direction.GAIN, beyond, permission] += map(Principal, alike)
    return tuple(
        Escalation(tuple(map(Subject, subjects)), permissions, where)
        for _, subjects, permissions, where in sorted(grouped(factory, found), key=lambda each: (each[1], each[2]))
    )


def affected(before: Snapshot, after: Snapshot, changed: Iterable[Link]) -> frozenset[Subject]:
    """The members of the changed g rows, and every subject that holds one of them, before or after."""
    above = {link.member for link in changed}
    # Nobody holds a principal, and to find who holds a group takes all rows.
    waiting = [subject for subject in above if subject.startswith(("group:", "role:"))]
    while waiting:
        holds = waiting.pop()
        more = {link.member for side in (before, after) for link in side.graph.members_of(holds)} - above
        above |= more
        waiting += more
    return frozenset(above)


def binding_question(snapshot: Snapshot, granter: Principal, action: Word, scope: NamespacePattern) -> Question:
    """The question whose answer says if the granter may grant (CREATE) or revoke (DELETE) a row with this scope.

    If BINDING lives in namespaces, it must be allowed in all of the scope: the question names a namespace of the scope
    where it is denied, if there is one. Raises TooManyDiagramsError.
    """
    kind = snapshot.policy.vocabulary.kinds.get(BINDING)
    if kind is None or not kind.namespaced:
        return Question(granter, action, BINDING)
    factory = DiagramFactory()
    asked = factory.namespaces(factory.region(scope))
    allowed = AccessRegions(factory, snapshot).allows(granter, (BINDING, action))
    denied = factory.first(factory.without(asked, allowed))
    namespace = factory.first(asked) if denied is None else denied
    assert namespace is not None
    return Question(granter, action, BINDING, namespace)


def _free(factory: DiagramFactory, old: AccessRegions, granter: Principal) -> Region:
    """Where the granter may give what it does not hold."""
    where = old.allows(granter, (BINDING, GRANT_ANY))
    # Of the tenant itself, if BINDING lives there: then it is of everything in it.
    return factory.all if where.here else where


def _alike(old: AccessRegions, new: AccessRegions, subjects: Iterable[Subject]) -> Collection[Sequence[Subject]]:
    """The principals and groups among the subjects, together with those that hold the same before and after."""
    found: defaultdict[object, list[Subject]] = defaultdict(list)
    for subject in sorted(subjects):
        if subject.startswith("role:"):
            continue
        own = subject if subject.startswith("group:") or old.graph.rules_of(subject) else ""
        held = (
            frozenset((link.holds, link.scope.text) for link in side.graph.links_of(subject)) for side in (old, new)
        )
        found[own, old.admits(subject), new.admits(subject), *held].append(subject)
    return found.values()


def _gained(
    factory: DiagramFactory, old: AccessRegions, new: AccessRegions, subject: str, permission: Permission
) -> Region:
    if not subject.startswith("group:"):
        return factory.without(new.allows(Principal(subject), permission), old.allows(Principal(subject), permission))
    now = new.given(subject, permission)
    if new.admits(subject) and not old.admits(subject):
        return now
    # Whoever joins it may be on the access list themselves.
    return factory.without(now, old.given(subject, permission))


def _listed(texts: Iterable[str]) -> str:
    listed = list(texts)
    shown = ", ".join(listed[:_SHOWN])
    return shown if len(listed) <= _SHOWN else f"{shown} and {len(listed) - _SHOWN} more"
