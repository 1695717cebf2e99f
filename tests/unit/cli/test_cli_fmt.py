"""`remit fmt`: which files it writes, how, and what it exits with."""

import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from remit.cli.main import app

EXAMPLE = Path(__file__).parents[3] / "policies"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["fmt", *map(str, words)], terminal_width=200)


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLE, tmp_path / "policies")
    return tmp_path / "policies"


def test_the_example_policies_are_in_canonical_form() -> None:
    done = run("--check", EXAMPLE)

    assert (0, "") == (done.exit_code, done.output)


def test_files_that_differ_are_written_and_named(policies: Path) -> None:
    roles, manifest = policies / "acme" / "roles.csv", policies / "globex" / "tenant.yaml"
    expected = {path: path.read_bytes() for path in (roles, manifest)}
    roles.write_bytes(expected[roles].replace(b"\np, role:", b"\n p ,   role:").replace(b"\n", b"\r\n"))
    manifest.write_bytes(expected[manifest].replace(b"\n", b"  \n"))

    done = run(policies)

    assert (0, f"{roles}\n{manifest}\n") == (done.exit_code, done.output)
    assert expected == {path: path.read_bytes() for path in expected}
    assert "" == run(policies).output


def test_fmt_check_and_diff_write_nothing_and_exit_with_1(policies: Path) -> None:
    bindings = policies / "acme" / "bindings.csv"
    bindings.write_text("g,user:bob, role:viewer,acme")

    check, diff = run("--check", policies), run("--diff", policies)

    assert (1, f"{bindings}\n") == (check.exit_code, check.output)
    assert diff.exit_code == 1
    assert diff.output == (
        f"--- {bindings}\n+++ {bindings} (formatted)\n@@ -1 +1 @@\n"
        "-g,user:bob, role:viewer,acme\n\\ No newline at end of file\n+g, user:bob, role:viewer, acme\n"
    )
    assert "g,user:bob, role:viewer,acme" == bindings.read_text()


@pytest.mark.parametrize("name", ["retial", "roles.csv"])
def test_fmt_names_a_path_that_does_not_exist(tmp_path: Path, name: str) -> None:
    done = run(tmp_path / name)

    assert 3 == done.exit_code
    assert f"`{tmp_path / name}` does not exist: name a policy directory" in " ".join(done.output.split())


def test_a_tenants_folder_and_single_files_can_be_named(policies: Path) -> None:
    for tenant in ("acme", "globex"):
        (policies / tenant / "reach.csv").write_text(f"p,{tenant},**,**,*,allow")

    assert f"{policies}/acme/reach.csv\n" == run("--check", policies / "acme").output
    assert f"{policies}/globex/reach.csv\n" == run("--check", policies / "globex" / "reach.csv").output
    assert 0 == run("--check", policies / "globex" / "roles.csv", policies / "vocabulary.yaml").exit_code


def test_fmt_changes_only_files_that_the_loader_reads(policies: Path) -> None:
    for name in (".bindings.csv", "README.yaml", "other.csv"):
        (policies / "acme" / name).write_text("a,b")

    assert "" == run(policies).output
    assert "a,b" == (policies / "acme" / "other.csv").read_text()


def test_a_link_stays_a_link_and_a_file_keeps_its_mode(policies: Path) -> None:
    roles = policies / "acme" / "roles.csv"
    real = policies / "acme" / ".roles-1.csv"
    roles.rename(real)
    roles.symlink_to(real.name)
    real.write_text("p,role:x,acme,**,FLOW,VIEW,allow\n")
    real.chmod(0o640)

    done = run(policies)

    assert done.exit_code == 0
    assert roles.is_symlink()
    assert "p, role:x, acme, **, FLOW, VIEW, allow\n" == real.read_text()
    assert 0o640 == real.stat().st_mode & 0o777
    assert [] == list((policies / "acme").glob(".roles.csv*"))


def test_failed_write_leaves_only_the_old_file(policies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roles = policies / "acme" / "roles.csv"
    roles.write_text("p,role:x,acme,**,FLOW,VIEW,allow\n")
    names = sorted((policies / "acme").iterdir())

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = run(policies)

    assert (3, True) == (done.exit_code, "cannot be written: No space left on device" in done.output)
    assert "p,role:x,acme,**,FLOW,VIEW,allow\n" == roles.read_text()
    assert names == sorted((policies / "acme").iterdir())


def test_fmt_reports_a_refused_file_and_writes_the_others(policies: Path) -> None:
    (policies / "acme" / "roles.csv").write_bytes(b"p,\trole:x\n")
    (policies / "acme" / "reach.csv").write_bytes(b"p,acme,**,**,*,allow\n")

    done = run(policies)

    assert done.exit_code == 1
    assert f"{policies}/acme/roles.csv:1:3: contains a tab: write blanks" in done.output
    assert b"p,\trole:x\n" == (policies / "acme" / "roles.csv").read_bytes()
    assert b"p, acme, **, **, *, allow\n" == (policies / "acme" / "reach.csv").read_bytes()


def test_fmt_refuses_a_path_that_is_no_policy_file(policies: Path, tmp_path: Path) -> None:
    assert 2 == run(tmp_path).exit_code
    assert 2 == run(policies / "README.md").exit_code
    assert 3 == run(policies / "nowhere.csv").exit_code
