import json
import logging
import math
import time
from collections.abc import Callable, Container, Iterator
from itertools import islice
from threading import Event, Thread
from typing import Final

from remit.audit.chain.chain import READS, ChainId, Head
from remit.audit.chain.signing import Checkpoint, SigningKey, signed
from remit.audit.errors import AuditStoreError
from remit.audit.record import KEY_IN_USE
from remit.audit.store import checkpoints
from remit.audit.store.store import AuditStore

# Signing this many takes two milliseconds of interpreter time. No caller waits for their commit.
_AT_ONCE: Final = 16
_REST_S: Final = 0.004

_log = logging.getLogger("remit.audit")


class Checkpointer:
    """Signs the head of each chain that has grown, every `every_s` seconds and at the stop.

    It signs a chain of another node once that chain no longer grows: its own node may be gone. Each checkpoint names
    the previous one, and the checkpointer remembers it: it shows if a checkpoint is removed from the store.
    """

    def __init__(
        self,
        store: AuditStore,
        key: SigningKey,
        node: str,
        every_s: float,
        clock_us: Callable[[], int],
        *,
        tenants: Callable[[], Container[str]] = tuple,
    ) -> None:
        """Chains of the tenants that `tenants` returns are signed first.

        There may be many others, and a stop leaves little time.
        """
        self._store = store
        self._key = key
        self._node = node
        self._every_s = every_s
        self._clock_us = clock_us
        self._tenants = tenants
        self._signed: dict[ChainId, Head] = {}
        self._resting: dict[ChainId, Head] = {}
        self._cut: set[ChainId] = set()
        self._failed = False
        self._stopping = Event()
        self._ends_at = math.inf
        self._thread = Thread(target=self._run, name="remit-checkpoints", daemon=True)

    def begin(self) -> None:
        """Starts the thread, which first signs what an earlier process has left unsigned."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Signs a last time, as much as it can in that time. Call it when no more records are written."""
        self._ends_at = time.monotonic() + timeout_s
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._sign()

    def _run(self) -> None:
        while True:
            self._sign()
            if self._stopping.wait(self._every_s):
                return

    def _sign(self) -> None:
        try:
            self._sign_grown()
        except AuditStoreError as error:
            if not self._failed:
                _log.error("no audit checkpoint can be made: %s", error)
            self._failed = True
        else:
            if self._failed:
                _log.warning("audit checkpoints are made again")
            self._failed = False

    def _sign_grown(self) -> None:
        grown = self._grown()
        while some := list(islice(grown, _AT_ONCE)):
            made = [signed(checkpoint, self._key) for checkpoint in some]
            checkpoints.keep(self._store, made)
            self._signed |= {checkpoint.chain: checkpoint.head for checkpoint in made}
            self._stopping.wait(_REST_S)

    def _grown(self) -> Iterator[Checkpoint]:
        looked = 0
        configured = self._tenants()
        heads = checkpoints.heads(self._store)
        for chain, head in sorted(heads, key=lambda each: each[0].tenant not in configured):
            if time.monotonic() > self._ends_at:
                _log.warning("the stop leaves chains of the audit unsigned: the next start signs them")
                return
            theirs = chain.node.removesuffix(READS) != self._node
            before = self._signed.get(chain)
            if before == head:
                continue
            if theirs and self._resting.get(chain) != head:
                self._resting[chain] = head
                continue
            if theirs or before is None:
                looked += 1
                if looked % _AT_ONCE == 0:
                    self._stopping.wait(_REST_S)
                kept = checkpoints.newest(self._store, chain)
                before = self._signed[chain] = max(before or kept, kept, key=lambda each: each.seq)
            if head.seq > before.seq:
                yield Checkpoint(*chain, *head, *before, self._clock_us())
            elif head != before:
                self._log_cut(chain, head, before)

    def _log_cut(self, chain: ChainId, head: Head, before: Head) -> None:
        """Logs the loss of records, once per chain. The chain is not signed any more."""
        if chain not in self._cut:
            self._cut.add(chain)
            _log.error(
                "the audit chain of %s of tenant `%s` by node `%s` is at seq %d and was signed at seq %d: "
                "records are gone, see `remit audit verify`",
                *chain,
                head.seq,
                before.seq,
            )


def key_in_use(key: SigningKey | None) -> dict[str, str]:
    """The detail of a KEY_IN_USE record. The names are empty if checkpoints are not signed any more."""
    return {"key_id": key.public.id, "public_key": key.public.raw.hex()} if key else {"key_id": "", "public_key": ""}


def recorded_key(store: AuditStore, node: str) -> str:
    """The id of the key that the node last recorded as its key. '' for none."""
    after: bytes | None = None
    while page := store.lifecycle(type_=KEY_IN_USE, after=after):
        for record in page:
            if record.node == node:
                return str(json.loads(record.detail)["key_id"])
        after = page[-1].id
    return ""
