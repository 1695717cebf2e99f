from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from remit.cli.common.output import Exit, err, fail
from remit.cli.common.policy_files import not_a_tenants
from remit.core.diagnostics import PolicyError
from remit.core.names import Tenant
from remit.engine.snapshot import Snapshot
from remit.policy.load import DEFAULT_LIMITS, Root, load_root, load_tenant
from remit.policy.read.git import GitError, Repository
from remit.policy.read.tree import Tree, read_tree


@dataclass(frozen=True, slots=True)
class Version:
    name: str
    tree: Tree
    root: Root
    _loaded: dict[Tenant, Snapshot | None] = field(default_factory=dict)

    def snapshot(self, tenant: Tenant) -> tuple[Snapshot | None, bool]:
        """Loads a tenant without its tests, once. Returns its snapshot, and whether that succeeded.

        (None, True): the tenant has no folder. (None, False): it does not load, and its diagnostics are printed.
        """
        if tenant not in self.tree.tenants:
            return None, True
        if tenant not in self._loaded:
            loaded = load_tenant(self.tree, tenant, self.root, tested=False)
            for each in loaded.diagnostics:
                err.print(f"{self.name}: {each}")
            self._loaded[tenant] = loaded.snapshot
        snapshot = self._loaded[tenant]
        return snapshot, snapshot is not None


def read_versions(old: str, new: str, policies: Path) -> tuple[Version, Version]:
    """Reads both versions. Ends the command if one of them is neither a directory nor a revision, is both, or has root
    files that do not load.

    A revision belongs to the policy directory that the other argument names, otherwise to `policies`. `REVISION:DIR`
    also names the directory, from the top of the repository as in git.
    """
    first, second = (
        _reader(text, Path(other) if Path(other).is_dir() else policies) for text, other in ((old, new), (new, old))
    )
    return _read(old, first), _read(new, second)


def _reader(text: str, policies: Path) -> Callable[[], Tree]:
    directory = Path(text)
    revision, colon, place = text.partition(":")
    if directory.is_dir():
        not_a_tenants(directory)
        # No revision can be spelled so: the text means a directory.
        if not (text.startswith((".", "/")) or text.endswith("/")) and _is_revision(text, policies):
            fail(
                Exit.USAGE,
                f"`{text}` is both a directory and a git revision: write `./{text}` for the directory, "
                f"`{text}:{policies.as_posix()}` for the revision",
            )
        return lambda: read_tree(directory, DEFAULT_LIMITS)
    try:
        repository = Repository(Path() if colon else policies)
        commit = repository.commit(revision)
    except GitError as error:
        fail(Exit.UNAVAILABLE, f"`{text}` is not a directory, and not a git revision: {error}")
    if commit is None:
        where = f"of the repository `{repository.top}`"
        fail(Exit.UNAVAILABLE, f"`{text}` is neither a directory nor a git revision {where}")
    return lambda: repository.tree(commit, place.strip("/") if colon else repository.place(policies), DEFAULT_LIMITS)


def _is_revision(text: str, policies: Path) -> bool:
    try:
        return Repository(policies).commit(text) is not None
    except GitError:
        return False


def _read(text: str, read: Callable[[], Tree]) -> Version:
    try:
        tree = read()
        return Version(text, tree, load_root(tree))
    except PolicyError as error:
        for each in error.diagnostics:
            err.print(f"{text}: {each}")
        fail(Exit.UNAVAILABLE, f"the root files of `{text}` do not load, so no tenant does")
    except GitError as error:
        fail(Exit.UNAVAILABLE, f"`{text}`: {error}")
    except OSError as error:
        fail(Exit.UNAVAILABLE, f"policy directory `{text}` cannot be read: {error.strerror or error}")
