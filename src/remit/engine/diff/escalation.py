"""Grants and revokes of g rows: who may make them, and what they give that the granter does not hold."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence, Sized
from dataclasses import dataclass
from math import inf
from typing import Final

from remit.clock import utc_text
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

MOST_MOMENTS: Final = 64
"""Times at which rights of a change or of its granter end: each is compared by itself."""
_SHOWN: Final = 3
"""Subjects and patterns named in a text."""


@dataclass(frozen=True, slots=True)
class Escalation:
    """The change gives all of `subjects` all of `permissions` everywhere in `where`, and the granter holds none of that."""

    subjects: tuple[Subject, ...]
    """Principals, and groups: a group stands for whoever joins it."""
    permissions: tuple[Permission, ...]
    where: ChangedNamespaces
    from_us: int = 0
    """From when on the granter does not hold it, microseconds since the Unix epoch; 0 for now."""

    @property
    def text(self) -> str:
        who = _listed(f"`{subject}`" for subject in self.subjects)
        actions: defaultdict[Word, list[Word]] = defaultdict(list)
        for kind, action in self.permissions:
            actions[kind].append(action)
        what = _listed(f"{kind} {'|'.join(names)}" for kind, names in actions.items())
        places = [f"`{piece}`" for piece in self.where.namespaces]
        where = _listed([*places, *(["the tenant itself"] if self.where.tenant_itself else [])])
        when = f" after {utc_text(self.from_us)}" if self.from_us else ""
        return f"{who} would gain {what} in {where}{when}"


class TooManyWaysError(RemitError):
    """A change gives too many different things, or at too many different times, to be compared."""


def escalations(
    before: Snapshot,
    after: Snapshot,
    added: Iterable[Link],
    removed: Iterable[Link],
    granter: Principal | None,
    *,
    now_us: int = 0,
    most: float = inf,
) -> tuple[Escalation, ...]:
    """All that a change gives and the granter does not hold: exact and complete. Without a granter, all that it gives.

    - A row gives what a principal without other rows may do by it, at each time until it ends. The granter must hold that in
      `before`, now and at that time: rows that have ended by then count for neither of them.
    - A removed row gives what somebody gains because it led to a deny; a row that lets somebody onto the access list, all
      that this one may do then. The granter must hold that for as long.

    `added` and `removed` are the g rows that only one of the two has; a row that is granted anew with another end is in both.
    Neither may have a cycle; in all but g rows they must be equal. Where the granter may GRANT_ANY, nothing is too much.
    Raises TooManyDiagramsError, as a diff does, and TooManyWaysError if more than `most` different things are given, or at more
    than `MOST_MOMENTS` different times.
    """
    added = tuple(added)
    again = {_key(link) for link in added}
    change = _Change(
        before, after, added, tuple(each for each in removed if _key(each) not in again), granter=granter, now_us=now_us
    )
    if change.free is change.factory.all:
        return ()
    found: _Found = defaultdict(list)
    change.find_given(found, most)
    change.find_lifted(found, most)
    change.find_admitted(found)
    return change.escalations(found)


_Found = defaultdict[tuple[int, Region, Permission], list[Subject]]
"""Subjects by time, place and permission."""


class _Change:
    """What one change gives beyond its granter."""

    def __init__(
        self,
        before: Snapshot,
        after: Snapshot,
        added: Sequence[Link],
        removed: Sequence[Link],
        *,
        granter: Principal | None,
        now_us: int,
    ) -> None:
        """`removed` are the rows that are not granted anew."""
        self.factory = factory = DiagramFactory()
        self._before, self._after, self._added, self._removed = before, after, added, removed
        self._granter, self._now_us = granter, now_us
        self._old = AccessRegions(factory, before)
        own = _reached_links(before, () if granter is None else (granter,))
        given = _reached_links(after, {link.holds for link in added})
        ends = {link.expires_us for link in (*own, *given) if link.expires_us > now_us}
        if len(ends) >= MOST_MOMENTS:
            raise TooManyWaysError(f"the rights of the rows and of the granter end at {len(ends):,} different times")
        self._moments = (now_us, *sorted(ends))
        self._holders = [self._regions(before, own, moment) for moment in self._moments]
        self._givers = [self._regions(after, given, moment) for moment in self._moments]
        self.free = factory.none if granter is None else _free(factory, self._holders[0], granter)

    def _regions(self, snapshot: Snapshot, links: Iterable[Link], moment_us: int) -> AccessRegions:
        """What the policy allows, as far as these rows lead, once the rows that end by then have ended."""
        ended = [link for link in links if 0 < link.expires_us <= moment_us]
        left = snapshot.changed("", (), ended) if ended else snapshot
        return AccessRegions(self.factory, left, self._old.permission_rows)

    def _beyond(self, region: Region, permission: Permission, moment: int) -> Region:
        """The part of the region in which the granter does not hold the permission at that moment, or now."""
        beyond = self.factory.without(region, self.free)
        if self._granter is None or beyond is self.factory.none:
            return beyond
        held = self.factory.intersection(
            self._old.allows(self._granter, permission), self._holders[moment].allows(self._granter, permission)
        )
        return self.factory.without(beyond, held)

    def find_given(self, found: _Found, most: float) -> None:
        """What the added rows give, each by itself."""
        ways: defaultdict[tuple[Subject, str, int], list[Link]] = defaultdict(list)
        for link in self._added:
            ways[link.holds, link.scope.text, self._lasts(link.expires_us)].append(link)
        _require_few(ways, most)
        for (holds, _, last), alike in ways.items():
            members = [link.member for link in alike if not link.member.startswith("role:")]
            missing: dict[Permission, Region] = {}
            for moment in range(last + 1):
                giver = self._givers[moment]
                for permission in giver.held(holds):
                    with naming(holds, permission):
                        region = self._beyond(giver.through(alike[0], permission), permission, moment)
                        region = self.factory.without(region, missing.get(permission, self.factory.none))
                        if not self.factory.is_empty(region):
                            missing[permission] = self.factory.union(missing.get(permission, self.factory.none), region)
                            found[self._moments[moment] if moment else 0, region, permission] += members

    def find_lifted(self, found: _Found, most: float) -> None:
        """What somebody gains because rows are removed that led to a deny."""
        if not self._removed:
            return
        left = self._before.changed("", (), self._removed)
        new = AccessRegions(self.factory, left, self._old.permission_rows)
        changing = frozenset().union(*(self._old.held(link.holds) for link in self._removed))
        ways = _alike(self._old, new, affected(self._before, left, self._removed))
        _require_few(ways, most)
        for alike in ways:
            for permission in (self._old.held(alike[0]) | new.held(alike[0])) & changing:
                with naming(alike[0], permission):
                    gained = _gained(self.factory, self._old, new, alike[0], permission)
                    self._add(found, alike, gained, permission, len(self._moments) - 1)

    def find_admitted(self, found: _Found) -> None:
        """What whoever comes onto the access list may do then."""
        new, last = self._givers[0], max((self._lasts(link.expires_us) for link in self._added), default=0)
        for alike in _alike(self._old, new, affected(self._before, self._after, self._added)):
            if new.admits(alike[0]) and not self._old.admits(alike[0]):
                for permission in new.held(alike[0]):
                    with naming(alike[0], permission):
                        self._add(found, alike, new.given(alike[0], permission), permission, last)

    def _add(
        self, found: _Found, subjects: Sequence[Subject], region: Region, permission: Permission, moment: int
    ) -> None:
        now = self._beyond(region, permission, 0)
        later = self.factory.without(self._beyond(region, permission, moment), now)
        for from_us, beyond in ((0, now), (self._moments[moment], later)):
            if not self.factory.is_empty(beyond):
                found[from_us, beyond, permission] += subjects

    def _lasts(self, expires_us: int) -> int:
        """The number of the last moment at which a row with this end counts."""
        return len(self._moments) - 1 if not expires_us else max(bisect_left(self._moments, expires_us) - 1, 0)

    def escalations(self, found: _Found) -> tuple[Escalation, ...]:
        by_time: defaultdict[int, dict[tuple[Direction, Region, Permission], list[Principal]]] = defaultdict(dict)
        for (from_us, region, permission), subjects in found.items():
            by_time[from_us][Direction.GAIN, region, permission] = [Principal(each) for each in dict.fromkeys(subjects)]
        return tuple(
            Escalation(tuple(map(Subject, subjects)), permissions, where, from_us)
            for from_us, alike in sorted(by_time.items())
            for _, subjects, permissions, where in sorted(
                grouped(self.factory, alike), key=lambda each: (each[1], each[2])
            )
        )


def _key(link: Link) -> tuple[str, str, str]:
    return link.member, link.holds, link.scope.text


def _reached_links(snapshot: Snapshot, subjects: Iterable[str]) -> Collection[Link]:
    """The g rows that lead on from these subjects, each once."""
    found: dict[int, Link] = {}
    reached = set(subjects)
    waiting = list(reached)
    while waiting:
        for link in snapshot.graph.links_of(waiting.pop()):
            found[id(link)] = link
            if link.holds not in reached:
                reached.add(link.holds)
                waiting.append(link.holds)
    return found.values()


def _require_few(ways: Sized, most: float) -> None:
    if len(ways) > most:
        raise TooManyWaysError(f"the rows give rights in {len(ways):,} different ways")


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


def suspended(snapshot: Snapshot) -> Sequence[Principal]:
    """Whom a row of run time denies something, sorted."""
    factory = DiagramFactory()
    regions = AccessRegions(factory, snapshot)
    rows = [link for link in snapshot.policy.links if not link.line]
    denying = {
        holds
        for holds in {link.holds for link in rows}
        if any(not factory.is_empty(regions.denied(holds, permission)) for permission in regions.held(holds))
    }
    found = affected(snapshot, snapshot, [link for link in rows if link.holds in denying])
    return [Principal(each) for each in sorted(found) if not each.startswith(("group:", "role:"))]


def undenied(before: Snapshot, after: Snapshot, people: Iterable[Principal]) -> Sequence[Principal]:
    """The people whom `after` allows something that rows of `before` deny them. Raises TooManyDiagramsError, as a diff does."""
    factory = DiagramFactory()
    old, new = AccessRegions(factory, before), AccessRegions(factory, after)

    def is_lifted(who: Principal, permission: Permission) -> bool:
        return not factory.is_empty(factory.intersection(old.denied(who, permission), new.allows(who, permission)))

    return [who for who in people if any(is_lifted(who, each) for each in old.held(who) & new.held(who))]


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
