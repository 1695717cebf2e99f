"""What may be granted at run time that could not be, what no more, and what such a grant gives."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from remit.core.names import Principal, Subject
from remit.core.patterns import EVERYWHERE
from remit.core.runtime import HELD, Runtime, stands_for
from remit.engine.decision_diagram import DiagramFactory, Region
from remit.engine.diff.access import PRINCIPALS, Touched, grouped, naming
from remit.engine.diff.access_regions import AccessRegions, Permission
from remit.engine.diff.change import Direction, RuntimeChange
from remit.engine.pattern_cover import covered

_CLOSED: Final = Runtime()
_UNITS: Final = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def runtime_changes(
    factory: DiagramFactory, old: AccessRegions, new: AccessRegions, touched: Touched
) -> tuple[RuntimeChange, ...]:
    """What more, or less, may be granted; and what a grant that both policies open gives more, or less.

    Exact and complete: for who holds nothing else (`rights`), for who holds anything else beside it (`denies`), and for
    who is not on the access list (`access`). What else principals that the files name may be given is by their names
    (`people`). Raises TooManyDiagramsError.
    """
    before, after = (side.policy.runtime if side.policy is not None else None for side in (old, new))
    found = list(_key_changes(before, after))
    if before is not None and after is not None:
        opened = _Opened(factory, before, after)
        found += _granted(factory, old, new, touched, opened)
        found += _admitted(factory, old, new, touched, opened)
        found += _named(factory, old, new, touched, opened)
    return tuple(sorted(found, key=lambda each: each.direction))


def _key_changes(old: Runtime | None, new: Runtime | None) -> Iterator[RuntimeChange]:
    """Compares the key `runtime` of two policies; None for none. A key that lets more be granted is a gain."""
    before, after = old or _CLOSED, new or _CLOSED
    yield from _beyond(Direction.GAIN, before, after)
    yield from _beyond(Direction.LOSS, after, before)
    if old is not None and new is not None and old.max_ttl_s != new.max_ttl_s:
        shorter = new.max_ttl_s is not None and (old.max_ttl_s is None or new.max_ttl_s < old.max_ttl_s)
        direction = Direction.LOSS if shorter else Direction.GAIN
        yield RuntimeChange(direction, "max_ttl", (_life(new.max_ttl_s),))


def _beyond(direction: Direction, closed: Runtime, opened: Runtime) -> Iterator[RuntimeChange]:
    """What `opened` lets be granted and `closed` does not."""
    scopes = [each.text for each in opened.scopes if not covered(each, closed.scopes)]
    suspend = [opened.suspend] if opened.suspend is not None and opened.suspend != closed.suspend else []
    changes: dict[str, Sequence[str]] = {
        "roles": _unknown(opened.roles, closed.roles),
        "groups": _unknown(opened.groups, closed.groups),
        "scopes": scopes,
        "suspend": suspend,
    }
    for key, values in changes.items():
        if values:
            yield RuntimeChange(direction, key, tuple(values))


def _unknown(names: Sequence[str], known: Sequence[str]) -> list[str]:
    return [name for name in names if not any(stands_for(each, name) for each in known)]


class _Opened:
    """Where both policies open a group or a role."""

    def __init__(self, factory: DiagramFactory, before: Runtime, after: Runtime) -> None:
        self._factory = factory
        self._scopes = [(each, factory.union_of(each.scopes)) for each in (before, after)]

    def where(self, subject: Subject) -> Region:
        return self._factory.intersection(*(self._on_one_side(*side, subject) for side in self._scopes))

    def _on_one_side(self, runtime: Runtime, scopes: Region, subject: Subject) -> Region:
        if subject == runtime.suspend:
            return self._factory.region(EVERYWHERE)
        return scopes if runtime.opens(subject) else self._factory.none


def _granted(
    factory: DiagramFactory, old: AccessRegions, new: AccessRegions, touched: Touched, opened: _Opened
) -> Iterator[RuntimeChange]:
    rights: defaultdict[tuple[Direction, Region, Permission], list[Principal]] = defaultdict(list)
    denies: defaultdict[tuple[Direction, Region, Permission], list[Principal]] = defaultdict(list)
    for subject in touched.groups_and_roles():
        where = opened.where(subject)
        for permission in touched.permissions(subject) if where is not factory.none else ():
            # A permission that comes, or goes, is not a deny that goes, or comes.
            common = old.namespaced.get(permission) is new.namespaced.get(permission)
            for direction, was, now in ((Direction.GAIN, old, new), (Direction.LOSS, new, old)):
                with naming(subject, permission):
                    given = factory.without(now.given(subject, permission), was.given(subject, permission))
                    lifted = factory.without(was.denied(subject, permission), now.denied(subject, permission))
                    rights[direction, factory.intersection(where, given), permission].append(Principal(subject))
                    if common:
                        alone = factory.without(factory.intersection(where, lifted), given)
                        denies[direction, alone, permission].append(Principal(subject))
    for key, found in (("rights", rights), ("denies", denies)):
        for direction, subjects, permissions, places in sorted(grouped(factory, found), key=lambda each: each[:3]):
            yield RuntimeChange(direction, key, subjects, permissions, places)


def _admitted(
    factory: DiagramFactory, old: AccessRegions, new: AccessRegions, touched: Touched, opened: _Opened
) -> Iterator[RuntimeChange]:
    """Groups and roles that are on the access list of one side only: whoever is put into them is, too."""
    for direction, was, now in ((Direction.GAIN, old, new), (Direction.LOSS, new, old)):
        found = [
            subject
            for subject in sorted(_perhaps_admitted(old, new, touched))
            if now.admits(subject) and not was.admits(subject) and opened.where(subject) is not factory.none
        ]
        if found:
            yield RuntimeChange(direction, "access", tuple(found))


class _Grants:
    """What one grant that both policies open gives, on either side."""

    def __init__(self, factory: DiagramFactory, old: AccessRegions, new: AccessRegions, opened: _Opened) -> None:
        self._factory = factory
        known = {
            each for side in (old, new) for each in (*side.graph.groups, *side.graph.roles(), *_listed(side, HELD))
        }
        places = ((each, opened.where(each)) for each in sorted(known))
        self.where = {subject: where for subject, where in places if where is not factory.none}
        self._admitting = {each for each in self.where if old.admits(each) and new.admits(each)}
        """The groups and roles that pass the access list on both sides."""
        self._regions: dict[tuple[int, Permission, bool], Region] = {}

    def may_matter(self, old: AccessRegions, new: AccessRegions, principal: Principal, permission: Permission) -> bool:
        """False if the principal's own rows and place on the access list change nothing about what grants give."""
        sides = (old, new)
        if all(side.admits(principal) for side in sides):
            return old.denied(principal, permission) is not new.denied(principal, permission)
        return bool(self._admitting) or any(side.admits(principal) for side in sides)

    def at_most(self, side: AccessRegions, principal: Principal, permission: Permission) -> Region:
        """Where the principal has the permission after one grant, or without any."""
        factory, admitted = self._factory, side.admits(principal)
        if not admitted and not self._admitting:
            return factory.none
        own, denied = side.given(principal, permission), side.denied(principal, permission)
        return factory.union(own, factory.without(self._given(side, permission, admitted=admitted), denied))

    def more(self, before: AccessRegions, after: AccessRegions, permission: Permission) -> Region:
        """Where a grant gives whoever holds it more than before."""
        factory = self._factory
        parts = (
            factory.intersection(where, factory.without(after.given(each, permission), before.given(each, permission)))
            for each, where in self.where.items()
        )
        return factory.folded(factory.union, parts, factory.none)

    def _given(self, side: AccessRegions, permission: Permission, *, admitted: bool) -> Region:
        key = id(side), permission, admitted
        if key not in self._regions:
            factory = self._factory
            parts = (
                factory.intersection(where, side.given(each, permission))
                for each, where in self.where.items()
                if permission in side.held(each) and (admitted or each in self._admitting)
            )
            self._regions[key] = factory.folded(factory.union, parts, factory.none)
        return self._regions[key]


