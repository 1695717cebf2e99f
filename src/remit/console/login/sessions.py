"""Sessions of browsers: a random id in a cookie, and all else in memory."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

IDLE_S: Final = 30 * 60
"""A session that nobody uses ends after this."""
WHOLE_S: Final = 8 * 3600
"""Every session ends after this."""
MOST_SESSIONS: Final = 10_000
_ID_BYTES: Final = 32

_Of = TypeVar("_Of")


@dataclass(slots=True)
class _SessionEntry(Generic[_Of]):
    of: _Of
    begun_s: float
    used_s: float


class Sessions(Generic[_Of]):
    """Where there is no room for another session, the one that was unused for longest ends."""

    def __init__(
        self,
        *,
        idle_s: float = IDLE_S,
        whole_s: float = WHOLE_S,
        most: int = MOST_SESSIONS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self._idle_s = idle_s
        self._whole_s = whole_s
        self._most = most
        self._entries: OrderedDict[str, _SessionEntry[_Of]] = OrderedDict()
        """The one that was unused for longest comes first."""

    def begin(self, of: _Of) -> str:
        """The id of a new session. Nobody but the new session has had it."""
        while self._entries and (len(self._entries) >= self._most or self._is_over(next(iter(self._entries.values())))):
            self._entries.popitem(last=False)
        session_id = secrets.token_urlsafe(_ID_BYTES)
        now_s = self.clock()
        self._entries[session_id] = _SessionEntry(of, now_s, now_s)
        return session_id

    def find(self, session_id: str, *, used: bool = True) -> _Of | None:
        """What the session is of; None if there is none, or if it is over. `used`: the person did something."""
        entry = self._entries.get(session_id)
        if entry is None:
            return None
        if self._is_over(entry):
            del self._entries[session_id]
            return None
        if used:
            entry.used_s = self.clock()
            self._entries.move_to_end(session_id)
        return entry.of

    def end(self, session_id: str) -> _Of | None:
        entry = self._entries.pop(session_id, None)
        return entry.of if entry is not None else None

    def __len__(self) -> int:
        return len(self._entries)

    def _is_over(self, entry: _SessionEntry[_Of]) -> bool:
        now_s = self.clock()
        return now_s - entry.used_s >= self._idle_s or now_s - entry.begun_s >= self._whole_s
