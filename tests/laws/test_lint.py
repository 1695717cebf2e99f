"""What lint says of rows holds for every question: patterns decide, and the engine agrees."""

from dataclasses import replace
from itertools import product
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from strategies import World, patterns, randoms, worlds
from trees import tree_of
from worldly import grounds, questions, reach_questions

from remit.core.names import Namespace, Tenant
from remit.core.patterns import NamespacePattern
from remit.core.policy import Policy
from remit.engine.snapshot import Snapshot
from remit.policy.lint.cover import covered, depths
from remit.policy.lint.finding import RuleId
from remit.policy.lint.linter import findings_of
from remit.policy.load import load_root, read_policy

# Two that patterns spell out and one that none does.
NAMESPACES = [Namespace(".".join(parts)) for depth in range(6) for parts in product(("a", "b", "fresh"), repeat=depth)]
few = st.lists(st.sampled_from(("a", "b", "*")), max_size=3)


@st.composite
def small_patterns(draw: st.DrawFn) -> NamespacePattern:
    segments = draw(few)
    subtree = not segments or draw(st.booleans())
    return NamespacePattern.parse(".".join([*segments, "**"] if subtree else segments))


@given(small_patterns(), st.lists(small_patterns(), max_size=6))
def test_covered_agrees_with_trying_every_namespace(pattern: NamespacePattern, by: list[NamespacePattern]) -> None:
    expected = all(any(each.contains(name) for each in by) for name in NAMESPACES if pattern.contains(name))

    assert expected == covered(pattern, by)


@given(patterns())
def test_the_depths_of_a_pattern_are_the_pattern(pattern: NamespacePattern) -> None:
    assert covered(pattern, depths(pattern, 4))
    assert all(pattern.covers(part) for part in depths(pattern, 4))


@given(worlds, randoms)
def test_what_lint_calls_dead_or_redundant_decides_nothing(world: World, random: Random) -> None:
    """Each such row may be taken out, alone, and every answer stays as it was."""
    dead = {RuleId.NEVER_MATCHING, RuleId.REDUNDANT_ROW, RuleId.DENY_NEVER_APPLIES}
    tree = tree_of(world.files)
    root = load_root(tree)
    found = [each for each in findings_of(tree) if each.rule in dead and "/" in each.file]
    for finding in random.sample(found, min(4, len(found))):
        policy = read_policy(tree, Tenant(finding.file.partition("/")[0]), root)
        before, after = Snapshot(policy), Snapshot(_without(policy, finding.file, finding.line))
        for question in questions(before, random, 60):
            assert before.decide(question).effect == after.decide(question).effect
        for asked in reach_questions(before, random, 60):
            assert grounds(before.reach.decide(asked)) == grounds(after.reach.decide(asked))


def _without(policy: Policy, file: str, line: int) -> Policy:
    rows = {
        name: tuple(row for row in getattr(policy, name) if (row.file, row.line) != (file, line))
        for name in ("rules", "links", "reach")
    }
    return replace(policy, **rows)
