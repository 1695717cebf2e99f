"""Git's configuration in a policy directory names programs. remit starts none of them."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.editing import QUICK, append, git, until_status
from support.server import Server, remit, remit_process


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "started"


@pytest.fixture
def trapped(untested: Path, marker: Path, tmp_path: Path) -> Path:
    """A policy directory in a repository whose configuration starts programs that leave a mark: for what git asks of
    the index, of a file, of a commit, and of objects that the clone does not have."""
    policies = Path(shutil.copytree(untested, tmp_path / "policies"))
    git(policies, "init")
    git(policies, "add", ".")
    git(policies, "commit", "-m", "one")
    append(policies / "acme" / "bindings.csv", "# two\n")
    git(policies, "commit", "-am", "two")
    trap = tmp_path / "trap"
    trap.write_text(f'#!/bin/sh\necho "$0 $*" >> {marker}\n')
    trap.chmod(0o755)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in ("post-index-change", "reference-transaction", "post-checkout"):
        (hooks / hook).symlink_to(trap)
    (policies / ".git" / "info" / "attributes").write_text("* filter=trap diff=trap\n")
    for name, value in {
        "core.fsmonitor": trap,
        "core.hooksPath": hooks,
        "core.pager": trap,
        "core.sshCommand": trap,
        "core.gitProxy": trap,
        "core.alternateRefsCommand": trap,
        "credential.helper": trap,
        "filter.trap.clean": trap,
        "filter.trap.smudge": trap,
        "filter.trap.process": trap,
        "filter.trap.required": "true",
        "diff.external": trap,
        "diff.trap.textconv": trap,
        "diff.trap.command": trap,
        "remote.origin.url": tmp_path / "nowhere.git",
        "remote.origin.promisor": "true",
        "remote.origin.partialclonefilter": "blob:none",
        "remote.origin.uploadpack": f"sh -c '{trap} promisor'",
        "remote.origin.proxy": "http://127.0.0.1:1",
        "extensions.partialClone": "origin",
        "protocol.allow": "always",
    }.items():
        git_config(policies, name, str(value))
    marker.unlink(missing_ok=True)
    return policies


def git_config(policies: Path, name: str, value: str) -> None:
    with (policies / ".git" / "config").open("a") as file:
        section, _, rest = name.partition(".")
        sub, _, key = rest.rpartition(".")
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        file.write(f'[{section}{f" {chr(34)}{sub}{chr(34)}" if sub else ""}]\n\t{key} = "{quoted}"\n')


def lose(policies: Path, file: str, commit: str = "HEAD") -> None:
    """Takes the file's content out of the repository, as a partial clone is without it."""
    blob = subprocess.run(
        ["git", "-C", policies, "-c", "core.fsmonitor=false", "rev-parse", f"{commit}:{file}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (policies / ".git" / "objects" / blob[:2] / blob[2:]).unlink()


def test_git_itself_runs_the_trap_programs(trapped: Path, marker: Path) -> None:
    """Git itself walks into them."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    subprocess.run(["git", "-C", trapped, "status", "--porcelain"], env=environment, capture_output=True, check=False)
    assert marker.exists()
    marker.unlink()
    lose(trapped, "acme/bindings.csv")
    words = ["git", "-C", trapped, "cat-file", "-p", "HEAD:acme/bindings.csv"]
    subprocess.run(words, env=environment, capture_output=True, check=False)
    assert "promisor" in marker.read_text()


def test_serve_starts_no_program_that_the_policy_directory_names(
    serve: Callable[..., Server], trapped: Path, marker: Path
) -> None:
    """At the start and at an edit; the commit is still reported."""
    lose(trapped, "acme/bindings.csv")
    server = serve(*QUICK, policies=trapped)
    before = (trapped / "acme" / "bindings.csv").read_bytes()
    first = until_status(server, lambda acme: acme.revision).revision
    append(trapped / "acme" / "bindings.csv", "# three\n")
    until_status(server, lambda acme: acme.revision != first)
    (trapped / "acme" / "bindings.csv").write_bytes(before)
    until_status(server, lambda acme: acme.revision == first)
    shown = remit("rollback", "acme", "--target", server.target).stdout
    assert 0 == server.terminate()
    assert not marker.exists(), marker.read_text()
    commit = (trapped / ".git" / "refs" / "heads" / "main").read_text()[:12]
    assert [f"{commit}", f"{commit}-dirty"] == sorted(set(re.findall(rf"{commit}(?:-dirty)?", shown)))


def test_diff_starts_no_program_that_the_policy_directory_names(trapped: Path, marker: Path) -> None:
    """An object that a partial clone lacks is reported, not fetched."""
    told = remit_process("diff", "HEAD~1", "HEAD", "--policies", str(trapped))
    assert 0 == told.returncode, told.stderr
    lose(trapped, "acme/bindings.csv")
    told = remit_process("diff", "HEAD~1", "HEAD", "--policies", str(trapped))
    assert 3 == told.returncode
    assert "`acme/bindings.csv` is missing" in told.stderr
    assert "Traceback" not in told.stderr
    assert not marker.exists(), marker.read_text()
