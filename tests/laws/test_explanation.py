"""What an explanation says is so."""

from dataclasses import replace
from itertools import pairwise
from random import Random

from hypothesis import given
from reference import covers
from strategies import World, randoms, worlds
from support.trees import load, snapshot_of
from worldly import questions, snapshots

from remit.core.decision import Reason
from remit.core.explanation import Clause, NearMiss
from remit.core.names import Namespace, Principal, Word
from remit.core.patterns import EVERYWHERE
from remit.core.question import Question
from remit.core.rows import ANY, Effect, Link, Rule
from remit.engine.explain.access import NEAR_MISSES, explain, summary
from remit.engine.role_graph import CHAIN_LIMIT
from remit.engine.snapshot import Snapshot

BY_NO_ROW = {Reason.OUT_OF_SCOPE, Reason.NOT_GRANTED, Reason.NO_BINDING}


def connected(question: Question, chain: tuple[Link, ...], rule: Rule) -> bool:
    """Whether the g rows lead, one after the other, from the principal to the rule's subject."""
    subjects = [question.principal, *(link.holds for link in chain)]
    return subjects == [*(link.member for link in chain), rule.subject]


@given(worlds, randoms)
def test_explained_decision_equals_the_decision(world: World, random: Random) -> None:
    """Explaining changes nothing: effect, reason and rule are those of `decide`, and the text tells them."""
    for snapshot in snapshots(world):
        for question in questions(snapshot, random):
            explanation = explain(snapshot, question)
            assert snapshot.decide(question) == explanation.decision
            assert explanation.decision.reason in summary(explanation)


@given(worlds, randoms)
def test_the_chain_leads_to_the_deciding_rule(world: World, random: Random) -> None:
    """Each row of the chain goes on where the one before ends, and covers the namespace; the last holds the rule."""
    for snapshot in snapshots(world):
        for question in questions(snapshot, random):
            explanation = explain(snapshot, question)
            rule = explanation.decision.rule
            if isinstance(rule, Rule):
                assert connected(question, explanation.chain, rule)
                assert all(covers(link.scope.text, question.namespace) for link in explanation.chain)
            else:
                assert not explanation.chain


def failing(miss: NearMiss, question: Question) -> list[Clause]:
    """The clauses of access.conf that fail for the rule, read from the rows' texts."""
    rule = miss.rule
    scopes = [Clause.SCOPE for link in miss.chain if not covers(link.scope.text, question.namespace)]
    clauses = {
        Clause.NAMESPACE: covers(rule.namespaces.text, question.namespace),
        Clause.ACTION: rule.actions == ANY or question.action in rule.actions,
        Clause.KIND: rule.kinds == ANY or question.kind in rule.kinds,
    }
    return [*scopes, *(clause for clause, holds in clauses.items() if not holds)]


@given(worlds, randoms)
def test_a_near_miss_has_exactly_one_failing_clause(world: World, random: Random) -> None:
    """Each is an allow rule on the principal's own chain that fails by exactly the named clause."""
    for snapshot in snapshots(world):
        for question in questions(snapshot, random):
            explanation = explain(snapshot, question)
            assert len(explanation.near_misses) <= NEAR_MISSES
            assert explanation.decision.reason in BY_NO_ROW or not explanation.near_misses
            for miss in explanation.near_misses:
                assert [miss.failed] == failing(miss, question)
                assert connected(question, miss.chain, miss.rule)
                assert Effect.ALLOW is miss.rule.effect


@given(worlds, randoms)
def test_near_miss_names_a_single_scope_that_is_too_narrow(world: World, random: Random) -> None:
    """Where widening one g row to the whole tenant would allow, a near miss says so."""
    for snapshot in snapshots(world):
        for question in questions(snapshot, random, 8):
            explanation = explain(snapshot, question)
            if explanation.decision.reason is not Reason.OUT_OF_SCOPE or len(explanation.near_misses) == NEAR_MISSES:
                continue
            widened = [
                Snapshot(replace(snapshot.policy, links=tuple(_wide(each) if each is link else each for each in links)))
                for links in [snapshot.policy.links]
                for link in links
            ]
            if any(each.decide(question).allowed for each in widened):
                assert Clause.SCOPE in {miss.failed for miss in explanation.near_misses}


def _wide(link: Link) -> Link:
    return replace(link, scope=EVERYWHERE)


