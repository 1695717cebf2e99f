"""A defect planted in the engine comes out of `verify` as a minimal case."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from strategies import world
from support.trees import snapshot_of

from remit.core.decision import Decision, Reason
from remit.core.names import INSTANCE, Namespace, Principal, Word
from remit.core.question import Question, ReachQuestion
from remit.core.rows import Effect
from remit.engine.differential.compare import Verification, verify
from remit.engine.differential.random_questions import random_questions, random_reach_questions
from remit.engine.reach import Reach
from remit.engine.snapshot import Snapshot

VOCABULARY = b"""\
kinds: {FLOW: {class: namespace, actions: [VIEW, UPDATE]}, USER: {class: tenant, actions: [VIEW]}}
relations: {KV: {inherited: true}, SUBFLOW: {}}
"""
ROWS = """\
p, role:viewer, acme, **, *, VIEW, allow
p, role:dev, acme, **, FLOW, *, allow
p, role:dev, acme, prod.**, FLOW, UPDATE, deny
p, user:otto, acme, **, *, *, deny
g, user:bob, group:devs, acme
g, user:ann, group:devs, acme
g, group:devs, role:dev, acme/a.**
g, group:devs, role:viewer, acme
g, user:otto, role:dev, acme/prod.**
"""
REACH = """\
p, acme, a, b, KV, deny
p, acme, a.**, b.**, *, allow
p, acme, c, **, SUBFLOW, deny
p, acme, **, **, SUBFLOW, allow
"""
FILES = {
    "vocabulary.yaml": VOCABULARY,
    "acme/bindings.csv": ROWS.encode(),
    "acme/reach.csv": REACH.encode(),
    "acme/tenant.yaml": b"access: [group:devs, user:otto]\n",
}


@pytest.fixture
def snapshot() -> Snapshot:
    return snapshot_of(FILES, "acme")


def sabotage(
    monkeypatch: pytest.MonkeyPatch, plane: type[Snapshot | Reach], change: Callable[[Decision], Decision]
) -> None:
    honest = plane.decide
    monkeypatch.setattr(plane, "decide", lambda self, question: change(honest(self, question)))


def forget_denies(decision: Decision) -> Decision:
    """An engine in which a deny lets the action through."""
    if decision.reason is Reason.DENIED_BY_RULE:
        return replace(decision, effect=Effect.ALLOW, reason=Reason.ALLOWED_BY_RULE)
    return decision


def test_engines_that_agree(snapshot: Snapshot) -> None:
    """Nothing is found, and all questions are counted; those that the doors stop are not compared."""
    questions = list(random_questions(snapshot.policy, Random(1), 300))
    verification = verify(snapshot, questions)
    behind = [each for each in questions if snapshot.decide(each).reason.startswith(("UNKNOWN", "NO_ACCESS", "WRONG"))]
    assert Verification(300, 300 - len(behind)) == verification
    assert behind


def test_malformed_questions_are_asked_and_not_compared(snapshot: Snapshot) -> None:
    malformed = Question(Principal("user:bob"), Word("VIEW"), Word("FLOW"))
    assert Verification(1, 0) == verify(snapshot, [malformed])


def test_reach_is_compared_where_a_row_or_nothing_decides(snapshot: Snapshot) -> None:
    itself = ReachQuestion(Namespace("a"), Namespace("a"), Word("KV"))
    inherited = ReachQuestion(Namespace("c.d"), Namespace("c"), Word("KV"))
    by_row = ReachQuestion(Namespace("a"), Namespace("b"), Word("KV"))
    by_nothing = ReachQuestion(Namespace("x"), Namespace("y"), Word("KV"))
    assert Verification(4, 2) == verify(snapshot, [itself, inherited, by_row, by_nothing])


def test_lost_deny_is_reduced_to_a_minimal_case(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of nine rows and an access list the one deny is left, and no row but those it needs."""
    sabotage(monkeypatch, Snapshot, forget_denies)
    question = Question(Principal("user:otto"), Word("UPDATE"), Word("FLOW"), Namespace("prod.x"))
    difference = verify(snapshot, [question]).difference
    assert difference is not None
    expected = ["p, user:otto, acme, **, *, *, deny"]
    assert expected == [row.text for row in difference.policy.rules]
    assert not difference.policy.links
    assert difference.policy.access is None
    assert not difference.policy.reach


