"""How often the g rows are walked. What the walk finds is the law's (tests/laws/test_access.py)."""

from itertools import pairwise

import pytest

from remit.core.names import Subject, Tenant
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.rows import ANY, Effect, Link, Rule
from remit.engine.role_graph import RoleGraph

LAYERS, WIDTH = 4, 10
ACME = Tenant("acme")
NAMES = [["user:a"], *([f"group:l{layer}-{each}" for each in range(WIDTH)] for layer in range(LAYERS)), ["role:r"]]
LINKS = [
    Link(Subject(one), Subject(two), ACME, EVERYWHERE, "acme/bindings.csv", 1)
    for upper, lower in pairwise(NAMES)
    for one in upper
    for two in lower
]
RULE = Rule(Subject("role:r"), ACME, NamespacePattern.parse("a.**"), ANY, ANY, Effect.ALLOW, "acme/roles.csv", 1)


class _Covering(frozenset[str]):
    """Counts how many rows' scopes are looked for in it."""

    steps = 0

    def __contains__(self, scope: object) -> bool:
        self.steps += 1
        return super().__contains__(scope)


def test_the_rows_behind_a_principal_are_walked_once() -> None:
    """For the namespaces that the same patterns cover, however often it is asked about them."""
    graph = RoleGraph([RULE], LINKS)
    covering = _Covering({"**", "a.**"})
    for _ in range(3):
        assert {"role:r"} == graph.held("user:a", covering)
    assert len(LINKS) == covering.steps
    assert frozenset() == graph.held("user:a", frozenset({"a.**"}))


@pytest.mark.parametrize(("subject", "expected"), [("user:stranger", set()), ("role:r", {"role:r"})])
def test_walk_skips_subjects_without_rows(subject: str, expected: set[str]) -> None:
    covering = _Covering({"**"})
    assert expected == RoleGraph([RULE], LINKS).held(subject, covering)
    assert 0 == covering.steps
