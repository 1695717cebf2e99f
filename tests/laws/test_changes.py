"""A change of g rows gives the snapshot that a rebuild of the same rows gives, and costs untouched principals nothing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from unittest.mock import patch

from hypothesis import given
from strategies import World, pattern_text, pick, randoms, worlds
from support.trees import snapshot_of
from support.wide import indexed
from worldly import questions, reach_questions, tenants

from remit.core.decision import Decision
from remit.core.errors import MalformedQuestionError
from remit.core.names import Namespace, Principal, Subject
from remit.core.patterns import NamespacePattern
from remit.core.question import Question
from remit.core.rows import Link
from remit.engine.compiled import CompiledAnswers
from remit.engine.diff import diff
from remit.engine.differential.casbin_oracle import CasbinOracle
from remit.engine.differential.compare import BY_ROWS
from remit.engine.explain.access import explain
from remit.engine.inquiry import Inquiry
from remit.engine.queries.matrix import MatrixOf, NamespacesAsRows, PrincipalsAsRows
from remit.engine.queries.search import ActionsOf, NamespacesOf, PrincipalsFor
from remit.engine.role_graph import CHAIN_LIMIT
from remit.engine.snapshot import Snapshot

STEPS = 5
STRANGERS = ("user:new", "service:new", "group:new")


@dataclass(frozen=True)
class Change:
    added: Sequence[Link]
    removed: Sequence[Link]


def small(world: World, tenant: str, random: Random) -> Snapshot:
    """A tenant of the world, often with an access list."""
    policy = snapshot_of(world.files, tenant).policy
    if world.subjects and random.randrange(3) == 0:
        listed = [pick(random, world.subjects) for _ in range(random.randint(0, 3))]
        policy = replace(policy, access=frozenset(map(Subject, listed)))
    return Snapshot(policy)


def rebuilt(snapshot: Snapshot) -> Snapshot:
    return Snapshot(replace(snapshot.policy, links=tuple(snapshot.policy.links)))


class Changes:
    """Random changes of a world's g rows that leave a policy valid."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self._lines = 0
        self._removed: list[Link] = []

    def of(self, snapshot: Snapshot) -> Change:
        random = self._random
        present = list(snapshot.policy.links)
        removed = random.sample(present, min(len(present), random.randint(0, 3)))
        self._removed += removed
        after = snapshot.graph.changed((), removed)
        added: list[Link] = []
        for _ in range(random.randint(0, 3)):
            link = self._link(snapshot, present)
            if link is None or link in added or link in after.links_of(link.member):
                continue
            if not after.closes_cycle(link) and after.longest_chain(link) <= CHAIN_LIMIT:
                added.append(link)
                after = after.changed([link], ())
        return Change(added, removed)

    def _link(self, snapshot: Snapshot, present: Sequence[Link]) -> Link | None:
        random = self._random
        match random.randrange(4):
            case 0 if present:
                # The same from another file.
                return replace(random.choice(present), file="elsewhere.csv", line=self._line())
            case 1 if self._removed:
                # The row itself, or one just like it.
                link = random.choice(self._removed)
                return link if random.randrange(2) else replace(link)
        held = [each for each in (*self._world.subjects, "group:new") if each.startswith(("group:", "role:"))]
        member, holds = pick(random, (*self._world.subjects, *STRANGERS)), pick(random, held)
        if member.startswith("role:") and holds.startswith("group:"):
            return None
        scope = NamespacePattern.parse(pattern_text(random, self._world.segments))
        return Link(Subject(member), Subject(holds), snapshot.tenant, scope, "elsewhere.csv", self._line())

    def _line(self) -> int:
        self._lines += 1
        return self._lines


def everything(snapshot: Snapshot, world: World, asked: Sequence[Question]) -> Iterator[Question]:
    """Every question of the small world: who, what, and where somebody asked about."""
    names = {name for name in (*world.subjects, *STRANGERS) if name.startswith(("user:", "service:"))}
    for who in sorted(names | {question.principal for question in asked}):
        for namespace in sorted({question.namespace for question in asked}):
            for kind, actions in snapshot.permissions.doors(namespace).items():
                yield from (Question(Principal(who), action, kind, namespace) for action in actions)


def decisions(snapshot: Snapshot, asked: Sequence[Question]) -> list[Decision]:
    return [snapshot.decide(question) for question in asked]


def answered(inquiry: Inquiry[object], snapshot: Snapshot) -> object:
    try:
        return inquiry.refusal(snapshot) or inquiry.answer(snapshot)
    except MalformedQuestionError as error:
        return str(error)


