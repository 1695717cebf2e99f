"""Small policy directories to publish, and the store that they go to."""

from support.trees import Files, tree_of

from remit.audit.chain.signing import SigningKey
from remit.fleet.release import SignedRelease
from remit.fleet.store import Draft, PolicyStore

VOCABULARY = b"""\
kinds:
  FLOW: {class: namespace, actions: [VIEW, UPDATE]}
"""


def files(**bindings: str) -> Files:
    """The files of tenants, each with these lines of bindings.csv."""
    return {"vocabulary.yaml": VOCABULARY} | {
        f"{tenant}/bindings.csv": f"{rows}\n".encode() for tenant, rows in bindings.items()
    }


def allows(principal: str, tenant: str = "acme") -> str:
    return f"p, user:{principal}, {tenant}, **, FLOW, VIEW, allow"


def publish(store: PolicyStore, after: int, key: SigningKey | None = None, **bindings: str) -> SignedRelease:
    return store.publish(Draft(tree_of(files(**bindings)), "ci"), after, key)
