"""What operators pin, and what was kept of tenants: it serves where the files must not, or cannot."""

import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from remit.audit.errors import JournalUnavailable
from remit.core.errors import RemitError
from remit.core.names import Tenant
from remit.files import make_private
from remit.policy.build.scan import NO_FINGERPRINT, Fingerprint, TenantBuilt
from remit.policy.revisions.archive import RevisionNotStoredError, StoredRevision
from remit.policy.revisions.store import Pin, RevisionStore
from remit.process.errors import ChildEndedError
from remit.service.errors import PinError, StartupError
from remit.service.reload.swap import PolicySwap
from remit.service.reload.tenants import TenantFiles, Tenants

_UNPINNED_S: Final = 5.0
"""Processor time for the files of a tenant that another worker unpinned, before it is left to those that are slow."""

_log = structlog.get_logger("remit")

Recall = Callable[[RevisionStore, Tenant, str], TenantBuilt]
"""Loads a kept revision. Raises RevisionNotStoredError and ChildEndedError."""


class Pins:
    """Pins on disk: all workers of a node share them, and each takes over what another one wrote."""

    def __init__(
        self,
        store: RevisionStore | None,
        swap: PolicySwap,
        clock_us: Callable[[], int],
        *,
        recall: Recall,
        load: Callable[[Tenant, float], None],
    ) -> None:
        """`load` loads a tenant's files anew: in so many seconds of processor time, else later."""
        self._store = store
        self._swap = swap
        self._clock_us = clock_us
        self._recall = recall
        self._load = load

    def revisions(self, tenant: Tenant) -> list[StoredRevision]:
        """Those kept of a tenant, newest first."""
        return self._store.revisions(tenant) if self._store is not None else []

    def pin(self, tenant: Tenant, prefix: str, caller: str, timeout_s: float) -> str:
        """Serves the kept revision that begins with `prefix` until it is unpinned, whatever the files say. Returns the
        revision that served before.

        Raises RevisionNotStoredError, PinError, LoadingError, JournalUnavailable, ChildEndedError or OSError; then
        nothing has changed.
        """
        store, _ = self._pinnable(tenant)
        recalled = self._recall(store, tenant, store.find(tenant, prefix))
        with self._swap.changing(timeout_s):
            # It may have been removed meanwhile.
            _, files = self._pinnable(tenant)
            pin = Pin(recalled.revision, caller, self._clock_us())
            self._swap.apply(self._swap.tenants.pinned(tenant, pin, recalled), store.pin(tenant, pin))
        return files.serving

    def unpin(self, tenant: Tenant, caller: str, timeout_s: float) -> None:
        """Serves what the files say again, or the last good revision where they do not load, or take longer to load than
        there is time. Raises as `pin`."""
        ends_at = time.monotonic() + timeout_s
        store, _ = self._pinnable(tenant)
        # Another worker may just have pinned it.
        self._take(store, tenant)
        with self._swap.changing(timeout_s):
            _, files = self._pinnable(tenant)
            if files.pin is None:
                raise PinError(f"tenant `{tenant}` is not pinned")
            undo = store.unpin(tenant, caller, self._clock_us())
            self._swap.apply(self._swap.tenants.unpinned(tenant, caller), undo)
        self._load(tenant, max(ends_at - time.monotonic(), 0))
        self.restore(tenant)

    def take(self) -> bool:
        """Takes over what other workers of this node pinned and unpinned; False where it has to be tried again."""
        store = self._store
        taken = [self._take(store, tenant) for tenant in store.tenants()] if store is not None else []
        return all(taken)

    def remember(self) -> Mapping[str, bytes]:
        """What an earlier process kept: pins, and the folders that served. Returns the newest root files."""
        if self._store is None:
            return {}
        newest: tuple[int, Mapping[str, bytes]] = 0, {}
        remembered = {}
        for tenant in self._store.tenants():
            pin, known, last = _pin(self._store, tenant), NO_FINGERPRINT, self._store.newest(tenant)
            try:
                if last is not None:
                    tree = self._store.read(tenant, last.revision)
                    known = Fingerprint("", tree.tenants[tenant].digest)
                    newest = max(newest, (last.kept_us, tree.root.files), key=lambda each: each[0])
            except RevisionNotStoredError as error:
                _log.warning("kept revision ignored", tenant=tenant, error=str(error))
            if last is not None or pin is not None:
                remembered[tenant] = TenantFiles(known, pin=pin)
        self._swap.tenants = Tenants(remembered)
        return newest[1]

    def prepare(self) -> None:
        """Raises StartupError where nothing can be kept."""
        if self._store is None:
            return
        try:
            make_private(self._store.directory)
        except OSError as error:
            raise StartupError(
                f"`revisions` is `{self._store.directory}`, which cannot be made: {error.strerror}; name a directory that this "
                "node may write, or none to keep no revisions"
            ) from None

    def forget(self, tenant: Tenant) -> None:
        """Its folder was removed: nothing kept of it comes back by itself."""
        try:
            if self._store is not None:
                self._store.remove(tenant)
        except OSError as error:
            _log.error("removal not kept", tenant=tenant, error=str(error))

    def restore(self, tenant: Tenant) -> None:
        """What was kept serves where the files must not or cannot: the pinned revision, else the last good one."""
        files = self._swap.tenants.files.get(tenant)
        if self._store is None or files is None or (files.pin is None and not files.refused):
            return
        wanted = files.pin or self._store.newest(tenant)
        if wanted is None:
            return
        recalled = self._recalled(self._store, tenant, wanted.revision, RevisionNotStoredError, ChildEndedError)
        with self._swap.changing():
            self._swap.apply(self._swap.tenants.restored(tenant, files, recalled))

    def _take(self, store: RevisionStore, tenant: Tenant) -> bool:
        files = self._swap.tenants.files.get(tenant)
        try:
            word = store.last_word(tenant)
        except RevisionNotStoredError as error:
            _log.error("pin not readable", tenant=tenant, error=str(error))
            return True
        if files is None:
            # Its folder is yet to be read.
            return not word.revision
        try:
            if word.revision and word != files.pin:
                self._take_pin(store, tenant, word)
            elif files.pin is not None and not word.revision:
                return self._take_unpin(tenant, files.pin, word.caller)
        except (JournalUnavailable, ChildEndedError) as error:
            _log.error("pin of another worker not taken over", tenant=tenant, error=str(error))
            return False
        return True

    def _take_pin(self, store: RevisionStore, tenant: Tenant, pin: Pin) -> None:
        recalled = self._recalled(store, tenant, pin.revision, RevisionNotStoredError)
        with self._swap.changing():
            if tenant in self._swap.tenants.files:
                self._swap.apply(self._swap.tenants.pinned(tenant, pin, recalled))

    def _take_unpin(self, tenant: Tenant, pin: Pin, caller: str) -> bool:
        with self._swap.changing():
            files = self._swap.tenants.files.get(tenant)
            if files is None or files.pin != pin:
                return False
            self._swap.apply(self._swap.tenants.unpinned(tenant, caller))
        self._load(tenant, _UNPINNED_S)
        self.restore(tenant)
        return True

    def _recalled(
        self, store: RevisionStore, tenant: Tenant, revision: str, *ignored: type[RemitError]
    ) -> TenantBuilt | RemitError:
        try:
            return self._recall(store, tenant, revision)
        except ignored as error:
            _log.error("kept revision ignored", tenant=tenant, error=str(error))
            return error

    def _pinnable(self, tenant: Tenant) -> tuple[RevisionStore, TenantFiles]:
        if self._store is None:
            raise PinError("this server keeps no revisions: set `revisions` to a directory of this node")
        files = self._swap.tenants.files.get(tenant)
        if files is None:
            raise PinError(f"there is no tenant `{tenant}`")
        return self._store, files


def _pin(store: RevisionStore, tenant: Tenant) -> Pin | None:
    try:
        return store.pinned(tenant)
    except RevisionNotStoredError as error:
        _log.error("pin not readable", tenant=tenant, error=str(error))
        return Pin("", "unknown", 0)
