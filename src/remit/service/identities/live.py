"""The identities that count now: reads the file again when it changes, and keeps the last good version."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final, Protocol

import structlog

from remit.audit.errors import JournalUnavailable
from remit.service.errors import StartupError
from remit.service.file_stamps import FileStamps, file_stamps
from remit.service.identities.file import IdentitiesError, read_identities
from remit.service.identities.identities import Identities

IDENTITIES_LOADED: Final = "IDENTITIES_LOADED"
"""The lifecycle record of a version of the file that counts from then on."""
IDENTITIES_REFUSED: Final = "IDENTITIES_REFUSED"
"""The lifecycle record of a version of the file that does not load."""
_LOOK_EVERY_S: Final = 1.0
_STOPS_WITHIN_S: Final = 5.0
_RECORDED: Final = 20
"""Diagnostics in a record."""
_WAITING: Final = 100
"""Records that wait while the audit is away; the oldest give way."""

_log = structlog.get_logger("remit")


class _Remember(Protocol):
    """Writes a lifecycle record. Raises JournalUnavailable."""

    def __call__(self, kind: str, /, *, detail: dict[str, Any]) -> None: ...


class LiveIdentities:
    """What the file `identities` says. Readers take one reference a call; a change is one assignment."""

    def __init__(self, path: Path | None, *, settle_s: float = 0.0) -> None:
        """`settle_s`: how long the file must stay unchanged before it is read."""
        self._path = path
        self._settle_s = settle_s
        self._current = Identities()
        self._error = ""
        self._stamps: FileStamps = ()
        self._subscribers: list[Callable[[Identities], None]] = []
        self._unrecorded: deque[tuple[str, dict[str, Any]]] = deque(maxlen=_WAITING)
        self._stopping = Event()
        self._thread: Thread | None = None

    @property
    def current(self) -> Identities:
        return self._current

    @property
    def error(self) -> str:
        """Why the newest version of the file does not count, with file, line and column; '' if it counts."""
        return self._error

    def subscribe(self, changed: Callable[[Identities], None]) -> None:
        """Calls `changed` after each change, in the thread that read the file."""
        self._subscribers.append(changed)

    def load(self) -> None:
        """Reads the file for the first time. Raises StartupError if it does not load."""
        if self._path is None:
            return
        self._stamps = self._seen()
        try:
            self._take(read_identities(self._path))
        except IdentitiesError as error:
            raise StartupError(f"the file of the setting `identities` does not load:\n{error}") from None

    def begin(self, remember: _Remember) -> None:
        """From now on changes are recorded, and the file is looked at each second."""
        if self._path is None:
            return
        self._record(remember)
        self._thread = Thread(target=self._watch, args=(remember,), name="remit-identities", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOPS_WITHIN_S)

    def look(self) -> None:
        """Takes over a version of the file that has not been read yet."""
        seen = self._seen()
        while seen != self._stamps:
            # What is half written may load, and then lacks callers.
            if self._stopping.wait(self._settle_s):
                return
            rested = self._seen()
            if rested == seen:
                self._read(seen)
            seen = rested

    def _watch(self, remember: _Remember) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            try:
                self.look()
                self._record(remember)
            except Exception:  # noqa: BLE001 (the thread must not end: what is taken out of the file would still count)
                _log.exception("identities not looked at")

    def _read(self, seen: FileStamps) -> None:
        assert self._path is not None
        try:
            found = read_identities(self._path)
        except IdentitiesError as error:
            if self._seen() != seen:
                return
            self._refuse(error)
        else:
            if self._seen() != seen:
                return
            self._take(found)
        self._stamps = seen

    def _take(self, found: Identities) -> None:
        before, self._error = self._current, ""
        if found.revision == before.revision:
            _log.info("identities load again", revision=found.revision)
            return
        # It counts before it is recorded: a credential that is taken out must end also while the audit is away.
        self._current = found
        for changed in self._subscribers:
            changed(found)
        detail = {
            "revision": found.revision,
            "callers": found.rows,
            "issuers": sorted(found.issuers),
            "refused": len(found.refused),
        }
        if before.revision:
            detail["replaces"] = before.revision
        self._unrecorded.append((IDENTITIES_LOADED, detail))
        _log.info("identities loaded", **detail)

    def _refuse(self, error: IdentitiesError) -> None:
        texts = [str(each) for each in error.diagnostics]
        self._error = "\n".join(texts)
        serving = self._current.revision
        detail = {"revision": error.revision, "diagnostics": texts[:_RECORDED], "serving": serving}
        self._unrecorded.append((IDENTITIES_REFUSED, detail))
        _log.error("identities refused", revision=error.revision, serving=serving, diagnostics=texts)

    def _record(self, remember: _Remember) -> None:
        """Writes what is not recorded yet; the rest waits until the audit is back."""
        while self._unrecorded:
            kind, detail = self._unrecorded[0]
            try:
                remember(kind, detail=detail)
            except JournalUnavailable as error:
                _log.error("identities not recorded yet", error=str(error))
                return
            self._unrecorded.popleft()

    def _seen(self) -> FileStamps:
        return file_stamps([self._path]) if self._path is not None else ()
