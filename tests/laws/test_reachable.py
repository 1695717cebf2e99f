"""The reach plane's lists are what CheckReach allows, in both directions."""

from random import Random

from hypothesis import given
from strategies import World, randoms, worlds
from support.trees import load
from worldly import reach_questions, snapshots

from remit.core.decision import Reason
from remit.core.names import Namespace
from remit.core.namespace_set import NamespaceSet
from remit.core.question import ReachQuestion
from remit.core.rows import Effect
from remit.engine.explain.reach import explain_reach
from remit.engine.queries.reachable import ReachableFrom, ReachesAll


def within(sets: tuple[NamespaceSet, ...], names: set[Namespace]) -> set[Namespace]:
    return {name for name in names if any(each.contains(name) for each in sets)}


@given(worlds, randoms)
def test_list_reachable_equals_check_reach(world: World, random: Random) -> None:
    for snapshot in snapshots(world):
        asked = reach_questions(snapshot, random)
        names = {name for question in asked for name in (question.caller, question.owner)}
        # Where inheritance begins and ends.
        names |= {Namespace(name.rpartition(".")[0] or name) for name in names} | {
            Namespace(f"{name}.x") for name in names if len(name) < 148
        }
        for here in {question.caller for question in asked[:5]}:
            for found in ReachableFrom(here, among=tuple(names)).answer(snapshot):
                decide = snapshot.reach.decide
                uses = {name for name in names if decide(ReachQuestion(here, name, found.relation)).allowed}
                used_by = {name for name in names if decide(ReachQuestion(name, here, found.relation)).allowed}
                assert uses == within(found.uses, names) == set(found.uses_among)
                assert used_by == within(found.used_by, names) == set(found.used_by_among)


@given(worlds, randoms)
def test_reach_all_allows_iff_every_owner_allows(world: World, random: Random) -> None:
    for snapshot in snapshots(world):
        asked = reach_questions(snapshot, random)
        owners = tuple(question.owner for question in asked)
        for caller, _, relation in asked:
            found = ReachesAll(caller, relation, owners).answer(snapshot)
            decided = [(owner, snapshot.reach.decide(ReachQuestion(caller, owner, relation))) for owner in owners]
            refused = [(owner, decision.reason) for owner, decision in decided if not decision.allowed]
            assert refused == list(found.refused)
            assert found.decision.allowed == (not refused)


@given(worlds, randoms)
def test_the_remedy_of_a_refused_reach_opens_it_and_nothing_else(world: World, random: Random) -> None:
    for snapshot in snapshots(world):
        file = f"{snapshot.tenant}/reach.csv"
        asked = reach_questions(snapshot, random)
        for question in asked[:5]:
            told = explain_reach(snapshot, question)
            assert told.decision == snapshot.reach.decide(question)
            assert all(row.effect is not told.decision.effect for row in told.too_late)
            if told.remedy is None or not told.remedy.rule:
                assert told.decision.allowed or told.decision.reason is Reason.UNKNOWN_RELATION
                continue
            lines = world.files.get(file, b"").decode().splitlines()
            above = int(told.remedy.above.rpartition(":")[2] or len(lines) + 1)
            lines.insert(above - 1, told.remedy.rule)
            loaded = load({**world.files, file: "".join(f"{line}\n" for line in lines).encode()}, snapshot.tenant)
            assert loaded.snapshot is not None, loaded.diagnostics
            assert Effect.ALLOW is loaded.snapshot.reach.decide(question).effect
            for other in asked:
                if other != question:
                    assert snapshot.reach.decide(other).effect is loaded.snapshot.reach.decide(other).effect
