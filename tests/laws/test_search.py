"""`list_equals_check` (policy-language section 7, law 9): each search answer is exactly the set that Check allows."""

from collections.abc import Iterator
from random import Random

from hypothesis import given
from reference import Reference
from strategies import World, randoms, worlds
from support.trees import snapshot_of
from worldly import questions, snapshots, tenants

from remit.core.names import Namespace, Principal, Word
from remit.core.question import Question
from remit.engine.explain.access import explain
from remit.engine.queries.held import HeldBy
from remit.engine.queries.search import ActionsOf, FilterFor, NamespacesOf, PrincipalsFor
from remit.engine.snapshot import Snapshot


def permissions(snapshot: Snapshot, namespace: Namespace) -> Iterator[tuple[Word, Word]]:
    """Every (kind, action) that may be asked about a namespace, or about the tenant where it is empty."""
    for kind in snapshot.policy.vocabulary.kinds.values():
        if kind.namespaced == bool(namespace):
            yield from ((kind.name, action) for action in sorted(kind.actions))


def everyone(world: World, asked: list[Question]) -> set[Principal]:
    """Whom the rows may name, and whom somebody asked about."""
    named = {Principal(name) for name in world.subjects if name.startswith(("user:", "service:"))}
    return named | {question.principal for question in asked}


@given(worlds, randoms)
def test_list_actions_equals_check(world: World, random: Random) -> None:
    for snapshot in snapshots(world):
        for principal, _, _, namespace in questions(snapshot, random):
            listed = ActionsOf(principal, namespace).answer(snapshot)
            allowed = {
                (kind, action)
                for kind, action in permissions(snapshot, namespace)
                if snapshot.decide(Question(principal, action, kind, namespace)).allowed
            }
            assert allowed == {(kind, action) for kind, actions in listed.items() for action in actions}


@given(worlds, randoms)
def test_list_namespaces_equals_check(world: World, random: Random) -> None:
    """The patterns cover a namespace, and it is among those that match, exactly where Check allows; what the reference
    allows too."""
    for tenant in tenants(world):
        snapshot, reference = snapshot_of(world.files, tenant), Reference(world.files, tenant)
        asked = [question for question in questions(snapshot, random, 30) if question.namespace]
        names = tuple({question.namespace for question in asked})
        for principal, action, kind, _ in asked[:10]:
            allowed = set()
            for name in names:
                answer = reference.decide(principal, action, kind, name)
                if answer is not None and answer.effect == "allow":
                    allowed.add(name)
            inquiry = NamespacesOf(principal, action, kind, names)
            if inquiry.refusal(snapshot) is not None:
                assert allowed == set()
                continue
            found = inquiry.answer(snapshot)
            assert allowed == set(found.among)
            assert allowed == {name for name in names if any(each.contains(name) for each in found.sets)}
            namespaces = FilterFor(principal, action, kind).answer(snapshot)
            assert allowed == {name for name in names if namespaces.contains(name)}


@given(worlds, randoms)
def test_a_namespace_is_discoverable_from_any_grant_in_it(world: World, random: Random) -> None:
    """With kind or action left open, a namespace is listed exactly where Check allows any that fits."""
    for snapshot in snapshots(world):
        asked = [question for question in questions(snapshot, random) if question.namespace]
        names = tuple({question.namespace for question in asked})
        for principal, action, kind, _ in asked[:5]:
            for wanted_action, wanted_kind in (("", ""), ("", kind), (action, "")):
                inquiry = NamespacesOf(principal, Word(wanted_action), Word(wanted_kind), names)
                if inquiry.refusal(snapshot) is not None:
                    continue
                expected = {
                    name
                    for name in names
                    for its_kind, its_action in permissions(snapshot, name)
                    if wanted_kind in {"", its_kind}
                    and wanted_action in {"", its_action}
                    and snapshot.decide(Question(principal, its_action, its_kind, name)).allowed
                }
                found = inquiry.answer(snapshot)
                assert expected == set(found.among)
                assert expected == {name for name in names if any(each.contains(name) for each in found.sets)}


@given(worlds, randoms)
def test_list_principals_equals_check(world: World, random: Random) -> None:
    """Everybody whom Check allows, with the rule that Check names and a shortest chain that holds."""
    for snapshot in snapshots(world):
        asked = questions(snapshot, random)
        people = everyone(world, asked)
        for _, action, kind, namespace in asked:
            inquiry = PrincipalsFor(action, kind, namespace)
            allowed = {who for who in people if snapshot.decide(Question(who, action, kind, namespace)).allowed}
            if inquiry.refusal(snapshot) is not None:
                assert allowed == set()
                continue
            permitted = inquiry.answer(snapshot)
            assert sorted(allowed) == list(permitted.principals)
            for who in permitted.principals:
                told = explain(snapshot, Question(who, action, kind, namespace))
                rule, chain = permitted.rule(who), permitted.chain(who)
                assert told.decision.rule == rule
                assert len(told.chain) == len(chain)
                assert [who, *(link.holds for link in chain)] == [*(link.member for link in chain), rule.subject]
                assert all(link.scope.contains(namespace) for link in chain)


@given(worlds, randoms)
def test_list_held_equals_what_the_principal_holds(world: World, random: Random) -> None:
    """In each namespace: the subjects whose rows count for a principal are those that an entry leads to there."""
    for snapshot in snapshots(world):
        for principal, _, _, namespace in questions(snapshot, random):
            found = HeldBy(principal).answer(snapshot)
            there = {each.holds for each in found.chains if each.where.contains(namespace)}
            with_rules = {each for each in there if snapshot.graph.rules_of(each)}
            assert snapshot.held(principal, namespace) == with_rules | ({principal} if found.rules else set())
            for each in found.chains:
                members = [row.member for row in each.rows]
                assert members == [principal, *(row.holds for row in each.rows[:-1])]
            lengths = [len(each.rows) for each in found.chains]
            assert sorted(lengths) == lengths
            assert len({each.rows for each in found.chains}) == len(found.chains)
