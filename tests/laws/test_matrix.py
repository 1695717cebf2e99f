"""`list_equals_check` for tables: each cell is what Check says, and no row is missing."""

from random import Random

from hypothesis import given
from reference import Answer, Reference, covers
from strategies import World, randoms, worlds
from support.trees import snapshot_of
from worldly import questions, tenants

from remit.core.names import INSTANCE, WHOLE_TENANT, Namespace, Principal, Subject
from remit.core.question import Question
from remit.engine.queries.matrix import MatrixOf, NamespacesAsRows, PrincipalsAsRows
from remit.engine.queries.names import NameCategory, NameIndex
from remit.engine.snapshot import Snapshot


def recorded(answer: Answer | None) -> tuple[str, str, str]:
    assert answer is not None
    return answer.effect, answer.reason, answer.place


def places(snapshot: Snapshot, asked: list[Question]) -> list[Namespace]:
    """Where one may ask anything: `_instance` has no namespaces."""
    return sorted({each.namespace for each in asked if snapshot.permissions.doors(each.namespace)})


def everyone(world: World, asked: list[Question]) -> list[Principal]:
    named = {Principal(name) for name in world.subjects if name.startswith(("user:", "service:"))}
    return sorted(named | {question.principal for question in asked})


@given(worlds, randoms)
def test_matrix_of_principals_equals_check(world: World, random: Random) -> None:
    for tenant in tenants(world):
        snapshot, reference = snapshot_of(world.files, tenant), Reference(world.files, tenant)
        asked = questions(snapshot, random, 8)
        people = everyone(world, asked)
        for namespace in places(snapshot, asked):
            matrix = MatrixOf(PrincipalsAsRows(namespace, tuple(people)), size=len(people)).answer(snapshot)
            assert people == [name for name, _ in matrix.rows]
            doors = snapshot.permissions.doors(namespace)
            assert [(kind, action) for kind, actions in doors.items() for action in actions] == matrix.columns
            for name, decisions in matrix.rows:
                for (kind, action), decision in zip(matrix.columns, decisions, strict=True):
                    assert snapshot.decide(Question(Principal(name), action, kind, namespace)) == decision
            for name, decisions in random.sample(list(matrix.rows), min(2, len(people))):
                expected = [
                    recorded(reference.decide(name, action, kind, namespace)) for kind, action in matrix.columns
                ]
                assert expected == [each.recorded for each in decisions]


@given(worlds, randoms)
def test_matrix_without_principals_has_everybody_whom_a_rule_decides(world: World, random: Random) -> None:
    """Of all others no cell has a rule."""
    for tenant in tenants(world):
        snapshot = snapshot_of(world.files, tenant)
        asked = questions(snapshot, random, 8)
        people = everyone(world, asked)
        for namespace in places(snapshot, asked):
            kinds = tuple(random.sample(list(snapshot.permissions.doors(namespace)), 1))
            everybody = MatrixOf(PrincipalsAsRows(namespace, tuple(people)), kinds, size=len(people)).answer(snapshot)
            found = MatrixOf(PrincipalsAsRows(namespace), kinds, size=len(people)).answer(snapshot)
            decided = {name: row for name, row in everybody.rows if any(cell.rule is not None for cell in row)}
            assert decided == dict(found.rows)
            assert sorted(decided) == [name for name, _ in found.rows]
            assert found.total == len(decided)


@given(worlds, randoms)
def test_matrix_of_a_group_has_everybody_who_holds_it_somewhere(world: World, random: Random) -> None:
    for tenant in tenants(world):
        snapshot, reference = snapshot_of(world.files, tenant), Reference(world.files, tenant)
        people = everyone(world, [])
        for subject in sorted(name for name in world.subjects if name.startswith(("group:", "role:"))):
            matrix = MatrixOf(PrincipalsAsRows(WHOLE_TENANT, holding=Subject(subject))).answer(snapshot)
            held = [name for name in people if subject in reference.held(name, "", any_scope=True)]
            assert held == [name for name, _ in matrix.rows]


@given(worlds, randoms)
def test_matrix_of_namespaces_equals_check(world: World, random: Random) -> None:
    """The given namespaces in their order; else exactly those that ListNames lists, at and below one of them."""
    for tenant in tenants(world):
        if tenant == INSTANCE:
            continue
        snapshot, reference = snapshot_of(world.files, tenant), Reference(world.files, tenant)
        asked = [question for question in questions(snapshot, random) if question.namespace]
        given_names = tuple(dict.fromkeys(question.namespace for question in asked))
        named = {*NameIndex.of(snapshot.policy).names[NameCategory.NAMESPACE].sorted}
        for principal in {question.principal for question in asked[:3]}:
            matrix = MatrixOf(NamespacesAsRows(principal, given_names)).answer(snapshot)
            assert list(given_names) == [name for name, _ in matrix.rows]
            for name, decisions in matrix.rows[:3]:
                expected = [
                    recorded(reference.decide(principal, action, kind, name)) for kind, action in matrix.columns
                ]
                assert expected == [each.recorded for each in decisions]
            every = MatrixOf(NamespacesAsRows(principal), size=1_000).answer(snapshot)
            assert sorted(named) == [name for name, _ in every.rows]
            for below in given_names[:3]:
                some = MatrixOf(NamespacesAsRows(principal, below=below), size=1_000).answer(snapshot)
                assert [name for name, _ in some.rows] == sorted(
                    name for name in named if covers(f"{below}.**", name) or name == below
                )


@given(worlds, randoms)
def test_pages_put_together_are_the_whole_matrix(world: World, random: Random) -> None:
    for tenant in tenants(world):
        snapshot = snapshot_of(world.files, tenant)
        rows = PrincipalsAsRows(random.choice(places(snapshot, questions(snapshot, random))))
        whole = MatrixOf(rows, size=1_000).answer(snapshot)
        size = random.randrange(1, 4)
        pages = [
            MatrixOf(rows, first=first, size=size).answer(snapshot) for first in range(0, whole.total + size, size)
        ]
        assert list(whole.rows) == [row for page in pages for row in page.rows]
        assert {whole.total} == {page.total for page in pages}