def _named(
    factory: DiagramFactory, old: AccessRegions, new: AccessRegions, touched: Touched, opened: _Opened
) -> Iterator[RuntimeChange]:
    """What principals may be given whose rows, or place on the access list, changed: beside what they gain without a grant,
    and what a grant gives whoever holds it."""
    grants = _Grants(factory, old, new, opened)
    if not grants.where:
        return
    found: defaultdict[tuple[Direction, Region, Permission], list[Principal]] = defaultdict(list)
    listed = set(_listed(old, PRINCIPALS)) ^ set(_listed(new, PRINCIPALS))
    for principal in sorted({*touched.principals(), *map(Principal, listed)}):
        permissions = touched.permissions(principal)
        if old.admits(principal) != new.admits(principal):
            permissions = permissions.union(*(side.held(each) for each in grants.where for side in (old, new)))
        for permission in permissions:
            with naming(principal, permission):
                if not grants.may_matter(old, new, principal, permission):
                    continue
                for direction, was, now in ((Direction.GAIN, old, new), (Direction.LOSS, new, old)):
                    given = factory.without(
                        grants.at_most(now, principal, permission), grants.at_most(was, principal, permission)
                    )
                    if given is not factory.none:
                        elsewhere = factory.union(now.allows(principal, permission), grants.more(was, now, permission))
                        found[direction, factory.without(given, elsewhere), permission].append(principal)
    for direction, principals, which, places in sorted(grouped(factory, found), key=lambda each: each[:3]):
        yield RuntimeChange(direction, "people", principals, which, places)


def _listed(side: AccessRegions, prefixes: tuple[str, ...]) -> Iterator[Subject]:
    """What the access list names."""
    listed = side.policy.access if side.policy is not None else None
    return (Subject(each) for each in listed or () if each.startswith(prefixes))


def _perhaps_admitted(old: AccessRegions, new: AccessRegions, touched: Touched) -> set[Subject]:
    lists = [side.policy.access for side in (old, new) if side.policy is not None]
    if all(each is None for each in lists):
        return set()
    found = set(touched.groups_and_roles())
    if lists[0] != lists[1]:
        for side in (old, new):
            found |= {*side.graph.groups, *side.graph.roles()}
            found |= {*_listed(side, HELD)}
    return found


def _life(seconds: int | None) -> str:
    """As tenant.yaml has it; '' for one without an end."""
    text, left = "", seconds or 0
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text
