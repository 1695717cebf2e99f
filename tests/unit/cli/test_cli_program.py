"""The program itself: its version and what a shell completes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from remit.service.version import VERSION

REMIT = Path(sys.executable).parent / "remit"
BASH = shutil.which("bash")


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version_is_a_flag_of_the_program(flag: str) -> None:
    done = run(REMIT, flag)

    assert (0, f"{VERSION}\n", "") == (done.returncode, done.stdout, done.stderr)


def test_module_is_the_program() -> None:
    done = run(sys.executable, "-m", "remit", "--version")

    assert (0, f"{VERSION}\n") == (done.returncode, done.stdout)


@pytest.mark.parametrize(
    "words",
    [
        ("who", "acme", "VIEW", "FLOW", "acme.finance"),
        ("who", "acme", "VIEW", "FLOW", "acme.finance", "--json"),
    ],
    ids=["table", "json"],
)
def test_output_that_nobody_reads_is_no_answer(words: tuple[str, ...]) -> None:
    """`remit who ... | head -1` under `pipefail`: 1 would mean no."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        environment = {**os.environ, "REMIT_POLICIES": str(Path(__file__).parents[3] / "policies")}
        done = subprocess.run(
            [REMIT, *words], stdout=nobody, stderr=subprocess.PIPE, env=environment, check=False, timeout=60
        )

    assert (141, b"") == (done.returncode, done.stderr)


WORDS = {
    "remit re": {"reach", "reach-all", "resolve", "replay", "releases", "revoke"},
    "remit audit ver": {"verify"},
    "remit check --tl": {"--tls-server-ca", "--tls-cert", "--tls-key"},
}
"""What stands in the line, and what may stand in the place of its last word."""


@pytest.mark.parametrize("line", WORDS)
@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_shell_completes_commands_and_their_options(shell: str, line: str) -> None:
    done = run(
        REMIT,
        _REMIT_COMPLETE=f"complete_{shell}",
        _TYPER_COMPLETE_ARGS=line,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )

    # zsh: `"WORD":"HELP"` in parentheses; fish: WORD, a tab, and the help.
    lines = done.stdout.replace("_arguments '*: :((", "").splitlines()
    assert WORDS[line] == {each.split("\t")[0].split('":"')[0].strip('"') for each in lines}


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize("line", WORDS)
def test_bash_completes_commands_and_their_options(line: str) -> None:
    words = line.split()
    script = (
        f'eval "$(_REMIT_COMPLETE=source_bash "{REMIT}")"\n'
        f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}\n"
        f'_remit_completion "{REMIT}"\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )

    done = run(str(BASH), "--norc", "-c", script)

    assert (WORDS[line], "") == ({*done.stdout.split()}, done.stderr)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_program_installs_completion_for_a_shell(shell: str, tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = run(REMIT, "--show-completion", shell, **environment)
    done = run(REMIT, "--install-completion", shell, **environment)

    assert (0, 0) == (shown.returncode, done.returncode)
    assert "_REMIT_COMPLETE" in shown.stdout
    installed = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert any("_REMIT_COMPLETE" in text for text in installed)
