"""Which commit a kept revision is said to be of, and when it is not that commit's files."""

import subprocess
from pathlib import Path

import pytest
from support.trees import write

from remit.core.names import Tenant
from remit.policy.read.git import DIRTY, Checkout
from remit.policy.read.limits import Limits
from remit.policy.read.tree import read_tree

ACME, GLOBEX = Tenant("acme"), Tenant("globex")
FILES = {
    "vocabulary.yaml": b"kinds: {}\n",
    "README.md": b"not read\n",
    "acme/roles.csv": b"# acme\n",
    "acme/tests/a.yaml": b"name: a\n",
    "acme/tests/.hidden.yaml": b"name: b\n",
    "globex/roles.csv": b"# globex\n",
}


def git(directory: Path, *words: str) -> str:
    author = ("-c", "user.name=a", "-c", "user.email=a@b.example")
    done = subprocess.run(["git", "-C", directory, *author, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(params=["sha1", "sha256"])
def policies(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A policy directory inside a repository, committed as it is."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    git(tmp_path, "init", f"--object-format={request.param}")
    directory = write(tmp_path / "deep" / "policies", FILES)
    write(tmp_path, {"vocabulary.yaml": b"of something else\n"})
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--message", "all")
    return directory


def name_of(directory: Path, tenant: Tenant) -> str:
    tree = read_tree(directory, Limits())
    checkout = Checkout.of(directory)
    assert checkout is not None
    return checkout.name_of(tree.root.files, tenant, tree.tenants[tenant].files)


def test_committed_files_have_the_commit_as_version(policies: Path) -> None:
    """What remit does not read counts for nothing."""
    head = git(policies, "rev-parse", "HEAD")
    write(policies, {"README.md": b"edited\n", "acme/tests/.hidden.yaml": b"edited\n", ".new": b""})
    assert [head, head] == [name_of(policies, tenant) for tenant in (ACME, GLOBEX)]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("acme/roles.csv", b"# edited\n"),
        ("acme/roles.csv", None),
        ("acme/tests/a.yaml", None),
        ("acme/bindings.csv", b"# new\n"),
    ],
)
def test_watch_reports_an_edit_of_a_tenant_for_that_tenant_only(
    policies: Path, path: str, content: bytes | None
) -> None:
    head = git(policies, "rev-parse", "HEAD")
    if content is None:
        (policies / path).unlink()
    else:
        write(policies, {path: content})
    assert (head + DIRTY, head) == (name_of(policies, ACME), name_of(policies, GLOBEX))


@pytest.mark.parametrize("content", [b"kinds: {A: {}}\n", None])
def test_watch_reports_an_edit_of_the_root_for_every_tenant(policies: Path, content: bytes | None) -> None:
    if content is None:
        (policies / "vocabulary.yaml").unlink()
    else:
        write(policies, {"vocabulary.yaml": content})
    assert all(name_of(policies, tenant).endswith(DIRTY) for tenant in (ACME, GLOBEX))


def test_version_is_empty_without_a_commit_or_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert Checkout.of(tmp_path) is None
    git(tmp_path, "init")
    assert Checkout.of(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Checkout.of(tmp_path) is None
