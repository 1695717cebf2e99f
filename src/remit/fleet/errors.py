from remit.core.errors import RemitError


class PolicyStoreError(RemitError):
    """The policy store failed, or is none that this program can use. Nothing was changed, unless a lost connection hid the
    outcome of a commit."""


class PolicyStoreAwayError(PolicyStoreError):
    """The database cannot be reached, or refuses the connection."""


class PublishRefusedError(RemitError):
    """The release cannot follow the newest one. Nothing was published."""


class ForgedReleaseError(RemitError):
    """A release or a change is not what its publisher wrote: its hash, its place in the chain, its signature or its files
    are wrong."""


class HistoryLostError(RemitError):
    """The history of a tenant does not hold a position, or holds it no more."""
