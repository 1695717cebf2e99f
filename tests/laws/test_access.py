"""The laws of the access plane (policy-language section 7), each under its name."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import given
from reference import Reference, covers
from strategies import World, link_row, randoms, rule_row, worlds
from support.trees import load, snapshot_of
from support.wide import indexed
from worldly import grounds, questions, snapshots, tenants

from remit.core.decision import Decision, Reason
from remit.core.names import Principal
from remit.core.question import Question
from remit.core.rows import Effect
from remit.engine import compiled
from remit.engine.differential.casbin_oracle import CasbinOracle
from remit.engine.differential.compare import BY_ROWS
from remit.engine.snapshot import Snapshot


@given(worlds, randoms)
def test_default_deny(world: World, random: Random) -> None:
    """No allow row, no access; and what is allowed is allowed by an allow row."""
    for snapshot in snapshots(world):
        denying = tuple(rule for rule in snapshot.policy.rules if rule.effect is Effect.DENY)
        bare = Snapshot(replace(snapshot.policy, rules=denying))
        for question in questions(snapshot, random):
            assert Effect.DENY is bare.decide(question).effect
            decision = snapshot.decide(question)
            if decision.allowed:
                assert decision.rule is not None
                assert Effect.ALLOW is decision.rule.effect


@given(worlds, randoms)
def test_deny_overrides_allow(world: World, random: Random) -> None:
    """A deny row more never allows anything, and an allow row more never lifts a deny."""
    for snapshot in snapshots(world):
        subject = random.choice(world.subjects)
        row = rule_row(random, subject, snapshot.tenant, world.segments)
        file = f"{snapshot.tenant}/{random.choice(('roles.csv', 'bindings.csv'))}"
        denying, allowing = (
            snapshot_of(world.with_rows(file, row.rpartition(", ")[0] + effect).files, snapshot.tenant)
            for effect in (", deny", ", allow")
        )
        for question in questions(snapshot, random):
            before = snapshot.decide(question)
            assert before.allowed or not denying.decide(question).allowed
            assert not before.allowed or allowing.decide(question).allowed
            if before.reason is Reason.DENIED_BY_RULE:
                assert before == allowing.decide(question)


@given(worlds, randoms)
def test_order_and_duplicates_do_not_matter(world: World, random: Random) -> None:
    """Effect and reason are those of the same rows in any order, some of them twice, with comments in between."""
    files = dict(world.files)
    for path, content in world.files.items():
        if path.endswith(("roles.csv", "bindings.csv")):
            lines = content.decode().splitlines()
            lines += [line for line in lines if random.randrange(3) == 0] + ["# a comment", ""]
            random.shuffle(lines)
            files[path] = "".join(f"{line}\n" for line in lines).encode()
    for snapshot in snapshots(world):
        other = snapshot_of(files, snapshot.tenant)
        for question in questions(snapshot, random):
            assert grounds(snapshot.decide(question)) == grounds(other.decide(question))


@given(worlds, randoms)
def test_a_binding_reaches_no_further_than_its_scope(world: World, random: Random) -> None:
    """A g row more changes no effect and no rule where its scope does not cover."""
    for snapshot in snapshots(world):
        roles = [subject for subject in snapshot.graph.roles() if subject.startswith("role:")]
        if not roles:
            continue
        people = [subject for subject in world.subjects if subject.startswith(("user:", "service:"))]
        row = link_row(
            random, random.choice([*people, "user:new"]), random.choice(roles), snapshot.tenant, world.segments
        )
        scope = row.rpartition(", ")[2].partition("/")[2] or "**"
        more = snapshot_of(world.with_rows(f"{snapshot.tenant}/bindings.csv", row).files, snapshot.tenant)
        member = row.split(", ")[1]
        for question in questions(snapshot, random):
            for asked in (question, question._replace(principal=Principal(member))):
                if not covers(scope, asked.namespace):
                    before, after = snapshot.decide(asked), more.decide(asked)
                    assert (before.effect, before.rule) == (after.effect, after.rule)


@given(worlds, randoms)
def test_engine_equals_casbin(world: World, random: Random) -> None:
    """For what passes the doors, the decision is that of plain Casbin over the same rows."""
    for snapshot in snapshots(world):
        witness = CasbinOracle(snapshot.policy)
        for question, decision in decided(snapshot, random):
            if decision.reason in BY_ROWS:
                assert witness.allows(question) == decision.allowed


@pytest.mark.parametrize("always", [False, True])
@given(worlds, randoms)
def test_engine_equals_reference(always: bool, world: World, random: Random) -> None:
    """Effect, reason and deciding row are those of the naive reference, however the rows are indexed."""
    for tenant in tenants(world):
        with indexed(always):
            snapshot, reference = snapshot_of(world.files, tenant), Reference(world.files, tenant)
            for question, decision in decided(snapshot, random):
                place = decision.rule.place if decision.rule else ""
                assert reference.decide(*question) == (*grounds(decision), place)


@given(worlds, randoms)
def test_earlier_questions_change_no_answer(world: World, random: Random) -> None:
    """A snapshot that keeps next to nothing ready answers like one that keeps all."""
    for tenant in tenants(world):
        snapshot = snapshot_of(world.files, tenant)
        with (
            patch.multiple(compiled, _INDEXED=1, _ANSWERS=1),
            patch.multiple("remit.engine.snapshot", _NAMESPACES=1, _ANSWER_LISTS=1),
        ):
            forgetful = snapshot_of(world.files, tenant)
            for question in questions(snapshot, random):
                assert snapshot.decide(question) == forgetful.decide(question)


def decided(snapshot: Snapshot, random: Random) -> Iterator[tuple[Question, Decision]]:
    for question in questions(snapshot, random):
        yield question, snapshot.decide(question)


@given(worlds, randoms)
def test_one_broken_row_refuses_the_tenant_whole(world: World, random: Random) -> None:
    """A tenant is all or nothing: no row of a folder with a mistake in it decides anything."""
    for tenant in tenants(world):
        broken = world.with_rows(f"{tenant}/roles.csv", "p, role:x, other, **, *, *, deny")
        loaded = load(broken.files, tenant)
        assert loaded.snapshot is None
        (diagnostic,) = loaded.diagnostics
        assert diagnostic.message.startswith("tenant `other`:")
