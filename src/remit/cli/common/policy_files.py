from collections.abc import Collection, Iterator
from contextlib import contextmanager
from os.path import relpath
from pathlib import Path

import typer

from remit.cli.common.output import Exit, err, fail
from remit.core.diagnostics import PolicyError
from remit.core.names import INSTANCE, Tenant
from remit.engine.snapshot import Snapshot
from remit.policy.live import LivePolicies
from remit.policy.load import DEFAULT_LIMITS, LoadedTenant, LoadedTree, load_root, load_tenant, load_tree
from remit.policy.read.tree import VOCABULARY, read_tree

NamesFile = typer.FileText
"""A file of names, one per line; `-` is standard input."""


def names_in(file: NamesFile) -> list[str]:
    """The names in the file; ends the command if it is not text."""
    try:
        return file.read().split()
    except UnicodeDecodeError as error:
        fail(Exit.USAGE, f"`{file.name}` cannot be read: {error}")


def read_files(directory: Path, *, tested: bool = True) -> LoadedTree:
    """Loads all tenants; ends the command if the directory or its root files do not load."""
    with loading(directory):
        return load_tree(directory, tested=tested)


def read_tenant(directory: Path, tenant: Tenant, *, tested: bool = True) -> LoadedTenant | None:
    """Loads one tenant, or returns None if it has no folder. Ends the command if the directory or its root files do not
    load: that is no answer, not a deny."""
    with loading(directory, Exit.UNAVAILABLE):
        tree = read_tree(directory, DEFAULT_LIMITS)
        root = load_root(tree)
        return load_tenant(tree, tenant, root, tested=tested) if tenant in tree.tenants else None


def read_snapshot(directory: Path, tenant: Tenant, *, tested: bool = True) -> Snapshot | None:
    """One tenant's policy, or None if it has no folder. Ends the command if it does not load."""
    loaded = read_tenant(directory, tenant, tested=tested)
    if loaded is None:
        return None
    if loaded.snapshot is None:
        texts = "\n".join(map(str, loaded.diagnostics))
        fail(Exit.UNAVAILABLE, f"{texts}\ntenant `{tenant}` does not load, so it has no answers")
    return loaded.snapshot


class FilePolicies(LivePolicies):
    """The live policies of a directory. Loads a tenant at its first question, and ends the command if it does not load.

    Leaves the tests out: they take longer than the answer, and `explain` helps where one fails.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._snapshots: dict[Tenant, Snapshot | None] = {}

    def tenant_names(self) -> Collection[Tenant]:
        """All that have a folder."""
        with loading(self._directory, Exit.UNAVAILABLE):
            return read_tree(self._directory, DEFAULT_LIMITS, INSTANCE).tenants.keys()

    def snapshot(self, tenant: Tenant) -> Snapshot | None:
        if not self._directory.exists():
            fail(
                Exit.UNAVAILABLE,
                f"policy directory `{self._directory}` does not exist: name one with --policies DIR (REMIT_POLICIES), "
                "or ask a server with --target HOST:PORT (REMIT_TARGET)",
            )
        if tenant not in self._snapshots:
            self._snapshots[tenant] = read_snapshot(self._directory, tenant, tested=False)
        return self._snapshots[tenant]


def not_a_tenants(directory: Path) -> None:
    """Ends the command if the directory is a tenant's folder: its files would be read as root files."""
    parent = directory.resolve().parent
    if directory.is_dir() and not (directory / VOCABULARY).exists() and (parent / VOCABULARY).exists():
        fail(Exit.USAGE, f"`{directory}` is a folder in a policy directory: name that one, `{relpath(parent)}`")


@contextmanager
def loading(directory: Path, refused: Exit = Exit.NO, *, told: bool = True) -> Iterator[None]:
    """Ends the command if the block finds that the directory cannot be read, or, with the code `refused`, that its root
    files do not load. Unless `told`, the latter raises PolicyError."""
    not_a_tenants(directory)
    try:
        yield
    except PolicyError as error:
        if not told:
            raise
        for each in error.diagnostics:
            err.print(str(each))
        fail(refused, f"the root files of `{directory}` do not load, so no tenant does")
    except OSError as error:
        hint = "; name one with --policies DIR (REMIT_POLICIES)" if isinstance(error, FileNotFoundError) else ""
        fail(Exit.UNAVAILABLE, f"policy directory `{directory}` cannot be read: {error.strerror or error}{hint}")
