"""Snapshots and role graphs after a change of g rows. That they answer right is the law's (tests/laws/test_changes.py)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from support.trees import snapshot_of

from remit.core.decision import Reason
from remit.core.names import Namespace, Principal, Subject, Tenant, Word
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.position import Position
from remit.core.question import Question
from remit.core.rows import Link
from remit.engine.role_graph import CHAIN_LIMIT, RoleGraph
from remit.engine.snapshot import Snapshot
from remit.policy.build.throttle import free_gradually

ACME = Tenant("acme")
FILES = {
    "vocabulary.yaml": b"kinds: {FLOW: {class: namespace, actions: [VIEW, UPDATE]}}\n",
    "acme/roles.csv": b"p, role:viewer, acme, **, FLOW, VIEW, allow\n",
    "acme/bindings.csv": b"g, user:a, group:g, acme\ng, group:g, role:viewer, acme/x.**\n",
}


def link(member: str, holds: str, scope: str = "**", line: int = 1) -> Link:
    return Link(Subject(member), Subject(holds), ACME, NamespacePattern.parse(scope), "runtime", line)


def view(snapshot: Snapshot, principal: str, namespace: str = "x.y") -> Reason:
    return snapshot.decide(Question(Principal(principal), Word("VIEW"), Word("FLOW"), Namespace(namespace))).reason


def chain(*subjects: str) -> list[Link]:
    return [link(member, holds) for member, holds in pairwise(subjects)]


def graph_of(links: Sequence[Link]) -> RoleGraph:
    return RoleGraph((), links)


def test_a_change_answers_by_its_rows_and_the_snapshot_before_by_its_own() -> None:
    before = snapshot_of(FILES, "acme").at(Position(ACME, 1, "0" * 16))
    (first,) = before.graph.links_of("user:a")
    after = before.changed("later", [link("user:b", "role:viewer", "new.*")], [first])
    assert ("later", "later", None) == (after.revision, after.policy.revision, after.position)
    assert [Reason.NO_BINDING, Reason.ALLOWED_BY_RULE] == [view(after, "user:a"), view(after, "user:b", "new.n")]
    assert [Reason.ALLOWED_BY_RULE, Reason.NO_BINDING] == [view(before, "user:a"), view(before, "user:b", "new.n")]
    assert before.revision == before.policy.revision != "later"
    assert before.policy.links == snapshot_of(FILES, "acme").policy.links


def test_two_changes_of_one_snapshot_do_not_see_one_another() -> None:
    before = snapshot_of(FILES, "acme")
    bound = before.changed("bound", [link("user:b", "role:viewer")], ())
    other = before.changed("other", [link("user:b", "role:viewer", "z")], ())
    assert [Reason.ALLOWED_BY_RULE, Reason.OUT_OF_SCOPE] == [view(each, "user:b") for each in (bound, other)]


@pytest.mark.parametrize(
    ("added", "removed", "expected"),
    [
        ([], [link("user:a", "group:g")], r"runtime:1: the policy has no row `g, user:a, group:g, acme` of this place"),
        ([], [link("user:z", "group:g")], r"runtime:1: the policy has no row `g, user:z, group:g, acme`"),
        ([link("user:b", "group:g")] * 2, [], r"runtime:1: the policy has the row `g, user:b, group:g, acme`"),
        ([replace(link("user:b", "group:g"), tenant=Tenant("other"))], [], "expected a row of tenant `acme`"),
    ],
)
def test_a_change_that_does_not_fit_the_rows_is_refused(added: list[Link], removed: list[Link], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        snapshot_of(FILES, "acme").changed("later", added, removed)


def test_a_row_is_replaced_by_one_change() -> None:
    before = snapshot_of(FILES, "acme")
    (row,) = before.graph.links_of("user:a")
    after = before.changed("later", [row], [row])
    assert [row.member for row in before.policy.links] == ["user:a", "group:g"]
    assert [row.member for row in after.policy.links] == ["group:g", "user:a"]
    assert Reason.ALLOWED_BY_RULE is view(after, "user:a")


class _Covering(frozenset[str]):
    """Counts how many rows' scopes are looked for in it."""

    steps = 0

    def __contains__(self, scope: object) -> bool:
        self.steps += 1
        return super().__contains__(scope)


