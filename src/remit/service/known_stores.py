import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from remit.audit.errors import StoreAwayError
from remit.audit.store.store import AuditStore
from remit.files import make_private, open_private, write_whole
from remit.service.errors import StartupError
from remit.service.settings import Settings

_FILE: Final = ".audits"
_LOCK: Final = ".audits.lock"

_log = structlog.get_logger("remit")


class KnownStores:
    """A file in the node's `revisions` directory with the place of each store and spool, one a line.

    Without such a directory nothing is remembered. The workers of a node share the file.
    """

    def __init__(self, settings: Settings) -> None:
        self._directory = Path(settings.revisions) if settings.revisions else None
        self._new_allowed = settings.audit_new

    def require_new(self, setting: str, place: str) -> None:
        """Call it before a new store or spool is made. Raises StartupError if this node had one at this place."""
        if place not in self._places():
            return
        if not self._new_allowed:
            raise StartupError(
                f"setting `{setting}` names `{place}`, which is gone: this node had one there (`{self._directory}` "
                f"remembers it) and does not begin a new one in silence. Put it back, or restore a backup "
                "(`remit audit restore`); to begin a new one, start once with `--audit-new`"
            )
        _log.warning("a new one is made in the place of one that is gone", setting=setting, place=place)

    def add(self, place: str) -> None:
        """Remembers a place. Raises StartupError if the file cannot be written."""
        if self._directory is None or place in self._places():
            return
        try:
            make_private(self._directory)
            with os.fdopen(open_private(self._directory / _LOCK), "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                text = "".join(f"{each}\n" for each in sorted({*self._places(), place}))
                write_whole(self._directory / _FILE, text.encode(errors="surrogateescape"))
        except OSError as error:
            raise self._unusable(error) from error

    def _places(self) -> set[str]:
        if self._directory is None:
            return set()
        try:
            return {*(self._directory / _FILE).read_text(errors="surrogateescape").splitlines()}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> StartupError:
        return StartupError(f"setting `revisions` is `{self._directory}`, which cannot be used: {error}")


def refuse_gone(settings: Settings, store: AuditStore) -> None:
    """Raises StartupError if the node's store is gone, and AuditStoreError."""
    if store.is_empty():
        KnownStores(settings).require_new("audit", place_of(store))


def refuse_unmigrated(settings: Settings) -> None:
    """Raises AuditStoreError if the audit needs `audit_migrate`, and StartupError as `refuse_gone`. Passes a store that is
    away or new: whoever opens it decides."""
    if not settings.audit_migrate:
        with suppress(StoreAwayError), AuditStore(settings.audit, busy_timeout_s=settings.audit_timeout_s) as store:
            refuse_gone(settings, store)
            if not store.is_new():
                store.open()


def place_of(store: AuditStore) -> str:
    """The absolute path of a SQLite file, or the URL without its password."""
    return store.url if store.file is None else str(store.file.absolute())
