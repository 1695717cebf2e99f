"""`remit test`: its reports, its choices, and what it exits with."""

import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.trees import write
from typer.testing import CliRunner, Result

from remit.cli.main import app

EXAMPLE = Path(__file__).parents[3] / "policies"
VOCABULARY = b"kinds:\n  FLOW: {class: namespace, actions: [VIEW, UPDATE]}\n"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["test", *words], terminal_width=200)


def case(namespace: str, expect: str, action: str = "VIEW") -> str:
    return f"  - {{principal: user:a, action: {action}, kind: FLOW, namespace: {namespace}, expect: {expect}}}\n"


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A managed role that both tenants bind, and a case in one of them."""
    return write(
        tmp_path / "policies",
        {
            "vocabulary.yaml": VOCABULARY,
            "roles.csv": b"p, role:viewer, *, **, FLOW, VIEW, allow\n",
            "acme/bindings.csv": b"g, user:a, role:viewer, acme/a\n",
            "acme/tests/x.yaml": f"name: x\naccess:\n{case('a', 'allow')}".encode(),
            "globex/bindings.csv": b"g, user:a, role:viewer, globex\n",
        },
    )


def test_no_progress_is_printed_without_a_terminal(policies: Path) -> None:
    done = run(str(policies), "--coverage", "--mutate")

    assert done.stderr == ""


def test_coverage_counts_managed_roles_by_the_cases_of_any_tenant(policies: Path) -> None:
    done = run(str(policies), "--coverage")

    assert done.exit_code == 0
    assert [
        "1 passed, 0 failed",
        "not exercised: globex/bindings.csv:1  g, user:a, role:viewer, globex",
        "roles.csv            100.0 %  1 of 1 rows",
        "acme/bindings.csv    100.0 %  1 of 1 rows",
        "globex/bindings.csv    0.0 %  0 of 1 rows",
        "2 of 3 rows exercised, 66.6 %",
    ] == done.stdout.splitlines()[2:]


def test_one_tenant_is_tested_alone_and_managed_roles_are_left_out(policies: Path) -> None:
    done = run(str(policies), "--tenant", "globex", "--coverage", "--mutate")

    assert [
        "globex: 0 of 0 cases hold (remit and Casbin)",
        "0 passed, 0 failed",
        "not exercised: globex/bindings.csv:1  g, user:a, role:viewer, globex",
        "globex/bindings.csv    0.0 %  0 of 1 rows",
        "0 of 1 rows exercised, 0.0 %",
        "survived: globex/bindings.csv:1  deleted  g, user:a, role:viewer, globex",
        "1 mutants: 0 noticed, 1 survived, 0 equivalent, 0 undecided, 0 refused",
    ] == done.stdout.splitlines()


def test_an_unknown_tenant_is_wrong_usage(policies: Path) -> None:
    done = run(str(policies), "--tenant", "initech")

    assert (2, f"no tenant `initech` in `{policies}`\n") == (done.exit_code, done.stderr)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--coverage",), 0),
        (("--fail-under", "66.6"), 0),
        (("--fail-under", "66.7"), 1),
        (("--coverage", "--fail-under", "66.7"), 1),
        (("--mutate",), 1),
        (("--mutate", "--fail-under", "50"), 0),
        (("--mutate", "--fail-under", "51"), 1),
        (("--coverage", "--mutate", "--fail-under", "50"), 0),
        (("--fail-under", "101"), 2),
    ],
    ids=range(9),
)
def test_exit_code_follows_fail_under(policies: Path, options: tuple[str, ...], code: int) -> None:
    """Two of three rows are exercised; of six mutants that change a decision three are noticed."""
    assert code == run(str(policies), *options).exit_code


def test_mutants_are_printed_with_the_mutated_row(policies: Path) -> None:
    done = run(str(policies), "--mutate")

    assert [
        "equivalent: roles.csv:1  widened  p, role:viewer, *, **, *, VIEW, allow",
        "survived: acme/bindings.csv:1  widened  g, user:a, role:viewer, acme/a.**",
        "survived: globex/bindings.csv:1  deleted  g, user:a, role:viewer, globex",
        "survived: roles.csv:1  widened  p, role:viewer, *, **, FLOW, *, allow",
        "7 mutants: 3 noticed, 3 survived, 1 equivalent, 0 undecided, 0 refused",
    ] == done.stdout.splitlines()[3:]


def test_a_missing_case_written_kills_its_mutant(policies: Path) -> None:
    tests = policies / "acme" / "tests" / "x.yaml"
    tests.write_text(tests.read_text() + case("a.b", "deny") + case("a", "deny", action="UPDATE"))
    (policies / "globex" / "bindings.csv").unlink()

    done = run(str(policies), "--mutate")

    assert (0, "6 mutants: 5 noticed, 0 survived, 1 equivalent, 0 undecided, 0 refused") == (
        done.exit_code,
        done.stdout.splitlines()[-1],
    )


def test_no_mutants_are_made_if_a_test_fails(policies: Path) -> None:
    tests = policies / "acme" / "tests" / "x.yaml"
    tests.write_text(tests.read_text().replace("allow", "deny"))

    done = run(str(policies), "--coverage", "--mutate")

    assert (1, "no mutants were made: cases that fail without a mutant would notice every mutant\n") == (
        done.exit_code,
        done.stderr,
    )
    assert done.stdout.splitlines()[-1] == "2 of 3 rows exercised, 66.6 %"


def test_junit_has_a_suite_a_tenant_and_a_test_a_case(policies: Path, tmp_path: Path) -> None:
    tests = policies / "acme" / "tests" / "x.yaml"
    tests.write_text(tests.read_text() + case("b", "allow"))
    (policies / "globex" / "bindings.csv").write_text("g, user:a, role:viewer, acme\ng, x\n")

    done = run(str(policies), "--junit", str(tmp_path / "results.xml"))

    assert done.exit_code == 1
    acme, globex = ET.parse(tmp_path / "results.xml").getroot()
    assert ("acme", "2", "1", "0") == tuple(acme.get(name) for name in ("name", "tests", "failures", "errors"))
    assert ("globex", "1", "0", "1") == tuple(globex.get(name) for name in ("name", "tests", "failures", "errors"))
    holds, fails = acme
    assert ("acme/tests/x.yaml", "3", "user:a VIEW FLOW in a", 0) == (
        *(holds.get(name) for name in ("classname", "line", "name")),
        len(holds),
    )
    (failure,) = fails
    assert failure.get("message") == "expected allow, got deny OUT_OF_SCOPE"
    assert (failure.text or "").startswith("acme/tests/x.yaml:4:5\nx: user:a VIEW FLOW in b\nexpected allow")
    assert 2 == len((globex[0][0].text or "").splitlines())


def test_junit_holds_no_character_that_xml_forbids(policies: Path, tmp_path: Path) -> None:
    tests = policies / "acme" / "tests" / "x.yaml"
    tests.write_text(
        tests.read_text().replace("name: x", 'name: "a \N{PILE OF POO} \\x07 & <b>"').replace("allow", "deny")
    )

    run(str(policies), "--junit", str(tmp_path / "results.xml"))

    (failure,) = ET.parse(tmp_path / "results.xml").getroot()[0][0]
    assert "a \N{PILE OF POO} \N{REPLACEMENT CHARACTER} & <b>: user:a VIEW" in (failure.text or "")


def test_junit_that_cannot_be_written_is_reported(policies: Path) -> None:
    done = run(str(policies), "--junit", str(policies))

    assert (3, f"`{policies}` cannot be written: Is a directory\n") == (done.exit_code, done.stderr)


def test_example_tests_exercise_every_row_and_notice_every_mutant(tmp_path: Path) -> None:
    """What no case exercises: who has left, who only is admitted, and who is not on the access list."""
    shutil.copytree(EXAMPLE, tmp_path / "policies")

    done = run(str(tmp_path / "policies"), "--coverage", "--mutate")

    assert done.exit_code == 0
    assert [
        "acme/bindings.csv:10",
        "globex/bindings.csv:21",
        "globex/bindings.csv:62",
        "globex/bindings.csv:64",
    ] == [line.split()[2] for line in done.stdout.splitlines() if line.startswith("not exercised")]
    assert "survived:" not in done.stdout
