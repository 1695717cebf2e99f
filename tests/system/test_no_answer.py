"""Where a command cannot do its work it says so in a line and exits 3, or 2: never 1, which says no."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.server import DEADLINE_S, environment

# By somebody who may not enter the folder: for root there is no such folder.
# Commands are imported before, because nobody may not enter every folder of Python either.
AS_NOBODY = """
import os
from importlib import import_module
from pkgutil import walk_packages
from remit import cli
from remit.cli.main import main
for module in walk_packages(cli.__path__, "remit.cli."):
    import_module(module.name)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
main()
"""


def run(*words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *words],
        env=environment(extra),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A path in a folder that one may not enter."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o000)
    return folder / "x"


QUESTION = ("acme", "user:bob", "VIEW", "FLOW", "acme.finance")


@pytest.mark.parametrize(
    "words",
    [
        ("check", *QUESTION, "--policies", "PATH"),
        ("explain", *QUESTION, "--policies", "PATH"),
        ("who", "acme", "VIEW", "FLOW", "--policies", "PATH"),
        ("validate", "PATH"),
        ("test", "PATH"),
        ("lint", "PATH"),
        ("fmt", "PATH.csv"),
        ("diff", "PATH", "PATH"),
        ("replay", "--policies", "PATH"),
        ("audit", "list", "--audit", "sqlite:///PATH"),
        ("audit", "drain", "PATH"),
        ("audit", "key", "new", "PATH"),
    ],
    ids=" ".join,
)
def test_unreadable_path_exits_with_no_answer(words: tuple[str, ...], closed: Path) -> None:
    done = run(*(each.replace("PATH", str(closed)) for each in words))
    assert (3, "") == (done.returncode, done.stdout), done.stderr
    assert "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr


def test_unreadable_configuration_refuses_the_start(closed: Path) -> None:
    done = run("serve", REMIT_CONFIG=str(closed))
    assert 3 == done.returncode
    assert f"remit does not start: the settings file `{closed}` cannot be read: Permission denied" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("diff", "x" * 5_000, "/"), "File name too long"),
        (("check", *QUESTION, "--policies", "x" * 5_000), "File name too long"),
        (("audit", "list", "--audit", "postgresql+psycopg://me:S3CRET@host:port/audit"), "URL is malformed"),
    ],
    ids=["diff", "check", "audit"],
)
def test_bad_argument_gives_one_line_and_no_traceback(words: tuple[str, ...], told: str) -> None:
    done = run(*words)
    assert done.returncode in {2, 3}, done
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert "S3CRET" not in done.stderr
    assert len(done.stderr) < 1_000


def test_broken_git_object_exits_with_no_answer(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "vocabulary.yaml").write_text("kinds: {}\n")
    git = ("git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "one")):
        subprocess.run([*git, *words], check=True)
    named = subprocess.run(
        [*git, "rev-parse", "HEAD:policies/vocabulary.yaml"], check=True, capture_output=True, text=True
    )
    blob = named.stdout.strip()
    lost = tmp_path / ".git" / "objects" / blob[:2] / blob[2:]
    lost.unlink()
    done = subprocess.run(
        [str(Path(sys.executable).with_name("remit")), "diff", "HEAD", str(policies)],
        env=environment({}), cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert (3, "") == (done.returncode, done.stdout)
    assert "`vocabulary.yaml` is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_crash_exits_with_no_answer_and_a_traceback(tmp_path: Path) -> None:
    """An unexpected error prints its traceback, and exits with neither yes nor no."""
    broken = "from remit.cli.main import app, main\n@app.command()\ndef fail(): raise ZeroDivisionError\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", broken, "fail"],
        env=environment({}), cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert 3 == done.returncode
    assert "ZeroDivisionError" in done.stderr
