"""Each example in the documents is run: what README and docs show is what happens."""

import doctest
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remit.policy.load import load_tree

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
DEFAULT_TARGET = "127.0.0.1:9090"

_BLOCK = re.compile(r"^```(\S+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_same = doctest.OutputChecker().check_output


def blocks(path: Path, language: str) -> list[tuple[str, str]]:
    """The (name, text) of each fenced block of a language."""
    return [(name, text) for found, name, text in _BLOCK.findall(path.read_text()) if found == language]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    return tmp_path


@pytest.fixture
def target(example: Path) -> Iterator[str]:
    """A server as `make serve` starts it, on a free port."""
    command = [BIN / "remit", "serve", "--listen", "127.0.0.1:0", "--metrics", ""]
    with subprocess.Popen(command, cwd=example, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        port = next(found[1] for line in server.stderr if (found := re.search(r'"port": (\d+)', line)))
        yield f"127.0.0.1:{port}"
        server.send_signal(signal.SIGTERM)
        server.stderr.read()
    assert server.returncode == 0


def run_console(page: Path, folder: Path, target: str = DEFAULT_TARGET) -> int:
    """Runs each command of a page and holds its output against what the page shows. Returns how many there were."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "REMIT_AUDIT": "sqlite:///var/audit.db"}
    ran = 0
    for _, text in blocks(page, "console"):
        for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, expected = step.partition("\n")
            done = subprocess.run(
                ["sh", "-c", f"{command} 2>&1".replace(DEFAULT_TARGET, target)],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert _same(expected, done.stdout, doctest.ELLIPSIS), f"$ {command}\n{done.stdout}\nexpected:\n{expected}"
            ran += 1
    return ran


def test_the_tour_of_the_readme(example: Path, target: str) -> None:
    assert run_console(ROOT / "README.md", example, target) >= 8


def test_imports_and_exports_are_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/casbin.md: its model and rows are imported, exported, and asked in plain Casbin."""
    page = ROOT / "docs" / "casbin.md"
    for name, text in [*blocks(page, "ini"), *blocks(page, "csv")]:
        (tmp_path / name).write_text(text)
    shutil.copytree(ROOT / "docs" / "kestra", tmp_path / "kestra")
    assert run_console(page, tmp_path) == 6
    monkeypatch.chdir(tmp_path)
    ((_, text),) = blocks(page, "python")
    exec(compile(text, str(page), "exec"), {})


@pytest.mark.parametrize("page", ["README.md", "docs/client.md"])
def test_python_examples_run(page: str, target: str) -> None:
    found = blocks(ROOT / page, "python")
    for _, text in found:
        exec(compile(text.replace(DEFAULT_TARGET, target), page, "exec"), {})
    assert found


def test_the_settings_example_is_accepted(example: Path) -> None:
    ((_, text),) = blocks(ROOT / "docs/settings.md", "toml")
    (example / "remit.toml").write_text(text + 'log_level = "loud"\n')
    done = subprocess.run(
        [BIN / "remit", "serve"],
        cwd=example,
        env={**os.environ, "REMIT_CONFIG": "remit.toml"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 3
    assert done.stderr.count("setting `") == 1, done.stderr
    assert "`log_level` is `loud`" in done.stderr


def test_the_manuals_policies_load_and_its_tests_hold(example: Path) -> None:
    """All rows of the policy author's manual together are a tenant that loads beside the example's root files."""
    manual = ROOT / "policies" / "README.md"
    tenant = example / "policies" / "acme"
    shutil.rmtree(tenant)
    (tenant / "tests").mkdir(parents=True)
    named = [*blocks(manual, "csv"), *blocks(manual, "yaml")]
    for name in ("roles.csv", "bindings.csv", "reach.csv", "tenant.yaml", "tests/example.yaml"):
        (tenant / name).write_text("".join(text for block, text in named if block == name))

    loaded = load_tree(example / "policies").tenants["acme"]

    assert loaded.diagnostics == ()
    assert len(loaded.cases) >= 18


def test_the_manuals_diagnostic_is_a_real_one(example: Path) -> None:
    text = next(text for _, text in blocks(ROOT / "policies" / "README.md", "text") if "did you mean" in text)
    bindings = example / "policies" / "acme" / "bindings.csv"
    lines = bindings.read_text().splitlines()
    lines[13] = "g, user:bob, role:develper, acme"
    bindings.write_text("\n".join(lines) + "\n")

    loaded = load_tree(example / "policies").tenants["acme"]

    assert str(loaded.diagnostics[0]) == text.strip()


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("*/*.md"))], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []
