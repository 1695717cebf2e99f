"""What tells a puller that something may be new. A hint is never the truth: the puller looks anyway, from time to time."""

import os
import select
import time
from contextlib import suppress
from typing import Any, Final, Self
from uuid import uuid4

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from remit.fleet.journal import ReleaseJournal
from remit.fleet.store import PolicyStore
from remit.fleet.writes import CHANNEL

LISTENING: Final = "listening"
POLLING: Final = "polling"
_AGAIN_S: Final = 30.0
"""Pause before a connection that does not listen is tried again."""
_POOLED_AGAIN_S: Final = 600.0
"""The same for a pooler that swallows notifications."""
_PROBE: Final = "remit_probe"
_PROBE_S: Final = 2.0
_LATE_S: Final = 1.0
"""How much later than the news its notification may arrive, as long as notifications arrive."""

_log = structlog.get_logger("remit")


class Hints:
    """Waits for a notification of PostgreSQL, for a process of this node that wants news, or for `wake`."""

    def __init__(self, store: PolicyStore, journal: ReleaseJournal) -> None:
        self._store = store
        self._asked = journal.hear()
        self._woken, self._wake = os.pipe()
        self._connection: Any = None
        self._next_try_s = 0.0
        self._probe = ""
        """What the connection must tell before it counts as one that listens; '' if it has."""
        self._probe_ends_s = 0.0
        self._is_told = False
        """A notification has arrived since the last look."""
        self._doubted_s = 0.0
        """When there was news without a notification, and none has arrived since; 0 for never."""
        self._late_s = _LATE_S
        """How much later than the news its notification may arrive now. Twice as much after each connection that told nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()
        for descriptor in (self._asked, self._woken, self._wake):
            os.close(descriptor)

    @property
    def mode(self) -> str:
        return LISTENING if self._listens else POLLING

    @property
    def _listens(self) -> bool:
        return self._connection is not None and not self._probe

    def listen(self) -> None:
        """Sees to it that notifications arrive, if the store sends them. Polls go on until one has."""
        now_s = time.monotonic()
        if self._doubted_s and now_s - self._doubted_s > self._late_s:
            _log.warning("the policy store's notifications arrive no more: listens anew", store=self._store.url)
            self._hang_up()
            self._next_try_s = 0.0
            # Perhaps nobody sends any.
            self._late_s = min(2 * self._late_s, _AGAIN_S)
        if self._probe and now_s > self._probe_ends_s:
            _log.warning("the policy store sends no notifications: news is found by polling", store=self._store.url)
            self._hang_up()
            self._next_try_s = now_s + _POOLED_AGAIN_S
        if self._store.file is None and self._connection is None and now_s >= self._next_try_s:
            self._next_try_s = now_s + _AGAIN_S
            self._connect()

    def looked(self, *, news: bool) -> None:
        """Says what a look found. A connection that listens must have told of news, or tell of it soon: one that carries
        nothing any more looks like one without news."""
        if news and self._listens and not self._is_told and not self._doubted_s:
            self._doubted_s = time.monotonic()
        self._is_told = False

    def wait(self, timeout_s: float) -> bool:
        """Returns True after a hint, or False after `timeout_s`. That the connection listens from now on is a hint too: what
        came before must be looked for."""
        watched = [self._asked, self._woken]
        if self._connection is not None:
            watched.append(self._connection.fileno())
        ready, _, _ = select.select(watched, [], [], timeout_s)
        for descriptor in (self._asked, self._woken):
            if descriptor in ready:
                os.read(descriptor, 65_536)
        if self._connection is not None and self._connection.fileno() in ready:
            self._drain()
        return bool(ready)

    def wake(self) -> None:
        """Ends the wait. Any thread may call it."""
        os.write(self._wake, b"\0")

    def _connect(self) -> None:
        """Asks whether notifications arrive: a pooler that lends out connections for one transaction swallows them."""
        import psycopg  # noqa: PLC0415 (it comes with an extra)

        try:
            raw = self._store.engine.raw_connection()
            self._connection = raw.driver_connection
            raw.detach()
            self._connection.autocommit = True
            # One channel for all: a pooler's connections keep listening to it.
            self._connection.execute(f"LISTEN {_PROBE}")
            self._probe, self._probe_ends_s = uuid4().hex, time.monotonic() + _PROBE_S
            with self._store.engine.begin() as other:
                other.execute(text("SELECT pg_notify(:channel, :token)"), {"channel": _PROBE, "token": self._probe})
        except (SQLAlchemyError, psycopg.Error, OSError):
            self._hang_up()

    def _drain(self) -> None:
        """Takes the notifications that have arrived."""
        import psycopg  # noqa: PLC0415 (as above)

        try:
            arrived = [each.payload for each in self._connection.notifies(timeout=0.0)]
            if arrived and not self._probe:
                self._is_told, self._doubted_s, self._late_s = True, 0.0, _LATE_S
            elif self._probe in arrived:
                self._connection.execute(f"UNLISTEN {_PROBE}")
                self._connection.execute(f"LISTEN {CHANNEL}")
                self._probe = ""
        except (psycopg.Error, OSError):
            self._hang_up()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        self._probe = ""
        self._is_told, self._doubted_s = False, 0.0
        if connection is not None:
            with suppress(Exception):
                connection.close()