def test_minimal_case_includes_the_chain_that_the_decision_needs(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that wrongly denies: the case has the allow row and its chain."""

    def stingy(decision: Decision) -> Decision:
        if decision.allowed:
            return Decision(Effect.DENY, Reason.NOT_GRANTED)
        return decision

    sabotage(monkeypatch, Snapshot, stingy)
    question = Question(Principal("user:bob"), Word("UPDATE"), Word("FLOW"), Namespace("a.b"))
    difference = verify(snapshot, [question]).difference
    assert difference is not None
    expected = """\
# acme/bindings.csv:2
p, role:dev, acme, **, FLOW, *, allow
# acme/bindings.csv:5
g, user:bob, group:devs, acme
# acme/bindings.csv:7
g, group:devs, role:dev, acme/a.**
"""
    assert difference.text.startswith(expected)
    assert "user:bob UPDATE FLOW in a.b" in difference.text
    assert "remit says deny (NOT_GRANTED)" in difference.text
    assert "casbin says allow" in difference.text


def test_the_minimal_case_is_a_policy_that_loads(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text, as a file, gives the same difference again."""
    sabotage(monkeypatch, Snapshot, forget_denies)
    question = Question(Principal("user:bob"), Word("UPDATE"), Word("FLOW"), Namespace("prod"))
    wide = {**FILES, "acme/bindings.csv": ROWS.replace("acme/a.**", "acme").encode()}
    first = verify(snapshot_of(wide, "acme"), [question]).difference
    assert first is not None
    again = snapshot_of({"vocabulary.yaml": VOCABULARY, "acme/bindings.csv": first.text.encode()}, "acme")
    second = verify(again, [question]).difference
    assert second is not None
    assert [row.text for row in first.policy.rules] == [row.text for row in second.policy.rules]
    assert [row.text for row in first.policy.links] == [row.text for row in second.policy.links]


def test_early_reach_row_is_reduced_to_a_minimal_case(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage(monkeypatch, Reach, forget_denies)
    question = ReachQuestion(Namespace("c"), Namespace("d"), Word("SUBFLOW"))
    difference = verify(snapshot, [question]).difference
    assert difference is not None
    expected = ["p, acme, c, **, SUBFLOW, deny"]
    assert expected == [row.text for row in difference.policy.reach]
    assert not difference.policy.rules
    assert "c uses d by SUBFLOW" in difference.text


def test_comparison_ends_at_the_first_difference(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later questions are not asked, so the stream may be endless."""
    sabotage(monkeypatch, Snapshot, forget_denies)
    bad = Question(Principal("user:otto"), Word("VIEW"), Word("FLOW"), Namespace("a"))
    asked = []

    def stream() -> object:
        while True:
            asked.append(bad)
            yield bad

    assert verify(snapshot, stream()).asked == 1  # type: ignore[arg-type]
    assert len(asked) == 1


def test_difference_that_does_not_repeat_is_reported_in_full(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot that went wrong by itself, as no freshly compiled one does, is reported with all its rows."""
    wrong = Decision(Effect.DENY, Reason.NO_BINDING)
    honest = Snapshot.decide
    monkeypatch.setattr(
        Snapshot, "decide", lambda self, question: wrong if self is snapshot else honest(self, question)
    )
    question = Question(Principal("user:bob"), Word("UPDATE"), Word("FLOW"), Namespace("a.b"))
    difference = verify(snapshot, [question]).difference
    assert difference is not None
    assert snapshot.policy is difference.policy


def test_random_questions_repeat_by_seed_and_are_many() -> None:
    """The same seed asks the same; over some worlds every reason comes up, and nothing is malformed."""
    reasons = set()
    for seed in range(12):
        files = world(Random(seed)).files
        for tenant in {path.partition("/")[0] for path in files if "/" in path}:
            snapshot = snapshot_of(files, tenant)
            questions = list(random_questions(snapshot.policy, Random(seed), 200))
            assert questions == list(random_questions(snapshot.policy, Random(seed), 200))
            reasons |= {snapshot.decide(question).reason for question in questions}
            reached = list(random_reach_questions(snapshot.policy, Random(seed), 100))
            reasons |= {snapshot.reach.decide(question).reason for question in reached}
    assert set(Reason) - {Reason.UNKNOWN_TENANT, Reason.NO_ROUTE} == reasons


def test_random_questions_of_an_empty_policy() -> None:
    """With no row and hardly a word there are questions still."""
    for tenant in ("acme", INSTANCE):
        empty = snapshot_of({"vocabulary.yaml": b"kinds: {}\n", f"{tenant}/roles.csv": b""}, tenant)
        assert verify(empty, random_questions(empty.policy, Random(0), 50)).asked == 50
        assert verify(empty, random_reach_questions(empty.policy, Random(0), 50)).asked == 50
