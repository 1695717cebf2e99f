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
from remit.fleet.store import CHANNEL, PolicyStore

LISTENING: Final = "listening"
POLLING: Final = "polling"
_AGAIN_S: Final = 30.0
"""Pause before a connection that does not listen is tried again."""
_PROBE_S: Final = 2.0

_log = structlog.get_logger("remit")


class Hints:
    """Waits for a notification of PostgreSQL, for a process of this node that wants news, or for `wake`."""

    def __init__(self, store: PolicyStore, journal: ReleaseJournal) -> None:
        self._store = store
        self._asked = journal.hear()
        self._woken, self._wake = os.pipe()
        self._connection: Any = None
        self._next_try_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()
        for descriptor in (self._asked, self._woken, self._wake):
            os.close(descriptor)

    @property
    def mode(self) -> str:
        return LISTENING if self._connection is not None else POLLING

    def listen(self) -> None:
        """Makes sure that notifications arrive, if the store sends them. Call it before each look at the store: what comes
        after it is then either seen, or told."""
        if self._store.file is not None or self._connection is not None or time.monotonic() < self._next_try_s:
            return
        self._next_try_s = time.monotonic() + _AGAIN_S
        import psycopg  # noqa: PLC0415 (it comes with an extra)

        try:
            raw = self._store.engine.raw_connection()
            self._connection = raw.driver_connection
            raw.detach()
            self._connection.autocommit = True
            self._connection.execute(f"LISTEN {CHANNEL}")
            if not self._hears():
                _log.warning("the policy store sends no notifications: news is found by polling", store=self._store.url)
                self._hang_up()
        except (SQLAlchemyError, psycopg.Error, OSError):
            self._hang_up()

    def wait(self, timeout_s: float) -> None:
        """Returns after a hint, or after `timeout_s`."""
        watched = [self._asked, self._woken]
        if self._connection is not None:
            watched.append(self._connection.fileno())
        ready, _, _ = select.select(watched, [], [], timeout_s)
        for descriptor in (self._asked, self._woken):
            if descriptor in ready:
                os.read(descriptor, 65_536)
        if self._connection is not None and self._connection.fileno() in ready:
            self._heard(0.0)

    def wake(self) -> None:
        """Ends the wait. Any thread may call it."""
        os.write(self._wake, b"\0")

    def _hears(self) -> bool:
        """Whether notifications arrive: a pooler that lends out connections for one transaction swallows them."""
        channel = f"remit_probe_{uuid4().hex}"
        self._connection.execute(f"LISTEN {channel}")
        with self._store.engine.begin() as other:
            other.execute(text(f"NOTIFY {channel}"))
        heard = channel in self._heard(_PROBE_S)
        if heard:
            self._connection.execute(f"UNLISTEN {channel}")
        return heard

    def _heard(self, timeout_s: float) -> set[str]:
        """The channels of the notifications that have arrived, or the first one within `timeout_s`."""
        import psycopg  # noqa: PLC0415 (as above)

        try:
            stop_after = 1 if timeout_s else None
            return {each.channel for each in self._connection.notifies(timeout=timeout_s, stop_after=stop_after)}
        except (psycopg.Error, OSError):
            self._hang_up()
            return set()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()
