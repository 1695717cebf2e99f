"""Policy directories as texts: path to bytes."""

from collections.abc import Mapping
from pathlib import Path

from remit.core.names import Tenant
from remit.engine.snapshot import Snapshot
from remit.policy.load import LoadedTenant, load_root, load_tenant
from remit.policy.read.limits import Limits
from remit.policy.read.tree import Folder, Tree

Files = Mapping[str, bytes]


def write(directory: Path, files: Files) -> Path:
    for path, content in files.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return directory


def tree_of(files: Files) -> Tree:
    """What reading these files from a directory gives."""
    root = Folder("")
    tenants: dict[Tenant, Folder] = {}
    for path, content in files.items():
        name, slash, _ = path.partition("/")
        folder = tenants.setdefault(Tenant(name), Folder(name)) if slash else root
        folder.files[path] = content
    return Tree(root, dict(sorted(tenants.items())))


def load(files: Files, tenant: str, limits: Limits | None = None) -> LoadedTenant:
    tree = tree_of(files)
    limits = limits or Limits()
    return load_tenant(tree, Tenant(tenant), load_root(tree, limits), limits)


def snapshot_of(files: Files, tenant: str) -> Snapshot:
    """The compiled policy of files that must load."""
    loaded = load(files, tenant)
    assert loaded.snapshot is not None, "\n".join(map(str, loaded.diagnostics))
    return loaded.snapshot


def rows_in(content: bytes) -> set[str]:
    """The rows of a CSV file, however they are laid out."""
    return {
        ", ".join(field.strip() for field in line.split(","))
        for line in content.decode().splitlines()
        if line and not line.startswith("#")
    }
