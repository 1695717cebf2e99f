from remit.core.diagnostics import PolicyError
from remit.core.names import Tenant
from remit.policy.load import LoadedTenant, load_root, load_tenant
from remit.policy.read.limits import Limits
from remit.policy.read.tree import Tree
from remit.policy.revisions.archive import RevisionNotLoadableError


def load_revision(tree: Tree, tenant: Tenant, limits: Limits, *, tested: bool = True) -> LoadedTenant:
    """Loads a stored revision. Raises RevisionNotLoadableError if it does not load."""
    cause: object = ""
    try:
        # It passed its tests when it was stored, or was applied in spite of them.
        loaded = load_tenant(tree, tenant, load_root(tree, limits), limits, tested=tested, gated=False)
    except PolicyError as error:
        cause = error
    else:
        if loaded.snapshot is not None:
            return loaded
        cause = "\n".join(map(str, loaded.diagnostics))
    raise RevisionNotLoadableError(f"kept revision `{tree.revision(tenant)}` of `{tenant}` does not load:\n{cause}")
