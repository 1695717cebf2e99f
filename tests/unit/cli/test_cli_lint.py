"""`remit lint`: its three outputs, its choices of rules, and what it exits with."""

import json
import shutil
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from typer.testing import CliRunner, Result

from remit.cli.main import app
from remit.policy.lint.finding import RULES, RuleId

EXAMPLE = Path(__file__).parents[3] / "policies"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["lint", *words], terminal_width=200)


@pytest.fixture
def policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A policy directory with one finding of each severity, below the working directory."""
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "my policies"
    (directory / "acme").mkdir(parents=True)
    shutil.copy(EXAMPLE / "vocabulary.yaml", directory)
    (directory / "acme" / "bindings.csv").write_text(
        "p, user:bob, acme, **, ROLE, CREATE, allow\np, role:r, acme, **, *, VIEW, allow\n"
    )
    return directory


def test_the_example_policies_are_clean_or_say_why_not() -> None:
    done = run(str(EXAMPLE), "--fail-on", "note")

    assert (0, "", "nothing found\n") == (done.exit_code, done.stdout, done.stderr)


def test_findings_are_printed_by_place_severity_and_rule(policies: Path) -> None:
    done = run(str(policies))

    assert (
        "acme/bindings.csv:1:4: error privilege-escalation: `user:bob` may ROLE CREATE, and so change what they hold themselves\n"
        "acme/bindings.csv:2:4: warning unused-role: no g row binds or includes `role:r`\n"
        "acme/bindings.csv:2:22: note future-kinds: `*` also allows `role:r` the kinds that are declared later\n"
    ) == done.stdout
    assert "1 error, 1 warning, 1 note\n" == done.stderr
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("words", "rules", "code"),
    [
        ((), ["privilege-escalation", "unused-role", "future-kinds"], 1),
        (("--select", "future-kinds"), ["future-kinds"], 0),
        (("--select", "future-kinds", "--fail-on", "note"), ["future-kinds"], 1),
        (("--select", "future-kinds,unused-role"), ["unused-role", "future-kinds"], 1),
        (("--select", "future-kinds", "--select", "unused-role", "--ignore", "unused-role"), ["future-kinds"], 0),
        (("--ignore", "privilege-escalation", "--fail-on", "error"), ["unused-role", "future-kinds"], 0),
        (("--ignore", "privilege-escalation, unused-role"), ["future-kinds"], 0),
    ],
)
def test_rules_can_be_chosen_and_the_severity_that_fails(
    policies: Path, words: tuple[str, ...], rules: list[str], code: int
) -> None:
    done = run(str(policies), "--format", "json", *words)

    assert (rules, code) == ([each["rule"] for each in json.loads(done.stdout)["findings"]], done.exit_code)


def test_json_holds_each_part_of_a_finding(policies: Path) -> None:
    done = run(str(policies), "--format", "json", "--select", "unused-role")

    assert [
        {
            "file": "acme/bindings.csv",
            "line": 2,
            "column": 4,
            "severity": "warning",
            "rule": "unused-role",
            "message": "no g row binds or includes `role:r`",
        }
    ] == json.loads(done.stdout)["findings"]


def test_files_that_do_not_load_are_findings_and_fail_whatever_is_asked(policies: Path) -> None:
    (policies / "acme" / "roles.csv").write_text("p, role:x, acme, **, FLOW, VEIW, allow\n")

    for words in ((), ("--select", "unused-role"), ("--ignore", "does-not-load"), ("--fail-on", "error")):
        done = run(str(policies), *words)
        assert done.exit_code == 1
        assert done.stdout == (
            "acme/roles.csv:1:28: error does-not-load: kind `FLOW` has no action `VEIW`; did you mean `VIEW`?\n"
        )
    sarif = json.loads(run(str(policies), "--format", "sarif").stdout)
    assert ["does-not-load"] == [each["ruleId"] for each in sarif["runs"][0]["results"]]


def test_lint_ignores_failing_tests(policies: Path) -> None:
    (policies / "acme" / "tests").mkdir()
    (policies / "acme" / "tests" / "x.yaml").write_text(
        "name: x\naccess:\n  - {principal: user:bob, action: CREATE, kind: ROLE, expect: deny}\n"
    )

    assert 1 == len(json.loads(run(str(policies), "--format", "json", "--select", "unused-role").stdout)["findings"])


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--select", "unused_role"), 2, "`unused_role` is no rule of `remit lint`; did you mean `unused-role`?"),
        (("--ignore", "x"), 2, "`x` is no rule of `remit lint`"),
        (("--select", "redundant-row", "--ignore", "redundant-row"), 2, "leave no rule"),
        (("--fail-on", "never"), 2, "never"),
        (("--format", "xml"), 2, "xml"),
    ],
)
def test_wrong_flags_are_reported(policies: Path, words: tuple[str, ...], code: int, told: str) -> None:
    done = run(str(policies), *words)

    assert (code, True) == (done.exit_code, told in done.output)


def test_missing_directory_exits_with_no_answer(tmp_path: Path) -> None:
    assert 3 == run(str(tmp_path / "nowhere")).exit_code


def test_sarif_has_what_the_schema_requires(policies: Path) -> None:
    """The required properties, types and enumerations of the published schema of SARIF 2.1.0, for the parts we write."""
    done = run(str(policies), "--format", "sarif", "--page", "https://docs.example/lint.md")
    log = json.loads(done.stdout)

    assert {"$schema", "version", "runs"} == log.keys()
    assert "2.1.0" == log["version"]
    (one,) = log["runs"]
    assert {"tool", "columnKind", "results"} == one.keys()
    assert one["columnKind"] in {"utf16CodeUnits", "unicodeCodePoints"}
    driver = one["tool"]["driver"]
    assert {"name", "semanticVersion", "rules"} == driver.keys()
    assert [rule.value for rule in RuleId] == [rule["id"] for rule in driver["rules"]]
    for rule in driver["rules"]:
        assert rule["helpUri"] == f"https://docs.example/lint.md#{rule['id']}"
        assert rule["shortDescription"]["text"]
        assert rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in {"none", "note", "warning", "error"}
    assert ["privilege-escalation", "unused-role", "future-kinds"] == [each["ruleId"] for each in one["results"]]
    for result in one["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == RULES[RuleId(result["ruleId"])].severity
        assert result["message"]["text"]
        (location,) = result["locations"]
        physical = location["physicalLocation"]
        assert {"uri"} == physical["artifactLocation"].keys()
        # Relative to the working directory, as a repository's root.
        assert Path(unquote(physical["artifactLocation"]["uri"])).exists()
        assert physical["region"]["startLine"] >= 1
        assert physical["region"]["startColumn"] >= 1


def test_sarif_without_a_page_still_has_absolute_links(policies: Path) -> None:
    log = json.loads(run(str(policies), "--format", "sarif").stdout)

    assert all(urlparse(rule["helpUri"]).scheme for rule in log["runs"][0]["tool"]["driver"]["rules"])


def test_sarif_of_another_directory_names_its_base(
    policies: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    (one,) = json.loads(run(str(policies), "--format", "sarif").stdout)["runs"]

    assert one["originalUriBaseIds"]["POLICIES"]["uri"] == f"{policies.resolve().as_uri()}/"
    location = one["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert {"uri": "acme/bindings.csv", "uriBaseId": "POLICIES"} == location


def test_a_finding_about_a_whole_file_has_no_region(policies: Path) -> None:
    (policies / "acme" / "role.csv").write_text("")
    (one,) = json.loads(run(str(policies), "--format", "sarif").stdout)["runs"]

    assert "region" not in one["results"][0]["locations"][0]["physicalLocation"]