def test_walks_from_untouched_subjects_are_not_repeated() -> None:
    graph = RoleGraph(snapshot_of(FILES, "acme").policy.rules, chain("user:a", "group:g", "role:viewer"))
    covering = _Covering({"**"})
    assert {"role:viewer"} == graph.held("user:a", covering)
    steps = covering.steps
    after = graph.changed([link("user:b", "group:g")], ())
    assert {"role:viewer"} == after.held("user:a", covering)
    assert steps == covering.steps
    assert {"role:viewer"} == after.held("user:b", covering)
    assert steps < covering.steps


class _Walked(list[Link]):
    """Counts how often it is walked."""

    times = 0

    def __iter__(self) -> Iterator[Link]:
        self.times += 1
        return super().__iter__()


def test_a_row_of_a_user_walks_no_other_rows() -> None:
    """A row of a group does once, to index all rows by what they lead to."""
    links = _Walked(link("user:a", f"group:g{number}") for number in range(100))
    graph = graph_of(links)
    times = links.times
    after = graph.changed([link("user:b", "group:g")], links[:1])
    assert len(links) == len(after.links)
    assert times == links.times
    after.changed([link("group:g1", "group:h")], ()).changed([link("group:g2", "group:h")], ())
    assert times + 1 == links.times


def test_no_change_walks_all_rows_of_a_graph_that_expects_changes() -> None:
    links = _Walked(link("user:a", f"group:g{number}") for number in range(100))
    snapshot = Snapshot(replace(snapshot_of(FILES, "acme").policy, links=links))
    snapshot.expect_changes()
    times = links.times
    after = snapshot.changed("later", [link("group:g1", "role:viewer")], ())
    assert Reason.ALLOWED_BY_RULE is view(after, "user:a")
    after.expect_changes()
    assert times == links.times


def test_holders_are_everyone_below() -> None:
    graph = graph_of([*chain("user:a", "group:g", "role:r"), link("user:b", "role:r"), link("user:c", "group:h")])
    assert {"role:r", "group:g", "user:a", "user:b"} == graph.holders(["role:r"])
    assert {"user:c"} == graph.holders(["user:c"])


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        (link("group:c", "group:a"), True),
        (link("group:b", "group:a"), True),
        (link("group:a", "group:a"), True),
        (link("group:a", "group:c"), False),
        (link("group:c", "group:d"), False),
        (link("user:u", "group:a"), False),
    ],
)
def test_a_cycle_is_seen_before_its_last_row_is_added_and_after(added: Link, expected: bool) -> None:
    graph = graph_of([*chain("group:a", "group:b", "group:c"), link("user:u", "group:c")])
    assert expected == graph.closes_cycle(added)
    assert expected == graph.changed([added], ()).closes_cycle(added)


@pytest.mark.parametrize(("below", "above"), [(0, 0), (3, 2), (8, 0), (0, 8), (4, 4)])
def test_longest_chain_counts_rows_on_both_sides(below: int, above: int) -> None:
    lower = chain(*(f"group:l{number}" for number in range(below, 0, -1)), "group:m")
    upper = chain("group:h", *(f"group:u{number}" for number in range(above)))
    graph = graph_of([*lower, *upper])
    joined = link("group:m", "group:h")
    assert below + 1 + above == graph.longest_chain(joined) == graph.changed([joined], ()).longest_chain(joined)


def test_longest_chain_ends_in_a_cycle() -> None:
    graph = graph_of(chain("group:a", "group:b", "group:a"))
    assert graph.longest_chain(link("user:u", "group:a")) > CHAIN_LIMIT


def test_rows_of_a_changed_policy_are_freed() -> None:
    policy = snapshot_of(FILES, "acme").changed("later", [link("user:b", "role:viewer", str(EVERYWHERE))], ()).policy
    freeing = free_gradually(policy)
    next(freeing)
    assert [] == [*freeing]
