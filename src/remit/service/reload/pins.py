"""Pins and stored revisions: what serves when the policy files must not or cannot serve."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from remit.audit.errors import JournalUnavailable
from remit.core.errors import RemitError
from remit.core.names import CALLERS, Tenant
from remit.files import make_private
from remit.policy.build.scan import NO_FINGERPRINT, Fingerprint, TenantBuilt
from remit.policy.revisions.archive import RevisionNotStoredError, StoredRevision
from remit.policy.revisions.store import Pin, RevisionStore
from remit.process.errors import ChildEndedError
from remit.service.errors import PinError, StartupError
from remit.service.reload.swap import PolicySwap
from remit.service.reload.tenants import TenantFiles, Tenants

_UNPINNED_S: Final = 5.0
"""Processor time to load a tenant that another worker unpinned; after that it counts as slow."""

_SHOWN: Final = 20
"""People whom a refusal names."""

_log = structlog.get_logger("remit")

Recall = Callable[[RevisionStore, Tenant, str], TenantBuilt]
"""Restores a stored revision. Raises RevisionNotStoredError and ChildEndedError."""


class Pins:
    """The pins on disk. All workers of a node share them; each worker applies what another one wrote."""

    def __init__(
        self,
        store: RevisionStore | None,
        swap: PolicySwap,
        clock_us: Callable[[], int],
        *,
        recall: Recall,
        load: Callable[[Tenant, float], None],
    ) -> None:
        """`load` reloads a tenant's files: within this number of seconds of processor time, else later."""
        self._store = store
        self._swap = swap
        self._clock_us = clock_us
        self._recall = recall
        self._load = load

    def revisions(self, tenant: Tenant) -> list[StoredRevision]:
        """The stored revisions of a tenant, newest first."""
        return self._store.revisions(tenant) if self._store is not None else []

    def serving(self, tenant: Tenant) -> str:
        """The revision of the files that serve, also if rows of run time are over them; '' for none."""
        files = self._swap.tenants.files.get(tenant)
        return files.serving if files is not None else ""

    def archive(self, tenant: Tenant, revision: str) -> bytes | None:
        """The archive of a stored revision; None if it is not stored here."""
        try:
            return self._store.path(tenant, revision).read_bytes() if self._store is not None else None
        except OSError:
            return None

    def pin(self, tenant: Tenant, prefix: str, caller: str, timeout_s: float, *, lift: bool = False) -> str:
        """Serves the stored revision that begins with `prefix` until the tenant is unpinned, whatever the files say.
        Returns the revision that served before. Unless `lift` says that this is wanted, suspensions that stand count with it
        too.

        Raises RevisionNotStoredError, PinError, LoadingError, JournalUnavailable, ChildEndedError or OSError; then
        nothing has changed.
        """
        store, _ = self._pinnable(tenant)
        recalled = self._recall(store, tenant, store.find(tenant, prefix))
        with self._swap.changing(timeout_s):
            # The tenant may have been removed meanwhile.
            _, files = self._pinnable(tenant)
            lifted = [*self._swap.lifted(tenant, recalled.snapshot)]
            if lifted and not lift:
                raise PinError(_lifting(recalled.revision, lifted))
            pin = Pin(recalled.revision, caller, self._clock_us())
            change = self._swap.tenants.pinned(tenant, pin, recalled, lifted)
            self._swap.apply(change, store.pin(tenant, pin))
        return files.serving

    def unpin(self, tenant: Tenant, caller: str, timeout_s: float) -> None:
        """Serves the files again, or the last good revision if the files do not load or take longer than the time
        allows. Raises as `pin`."""
        ends_at = time.monotonic() + timeout_s
        store, _ = self._pinnable(tenant)
        # Another worker may just have pinned the tenant.
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
        """Applies the pins and unpins of this node's other workers; False if it must be retried."""
        store = self._store
        taken = [self._take(store, tenant) for tenant in store.tenants()] if store is not None else []
        return all(taken)

    def remember(self) -> Mapping[str, bytes]:
        """Reads what an earlier process stored: pins, and the folders that served. Returns the newest root files."""
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
        """Raises StartupError if nothing can be stored."""
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
        """Its folder was removed: marks the tenant, so that no stored revision serves again by itself."""
        try:
            if self._store is not None:
                self._store.remove(tenant)
        except OSError as error:
            _log.error("removal not kept", tenant=tenant, error=str(error))

    def restore(self, tenant: Tenant) -> None:
        """If the files must not or cannot serve, serves a stored revision: the pinned one, else the last good one."""
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
            order = store.last_order(tenant)
            if files is None:
                # The tenant's folder has not been read yet.
                return not order.revision
            if order.revision and order != files.pin:
                self._take_pin(store, tenant, order)
            elif files.pin is not None and not order.revision:
                return self._take_unpin(tenant, files.pin, order.caller)
        except RevisionNotStoredError as error:
            _log.error("pin not readable", tenant=tenant, error=str(error))
        except (JournalUnavailable, ChildEndedError) as error:
            _log.error("pin of another worker not taken over", tenant=tenant, error=str(error))
            return False
        return True

    def _take_pin(self, store: RevisionStore, tenant: Tenant, pin: Pin) -> None:
        recalled = self._recalled(store, tenant, pin.revision, RevisionNotStoredError)
        with self._swap.changing():
            files = self._swap.tenants.files.get(tenant)
            # A call of this worker may have taken it over meanwhile, or have ended it.
            if files is not None and files.pin != pin and store.last_order(tenant) == pin:
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
        if tenant == CALLERS:
            raise PinError(f"`{CALLERS}` cannot be pinned: an older revision may hold rights that were revoked since")
        return self._store, files


def _lifting(revision: str, people: Sequence[str]) -> str:
    shown = ", ".join(f"`{each}`" for each in people[:_SHOWN])
    more = f" and {len(people) - _SHOWN} more" if len(people) > _SHOWN else ""
    return (
        f"revision `{revision[:12]}` would lift suspensions: its files allow what is denied now for {shown}{more}; pin another "
        "revision, or say that you want this: `lift_suspensions`, or `remit rollback` with `--lift-suspensions`"
    )


def _pin(store: RevisionStore, tenant: Tenant) -> Pin | None:
    try:
        return store.pinned(tenant)
    except RevisionNotStoredError as error:
        _log.error("pin not readable", tenant=tenant, error=str(error))
        return Pin("", "unknown", 0)
