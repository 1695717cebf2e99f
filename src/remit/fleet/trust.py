"""Whose releases, and whose changes at run time, a node takes over from a policy store."""

from collections.abc import Sequence
from typing import NamedTuple

from remit.audit.chain.signing import PublicKey
from remit.fleet.bindings import BindingChange
from remit.fleet.change import PolicyChange
from remit.fleet.errors import ForgedReleaseError
from remit.fleet.release import SignedRelease


class Trust(NamedTuple):
    """Without keys, no signature is asked for."""

    releases: Sequence[PublicKey] = ()
    """One of them must have signed each release."""
    bindings: Sequence[PublicKey] = ()
    """One of them must have signed what was granted and revoked at run time."""

    def require_release(self, signed: SignedRelease) -> None:
        """Raises ForgedReleaseError."""
        signed.require_signature(self.releases)

    def require_bindings(self, changes: Sequence[PolicyChange]) -> None:
        """`changes` are the newest of a tenant about rows of run time. A granter signs no change unless its node has taken
        over all before it, so its newest signature does for those. A publisher signs that rows became rows of the files,
        nothing else, and knows nothing of the changes before. Raises ForgedReleaseError.
        """
        if not self.bindings:
            return
        for change in reversed(changes):
            if any(map(change.is_signed_by, self.bindings)):
                return
            says = BindingChange.parse(change.body)
            published = any(map(change.is_signed_by, self.releases))
            if not published or says.granted or says.ended:
                how = f"has no good signature of key `{change.key_id}`" if change.key_id else "is not signed"
                raise ForgedReleaseError(
                    f"change {change.seq} of tenant `{change.tenant}` {how}, and `binding_keys` asks for one by its keys: "
                    "each node that grants needs a `binding_key`, whose public half is in `binding_keys`"
                )
