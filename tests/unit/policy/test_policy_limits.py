"""What a folder may ask of a node, and that past it only that folder is refused, at once."""

import itertools
import time
from pathlib import Path

import pytest
from support.trees import load, tree_of

from remit.core.diagnostics import PolicyError
from remit.policy.load import load_root, load_tree
from remit.policy.read.limits import Limits
from remit.policy.read.report import SHOWN
from remit.service.settings_reader import read_settings

VOCABULARY = b"kinds: {FLOW: {class: namespace, actions: [VIEW]}}\nrelations: {KV: {}, SUB: {}}\n"
ROW = "p, role:a, acme, **, FLOW, VIEW, allow\n"
CASE = "{principal: user:a, action: VIEW, kind: FLOW, namespace: a, expect: deny}"


def told(files: dict[str, str], limits: Limits) -> list[str]:
    encoded = {path: content.encode() for path, content in files.items()}
    return [str(each) for each in load({"vocabulary.yaml": VOCABULARY, **encoded}, "acme", limits).diagnostics]


def test_rows_are_limited() -> None:
    """p, g and reach rows count together; blank lines and comments do not."""
    files = {
        "acme/roles.csv": "# p\n\n" + ROW,
        "acme/bindings.csv": "g, user:a, role:a, acme\n",
        "acme/reach.csv": "p, acme, a, b, KV, deny\n",
    }
    expected = ["acme: has more than 2 rows, its limit"]
    assert not told(files, Limits(rows=3))
    assert expected == told(files, Limits(rows=2))


def test_rows_of_the_root_are_limited() -> None:
    """As a PolicyError like all that is wrong with the root."""
    files = {"vocabulary.yaml": VOCABULARY, "roles.csv": b"p, role:a, *, **, FLOW, VIEW, allow\n" * 3}
    with pytest.raises(PolicyError, match=r"roles\.csv: has more than 2 rows, its limit"):
        load_root(tree_of(files), Limits(rows=2))


def test_bytes_are_limited(tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "vocabulary.yaml").write_bytes(VOCABULARY)
    (tmp_path / "acme/bindings.csv").write_text("#" * 150)
    (tmp_path / "acme/roles.csv").write_text("#" * 51)
    loaded = load_tree(tmp_path, Limits(bytes=200)).tenants
    expected = ["acme/roles.csv: takes the folder past its limit of 200 bytes"]
    assert expected == [str(each) for tenant in loaded.values() for each in tenant.diagnostics]
    assert not load_tree(tmp_path, Limits(bytes=201)).diagnostics


def layered(layers: int, width: int) -> str:
    """A principal in all groups of the first layer, each group in all of the next, those of the last in all roles."""
    names = [["user:a"], *([f"group:l{layer}-{each}" for each in range(width)] for layer in range(layers))]
    names.append([f"role:r{each}" for each in range(width)])
    rows = [f"g, {one}, {two}, acme" for upper, lower in itertools.pairwise(names) for one in upper for two in lower]
    return "\n".join([*rows, *(f"p, {role}, acme, a.**, FLOW, VIEW, allow" for role in names[-1])]) + "\n"


def test_the_rows_that_one_question_may_read_are_limited() -> None:
    """Whether they are g rows or p rows, counted once however many chains lead to them."""
    files = {"acme/bindings.csv": layered(layers=3, width=5)}
    count = 5 + 3 * 25 + 5
    assert not told(files, Limits(question_rows=count))
    # The first that has too many rows behind it is named, and not whoever holds it.
    expected = (
        f"acme/bindings.csv:1:4: `user:a` has more than {count - 1} rows for one question to read: expected at most "
        f"{count - 1}, because a longer question delays all others; let it hold fewer groups and roles, or hold "
        "them in parts of the tenant"
    )
    assert [expected] == told(files, Limits(question_rows=count - 1))
    (named,) = told(files, Limits(question_rows=34))
    assert named.startswith("acme/bindings.csv:31:4: `group:l1-0` has more than 34 rows")
    assert "so do 4 others" in named


def test_rows_that_hold_in_different_namespaces_are_not_read_together() -> None:
    """A principal bound in each of many namespaces, to a role with a row for each of them, is answered from a few rows."""
    places = [f"n{number}.x" for number in range(200)]
    files = {
        "acme/roles.csv": "".join(f"p, role:a, acme, {place}, FLOW, VIEW, allow\n" for place in places),
        "acme/bindings.csv": "".join(f"g, user:a, role:a, acme/{place}.**\n" for place in places),
    }
    assert not told(files, Limits(question_rows=100))


def test_a_managed_role_of_too_many_rows_is_refused_with_the_root() -> None:
    rows = "".join(f"p, role:a, *, {'a.' * depth}**, FLOW, VIEW, allow\n" for depth in range(70))
    files = {"vocabulary.yaml": VOCABULARY, "roles.csv": rows.encode()}
    load_root(tree_of(files), Limits(question_rows=70))
    with pytest.raises(PolicyError, match=r"roles\.csv:1:4: `role:a` has more than 69 rows for one question to read"):
        load_root(tree_of(files), Limits(question_rows=69))


STARS = [".".join(mask) for mask in itertools.product("a*", repeat=6)]


def test_patterns_that_multiply_by_stars_are_limited() -> None:
    """63 patterns with `*` over one namespace, and as many ways to them."""
    files = {
        "acme/roles.csv": "".join(
            f"p, role:r{number}, acme, {pattern}.**, FLOW, VIEW, allow\n" for number, pattern in enumerate(STARS)
        )
    }
    assert not told(files, Limits(question_rows=126))
    (named,) = told(files, Limits(question_rows=125))
    assert named.startswith(
        "acme/roles.csv:64:20: `*.*.*.*.*.*.**` and 62 other patterns with `*` take up to 126 steps"
    )


