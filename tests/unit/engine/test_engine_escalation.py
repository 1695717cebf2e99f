"""What an escalation says. That it is exact is a law: tests/laws/test_runtime_bindings.py."""

from collections.abc import Sequence
from dataclasses import replace

from support.trees import snapshot_of

from remit.core.names import Namespace, Principal, Word
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.question import Question
from remit.core.runtime import RuntimeRow, parse_runtime_row
from remit.engine.diff.escalation import binding_question, escalations
from remit.engine.snapshot import Snapshot

ANN = Principal("user:ann")
ROOT = "kinds:\n  FLOW: {class: namespace, actions: [VIEW, UPDATE]}\n  BOARD: {class: tenant, actions: [VIEW]}\n"
BINDING = "  BINDING: {{class: {}, actions: [CREATE, DELETE, GRANT_ANY]}}\n"
ROWS = """\
p, role:editor, acme, **, FLOW, VIEW|UPDATE, allow
p, role:editor, acme, **, BOARD, VIEW, allow
p, role:freeze, acme, a.b.**, FLOW, UPDATE, deny
g, user:ann, role:editor, acme/a.**
g, user:zoe, role:editor, acme
"""


def snapshot(rows: str = "", side: str = "tenant") -> Snapshot:
    files = {"vocabulary.yaml": (ROOT + BINDING.format(side)).encode(), "acme/bindings.csv": (ROWS + rows).encode()}
    return snapshot_of(files, "acme")


def told(
    granted: Sequence[RuntimeRow],
    revoked: Sequence[RuntimeRow] = (),
    in_force: Sequence[RuntimeRow] = (),
    rows: str = "",
) -> list[str]:
    policy = snapshot(rows).policy
    links = {row: row.link(policy.tenant, 3) for row in (*in_force, *granted)}
    before, after = (
        Snapshot(replace(policy, links=(*policy.links, *(links[row] for row in rows))))
        for rows in (in_force, [row for row in links if row not in revoked])
    )
    added, removed = ([links[row] for row in rows] for rows in (granted, revoked))
    return [each.text for each in escalations(before, after, added, removed, ANN)]


BOB = parse_runtime_row("user:bob", "role:editor", "a.b.**")
BOB_EVERYWHERE = parse_runtime_row("user:bob", "role:editor")
EVE = parse_runtime_row("group:eves", "role:editor", "b.*")
FROZEN = parse_runtime_row("user:zoe", "role:freeze")


def test_granter_gives_what_it_holds() -> None:
    assert [] == told([BOB])


def test_gain_that_the_granter_does_not_hold_is_named() -> None:
    assert [
        "`user:bob` would gain BOARD VIEW in the tenant itself",
        "`user:bob` would gain FLOW UPDATE|VIEW in `** except a.**`",
    ] == sorted(told([BOB_EVERYWHERE]))


def test_group_without_members_stands_for_whoever_joins_it() -> None:
    assert ["`group:eves` would gain FLOW UPDATE|VIEW in `b.*`"] == told([EVE])


def test_lost_deny_is_a_gain() -> None:
    """Ann may update in a.b herself, so she may lift that deny; and none in which she may not."""
    elsewhere = "p, role:freeze, acme, c, FLOW, VIEW, deny\n"

    assert [] == told([], [FROZEN], [FROZEN])
    assert ["`user:zoe` would gain FLOW VIEW in `c`"] == told([], [FROZEN], [FROZEN], elsewhere)


LATER_US = 1_800_000_000_000_000
OWN = parse_runtime_row("user:ann", "role:editor", "b", LATER_US)
FOR_EVER, AS_LONG = (parse_runtime_row("user:bob", "role:editor", "b", end) for end in (None, LATER_US))


def test_a_right_that_ends_is_passed_on_until_then() -> None:
    assert [] == told([AS_LONG], (), [OWN])
    assert ["`user:bob` would gain FLOW UPDATE|VIEW in `b` after 2027-01-15T08:00:00Z"] == told([FOR_EVER], (), [OWN])


def test_a_row_of_somebody_else_is_no_ground_to_renew_it() -> None:
    """Ann holds nothing in b. That bob holds it already, for a while, does not change what the row gives."""
    escalation = ["`user:bob` would gain FLOW UPDATE|VIEW in `b`"]
    assert escalation == told([FOR_EVER], [AS_LONG], [AS_LONG])
    narrower = parse_runtime_row("user:bob", "role:editor", "b.**")
    assert ["`user:bob` would gain FLOW UPDATE|VIEW in `b.**`"] == told([narrower], (), [AS_LONG])


def test_a_row_that_adds_nothing_now_is_measured_by_what_it_gives() -> None:
    """Zoe is an editor by the files, and may be so no longer tomorrow; a suspended or unlisted person likewise."""
    again = parse_runtime_row("user:zoe", "role:editor", "b")
    assert ["`user:zoe` would gain FLOW UPDATE|VIEW in `b`"] == told([again])
    suspended = "p, user:bob, acme, **, *, *, deny\n"
    assert ["`user:bob` would gain FLOW UPDATE|VIEW in `b`"] == told([FOR_EVER], rows=suspended)


def test_what_a_group_gives_for_a_while_is_measured_for_a_while() -> None:
    """A member for ever of a group that holds a role until then has the role until then."""
    temporary = parse_runtime_row("group:team", "role:editor", "b", LATER_US)
    member = parse_runtime_row("user:bob", "group:team")
    assert [] == told([member], (), [OWN, temporary])
    assert ["`user:bob` would gain FLOW UPDATE|VIEW in `b`"] == told([member], (), [temporary])


def test_granter_who_may_grant_anything_passes() -> None:
    assert [] == told([BOB_EVERYWHERE], rows="p, user:ann, acme, **, BINDING, GRANT_ANY, allow\n")


def test_many_subjects_and_places_are_counted() -> None:
    rows = [parse_runtime_row(f"user:{each}", "role:editor", f"c{place}") for each in "abcde" for place in range(5)]

    assert [
        "`user:a`, `user:b`, `user:c` and 2 more would gain FLOW UPDATE|VIEW in `c0`, `c1`, `c2` and 2 more"
    ] == told(rows)


def test_question_of_a_grant_is_about_the_tenant_or_about_where_it_is_denied() -> None:
    grant, scope = Word("CREATE"), NamespacePattern.parse("a.**")
    allowed = "p, user:ann, acme, a.**, BINDING, CREATE, allow\np, user:ann, acme, a.c, BINDING, CREATE, deny\n"

    def asked(snapshot: Snapshot, scope: NamespacePattern) -> Question:
        return binding_question(snapshot, ANN, grant, scope)

    here = snapshot(allowed, "namespace")
    assert Question(ANN, grant, Word("BINDING")) == asked(snapshot(), scope)
    assert Question(ANN, grant, Word("BINDING"), Namespace("a.c")) == asked(here, scope)
    assert Question(ANN, grant, Word("BINDING"), Namespace("a")) == asked(snapshot("", "namespace"), scope)
    within = asked(here, NamespacePattern.parse("a.b.*"))
    assert here.decide(within).allowed
    assert not here.decide(asked(here, EVERYWHERE)).allowed
