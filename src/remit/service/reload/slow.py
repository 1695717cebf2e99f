from collections.abc import Iterable
from threading import Event, Lock
from typing import Final

from remit.core.names import Tenant

QUICK_S: Final = 2.0
"""A tenant that needs more processor time to load is slow: it loads in its own process, so that others do not wait."""


class SlowLoads:
    """The tenants that wait for the process for slow ones, and the time that each tenant last took to load."""

    def __init__(self) -> None:
        self.wanted = Event()
        """Set while tenants wait."""
        self._took_s: dict[Tenant, float] = {}
        self._waiting: set[Tenant] = set()
        self._now: frozenset[Tenant] = frozenset()
        """The tenant that is loading there."""
        self._mutex = Lock()

    def took(self, tenant: Tenant, processor_s: float) -> None:
        with self._mutex:
            self._took_s[tenant] = processor_s

    def add(self, *tenants: Tenant, took_s: float = 0.0) -> None:
        """Adds tenants that took at least `took_s` of processor time."""
        with self._mutex:
            for tenant in tenants:
                self._took_s[tenant] = max(self._took_s.get(tenant, 0.0), took_s)
            self._waiting.update(tenants)
            self.wanted.set()

    def apart(self) -> tuple[frozenset[Tenant], dict[Tenant, float]]:
        """The tenants that only the slow process loads, and the processor time of each tenant, in seconds."""
        with self._mutex:
            slow = {tenant for tenant, took_s in self._took_s.items() if took_s >= QUICK_S}
            return self._now | self._waiting | slow, dict(self._took_s)

    def next(self, tenants: Iterable[Tenant]) -> Tenant | None:
        """The quickest of the waiting tenants that still exist. An edit found from now on needs another load."""
        with self._mutex:
            waiting = [tenant for tenant in tenants if tenant in self._waiting]
            waiting.sort(key=lambda tenant: self._took_s[tenant])
            self._now, self._waiting = frozenset(waiting[:1]), set(waiting[1:])
            if not waiting:
                self.wanted.clear()
            return waiting[0] if waiting else None

    def done(self) -> None:
        self._now = frozenset()
