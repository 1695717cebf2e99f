"""What the ceiling says. That it refuses exactly what it must is a law: tests/laws/test_runtime_bindings.py."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from support.trees import snapshot_of

from remit.core.runtime import RuntimeRow, parse_runtime_row
from remit.engine.snapshot import Snapshot
from remit.policy.ceiling import Ceiling, unsound

NOW_US = 1_700_000_000_000_000
DAY_US = 86_400_000_000
VOCABULARY = (
    b"kinds:\n  FLOW: {class: namespace, actions: [VIEW]}\n  BINDING: {class: tenant, actions: [CREATE, DELETE]}\n"
)
BINDINGS = b"""\
p, role:reader, acme, **, FLOW, VIEW, allow
p, role:frozen, acme, a.b.**, FLOW, VIEW, deny
p, group:suspended, acme, **, *, *, deny
g, group:outer, group:inner, acme
g, user:eve, group:outer, acme
"""
RUNTIME = b"""\
runtime:
  roles: ["role:*"]
  groups: [group:inner, group:outer]
  scopes: [a, "a.*.**", b.*]
  max_ttl: 2d
  suspend: group:suspended
"""
FILES = {"vocabulary.yaml": VOCABULARY, "acme/bindings.csv": BINDINGS, "acme/tenant.yaml": RUNTIME}
SNAPSHOT = snapshot_of(FILES, "acme")


def row(member: str, holds: str, scope: str = "", *, days: float | None = None) -> RuntimeRow:
    return parse_runtime_row(member, holds, scope, None if days is None else NOW_US + int(days * DAY_US))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (row("user:bob", "role:reader", "a.**", days=2), ""),
        (row("user:bob", "role:reader", "b.*", days=1), ""),
        (row("user:bob", "group:suspended"), ""),
        (row("group:inner", "group:suspended", "zz"), ""),
        (
            row("user:bob", "group:other", "a", days=1),
            "`group:other` is not opened at run time: no name under `groups` of `runtime` in acme/tenant.yaml matches it",
        ),
        (
            row("user:bob", "role:reader", "b.**", days=1),
            "scope `b.**` is not within `scopes` of `runtime` in acme/tenant.yaml: `a`, `a.*.**`, `b.*`",
        ),
        (
            row("user:bob", "role:reader", days=1),
            "the whole tenant is not within `scopes` of `runtime` in acme/tenant.yaml: `a`, `a.*.**`, `b.*`",
        ),
        (
            row("user:bob", "role:reader", "a"),
            "never expires: expected not later than 2023-11-16T22:13:20Z, by `max_ttl`",
        ),
        (
            row("user:bob", "role:reader", "a", days=2.5),
            "expires 2023-11-17T10:13:20Z: expected not later than 2023-11-16T22:13:20Z, by `max_ttl`",
        ),
        (
            row("user:bob", "role:reader", "a", days=0),
            "expires 2023-11-14T22:13:20Z, which is not after 2023-11-14T22:13:20Z",
        ),
        (
            row("user:bob", "group:suspended", days=-1),
            "expires 2023-11-13T22:13:20Z, which is not after 2023-11-14T22:13:20Z",
        ),
    ],
)
def test_files_open_a_row_or_say_why_not(asked: RuntimeRow, expected: str) -> None:
    assert expected == Ceiling(SNAPSHOT.policy).refusal(asked, NOW_US)


def test_nothing_is_opened_without_runtime() -> None:
    closed = snapshot_of({**FILES, "acme/tenant.yaml": b"{}\n"}, "acme")

    assert "acme/tenant.yaml has no `runtime`: nothing may be granted at run time" == Ceiling(closed.policy).refusal(
        row("user:bob", "group:suspended"), NOW_US
    )


def told(granted: Sequence[RuntimeRow], in_force: Sequence[RuntimeRow] = (), question_rows: int = 100) -> list[str]:
    policy = SNAPSHOT.policy

    def with_rows(rows: Sequence[RuntimeRow]) -> Snapshot:
        return Snapshot(replace(policy, links=(*policy.links, *(each.link(policy.tenant, 1) for each in rows))))

    rows = (*in_force, *granted)
    found = unsound(with_rows(in_force), with_rows(rows), granted, rows, question_rows)
    return [f"{each.row.member} {each.row.holds}: {each.message}" for each in found]


def test_rows_that_are_sound_are_not_refused() -> None:
    assert [] == told([row("user:bob", "group:outer"), row("group:new", "role:reader", "a.**", days=1)])


def test_undefined_role_is_refused() -> None:
    assert ["user:bob role:raeder: role `role:raeder` is defined nowhere; did you mean `role:reader`?"] == told(
        [row("user:bob", "role:raeder")]
    )


def test_cycle_is_refused() -> None:
    """Of the files and a row, of a row alone, and of two rows of one change."""
    assert ["group:inner group:outer: makes a cycle: group:inner -> group:outer -> group:inner"] == told(
        [row("group:inner", "group:outer")]
    )
    assert ["group:x group:x: makes a cycle: group:x -> group:x"] == told([row("group:x", "group:x")])
    assert ["group:x group:y", "group:y group:x"] == [
        each.partition(": makes a cycle")[0] for each in told([row("group:x", "group:y"), row("group:y", "group:x")])
    ]


def test_chain_of_more_than_nine_rows_is_refused() -> None:
    """Where its last row is granted, where its first, and in the middle."""
    rows = [row("user:bob", "group:0"), *(row(f"group:{index}", f"group:{index + 1}") for index in range(9))]
    for place in (0, 4, 9):
        found = told([rows[place]], [*rows[:place], *rows[place + 1 :]])
        member, holds = rows[place].member, rows[place].holds
        assert [f"{member} {holds}: makes a chain of 10 g rows: expected at most 9"] == found
    assert [] == told([rows[8]], rows[:8])


def test_more_rows_than_a_question_may_read_are_refused() -> None:
    """Of the member itself, and of a principal that holds it."""
    held = [row("user:bob", f"group:{index}") for index in range(8)]
    (found,) = told(held[7:], held[:7], question_rows=7)
    assert found.startswith(
        "user:bob group:7: `user:bob` has more than 7 rows for one question to read: expected at most 7"
    )
    assert [] == told(held[7:], held[:7], question_rows=8)

    (found,) = told([row("group:7", "role:reader")], held, question_rows=9)
    assert found.startswith("group:7 role:reader: `user:bob` has more than 9 rows")


def test_scopes_with_too_many_stars_are_refused() -> None:
    starred = [row("user:bob", "group:x", ".".join(["*"] * index + [f"s{index}"])) for index in range(1, 6)]
    (found,) = told(starred[4:], starred[:4], question_rows=6)

    assert found.startswith("user:bob group:x: `*.*.*.*.*.s5` and 4 other patterns with `*` take up to ")


def test_row_that_leads_to_a_deny_must_not_expire() -> None:
    """In its scope, also through the group that it joins, and an older row that a new one leads to the deny."""
    assert ["user:bob role:frozen: `role:frozen` denies something in the tenant: a row to it must not expire."] == told(
        [row("user:bob", "role:frozen", days=1)]
    )
    assert [] == told([row("user:bob", "role:frozen", "a.c.**", days=1), row("user:bob", "role:frozen")])

    older = row("user:bob", "group:x", "a.**", days=1)
    (found,) = told([row("group:x", "role:frozen")], [older])
    assert found == (
        "user:bob group:x: `group:x` denies something in `a.**`: a row to it must not expire. "
        "`user:bob` holds it until 2023-11-15T22:13:20Z."
    )
    assert [] == told([row("group:y", "role:frozen")], [older])
    # It is not this change that leads the older row to a deny.
    assert [] == told([row("group:x", "role:reader")], [row("group:x", "role:frozen"), older])
