from random import Random

import pytest
from hypothesis import given
from reference import Reference
from strategies import World, randoms, reach_rows, worlds
from support.trees import load, snapshot_of
from support.wide import indexed
from worldly import grounds, questions, reach_questions, snapshots, tenants

from remit.core.decision import Reason
from remit.core.rows import Effect
from remit.engine.differential.casbin_oracle import CasbinOracle
from remit.engine.differential.compare import BY_ROWS


@given(worlds, randoms)
def test_default_deny(world: World, random: Random) -> None:
    """Without a row, only a namespace itself and what is inherited can be reached."""
    for snapshot in snapshots(world):
        bare = snapshot_of({**world.files, f"{snapshot.tenant}/reach.csv": b""}, snapshot.tenant)
        for question in reach_questions(snapshot, random):
            decision = bare.reach.decide(question)
            assert decision.allowed == (decision.reason in {Reason.SAME_NAMESPACE, Reason.INHERITED})


@given(worlds, randoms)
def test_engine_equals_casbin(world: World, random: Random) -> None:
    """Where a row matches, or nothing is inherited, the decision is that of plain Casbin over the same rows."""
    for snapshot in snapshots(world):
        witness = CasbinOracle(snapshot.policy)
        for question in reach_questions(snapshot, random):
            decision = snapshot.reach.decide(question)
            if decision.reason in BY_ROWS:
                assert witness.reaches(question) == decision.allowed


@pytest.mark.parametrize("always", [False, True])
@given(worlds, randoms)
def test_engine_equals_reference(always: bool, world: World, random: Random) -> None:
    """Effect, reason and deciding row are those of the naive reference, however the rows are found."""
    for tenant in tenants(world):
        with indexed(always):
            snapshot, reference = snapshot_of(world.files, tenant), Reference(world.files, tenant)
            for question in reach_questions(snapshot, random):
                decision = snapshot.reach.decide(question)
                place = decision.rule.place if decision.rule else ""
                assert reference.reach(*question) == (*grounds(decision), place)


@given(worlds, randoms)
def test_row_at_the_end_changes_only_questions_that_no_row_decided(world: World, random: Random) -> None:
    """First match wins: a row after the others decides no question that one of them matches."""
    for snapshot in snapshots(world):
        rows = reach_rows(random, snapshot.tenant, world.segments)[:1]
        loaded = load(world.with_rows(f"{snapshot.tenant}/reach.csv", *rows).files, snapshot.tenant)
        if loaded.snapshot is None:
            assert all("can never decide" in each.message for each in loaded.diagnostics)
            continue
        for question in reach_questions(snapshot, random):
            before = snapshot.reach.decide(question)
            if before.rule is not None:
                assert before == loaded.snapshot.reach.decide(question)


@given(worlds, randoms)
def test_the_planes_never_answer_for_one_another(world: World, random: Random) -> None:
    """No access row opens a reach, and no reach row gives a principal anything."""
    for snapshot in snapshots(world):
        tenant = snapshot.tenant
        no_access = {
            path: b"" if path.endswith(("roles.csv", "bindings.csv")) else content
            for path, content in world.files.items()
        }
        no_reach = {**world.files, f"{tenant}/reach.csv": b""}
        without_access, without_reach = snapshot_of(no_access, tenant), snapshot_of(no_reach, tenant)
        for reached in reach_questions(snapshot, random):
            assert snapshot.reach.decide(reached) == without_access.reach.decide(reached)
        for question in questions(snapshot, random):
            assert snapshot.decide(question) == without_reach.decide(question)
            if without_access.decide(question).reason is not Reason.NO_ACCESS:
                assert Effect.DENY is without_access.decide(question).effect
