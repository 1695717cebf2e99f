"""`remit init`: each template is whole and sound as it is, and nothing that exists changes."""

import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from remit.cli.main import app
from remit.cli.policy.init import PolicyTemplate, template_files

ROOT = Path(__file__).parents[3]
SOUND = ("validate", "lint --fail-on note", "fmt --check", "test --coverage --mutate --fail-under 100")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, words)], terminal_width=200)


def content(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


@pytest.mark.parametrize("template", PolicyTemplate)
@pytest.mark.parametrize("command", SOUND)
def test_each_template_passes_as_it_is(tmp_path: Path, template: PolicyTemplate, command: str) -> None:
    assert 0 == run("init", tmp_path / "new", "--template", template).exit_code

    name, *options = command.split()
    done = run(name, tmp_path / "new" / "policies", *options)

    assert 0 == done.exit_code, done.output
    if name == "lint":
        assert "nothing found" in done.output
    if name == "test":
        assert " 0 survived" in done.output


@pytest.mark.parametrize("template", PolicyTemplate)
def test_the_commands_of_each_readme_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: PolicyTemplate
) -> None:
    """They are three, and `init` prints them. `serve` is tried by many other tests."""
    monkeypatch.chdir(tmp_path)
    printed = run("init", "new", "--template", template).output.splitlines()
    shown = re.search(r"^```sh\n(.*?)^```$", Path("new/README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert shown
    commands = shown[1].splitlines()

    assert ["  cd new", *(f"  {each}" for each in commands)] == printed[-4:]
    assert 3 == len(commands)
    monkeypatch.chdir("new")
    for command in commands:
        words = shlex.split(command)[1:]
        if words != ["serve"]:
            done = run(*words)
            assert done.exit_code == (0 if words[0] == "test" else 1), done.output
            assert words[0] == "test" or re.search(r"DENIED_BY_RULE|OUT_OF_SCOPE", done.output)


def test_minimal_has_six_rows_at_most(tmp_path: Path) -> None:
    run("init", tmp_path)

    assert "acme: 6 rows" in run("validate", tmp_path / "policies").output


def test_hooks_and_workflow_run_every_check() -> None:
    common = template_files(PolicyTemplate.MINIMAL)
    hooks = yaml.safe_load(common[".pre-commit-config.yaml"])["repos"][0]["hooks"]
    published = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    steps = yaml.safe_load(common[".github/workflows/policies.yaml"])["jobs"]["gate"]["steps"]
    run_by_ci = [each["run"].split() for each in steps if each.get("run", "").startswith("remit ")]

    assert {each["id"] for each in published} == {each["id"] for each in hooks}
    assert {each["entry"] for each in hooks} == {f"{each['entry']} policies" for each in published}
    assert {each["entry"].split()[1] for each in hooks} == {words[1] for words in run_by_ci}
    assert "/var/" in common[".gitignore"].decode().splitlines()


@pytest.mark.parametrize("present", ["policies", "vocabulary.yaml"])
def test_a_folder_with_policies_is_refused(tmp_path: Path, present: str) -> None:
    (tmp_path / present).touch()

    done = run("init", tmp_path)

    assert 2 == done.exit_code
    assert f"holds policies already (`{present}`)" in done.output
    assert {present: b""} == content(tmp_path)


def test_a_file_that_exists_stays_and_is_named(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.log\n")
    (tmp_path / ".github").mkdir()

    done = run("init", tmp_path)

    assert 0 == done.exit_code
    assert f"`{tmp_path / '.gitignore'}` exists and stays as it is: add the line `/var/`" in done.output
    assert {**template_files(PolicyTemplate.MINIMAL), ".gitignore": b"*.log\n"} == content(tmp_path)


def test_if_one_file_cannot_be_written_none_is(tmp_path: Path) -> None:
    (tmp_path / ".github").write_text("a file where a folder must be")

    done = run("init", tmp_path)

    assert 3 == done.exit_code
    assert "nothing is written" in done.output
    assert [tmp_path / ".github"] == list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    assert 3 == run("init", tmp_path / "file").exit_code
    assert {"file": b"mine"} == content(tmp_path)


def test_the_printed_command_quotes_the_folder(tmp_path: Path) -> None:
    assert f"  cd '{tmp_path / 'my project'}'" in run("init", tmp_path / "my project").output.splitlines()


def test_an_unknown_template_is_wrong_usage(tmp_path: Path) -> None:
    done = run("init", tmp_path / "new", "--template", "bank")

    assert 2 == done.exit_code
    assert not (tmp_path / "new").exists()


def test_the_wheel_holds_the_templates(tmp_path: Path) -> None:
    code = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        prefix = "remit/templates/"
        held = {name.removeprefix(prefix) for name in archive.namelist() if name.startswith(prefix)}

    assert held == set(content(ROOT / "src" / "remit" / "templates"))
