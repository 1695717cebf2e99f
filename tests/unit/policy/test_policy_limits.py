"""What a folder may ask of a node, and that past it only that folder is refused, at once."""

import itertools
import time
from pathlib import Path

import pytest
from trees import load, tree_of

from remit.core.diagnostics import PolicyError
from remit.policy.limits import Limits
from remit.policy.load import load_root, load_tree
from remit.policy.report import SHOWN

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
    """A folder with the same mistake in every row is told the first thousand, and how many more there are."""
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
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("files", [pytest.param(files, id=name) for name, files in BOMBS.items()])
def test_a_bomb_is_answered_fast(files: dict[str, str]) -> None:
    """Files that make loading quadratic, if anything is: some seconds at most, on a busy machine too."""
    started = time.monotonic()
    told(files, Limits())
    assert time.monotonic() - started < 10
