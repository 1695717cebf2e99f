"""The diff says what a grant of an opened group or role gives more, or less: as the naive reference answers for somebody
who is granted it."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from itertools import product
from random import Random
from typing import NamedTuple

from hypothesis import given
from reference import Reference, covers
from strategies import World, pattern_text, pick, randoms, rule_row, worlds
from support.edits import Files, edited, loads
from support.trees import snapshot_of
from test_diff import dice, every_namespace
from worldly import tenants

from remit.core.names import Namespace, Principal, Tenant, Word
from remit.core.patterns import NamespacePattern
from remit.core.question import Question
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
        return [admits(each, JUST) for each in self.sides]

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


@given(worlds, randoms)
def test_a_person_may_be_given_more_iff_the_diff_says_so(world: World, random: Random) -> None:
    """For everybody whom a row or an access list names, and one grant of any group or role that both versions open, in all
    that is open. Beside what the same person gains without a grant, and what the grant gives whoever holds it."""
    leavers = [rule_row(random, f"user:left{number}", TENANT, world.segments) for number in range(2)]
    world = with_more_rules(random, world)
    world = world.with_rows(f"{TENANT}/roles.csv", *(each.replace("allow", "deny") for each in leavers))
    after = edited(random, world)
    if random.randrange(2) and f"{TENANT}/roles.csv" in after.files:
        rows = after.files[f"{TENANT}/roles.csv"].splitlines(keepends=True)
        kept = b"".join(row for row in rows if b"user:left0" not in row)
        after = replace(after, files={**after.files, f"{TENANT}/roles.csv": kept})
    if not all(TENANT in tenants(each) and loads(each) for each in (world, after)):
        return
    opening = opened(random, world)
    versions = [opening.files(each) for each in (world, after)]
    if not any(b"access:" in files[f"{TENANT}/tenant.yaml"] for files in versions) and random.randrange(2):
        listed = [
            each
            for each in ("user:left0", "user:left1", *held(versions))
            if each[:5] != "role:" and random.randrange(2)
        ]
        for files, names in zip(versions, (listed, listed[random.randrange(2) :]), strict=True):
            files[f"{TENANT}/tenant.yaml"] += f"access: [{', '.join(names)}]\n".encode()
    found = diff(Tenant(TENANT), *(snapshot_of(files, TENANT) for files in versions))
    sides = [Reference(files, TENANT) for files in versions]
    named = {row[1] for side in sides for row in side.p} | {row[0] for side in sides for row in side.g}
    named |= {name for side in sides for name in side.access or ()}
    people = sorted(name for name in named if name.startswith(("user:", "service:")))
    may_hold = [subject for subject in held(versions) if opening.opens(subject)]
    # Another key of the diff says of groups and roles that only one version admits.
    admitting = [subject for subject in may_hold if all(Granted(versions, [opening] * 2, subject).admits())]
    places = [Namespace(""), *dice(random).sample(every_namespace(world), min(NAMESPACES, len(every_namespace(world))))]
    for person, (kind, action) in product(people, permissions(versions)):
        for place in places:
            question = Question(Principal(person), action, kind, place)
            alone = [allows(side, person, question) for side in sides]
            given = [
                alone[number]
                or any(
                    allows(side, person, question, each, opening)
                    for each in (may_hold if admits(side, person) else admitting)
                )
                for number, side in enumerate(sides)
            ]
            more = changed(*given) - changed(*alone)
            more -= {
                each for subject in may_hold for each in told(found.runtime, "rights", subject, (kind, action), place)
            }
            assert more == told(found.runtime, "people", person, (kind, action), place)


def admits(side: Reference, person: str) -> bool:
    return side.access is None or bool(side.held(person, "", any_scope=True) & {*side.access})


def allows(side: Reference, person: str, question: Question, subject: str = "", opening: Opened | None = None) -> bool:
    """Whether the person is allowed, after a grant of the subject. One that passes the access list may be given where it
    denies nothing."""
    rows = [(person, subject, scope) for scope in opening.scopes] if opening is not None else []
    if rows and not admits(side, person):
        listed, side.access = side.access, None
        alone, side.access = allows(side, person, question), listed
        if alone:
            return True
    side.g += rows
    side.somewhere = []
    answer = side.decide(*question)
    del side.g[len(side.g) - len(rows) :]
    return answer is not None and answer.effect == "allow"


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
