"""Ends calls whose time is over."""

import logging
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Final

EXPIRY_EVERY_S: Final = 0.05

_log = logging.getLogger("remit.rpc")


class Expiry:
    """A thread that looks for calls whose time is over: a timer for each call would cost more."""

    def __init__(self) -> None:
        # Threads share it, and change it in single steps of the interpreter.
        self._expiring: dict[object, tuple[float, Callable[[], None]]] = {}
        self._looks: list[Callable[[], None]] = [self._look]
        self._stopping = Event()
        Thread(target=self._run, name="remit-expiry", daemon=True).start()

    def at_each_look(self, look: Callable[[], None]) -> None:
        """Calls `look` every EXPIRY_EVERY_S too."""
        self._looks.append(look)

    def expire_after(self, call: object, timeout_s: float, expired: Callable[[], None]) -> None:
        """Calls `expired` soon after the timeout, unless somebody claims the call before."""
        self._expiring[call] = (time.monotonic() + timeout_s, expired)

    def claim(self, call: object) -> bool:
        """True for the first thread that claims the call: only that thread may answer it."""
        return self._expiring.pop(call, None) is not None

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(EXPIRY_EVERY_S):
            for look in self._looks:
                survive(look)

    def _look(self) -> None:
        now = time.monotonic()
        for until, expired in list(self._expiring.values()):
            if until <= now:
                survive(expired)


def survive(expired: Callable[[], None]) -> None:
    """Calls `expired`. An exception must not end the thread: no call would expire any more."""
    try:
        expired()
    except Exception:  # noqa: BLE001 (the lines above)
        _log.exception("a call could not be ended")