def test_reach_rows_that_one_question_may_read_are_limited() -> None:
    """Those whose callers cover one namespace and whose owners cover one."""
    together = "".join(
        f"p, acme, {'a.' * one}**, {'b.' * two}**, KV, allow\n" for one in range(9, -1, -1) for two in range(9, -1, -1)
    )
    apart = "".join(f"p, acme, **, b{number}, KV, allow\n" for number in range(100))
    assert not told({"acme/reach.csv": together}, Limits(question_rows=100))
    (named,) = told({"acme/reach.csv": together}, Limits(question_rows=99))
    assert named.startswith("acme/reach.csv:1:1: up to 100 reach rows for one question to read: expected at most 99")
    assert not told({"acme/reach.csv": apart}, Limits(question_rows=10))
    (named,) = told(
        {"acme/reach.csv": "".join(f"p, acme, b, {pattern}, KV, allow\n" for pattern in STARS)},
        Limits(question_rows=65),
    )
    assert "other patterns with `*` take up to 126 steps" in named


def test_the_settings_of_a_server_are_its_limits() -> None:
    limits = read_settings(
        {
            "policy_max_rows": 1,
            "policy_max_bytes": 2,
            "policy_max_question_rows": 3,
            "policy_max_cases": 4,
            "policy_max_seconds": 5,
            "policy_witness_rows": 6,
        }
    ).limits
    assert Limits(rows=1, bytes=2, question_rows=3, cases=4, seconds=5, witness_rows=6) == limits


def test_cases_are_limited() -> None:
    """Each cell of a grid is a case."""
    grid = "{kind: FLOW, namespace: a, actions: [VIEW], expect: {user:a: [deny], user:b: [deny]}}"
    files = {"acme/tests/x.yaml": f"name: x\naccess: [{CASE}]\ngrids: [{grid}]\n"}
    expected = ["acme: has more than 2 test cases, its limit"]
    assert not told(files, Limits(cases=3))
    assert expected == told(files, Limits(cases=2))


def test_time_is_limited() -> None:
    expected = ["acme: takes longer than 0 s of processor time to build, its limit"]
    assert expected == told({"acme/roles.csv": ROW}, Limits(seconds=0))


def test_casbin_answers_the_tests_up_to_a_number_of_rows() -> None:
    files = {
        "vocabulary.yaml": VOCABULARY,
        "acme/roles.csv": ROW.encode() * 3,
        "acme/tests/x.yaml": f"name: x\naccess: [{CASE}]\n".encode(),
    }
    assert load(files, "acme", Limits(witness_rows=3)).witnessed
    assert not load(files, "acme", Limits(witness_rows=2)).witnessed


def test_diagnostics_are_limited() -> None:
    """For a mistake in every row, the first thousand are reported, and the number of the rest."""
    diagnostics = told({"acme/roles.csv": "p\n" * (SHOWN + 500)}, Limits())
    assert len(diagnostics) == SHOWN + 1
    assert diagnostics[-1].endswith("and 500 more diagnostics, not shown")


BOMBS = {
    "mistyped roles beside many": {
        "acme/roles.csv": "".join(f"p, role:r{number:06}, acme, **, FLOW, VIEW, allow\n" for number in range(5_000)),
        "acme/bindings.csv": "".join(f"g, user:a, role:q{number:06}, acme\n" for number in range(5_000)),
    },
    "one reach row many times": {"acme/reach.csv": "p, acme, a, b, KV, allow\n" * 10_000},
    "a kind of twenty million letters": {"acme/roles.csv": ROW.replace("FLOW", "F" * 20_000_000)},
    "a group with many groups": {
        "acme/bindings.csv": "".join(f"g, group:a, group:b{number}, acme\n" for number in range(20_000)),
    },
    "a tower of groups": {
        "acme/bindings.csv": "".join(f"g, group:a{number}, group:a{number + 1}, acme\n" for number in range(5_000)),
    },
    "a wheel of groups": {
        "acme/bindings.csv": "".join(
            f"g, group:a{number}, group:a{(number + 1) % 5_000}, acme\n" for number in range(5_000)
        ),
    },
    "reach rows with stars": {
        "acme/reach.csv": "".join(
            f"p, acme, {'.'.join(mask)}, {'.'.join(reversed(mask))}, KV, allow\n"
            for mask in sorted(itertools.product("a*", repeat=10), key=lambda mask: mask.count("*"))
        ),
    },
    "an unclean file": {"acme/roles.csv": "\t\n" * 500_000},
    "layers of groups fully joined": {"acme/bindings.csv": layered(layers=7, width=80)},
    "many who hold almost too many rows": {
        "acme/bindings.csv": layered(layers=2, width=95)
        + "".join(f"g, user:u{number}, group:l0-{number % 95}, acme\n" for number in range(5_000))
        + "".join(f"g, user:u{number}, group:l0-{number % 90 + 1}, acme\n" for number in range(5_000))
    },
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("files", [pytest.param(files, id=name) for name, files in BOMBS.items()])
def test_a_bomb_is_answered_fast(files: dict[str, str]) -> None:
    """Files that make loading quadratic, if anything is: some seconds at most, on a busy machine too."""
    started = time.monotonic()
    told(files, Limits())
    assert time.monotonic() - started < 10
