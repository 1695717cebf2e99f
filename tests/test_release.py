"""`make release`: what it writes, and that the same commit makes the same bytes."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from remit.service.version import VERSION

ROOT = Path(__file__).parent.parent
WHEEL = f"remit-{VERSION}-py3-none-any.whl"
SOURCE = f"remit-{VERSION}.tar.gz"
BILL = f"remit-{VERSION}.cdx.json"
GOOGLE = {f"protos/google/rpc/{name}.proto" for name in ("code", "error_details", "status")}
"""What the details of errors are made of. A release takes them from googleapis-common-protos."""


def made(checkout: Path, folder: Path) -> Path:
    # `-o`: never makes the environment anew that these tests run in.
    venv = ROOT / ".venv" if sys.prefix == sys.base_prefix else Path(sys.prefix)
    command = ["make", "--silent", "-o", f"{venv}/ready", "release", f"VENV={venv}", f"RELEASE={folder}"]
    environment = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "PYTHON"}
    }
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert 0 == done.returncode, done.stderr
    assert "Warning" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(ROOT, tmp_path_factory.mktemp("release") / "first")


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    done = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {*done.stdout.splitlines()}


def sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_release_has_four_files_and_their_hashes(release: Path) -> None:
    lines = (release / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split() for line in lines)}

    assert {WHEEL, SOURCE, BILL, "runtime.lock"} == {*listed}
    assert {**listed, "SHA256SUMS": sums(release)["SHA256SUMS"]} == sums(release)


@pytest.mark.long
def test_another_clone_makes_the_same_bytes(release: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone elsewhere"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True, capture_output=True)
    (clone / "src/remit/not_committed.py").write_text("")

    assert sums(release) == sums(made(clone, tmp_path / "second"))


def test_source_archive_makes_the_same_wheel(release: Path, tmp_path: Path) -> None:
    with tarfile.open(release / SOURCE) as archive:
        (epoch,) = {each.mtime for each in archive}
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / SOURCE.removesuffix(".tar.gz")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=source,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(int(epoch))},
        check=True,
        capture_output=True,
    )

    assert sums(release)[WHEEL] == hashlib.sha256((tmp_path / WHEEL).read_bytes()).hexdigest()


def test_wheel_carries_code_pages_and_protos(release: Path, tracked: set[str]) -> None:
    with zipfile.ZipFile(release / WHEEL) as wheel:
        names = {*wheel.namelist()}
    pages = {name for name in tracked if re.fullmatch(r"docs/(?!internals/).*\.md|policies/README\.md", name)}
    pages |= {"README.md", "CHANGELOG.md", "SECURITY.md"}
    protos = {name for name in tracked if name.startswith("protos/")}

    manual = {name.removeprefix("docs/man/") for name in tracked if name.startswith("docs/man/")}

    assert {"remit.1", "remit-serve.1"} <= manual
    assert manual == {Path(name).name for name in names if "/share/man/man1/" in name}
    assert {name.removeprefix("src/") for name in tracked if name.startswith("src/")} <= names
    assert pages == {name.removeprefix("remit/pages/") for name in names if name.startswith("remit/pages/")}
    assert protos | GOOGLE == {name.removeprefix("remit/") for name in names if name.startswith("remit/protos/")}
    assert "remit/py.typed" in names
    assert [] == [name for name in names if "pycache" in name or name.startswith(("tests/", "docs/"))]


def test_protos_of_error_details_are_as_published(release: Path) -> None:
    from google.rpc import status_pb2  # noqa: PLC0415

    published = Path(status_pb2.__file__).parents[1]
    with zipfile.ZipFile(release / WHEEL) as wheel:
        carried = {name: wheel.read(f"remit/{name}") for name in GOOGLE}
    assert {name: (published / name.removeprefix("protos/google/")).read_bytes() for name in GOOGLE} == carried


def test_bill_of_materials_lists_what_a_server_runs_with(release: Path) -> None:
    bill = json.loads((release / BILL).read_text())
    locked = re.findall(r"^([\w.-]+)==([\w.]+)", (release / "runtime.lock").read_text(), re.MULTILINE)

    assert ("CycloneDX", "remit", VERSION) == (
        bill["bomFormat"],
        bill["metadata"]["component"]["name"],
        bill["metadata"]["component"]["version"],
    )
    assert {*locked} == {(each["name"], each["version"]) for each in bill["components"]}
    assert {"grpcio", "pydantic", "psycopg", "pyarrow"} <= dict(locked).keys()
    assert "pytest" not in dict(locked)
    assert "serialNumber" not in bill


def test_both_locks_name_the_same_versions() -> None:
    def versions(name: str) -> set[tuple[str, str]]:
        return {*re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / name).read_text(), re.MULTILINE)}

    assert versions("runtime.lock") <= versions("requirements.lock")
