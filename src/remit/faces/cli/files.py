from pathlib import Path
from typing import Annotated, NoReturn

import typer

from remit.core.diagnostics import PolicyError
from remit.core.names import Tenant
from remit.faces.cli.exits import Exit, err, fail
from remit.policy.limits import Limits
from remit.policy.load import LoadedTenant, LoadedTree, load_root, load_tenant, load_tree
from remit.policy.source import read_tree

DirectoryArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Policy directory.")]

_LIMITS = Limits()


def read_files(directory: Path) -> LoadedTree:
    """Loads all tenants; ends the command where the directory or its root files do not load."""
    try:
        return load_tree(directory, _LIMITS)
    except PolicyError as error:
        _refused(directory, error)
    except OSError as error:
        _missing(directory, error)


def read_tenant(directory: Path, tenant: Tenant) -> LoadedTenant | None:
    """Loads one tenant, None where there is no such folder; ends the command as `read_files` does."""
    try:
        tree = read_tree(directory, _LIMITS)
        root = load_root(tree, _LIMITS)
        return load_tenant(tree, tenant, root, _LIMITS) if tenant in tree.tenants else None
    except PolicyError as error:
        _refused(directory, error)
    except OSError as error:
        _missing(directory, error)


def _refused(directory: Path, error: PolicyError) -> NoReturn:
    for each in error.diagnostics:
        err.print(str(each), markup=False)
    fail(Exit.NO, f"the root files of `{directory}` do not load, so no tenant does")


def _missing(directory: Path, error: OSError) -> NoReturn:
    fail(Exit.UNAVAILABLE, f"policy directory `{directory}` cannot be read: {error.strerror or error}")
