"""Records which callers were refused for lack of a right: bounded, so that a flood of refusals fills no disk."""

from collections import Counter
from threading import Event, Lock, Thread
from typing import Any, Final, NamedTuple, Protocol

import structlog

from remit.audit.errors import JournalUnavailable
from remit.audit.record import CALL_REFUSED
from remit.policy.live import LivePolicies
from remit.service.errors import ForbiddenError

RECORD_EVERY_S: Final = 60.0
MOST_KEYS: Final = 1_000
"""Callers by method and tenant that one minute tells apart. Further ones are counted together."""

_log = structlog.get_logger("remit")


class Remember(Protocol):
    def __call__(self, kind: str, tenant: str = "", *, detail: dict[str, Any]) -> None: ...


class _Key(NamedTuple):
    caller: str
    via: str
    method: str
    action: str
    tenant: str
    """Empty for a tenant that is not configured, and for all tenants."""


_OTHERS: Final = _Key("", "", "", "", "")


class RefusedCalls:
    """Counts refused calls, and writes a lifecycle record CALL_REFUSED for each caller, method and tenant a minute."""

    def __init__(self, remember: Remember, live: LivePolicies, *, every_s: float = RECORD_EVERY_S) -> None:
        self._remember = remember
        self._live = live
        self._every_s = every_s
        self._counts: Counter[_Key] = Counter()
        self._mutex = Lock()
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="remit-refused", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Records what was counted since the last record."""
        self._stopping.set()
        self._thread.join()

    def add(self, method: str, error: ForbiddenError) -> None:
        tenant = error.tenant if error.tenant in self._live.tenants else ""
        key = _Key(error.caller.principal, error.caller.via, method, error.action, tenant)
        with self._mutex:
            self._counts[key if key in self._counts or len(self._counts) < MOST_KEYS else _OTHERS] += 1

    def _run(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping.wait(self._every_s)
            self._record()

    def _record(self) -> None:
        with self._mutex:
            counts, self._counts = self._counts, Counter()
        for key, calls in sorted(counts.items()):
            detail = {name: value for name, value in key._asdict().items() if value and name != "tenant"}
            try:
                self._remember(CALL_REFUSED, key.tenant, detail={**detail, "calls": calls})
            except JournalUnavailable as error:
                _log.warning("refused calls not recorded", error=str(error))
                return
