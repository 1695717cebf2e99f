"""What is said of a mutant is so: over whole worlds, whole policies, and cases that hold."""

from dataclasses import replace
from random import Random

from hypothesis import given
from strategies import World, randoms, worlds
from support.trees import load, snapshot_of
from test_diff import changed, instances, pairs
from worldly import questions, reach_questions, tenants

from remit.core.policy import Policy
from remit.core.question import Question, ReachQuestion
from remit.engine.diff import TenantDiff, diff
from remit.engine.snapshot import Snapshot
from remit.policy.testing.cases import AccessCase, DecisionCase, ReachCase, run_case
from remit.policy.testing.coverage import exercised
from remit.policy.testing.mutants import Mutant, mutants
from remit.policy.testing.mutation import Trial, Verdict, judge

CASES = 12
MUTANTS = 12


def case(snapshot: Snapshot, question: Question | ReachQuestion, random: Random) -> DecisionCase:
    """One that holds; every second one for its reason."""
    decision = snapshot.answer(question)
    reason = decision.reason if random.randrange(2) else None
    if isinstance(question, Question):
        return AccessCase("x", "x.yaml", 1, 1, question, decision.effect, reason)
    return ReachCase("x", "x.yaml", 1, 1, question, decision.effect, reason)


def mutated(policy: Policy, mutant: Mutant) -> Policy:
    """The whole policy, its rows replaced one by one."""
    rows = {
        name: tuple(
            each
            for row in getattr(policy, name)
            for each in ((mutant.mutated,) if row.place == mutant.row.place else (row,))
            if each is not None
        )
        for name in ("rules", "links", "reach")
    }
    return replace(policy, **rows)


def loads(world: World, policy: Policy, mutant: Mutant) -> bool:
    """True if the loader takes the tenant's files with the mutated row in the place of the row."""
    lines = world.files[mutant.row.file].decode().splitlines()
    lines[mutant.row.line - 1] = mutant.mutated.text if mutant.mutated is not None else ""
    return load({**world.files, mutant.row.file: "\n".join(lines).encode()}, policy.tenant).snapshot is not None


def noticed(cases: list[DecisionCase], snapshot: Snapshot) -> bool:
    return any(True for each in cases for _ in run_case(each, snapshot, None))


def effects_changed(old: Snapshot, new: Snapshot, found: TenantDiff) -> bool:
    """Whether the two policies do answer otherwise where the diff says so."""
    asked: list[Question | ReachQuestion] = [each for change in found.access for each in instances(change)]
    asked += [ReachQuestion(*pair, change.relations[0]) for change in found.reach for pair in pairs(change)]
    return any(changed(old, new, question) for question in asked)


@given(worlds, randoms)
def test_a_mutant_is_noticed_survives_or_changes_nothing(world: World, random: Random) -> None:
    """Noticed: a case fails over the whole policy. Refused: none does, and the files do not load. Survived: they do, and
    some question is answered otherwise. Equivalent: they do, and no question is."""
    for tenant in tenants(world):
        snapshot = snapshot_of(world.files, tenant)
        policy = snapshot.policy
        asked = [*questions(snapshot, random, CASES), *reach_questions(snapshot, random, CASES // 2)]
        cases = [case(snapshot, question, random) for question in asked]
        assert not noticed(cases, snapshot)
        trial = Trial(snapshot, cases)
        made = [mutant for row in (*policy.rules, *policy.links, *policy.reach) for mutant in mutants(row)]
        for mutant in random.sample(made, min(len(made), MUTANTS)):
            after = Snapshot(mutated(policy, mutant))
            found = diff(policy.tenant, snapshot, after)
            verdict = judge(mutant, [trial])
            assert verdict is Verdict.NOTICED or (verdict is Verdict.REFUSED) != loads(world, policy, mutant)
            match verdict:
                case Verdict.NOTICED:
                    assert noticed(cases, after)
                case Verdict.SURVIVED:
                    assert not noticed(cases, after)
                    assert effects_changed(snapshot, after, found)
                case Verdict.EQUIVALENT:
                    assert not noticed(cases, after)
                    assert ((), ()) == (found.access, found.reach)
                case Verdict.REFUSED:
                    assert not noticed(cases, after)
                case verdict:
                    raise AssertionError(verdict)


@given(worlds, randoms)
def test_the_rows_a_case_exercises_suffice_for_its_decision(world: World, random: Random) -> None:
    """With these rows alone the same rule decides."""
    for tenant in tenants(world):
        snapshot = snapshot_of(world.files, tenant)
        policy = snapshot.policy
        for question in (*questions(snapshot, random), *reach_questions(snapshot, random)):
            rows = set(exercised(snapshot, [case(snapshot, question, random)]))
            alone = replace(
                policy,
                rules=tuple(row for row in policy.rules if row in rows),
                links=tuple(row for row in policy.links if row in rows),
                reach=tuple(row for row in policy.reach if row in rows),
                access=None,
            )
            decision = snapshot.answer(question)
            assert (decision.rule is None) == (not rows)
            assert decision.rule is None or decision == Snapshot(alone).answer(question)
