"""What `make test` and `.ci/run` do on a machine that lacks something, and with tests that fail."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support import browser

ROOT = Path(__file__).parent.parent
FAILED = ".pytest_cache/v/cache/lastfailed"
NAMES = ("tests/test_a.py::test_one[a b]", "tests/test_a.py::test_two", "tests/test_b.py")


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def run(script: Path, programs: Path, *, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{programs}{path}", "HOME": str(programs)}
    return subprocess.run([script], env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A machine without a browser. Its apt-get says that it ran."""
    folder = tmp_path / "programs"
    program(folder, "apt-get", 'echo "apt-get $*" >&2')
    for name in ("sh", "env"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def test_browser_is_installed_by_root_and_named_with_its_command_to_others(programs: Path) -> None:
    install = ROOT / "tests/browser/install"
    program(programs, "id", "echo 0")
    done = run(install, programs)
    assert (0, True) == (done.returncode, "chromium chromium-driver" in done.stderr), done.stderr
    program(programs, "id", "echo 1000")
    done = run(install, programs)
    assert (1, "needs Chromium and its chromedriver: sudo tests/browser/install\n") == (done.returncode, done.stderr)
    (programs / "apt-get").unlink()
    done = run(install, programs)
    assert (1, True) == (done.returncode, done.stderr.startswith("needs Chromium and its chromedriver on the PATH: "))


def test_test_command_installs_the_browser_before_the_tests() -> None:
    make = ["make", "--no-print-directory", "-n", "test"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(make, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60)
    lines = done.stdout.splitlines()
    assert lines.index("tests/browser/install") < next(n for n, line in enumerate(lines) if "-m pytest" in line)


def test_browser_tests_fail_without_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.fail.Exception, match="tests/browser/install"):
        browser.programs()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / FAILED).parent.mkdir(parents=True)
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", folder / ".ci")
    return folder


def lines_of_ci(checkout: Path, *, again: str, exit_again: int, others: int = 0) -> tuple[int, list[str]]:
    """The exit code and the lines of `.ci/run`, where `make` does no more than pytest leaves."""
    failed = "{" + ",".join(f'"{name}": true' for name in NAMES) + "}"
    cases = {
        "test": f"echo '{failed}' > {FAILED}; exit 1",
        "again": f"echo '{again}' > {FAILED}; exit {exit_again}",
        "test-pythons": f"echo '{{}}' > {FAILED}; echo other Pythons; exit {others}",
    }
    program(checkout / "programs", "make", f'case "$1" in {" ".join(f"{k}) {v};;" for k, v in cases.items())} esac')
    done = run(checkout / ".ci/run", checkout / "programs", path=f":{os.environ['PATH']}")
    return done.returncode, done.stdout.splitlines()


def test_ci_ends_with_the_tests_that_passed_only_the_second_time(checkout: Path) -> None:
    code, lines = lines_of_ci(checkout, again="{}", exit_again=0)
    assert (0, ["other Pythons", "tests that passed only the second time: 3", *NAMES]) == (code, lines)
    code, lines = lines_of_ci(checkout, again="{}", exit_again=0, others=1)
    assert (1, ["other Pythons", "tests that passed only the second time: 3", *NAMES]) == (code, lines)
    code, lines = lines_of_ci(checkout, again=f'{{"{NAMES[1]}": true}}', exit_again=1)
    assert (1, ["tests that passed only the second time: 2", NAMES[0], NAMES[2]]) == (code, lines)


def test_ci_says_that_no_test_needed_a_second_time(checkout: Path) -> None:
    program(checkout / "programs", "make", 'echo "make $1"')
    (checkout / FAILED).write_text(f'{{"{NAMES[0]}": true}}')
    done = run(checkout / ".ci/run", checkout / "programs", path=f":{os.environ['PATH']}")
    assert (0, ["make test", "make test-pythons", "tests that passed only the second time: 0"]) == (
        done.returncode,
        done.stdout.splitlines(),
    )
