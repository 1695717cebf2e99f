"""Sends a copy of each committed record to an OpenTelemetry collector. The audit store remains authoritative."""

import importlib.util
import time
from collections import deque
from collections.abc import Sequence
from threading import Event, Thread
from typing import Final

import structlog

from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.process.channel import ChildProcess
from remit.process.errors import ChildEndedError
from remit.service.errors import StartupError
from remit.service.metrics import Metrics

QUEUE: Final = 20_000
"""Records that may wait to be sent; more are dropped and counted."""
_BATCH: Final = 500
_EVERY_S: Final = 0.2
_AGAIN_S: Final = 5.0
_SENDER: Final = "remit.service.otlp.sender_process"

_log = structlog.get_logger("remit")


class Otlp:
    """Sends records without delaying a commit or an answer. Records that cannot be sent are dropped, counted and
    logged.

    A separate process encodes them, because that takes longer than to decide and write them.
    """

    def __init__(self, endpoint: str, node: str, metrics: Metrics) -> None:
        """`endpoint` is the URL of the collector's logs. Raises StartupError if the exporter is not installed."""
        if not _installed():
            raise StartupError(
                "setting `audit_otlp` needs the exporter: install remit with the extra `otlp` (docs/how-to/install.md)"
            )
        self._child = ChildProcess("the process that sends records", _SENDER, "serve", (endpoint, node))
        self._metrics = metrics
        self._waiting: deque[DecisionRecord | LifecycleRecord] = deque()
        self._stopping = Event()
        self._until = 0.0
        self._failing = False
        self._thread = Thread(target=self._run, name="remit-otlp", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def offer(self, decided: Sequence[DecisionRecord], happened: Sequence[LifecycleRecord]) -> None:
        """Never waits."""
        count = len(decided) + len(happened)
        if len(self._waiting) + count > QUEUE:
            self._drop(count, f"{QUEUE} wait already")
        else:
            self._waiting.extend(decided)
            self._waiting.extend(happened)

    def stop(self, timeout_s: float) -> None:
        """Sends the waiting records, for at most `timeout_s`."""
        self._until = time.monotonic() + timeout_s
        self._stopping.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._child.stop()
            self._thread.join(_EVERY_S)

    def _run(self) -> None:
        pause_s = 0.0
        while not (stopping := self._stopping.wait(pause_s)) or self._waiting:
            if stopping and time.monotonic() >= self._until:
                self._drop(len(self._waiting), "the server stopped")
                break
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH))]
            ended = batch and not self._sent(batch)
            pause_s = _AGAIN_S if ended else 0.0 if len(self._waiting) >= _BATCH else _EVERY_S
        self._child.close()

    def _sent(self, batch: Sequence[DecisionRecord | LifecycleRecord]) -> bool:
        """Returns False if the process ended."""
        try:
            # Plain tuples pickle at a tenth of the cost of records.
            error = self._child.request([(isinstance(each, DecisionRecord), tuple(each)) for each in batch])
        except ChildEndedError as ended:
            _log.error("the process that sends records ended", error=str(ended))
            self._drop(len(batch), "the process that sends them ended")
            return False
        if error:
            self._drop(len(batch), error)
        else:
            self._metrics.sent(len(batch))
            if self._failing:
                self._failing = False
                _log.info("records are sent to the collector again")
        return True

    def _drop(self, count: int, why: str) -> None:
        self._metrics.not_sent(count)
        if not self._failing:
            self._failing = True
            _log.warning("records are not sent to the collector; the store has them", error=why, dropped=count)


def _installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False
