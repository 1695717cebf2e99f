from collections.abc import Iterable
from threading import Event, Lock
from typing import Final

from remit.core.names import Tenant

QUICK_S: Final = 2.0
"""A tenant that takes more processor time to load is slow: a process of its own loads it, and the others get on."""


class SlowTenants:
    """Tenants that are left to the process for slow ones, and what each tenant took to load last time."""

    def __init__(self) -> None:
        self.wanted = Event()
        """There are tenants that wait."""
        self.took_s: dict[Tenant, float] = {}
        """In seconds of processor time."""
        self._waiting: set[Tenant] = set()
        self._now: Tenant | None = None
        self._mutex = Lock()

    def add(self, *tenants: Tenant, took_s: float = 0.0) -> None:
        with self._mutex:
            for tenant in tenants:
                self.took_s[tenant] = max(self.took_s.get(tenant, 0.0), took_s)
            self._waiting.update(tenants)
            self.wanted.set()

    def apart(self) -> frozenset[Tenant]:
        """Whom nobody else loads."""
        with self._mutex:
            slow = {tenant for tenant, took_s in self.took_s.items() if took_s >= QUICK_S}
            return frozenset(slow | self._waiting | {self._now} - {None})

    def next(self, tenants: Iterable[Tenant]) -> Tenant | None:
        """Of those that are still tenants the quickest; edits that are found from now on want another load."""
        with self._mutex:
            waiting = [tenant for tenant in tenants if tenant in self._waiting]
            self._now = min(waiting, key=lambda tenant: self.took_s.get(tenant, 0.0), default=None)
            self._waiting = set(waiting) - {self._now}
            if self._now is None:
                self.wanted.clear()
            return self._now

    def done(self) -> None:
        self._now = None
