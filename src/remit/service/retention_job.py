import time
from collections.abc import Mapping
from threading import Event, Thread
from typing import Final

import structlog

from remit.audit.chain.signing import SigningKey
from remit.audit.errors import AuditStoreError
from remit.audit.retention.ages import Retention
from remit.audit.retention.purge import PurgePacing
from remit.audit.store.store import AuditStore
from remit.clock import now_us
from remit.service.metrics import Metrics

# A server answers meanwhile: few rows a transaction, because a commit of decisions may wait for it, and mostly pauses.
_PACING: Final = PurgePacing(rows=100, share=0.1)
_AGAIN_S: Final = 60.0

_log = structlog.get_logger("remit")


class _StoppingError(Exception):
    pass


class RetentionRuns:
    """Deletes decisions that are older than their retention, every `every_s` seconds, in a thread."""

    def __init__(
        self,
        stores: Mapping[str, AuditStore],
        retention: Retention,
        metrics: Metrics,
        *,
        every_s: float,
        key: SigningKey | None = None,
    ) -> None:
        """`stores` maps the node's name in the PURGED records to the store."""
        self._stores = stores
        self._retention = retention
        self._metrics = metrics
        self._every_s = every_s
        self._key = key
        self._stopping = Event()
        self._gone = 0
        self._thread = Thread(target=self._run, name="remit-retention", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Interrupts the run. A record states what the run had deleted by then."""
        self._stopping.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stopping.wait(wait_s):
            went_well = [self._once(node, store) for node, store in self._stores.items()]
            wait_s = self._every_s if all(went_well) else min(self._every_s, _AGAIN_S)

    def _once(self, node: str, store: AuditStore) -> bool:
        began = time.monotonic()
        self._gone = 0
        try:
            purged = store.purge(
                self._retention.cutoffs(now_us()),
                node=node,
                key=self._key,
                pacing=_PACING,
                by_hand=False,
                progress=self._progress,
            )
        except _StoppingError:
            _log.info("retention broken off by the stop", deleted=self._gone)
            return True
        except AuditStoreError as error:
            _log.error("retention failed", store=store.url, error=str(error), deleted=self._gone)
            self._metrics.retained(failed=True)
            return False
        self._metrics.retained(failed=False)
        _log.info("retention ran", store=store.url, **purged._asdict(), seconds=round(time.monotonic() - began, 3))
        return True

    def _progress(self, gone: int) -> None:
        self._metrics.purged(gone - self._gone)
        self._gone = gone
        if self._stopping.is_set():
            raise _StoppingError
