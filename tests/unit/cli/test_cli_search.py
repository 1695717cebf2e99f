"""The commands that list: `who`, `where`, `what`, `reach` and `reach-all`, of the example company's files."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from remit.cli.main import app

EXAMPLE = Path(__file__).parents[3] / "policies"


def run(*words: str, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(app, [*words, "--policies", str(EXAMPLE)], input=stdin)


def lines(text: str) -> list[str]:
    """Without what is there to be looked at."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip(" ─")]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("who acme CREATE TENANT_NAMESPACE", 0, "1 may CREATE TENANT_NAMESPACE in the tenant itself"),
        ("who acme VIEW SECRET acme.legal", 0, "user:alice roles.csv:11 p, role:admin, *, **, *, *, allow"),
        ("who acme FLY FLOW acme.legal", 1, "UNKNOWN_ACTION: the kind has no such action"),
        ("who initech VIEW FLOW a", 1, "UNKNOWN_TENANT: no tenant of this name is configured"),
        ("who acme VIEW FLOW", 2, "namespace: is missing: kind `FLOW` lives in namespaces, so name one"),
        ("who acme * FLOW a", 2, "action: `*` is not an action"),
        ("where acme user:bob UPDATE FLOW", 0, "acme.finance.**"),
        ("where acme user:carol * SECRET", 0, "acme.data.**"),
        ("where acme user:nobody", 0, "nowhere"),
        ("where globex user:nobody", 1, "NO_ACCESS: the tenant has an access list and the principal is not on it"),
        ("where acme user:bob VIEW USER", 2, "kind: `USER` is of class `tenant` and lives in no namespace"),
        ("where acme bob", 2, "principal: `bob` is not a principal"),
        ("what acme user:carol", 0, "DASHBOARD LIST VIEW"),
        ("what acme user:carol acme.finance --kind FLOW", 0, "FLOW EXPORT LIST VIEW"),
        ("what acme user:nobody acme.finance", 0, "nothing"),
        ("what globex user:nobody acme.finance", 1, "NO_ACCESS"),
        ("what _instance user:carol acme", 2, "namespace: `acme` is superfluous: `_instance` has no namespaces"),
        ("what acme user:carol a --kind FLOW --kind FLOWS", 2, "kinds[1]: `FLOWS` is no kind"),
        ("what acme user:carol a --kind FLOW --kind F-W", 2, "kinds[1]: `F-W` is not a kind"),
        ("reach acme acme.data", 0, "acme.finance.** except acme.finance.payroll.**"),
        ("reach acme acme.data acme.finance", 0, "TRIGGER allow"),
        ("reach acme acme.finance acme.legal", 1, "SUBFLOW deny"),
        ("reach acme acme.finance acme.legal --json", 1, '"relation": "SUBFLOW"'),
        ("reach acme acme.data acme.finance NOPE", 1, "UNKNOWN_RELATION"),
        ("reach initech a", 1, "UNKNOWN_TENANT: no tenant of this name is configured"),
        ("reach acme a B", 2, "owner: `B` is not a namespace"),
        ("reach acme a b K-V", 2, "relation: `K-V` is not a relation"),
    ],
)
def test_each_list_prints_its_results_or_why_there_are_none(words: str, code: int, told: str) -> None:
    """Notes are printed beside the answers, on standard error."""
    done = run(*words.split())
    assert code == done.exit_code, done.output
    assert [line for line in lines(done.output) if told in line] != []


def test_where_selects_among_the_given_names(tmp_path: Path) -> None:
    names = "acme.finance\nacme.datax\n\nacme.data.x\n"
    (tmp_path / "names").write_text(names)
    for stdin, file in ((names, "-"), ("", str(tmp_path / "names"))):
        done = run("where", "acme", "user:carol", "UPDATE", "FLOW", "--among", file, stdin=stdin)
        assert (0, "acme.data.x\n") == (done.exit_code, done.stdout)