@given(worlds, randoms)
def test_the_suggested_rule_allows(world: World, random: Random) -> None:
    """The p row that would allow it, added to the files, loads and allows; beside it nothing more is allowed."""
    for snapshot in snapshots(world):
        asked = questions(snapshot, random)
        for question in asked:
            remedy = explain(snapshot, question).remedy
            if remedy is None or not remedy.rule:
                continue
            more = snapshot_of(world.with_rows(f"{snapshot.tenant}/bindings.csv", remedy.rule).files, snapshot.tenant)
            assert more.decide(question).allowed
            for other in asked:
                if other[:3] != question[:3] or (question.namespace and other != question):
                    assert snapshot.decide(other).effect == more.decide(other).effect


@given(worlds, randoms)
def test_the_suggested_binding_allows(world: World, random: Random) -> None:
    """The g row that would allow it, added to the files, loads and allows, and gives nothing in other namespaces."""
    for snapshot in snapshots(world):
        asked = questions(snapshot, random)
        for question in asked:
            remedy = explain(snapshot, question).remedy
            if remedy is None or not remedy.binding:
                continue
            more = snapshot_of(
                world.with_rows(f"{snapshot.tenant}/bindings.csv", remedy.binding).files, snapshot.tenant
            )
            assert more.decide(question).allowed
            for other in asked:
                if question.namespace and (other.principal, other.namespace) != (
                    question.principal,
                    question.namespace,
                ):
                    assert snapshot.decide(other).effect == more.decide(other).effect


@given(worlds, randoms)
def test_no_role_fits_if_no_binding_is_suggested(world: World, random: Random) -> None:
    """Where no g row is suggested, a binding of the principal to any role leaves the deny."""
    for snapshot in snapshots(world):
        for question in questions(snapshot, random, 8):
            explanation = explain(snapshot, question)
            if explanation.decision.reason not in BY_NO_ROW or (explanation.remedy and explanation.remedy.binding):
                continue
            for role in snapshot.graph.roles():
                row = f"g, {question.principal}, {role}, {snapshot.tenant}"
                more = load(world.with_rows(f"{snapshot.tenant}/bindings.csv", row).files, snapshot.tenant)
                assert more.snapshot is None or not more.snapshot.decide(question).allowed


@given(worlds, randoms)
def test_no_row_is_suggested_if_none_helps(world: World, random: Random) -> None:
    """A deny, the access list and unknown words are explained in words; an allow row for the question changes nothing."""
    for snapshot in snapshots(world):
        for question in questions(snapshot, random):
            explanation = explain(snapshot, question)
            assert (explanation.remedy is None) == explanation.decision.allowed
            if explanation.remedy and explanation.decision.reason not in BY_NO_ROW:
                assert explanation.remedy.instead
                assert not explanation.remedy.rule
                assert not explanation.remedy.binding


@given(worlds, randoms)
def test_the_deny_to_narrow_is_named(world: World, random: Random) -> None:
    """Without the rows of denying rules that the words name one after the other, the deny by rule is gone."""
    for snapshot in snapshots(world):
        for question in questions(snapshot, random):
            now = snapshot
            while now.decide(question).reason is Reason.DENIED_BY_RULE:
                explanation = explain(now, question)
                rule = explanation.decision.rule
                assert isinstance(rule, Rule)
                assert explanation.remedy is not None
                assert rule.place in explanation.remedy.instead
                now = Snapshot(replace(now.policy, rules=tuple(each for each in now.policy.rules if each != rule)))


def test_a_suggested_binding_never_makes_a_chain_too_long() -> None:
    """A role that would make a chain too long is not offered: the loader would refuse the file."""
    roles = [f"role:a{number}" for number in range(CHAIN_LIMIT + 1)]
    rows = [f"g, {member}, {holds}, t" for member, holds in pairwise(roles)]
    files = {
        "vocabulary.yaml": b"kinds: {FLOW: {class: namespace, actions: [VIEW]}}\n",
        "t/bindings.csv": "\n".join([*rows, f"p, {roles[-1]}, t, **, FLOW, VIEW, allow", ""]).encode(),
    }
    question = Question(Principal("user:x"), Word("VIEW"), Word("FLOW"), Namespace("a"))
    remedy = explain(snapshot_of(files, "t"), question).remedy
    assert remedy is not None
    assert remedy.binding
    more = {**files, "t/bindings.csv": files["t/bindings.csv"] + f"{remedy.binding}\n".encode()}
    assert snapshot_of(more, "t").decide(question).allowed
