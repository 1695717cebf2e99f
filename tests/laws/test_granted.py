"""The diff says what a grant of an opened group or role gives more, or less: as the naive reference answers for somebody
who is granted it."""

from collections.abc import Collection, Iterable, Iterator
from random import Random
from typing import NamedTuple

from hypothesis import given
from reference import Reference, covers
from strategies import World, pattern_text, pick, randoms, rule_row, worlds
from support.edits import Files, edited, loads
from support.trees import snapshot_of
from test_diff import dice, every_namespace
from worldly import tenants

from remit.core.names import Namespace, Tenant, Word
from remit.core.patterns import NamespacePattern
from remit.engine.diff import Direction, RuntimeChange, diff

NAMESPACES = 12
TENANT = "acme"
JUST = "user:just-granted"
"""Holds nothing else."""
ALSO = "user:also-granted"
"""May do everything that no row denies."""
NEVER = "user:never-granted"
"""The same, without the grant."""


class Opened(NamedTuple):
    roles: str
    groups: str
    scopes: tuple[str, ...]

    def opens(self, subject: str) -> bool:
        name = self.roles if subject.startswith("role:") else self.groups
        return bool(name) and subject.startswith(name.removesuffix("*"))

    def files(self, world: World) -> Files:
        groups = f', groups: ["{self.groups}"]' if self.groups else ""
        scopes = ", ".join(f'"{scope}"' for scope in self.scopes)
        opened = f'runtime: {{roles: ["{self.roles}"]{groups}, scopes: [{scopes}]}}\n'.encode()
        kind = b"kinds:\n  BINDING: {class: tenant, actions: [CREATE, DELETE]}\n"
        manifest = f"{TENANT}/tenant.yaml"
        return {
            **world.files,
            "vocabulary.yaml": world.files["vocabulary.yaml"].replace(b"kinds:\n", kind, 1),
            manifest: world.files.get(manifest, b"") + opened,
        }


def opened(random: Random, world: World) -> Opened:
    scopes = [pattern_text(random, world.segments) for _ in range(random.randint(1, 2))]
    roles = pick(random, ("role:*", "role:*", "role:*", "role:a*"))
    return Opened(roles, pick(random, ("group:*", "group:*", "group:a*", "")), tuple(dict.fromkeys(scopes)))


class Granted:
    """The reference's answers to two versions for people who are granted a group or a role in all that is open."""

    def __init__(self, versions: Iterable[Files], openings: Iterable[Opened], subject: str) -> None:
        self.sides = [self._side(*each, subject) for each in zip(versions, openings, strict=True)]

    def _side(self, files: Files, opening: Opened, subject: str) -> Reference:
        side = Reference(files, TENANT)
        side.somewhere = []  # only reasons depend on it
        side.g += [(who, subject, scope) for scope in opening.scopes for who in (JUST, ALSO)]
        side.p += [("later:1", who, TENANT, "**", "*", "*", "allow") for who in (ALSO, NEVER)]
        return side

    def admits(self) -> list[bool]:
        return [
            each.access is None or bool(each.held(JUST, "", any_scope=True) & {*each.access}) for each in self.sides
        ]

    def put_on_the_access_list(self) -> None:
        for side in self.sides:
            if side.access is not None:
                side.access = [*side.access, JUST, ALSO, NEVER]

    def allows(self, who: str, action: Word, kind: Word, namespace: Namespace) -> list[bool]:
        answers = (side.decide(who, action, kind, namespace) for side in self.sides)
        return [answer is not None and answer.effect == "allow" for answer in answers]


def changed(before: bool, after: bool) -> set[Direction]:
    return set() if before == after else {Direction.GAIN if after else Direction.LOSS}


def told(
    found: Iterable[RuntimeChange], key: str, subject: str, permission: tuple[Word, Word], namespace: Namespace
) -> set[Direction]:
    return {
        change.direction
        for change in found
        if change.key == key
        and subject in change.values
        and permission in change.permissions
        and change.where.contains(namespace)
    }


def held(versions: Iterable[Files]) -> Collection[str]:
    """The groups and roles of either version."""
    sides = [Reference(files, TENANT) for files in versions]
    names = {row[1] for side in sides for row in side.p} | {
        name for side in sides for row in side.g for name in row[:2]
    }
    return sorted(name for name in names if name.startswith(("group:", "role:")))


def permissions(versions: Iterable[Files]) -> Iterator[tuple[Word, Word]]:
    kinds = [kind for files in versions for kind in Reference(files, TENANT).kinds.items()]
    return iter(sorted({(Word(name), Word(action)) for name, kind in kinds for action in kind["actions"]}))


@given(worlds, randoms)
def test_a_grant_gives_more_iff_the_diff_says_so(world: World, random: Random) -> None:
    """For every group and role that both versions open, and whoever holds it: alone, beside every other right, or
    without being on the access list."""
    world = with_more_rules(random, world)
    after = edited(random, world)
    if not all(TENANT in tenants(each) for each in (world, after)):
        return
    openings = [opened(random, world)] * 2 if random.randrange(3) else [opened(random, world) for _ in range(2)]
    versions = [opening.files(each) for opening, each in zip(openings, (world, after), strict=True)]
    found = diff(Tenant(TENANT), *(snapshot_of(files, TENANT) for files in versions)).runtime
    places = [Namespace(""), *dice(random).sample(every_namespace(world), min(NAMESPACES, len(every_namespace(world))))]
    for subject in held(versions):
        if not (all(each.opens(subject) for each in openings) and overlap(*openings)):
            assert not [each for each in found if each.key in {"rights", "denies", "access"} and subject in each.values]
            continue
        granted = Granted(versions, openings, subject)
        assert changed(*granted.admits()) == {
            each.direction for each in found if each.key == "access" and subject in each.values
        }
        granted.put_on_the_access_list()
        for kind, action in permissions(versions):
            for place in places:
                inside = all(any(covers(scope, place) for scope in each.scopes) for each in openings)
                just = changed(*granted.allows(JUST, action, kind, place)) if inside else set()
                assert just == told(found, "rights", subject, (kind, action), place)
                beside = changed(*granted.allows(ALSO, action, kind, place)) if inside else set()
                known = all(granted.allows(NEVER, action, kind, place))
                assert (beside if known and not just else set()) == told(
                    found, "denies", subject, (kind, action), place
                )


def with_more_rules(random: Random, world: World) -> World:
    """Some group or role both allows and denies."""
    subjects = [each for each in world.subjects if each.startswith(("group:", "role:"))]
    if not subjects:
        return world
    more = [rule_row(random, pick(random, subjects), TENANT, world.segments) for _ in range(random.randint(0, 6))]
    candidate = world.with_rows(f"{TENANT}/roles.csv", *more)
    return candidate if loads(candidate) else world


def overlap(first: Opened, second: Opened) -> bool:
    patterns = [[NamespacePattern.parse(scope) for scope in each.scopes] for each in (first, second)]
    return any(one.overlaps(other) for one in patterns[0] for other in patterns[1])
