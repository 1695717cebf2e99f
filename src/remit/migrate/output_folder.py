import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from remit.core.errors import RemitError
from remit.core.names import Tenant
from remit.policy.load import LoadedTenant, load_root, load_tenant
from remit.policy.read.tree import Folder, Tree

Files = Mapping[str, bytes]
"""By path below the folder."""


class FolderError(RemitError):
    """The folder must not be written to."""


def check_folder(out: Path, *, force: bool) -> None:
    """Raises FolderError if `write_folder` would, and OSError if the folder cannot be read."""
    if out.exists() and not out.is_dir():
        raise FolderError(f"`{out}` is a file: expected a folder, or a name that is free")
    if not out.parent.is_dir():
        raise FolderError(f"`{out.parent}` is no folder, so `{out.name}` cannot be made in it")
    if out.exists() and any(out.iterdir()):
        if not force:
            raise FolderError(f"`{out}` is not empty: name another folder, or replace it with --force")
        if _before(out).exists():
            raise FolderError(f"`{_before(out)}` holds the previous content of `{out}` before: move it away first")


def write_folder(out: Path, files: Files, *, force: bool) -> Path | None:
    """Puts a folder with these files in place by one rename.

    With `force`, the previous folder is kept beside it, and its new path is returned. Raises FolderError or OSError,
    and then leaves everything unchanged.
    """
    check_folder(out, force=force)
    staged = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for path, content in files.items():
            file = staged / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        staged.chmod(0o777 & ~_umask())
        previous = _before(out) if out.exists() and any(out.iterdir()) else None
        if previous is not None:
            out.rename(previous)
        try:
            staged.rename(out)
        except OSError:
            if previous is not None:
                previous.rename(out)
            raise
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return previous


def loaded(files: Files) -> Mapping[Tenant, LoadedTenant]:
    """Loads the files, and runs their tests on both engines. Raises PolicyError for errors in the root's files."""
    root = Folder("")
    tenants: dict[Tenant, Folder] = {}
    for path, content in files.items():
        name, slash, _ = path.partition("/")
        folder = tenants.setdefault(Tenant(name), Folder(name)) if slash else root
        if path != "README.md":
            folder.files[path] = content
    tree = Tree(root, tenants)
    read = load_root(tree)
    return {tenant: load_tenant(tree, tenant, read) for tenant in tenants}


def _before(out: Path) -> Path:
    return out.with_name(f"{out.name}~")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
