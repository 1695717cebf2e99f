"""`make setup` in a checkout: with a Python that is too old, and over what an earlier try left."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import installs
import pytest
import pythons

from remit import cli
from remit.pytest_plugin import plugin

ROOT = Path(__file__).parent.parent
VERSION = "{}.{}".format(*sys.version_info)
# A project of its own: the real one takes a minute or two to install.
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
BACKEND = """
import zipfile

def build_editable(directory, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{directory}/{NAME}", "w") as wheel:
        wheel.writestr("installed.py", "")
        wheel.writestr("installed-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: installed\\nVersion: 1\\n")
        wheel.writestr("installed-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("installed-1.dist-info/RECORD", "")
    return NAME

NAME = "installed-1-py3-none-any.whl"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    for name, text in {"requirements.lock": "", "pyproject.toml": PYPROJECT, "backend.py": BACKEND}.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def python310(tmp_path: Path) -> Path:
    """A Python that says it is 3.10: not every machine has one."""
    path = tmp_path / "old" / "python3"
    path.parent.mkdir()
    code = "import sys; sys.version_info = (3, 10, 13); exec(sys.argv.pop(1))"
    path.write_text(f"""#!/bin/sh\n[ "$1" = -c ] && shift && exec {sys.executable} -c '{code}' "$@"\nexit 1\n""")
    path.chmod(0o755)
    return path


def make(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As from a shell, whatever make runs the tests."""
    inherited = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "PYTHON"}}
    return subprocess.run(
        ["make", *arguments],
        cwd=checkout,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def changes(folder: Path) -> dict[Path, int]:
    """When each file was last written."""
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


def version_of(checkout: Path) -> str:
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    python = checkout / ".venv/bin/python"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def leave_old(checkout: Path, python310: Path, *, ready: bool) -> Path:
    """The environment that a Python 3.10 made. Returns a file of its packages."""
    package = checkout / ".venv/lib/python3.10/site-packages/old.py"
    package.parent.mkdir(parents=True)
    package.touch()
    (checkout / ".venv/bin").mkdir()
    (checkout / ".venv/bin/python").symlink_to(python310)
    if ready:
        (checkout / ".venv/ready").touch()
    return package


def test_too_old_python_is_reported_and_leaves_no_file(checkout: Path, python310: Path) -> None:
    before = changes(checkout)
    for python in (python310, *(path for version, path in pythons.interpreters().items() if version < pythons.OLDEST)):
        refused = make(checkout, "demo", f"PYTHON={python}")
        assert 2 == refused.returncode
        assert f"needs Python 3.11 or newer, `{python}` is " in refused.stderr
        assert ": make demo PYTHON=python3.12\n" in refused.stderr
        assert before == changes(checkout)
    assert "`python3` is 3.10: " in make(checkout, "setup", PATH=f"{python310.parent}:{os.environ['PATH']}").stderr


def test_incomplete_environment_is_rebuilt_once(checkout: Path, python310: Path) -> None:
    """`venv` alone would leave its interpreter. A Python that is too old does nothing to what another one made."""
    old = leave_old(checkout, python310, ready=False)
    first = make(checkout, "setup", f"PYTHON={sys.executable}")
    assert 0 == first.returncode, first.stderr
    assert "installing remit and what it needs into .venv (one to two minutes)\n" in first.stdout
    assert VERSION == version_of(checkout)
    assert not old.exists()

    made = changes(checkout)
    again = make(checkout, "setup", f"PYTHON={sys.executable}")
    assert (0, False) == (again.returncode, "installing" in again.stdout)
    assert 2 == make(checkout, "setup", f"PYTHON={python310}").returncode
    assert made == changes(checkout)


def test_environment_of_another_python_is_rebuilt_if_a_python_is_named(checkout: Path, python310: Path) -> None:
    """And is used as it is where none is, also where `python3` is too old by now."""
    old = leave_old(checkout, python310, ready=True)
    unnamed = make(checkout, "setup", PATH=f"{python310.parent}:{os.environ['PATH']}")
    assert 0 == unnamed.returncode, unnamed.stderr
    assert old.exists()
    named = make(checkout, "setup", f"PYTHON={sys.executable}")
    assert 0 == named.returncode, named.stderr
    assert VERSION == version_of(checkout)
    assert not old.exists()


def test_one_python_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = {sys.version_info[:2]: Path(sys.executable), (3, 10): Path("python3.10")}
    monkeypatch.setattr(pythons, "interpreters", lambda: alone)
    with pytest.raises(SystemExit, match="found no Python beside"):
        pythons.main()


def test_every_page_names_the_same_oldest_python() -> None:
    oldest, of_client = ("{}.{}".format(*each) for each in (pythons.OLDEST, installs.OLDEST_CLIENT))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"Python :: (3\.\d+)", "".join(project["classifiers"]))
    assert f">={of_client}" == project["requires-python"]
    assert [of_client, oldest] == named[:2]
    assert pythons.OLDEST == cli.OLDEST_PYTHON == plugin.OLDEST_PYTHON
    assert oldest in cli.too_old(of_client)
    assert f"v >= {pythons.OLDEST}" in (ROOT / "Makefile").read_text()
    assert f"Python {oldest} or newer" in (ROOT / "README.md").read_text()


def test_generated_grpc_code_runs_with_the_oldest_grpcio() -> None:
    (oldest,) = re.findall(r'"grpcio>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    generated = "".join(path.read_text() for path in (ROOT / "src/remit/v1").glob("*_pb2_grpc.py"))
    assert {oldest} == {*re.findall(r"^GRPC_GENERATED_VERSION = '(.*)'$", generated, re.MULTILINE)}


def test_program_on_a_python_that_is_too_old_says_so() -> None:
    code = "import sys; sys.version_info = (3, 10, 13); from remit.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (1, "") == (done.returncode, done.stdout)
    assert "need Python 3.11 or newer, and this is Python 3.10: " in done.stderr
    assert done.stderr.endswith("(docs/how-to/install.md)\n")


def test_client_is_not_tried_without_its_oldest_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons, "interpreters", lambda: {sys.version_info[:2]: Path(sys.executable)})
    with pytest.raises(SystemExit, match=r"found no Python 3\.10: "):
        installs.main()
