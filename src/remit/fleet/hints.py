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
"""How much later than the news its notification may arrive."""

_log = structlog.get_logger("remit")


class Hints:
    """Waits for a notification of PostgreSQL, for a process of this node that wants news, or for `wake`."""

    def __init__(self, store: PolicyStore, journal: ReleaseJournal) -> None:
        self._store = store
        self._asked = journal.hear()
        self._woken, self._wake = os.pipe()
        self._connection: Any = None
        self._next_try_s = 0.0
        self._is_told = False
        """A notification has arrived since the last look."""
        self._doubted_s = 0.0
        """When there was news without a notification, and none has arrived since; 0 for never."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()
        for descriptor in (self._asked, self._woken, self._wake):
            os.close(descriptor)

    @property
    def mode(self) -> str:
        return LISTENING if self._connection is not None else POLLING

    def listen(self) -> bool:
        """Makes sure that notifications arrive, if the store sends them. True if they do from now on: what came before must
        be looked for."""
        if self._doubted_s and time.monotonic() - self._doubted_s > _LATE_S:
            _log.warning("the policy store's notifications arrive no more: listens anew", store=self._store.url)
            self._hang_up()
            self._next_try_s = 0.0
        if self._store.file is not None or self._connection is not None or time.monotonic() < self._next_try_s:
            return False
        self._next_try_s = time.monotonic() + _AGAIN_S
        import psycopg  # noqa: PLC0415 (it comes with an extra)

        try:
            raw = self._store.engine.raw_connection()
            self._connection = raw.driver_connection
            raw.detach()
            self._connection.autocommit = True
            if self._hears():
                self._connection.execute(f"LISTEN {CHANNEL}")
                return True
            self._next_try_s = time.monotonic() + _POOLED_AGAIN_S
            _log.warning("the policy store sends no notifications: news is found by polling", store=self._store.url)
        except (SQLAlchemyError, psycopg.Error, OSError):
            pass
        self._hang_up()
        return False

    def looked(self, *, news: bool) -> None:
        """Says what a look found. A connection that listens must have told of news, or tell of it soon: one that carries
        nothing any more looks like one without news."""
        if news and self._connection is not None and not self._is_told and not self._doubted_s:
            self._doubted_s = time.monotonic()
        self._is_told = False

    def wait(self, timeout_s: float) -> bool:
        """Returns True after a hint, or False after `timeout_s`."""
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

    def _hears(self) -> bool:
        """Whether notifications arrive: a pooler that lends out connections for one transaction swallows them.

        Raises SQLAlchemyError or psycopg.Error.
        """
        # One channel for all: a pooler's connections keep listening to it.
        self._connection.execute(f"LISTEN {_PROBE}")
        token = uuid4().hex
        with self._store.engine.begin() as other:
            other.execute(text("SELECT pg_notify(:channel, :token)"), {"channel": _PROBE, "token": token})
        ends_s = time.monotonic() + _PROBE_S
        while (left_s := ends_s - time.monotonic()) > 0:
            if any(each.payload == token for each in self._connection.notifies(timeout=left_s, stop_after=1)):
                self._connection.execute(f"UNLISTEN {_PROBE}")
                return True
        return False

    def _drain(self) -> None:
        """Takes the notifications that have arrived."""
        import psycopg  # noqa: PLC0415 (as above)

        try:
            for _ in self._connection.notifies(timeout=0.0):
                self._is_told, self._doubted_s = True, 0.0
        except (psycopg.Error, OSError):
            self._hang_up()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        self._is_told, self._doubted_s = False, 0.0
        if connection is not None:
            with suppress(Exception):
                connection.close()