def assert_same(snapshot: Snapshot, world: World, random: Random) -> None:
    """The snapshot answers everything as a rebuild of its rows does."""
    expected = rebuilt(snapshot)
    asked = questions(expected, random, 8)
    every = list(everything(expected, world, asked))
    assert decisions(expected, every) == decisions(snapshot, every)
    subjects = (*world.subjects, *STRANGERS)
    for namespace in {question.namespace for question in asked}:
        for subject in subjects:
            assert expected.held(subject, namespace) == snapshot.held(subject, namespace)
            assert expected.permitted(Principal(subject), namespace) == snapshot.permitted(
                Principal(subject), namespace
            )
    assert [expected.admits(subject) for subject in subjects] == [snapshot.admits(subject) for subject in subjects]
    assert expected.graph.roles() == snapshot.graph.roles()
    for question in [*asked, *(random.choice(every) for _ in range(10) if every)]:
        who, action, kind, namespace = question
        assert explain(expected, question) == explain(snapshot, question)
        for inquiry in (
            ActionsOf(who, namespace),
            NamespacesOf(who, among=tuple(Namespace(each.namespace) for each in asked)),
            PrincipalsFor(action, kind, namespace),
            MatrixOf(PrincipalsAsRows(namespace), size=1_000),
            MatrixOf(NamespacesAsRows(who), size=1_000),
        ):
            assert answered(inquiry, expected) == answered(inquiry, snapshot)
    for reach in reach_questions(expected, random, 5):
        assert expected.reach.decide(reach) == snapshot.reach.decide(reach)


@contextmanager
def limits(random: Random) -> Iterator[None]:
    """Policies of few rows see layers, and limits that only large ones reach."""
    with (
        patch("remit.engine.layered._RATIO", random.choice((0, 1, 16))),
        patch("remit.engine.role_graph._TOUCHED", random.choice((2, 5, 1_000))),
        patch("remit.engine.snapshot._NEW_SCOPES", random.choice((1, 2, 1_000))),
        indexed(random.randrange(3) == 0),
    ):
        yield


@given(worlds, randoms)
def test_a_change_equals_a_rebuild(world: World, random: Random) -> None:
    """After each step of any history, and the snapshots before it go on answering as they did."""
    for tenant in tenants(world):
        with limits(random):
            snapshots = [small(world, tenant, random)]
            changes = Changes(world, random)
            for step in range(STEPS):
                # Usually the newest one; from an earlier one the history branches.
                before = snapshots[-1] if random.randrange(4) else random.choice(snapshots)
                change = changes.of(before)
                after = before.changed(f"revision {step}", change.added, change.removed)
                assert (f"revision {step}", f"revision {step}") == (after.revision, after.policy.revision)
                rows = Counter(before.policy.links)
                rows.subtract(change.removed)
                rows.update(change.added)
                assert +rows == Counter(after.policy.links)
                assert rows.total() == len(after.policy.links)
                snapshots.append(after)
                if random.randrange(3):
                    assert_same(after, world, random)
            random.shuffle(snapshots)
            for snapshot in snapshots:
                assert_same(snapshot, world, random)


def reached(snapshot: Snapshot, subject: str) -> set[str]:
    found = {subject}
    for link in snapshot.policy.links:
        if link.member == subject:
            found |= reached(snapshot, link.holds)
    return found


@given(worlds, randoms)
def test_a_change_compiles_answers_of_touched_principals_alone(world: World, random: Random) -> None:
    """Whoever is the member of no changed row, nor reaches one, keeps what is compiled."""
    compile_answers = CompiledAnswers.answer_list
    compiled: set[str] = set()

    def recorded(self: CompiledAnswers, graph: object, principal: str, permission: int) -> object:
        compiled.add(principal)
        return compile_answers(self, graph, principal, permission)  # type: ignore[arg-type]

    for tenant in tenants(world):
        before = small(world, tenant, random)
        changes = Changes(world, random)
        with patch.object(CompiledAnswers, "answer_list", recorded):
            for _ in range(STEPS):
                every = list(everything(before, world, questions(before, random, 3)))
                decisions(before, every)
                change = changes.of(before)
                after = before.changed("next", change.added, change.removed)
                members = {link.member for link in (*change.added, *change.removed)}
                people = {question.principal for question in every}
                touched = {who for who in people for each in (before, after) if members & reached(each, who)}
                compiled.clear()
                decisions(after, every)
                assert {who for who in touched if after.admits(who) and after.graph.knows(who)} == compiled
                before = after


@given(worlds, randoms)
def test_whoever_reads_all_rows_reads_those_of_a_change(world: World, random: Random) -> None:
    """The diff, and Casbin over the same rows."""
    for tenant in tenants(world):
        with limits(random):
            first = last = small(world, tenant, random)
            changes = Changes(world, random)
            for _ in range(STEPS):
                change = changes.of(last)
                last = last.changed("next", change.added, change.removed)
            assert diff(last.tenant, first, rebuilt(last)) == diff(last.tenant, first, last)
            oracle = CasbinOracle(last.policy)
            for question in questions(last, random):
                decision = last.decide(question)
                if decision.reason in BY_ROWS:
                    assert oracle.allows(question) == decision.allowed
