"""What lint says of rows holds for every question: patterns decide, and the engine agrees."""

from dataclasses import replace
from itertools import product
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from strategies import World, patterns, pick, randoms, worlds
from support.trees import tree_of
from test_granted import TENANT, opened
from worldly import grounds, questions, reach_questions, tenants

from remit.core.names import Namespace, Principal, Subject, Tenant, Word
from remit.core.patterns import NamespacePattern
from remit.core.policy import Policy
from remit.core.question import Question, ReachQuestion
from remit.core.rows import Effect, ReachRule
from remit.core.runtime import RuntimeRow
from remit.engine.pattern_cover import covered, depths
from remit.engine.snapshot import Snapshot
from remit.policy.lint.finding import RuleId
from remit.policy.lint.linter import findings_of, tenant_findings
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
def test_rows_that_lint_calls_dead_or_redundant_decide_nothing(world: World, random: Random) -> None:
    """Each such row may be taken out, alone, and every answer stays as it was, also for somebody who is granted what
    `runtime` opens."""
    opening = opened(random, world)
    if TENANT in tenants(world) and random.randrange(2):
        leaver = f"p, user:left, {TENANT}, {pick(random, ('**', *world.segments))}, *, *, deny"
        world = replace(world, files=opening.files(world)).with_rows(f"{TENANT}/bindings.csv", leaver)
    dead = {RuleId.NEVER_MATCHING, RuleId.REDUNDANT_ROW, RuleId.DENY_NEVER_APPLIES}
    tree = tree_of(world.files)
    root = load_root(tree)
    found = [each for each in findings_of(tree) if each.rule in dead and "/" in each.file]
    found = sorted(random.sample(found, len(found)), key=lambda each: "user:left" not in each.message)
    for finding in found[:4]:
        policy = read_policy(tree, Tenant(finding.file.partition("/")[0]), root)
        rest = _without(policy, finding.file, finding.line)
        before, after = Snapshot(policy), Snapshot(rest)
        for question in questions(before, random, 60):
            assert before.decide(question).effect == after.decide(question).effect
        known = sorted((*before.graph.groups, *before.graph.roles()))
        open_now = [each for each in known if policy.runtime is not None and policy.runtime.opens(each)]
        named = [each.subject for each in policy.rules if (each.file, each.line) == (finding.file, finding.line)]
        for question in questions(before, random, 20) if open_now else ():
            who = named[0] if named and named[0].startswith(("user:", "service:")) else question.principal
            scope = NamespacePattern.parse(pick(random, opening.scopes))
            row = RuntimeRow(Subject(who), Subject(pick(random, open_now)), scope).link(policy.tenant, 2)
            given, left = (Snapshot(replace(each, links=(*each.links, row))) for each in (policy, rest))
            asked_later = question._replace(principal=Principal(who))
            assert given.decide(asked_later).effect == left.decide(asked_later).effect
        for asked in reach_questions(before, random, 60):
            assert grounds(before.reach.decide(asked)) == grounds(after.reach.decide(asked))


def _without(policy: Policy, file: str, line: int) -> Policy:
    rows = {
        name: tuple(row for row in getattr(policy, name) if (row.file, row.line) != (file, line))
        for name in ("rules", "links", "reach")
    }
    return replace(policy, **rows)


@given(worlds)
def test_tenant_has_the_same_findings_alone_and_beside_others(world: World) -> None:
    """What the load gate finds in a folder is what `remit lint` finds there."""
    tree = tree_of(world.files)
    root = load_root(tree)
    found = findings_of(tree)
    for tenant in tree.tenants:
        alone = tenant_findings(tree, read_policy(tree, tenant, root))
        assert tuple(each for each in found if each.file.startswith(f"{tenant}/")) == alone


_SQUATTERS = b"""\
kinds:
  FLOW: {class: namespace, actions: [VIEW, CREATE]}
  SECRET: {class: namespace, actions: [VIEW]}
relations: {SECRET: {inherited: true}}
"""
literal_patterns = st.tuples(st.lists(st.sampled_from(("a", "b")), max_size=3), st.booleans()).map(
    lambda drawn: ".".join([*drawn[0], "**"] if drawn[1] or not drawn[0] else drawn[0])
)
squatters_rows = st.tuples(
    st.sampled_from(("user:u", "role:w")),
    literal_patterns,
    st.sampled_from(("FLOW, CREATE", "FLOW, CREATE", "SECRET, VIEW")),
    st.sampled_from(("allow", "allow", "deny")),
).map(lambda drawn: f"p, {drawn[0]}, acme, {drawn[1]}, {drawn[2]}, {drawn[3]}")
closed_rows = st.tuples(small_patterns(), small_patterns(), st.sampled_from(("allow", "deny"))).map(
    lambda drawn: ReachRule(Tenant("acme"), drawn[0], drawn[1], (Word("SECRET"),), Effect(drawn[2]), "", 0)
)


@st.composite
def reach_files(draw: st.DrawFn) -> str:
    kept: list[ReachRule] = []
    for row in draw(st.lists(closed_rows, max_size=4)):
        if not any(before.covers(row) for before in kept):
            kept.append(row)
    return "".join(f"{row.text}\n" for row in kept)


@given(st.lists(squatters_rows, max_size=5), literal_patterns, reach_files())
def test_inherited_secrets_are_found_if_a_namespace_below_gives_them(rows: list[str], scope: str, reach: str) -> None:
    """Against asking the engine about every pair of namespaces. Patterns of access rows have no `*` here: what one says of
    an ancestor is judged for a fresh name only."""
    held = "acme" if scope == "**" else f"acme/{scope}"
    rows = [*rows, "p, role:w, acme, a.b.**, FLOW, CREATE, allow", f"g, user:u, role:w, {held}"]
    files = {
        "vocabulary.yaml": _SQUATTERS,
        "acme/bindings.csv": "".join(f"{row}\n" for row in rows).encode(),
        "acme/reach.csv": reach.encode(),
    }
    tree = tree_of(files)
    snapshot = Snapshot(read_policy(tree, Tenant("acme"), load_root(tree)))

    def may(action: str, kind: str, namespace: Namespace) -> bool:
        return snapshot.decide(Question(Principal("user:u"), Word(action), Word(kind), namespace)).allowed

    writes = {name: may("CREATE", "FLOW", name) for name in NAMESPACES if name}
    expected = any(
        writes[below]
        and snapshot.reach.decide(ReachQuestion(below, above, Word("SECRET"))).allowed
        and not may("VIEW", "SECRET", above)
        for above in writes
        if not writes[above]
        for below in writes
        if below.startswith(f"{above}.")
    )

    assert expected == bool(findings_of(tree_of(files), {RuleId.INHERITED_SECRETS}))
