from collections import Counter
from collections.abc import Iterable

from remit.audit.chain.signing import Checkpoint, PublicKey, Tombstone
from remit.audit.verify.encoding import UNENCODABLE


class Keyring:
    """The public keys that signatures are checked with."""

    def __init__(self, keys: Iterable[PublicKey]) -> None:
        self._keys = {key.id: key for key in keys}
        self.unchecked: Counter[str] = Counter()
        """Signatures by the id of their key, not checked because no key was given."""
        self.believed = False
        """Whether a given key made any of the checked signatures."""

    def __bool__(self) -> bool:
        return bool(self._keys)

    def problem(self, statement: Checkpoint | Tombstone) -> str:
        """Why the statement cannot be trusted. '' if it can, or if no key was given."""
        if not self._keys:
            self.unchecked[str(statement.key_id)] += 1
            return ""
        if not statement.key_id:
            return "is not signed"
        key = self._keys.get(statement.key_id)
        if key is None:
            return f"is signed by the key `{statement.key_id}`, which was not given"
        if not self.holds(statement):
            return f"is not what the key `{key.id}` signed"
        self.believed = True
        return ""

    def knows(self, statement: Checkpoint | Tombstone) -> bool:
        return statement.key_id in self._keys

    def holds(self, statement: Checkpoint | Tombstone) -> bool:
        """Whether a given key signed the statement in its present form."""
        key = self._keys.get(statement.key_id)
        try:
            return key is not None and key.made(statement.signature, statement.text)
        except UNENCODABLE:
            return False
