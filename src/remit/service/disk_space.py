from contextlib import suppress

from remit.audit.errors import AuditStoreError
from remit.audit.journal.journal import Journal
from remit.audit.spool.store_and_forward import StoreAndForward
from remit.audit.store.store import AuditStore


class AuditSpace:
    """The size of the audit store and the free space around it, in bytes. None: the store does not say.

    It asks no database server that is away: a status request must not wait for one.
    """

    def __init__(self, store: AuditStore, spooling: StoreAndForward | None, journal: Journal) -> None:
        self._store = store
        self._spooling = spooling
        self._journal = journal

    def taken(self) -> int | None:
        away = not self._journal.healthy or (self._spooling is not None and self._spooling.status.error != "")
        with suppress(AuditStoreError):
            return None if away and self._store.file is None else self._store.size_bytes()
        return None

    def free(self) -> int | None:
        with suppress(AuditStoreError):
            return self._store.free_bytes()
        return None