def test_where_prints_no_name_if_none_matches() -> None:
    """A script that reads names reads none."""
    done = run("where", "acme", "user:carol", "UPDATE", "FLOW", "--among", "-", stdin="acme.legal\n")
    assert (0, "", "nowhere\n") == (done.exit_code, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("owners", "code", "told"),
    [
        ("acme.data\nshared.lib\n", 0, ["allow ALLOWED_BY_RULE"]),
        (
            "acme.data\nacme.legal\nshared.lib\nacme.legal.contracts\n",
            1,
            ["deny DENIED_BY_RULE", "owner reason", "acme.legal DENIED_BY_RULE", "acme.legal.contracts DENIED_BY_RULE"],
        ),
        ("acme.data\nA\n", 2, ["owners[1]: `A` is not a namespace"]),
        ("\n", 2, ["owners: is empty: name at least one owner"]),
    ],
)
def test_reach_all_names_the_owners_that_refuse(owners: str, code: int, told: list[str]) -> None:
    done = run("reach-all", "acme", "system", "PURGE", "-", stdin=owners)
    assert code == done.exit_code
    assert [each[: len(part)] for each, part in zip(lines(done.output), told, strict=True)] == told


def test_reach_lists_only_the_requested_relations() -> None:
    everywhere = run(
        "reach", "acme", "acme.data", "--relation", "KV", "--relation", "SUBFLOW", "--relation", "KV", "--json"
    )
    told = json.loads(everywhere.stdout)
    assert ["KV", "SUBFLOW"] == [each["relation"] for each in told["relations"]]
    of_one = run("reach", "acme", "acme.data", "acme.finance", "--relation", "SUBFLOW")
    assert (0, "relation\teffect\nSUBFLOW\tallow\n") == (of_one.exit_code, of_one.stdout)
    unknown = run("reach", "acme", "acme.data", "--relation", "NOPE")
    assert (1, True) == (unknown.exit_code, "UNKNOWN_RELATION" in unknown.stderr)
    twofold = run("reach", "acme", "acme.data", "acme.finance", "KV", "--relation", "KV")
    assert (2, True) == (twofold.exit_code, "leave out" in twofold.stderr)


def test_in_an_unknown_tenant_nothing_is_reached() -> None:
    done = run("reach-all", "initech", "system", "PURGE", "-", stdin="a\n")
    assert (1, "deny UNKNOWN_TENANT\n") == (done.exit_code, done.stdout)
    assert "no tenant of this name is configured" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        "check acme user:bob VIEW FLOW a",
        "reach acme a b KV",
        "who acme VIEW FLOW a",
        "where acme user:bob",
        "resolve acme",
    ],
)
def test_files_that_do_not_load_are_no_answer_and_no_deny(tmp_path: Path, words: str) -> None:
    """Neither root files nor the tenant's own."""
    broken = Path(shutil.copytree(EXAMPLE, tmp_path / "policies"))
    for file in ("acme/reach.csv", "vocabulary.yaml"):
        (broken / file).write_text("what is this\n")
        done = CliRunner().invoke(app, [*words.split(), "--policies", str(broken)])
        assert (3, "") == (done.exit_code, done.stdout), done.output
        assert "not load" in done.stderr


@pytest.mark.parametrize("words", ["where acme user:carol --among -", "reach-all acme system PURGE -"])
def test_names_outside_utf_8_are_wrong_usage(words: str) -> None:
    done = run(*words.split(), stdin=b"\xff\xfe")
    assert (2, True) == (done.exit_code, "cannot be read" in done.stderr)


@pytest.mark.parametrize("words", ["check acme user:\udcff VIEW FLOW a", "where acme user:\udcff", "reach acme \udcff"])
def test_argument_outside_utf_8_is_wrong_usage(words: str) -> None:
    done = run(*words.split())
    assert (2, True) == (done.exit_code, "surrogates not allowed" in done.stderr)
