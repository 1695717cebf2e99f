"""A copy of each committed record to an OpenTelemetry collector, beside the store, which stays the truth."""

import importlib.util
import pickle
import time
from collections import deque
from collections.abc import Sequence
from subprocess import Popen
from threading import Event, Thread
from typing import Any, Final

import structlog

from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.process.child import start_child
from remit.service.errors import StartupError
from remit.service.metrics import Metrics

QUEUE: Final = 20_000
"""Records that may wait to be sent; past it they are dropped and counted."""
_BATCH: Final = 500
_EVERY_S: Final = 0.2
_AGAIN_S: Final = 5.0
_SENDER: Final = "remit.service.otlp.sender_process"

_log = structlog.get_logger("remit")


class Otlp:
    """Sends records, and makes no commit and no answer wait: what does not get through is dropped, counted and logged.

    They are encoded in a process of their own: it takes longer than to decide and to write them.
    """

    def __init__(self, endpoint: str, node: str, metrics: Metrics) -> None:
        """`endpoint` is the URL of a collector's logs. Raises StartupError where the exporter is not installed."""
        if not _installed():
            raise StartupError("setting `audit_otlp` needs the exporter: `pip install 'remit[otlp]'`")
        self._order = (endpoint, node)
        self._metrics = metrics
        self._waiting: deque[DecisionRecord | LifecycleRecord] = deque()
        self._stopping = Event()
        self._until = 0.0
        self._failing = False
        self._process: Popen[bytes] | None = None
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
        """Sends what waits, for as long as that."""
        self._until = time.monotonic() + timeout_s
        self._stopping.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive() and self._process is not None:
            self._process.kill()
            self._thread.join(_EVERY_S)

    def _run(self) -> None:
        while not self._stopping.is_set() or self._waiting:
            if self._stopping.is_set() and time.monotonic() >= self._until:
                self._drop(len(self._waiting), "the server stopped")
                return
            self._process, stream = start_child(_SENDER, "serve")
            try:
                with stream, stream.makefile("rwb") as file:
                    pickle.dump(self._order, file)
                    self._feed(file)
            except (EOFError, OSError, pickle.UnpicklingError) as error:
                _log.error("the process that sends records ended", error=repr(error))
            finally:
                self._process.kill()
                self._process.wait()
            self._stopping.wait(_AGAIN_S)

    def _feed(self, file: Any) -> None:
        """Returns where nothing is left to do before the stop."""
        while True:
            stopping = self._stopping.wait(0 if len(self._waiting) >= _BATCH else _EVERY_S)
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH))]
            if batch:
                self._send(file, batch)
            elif stopping:
                return

    def _send(self, file: Any, batch: Sequence[DecisionRecord | LifecycleRecord]) -> None:
        error = "the process that sends them ended"
        try:
            # Plain tuples: a tenth of what pickling records costs.
            pickle.dump([(isinstance(each, DecisionRecord), tuple(each)) for each in batch], file)
            file.flush()
            error = pickle.load(file)  # noqa: S301 (what our own process says)
        finally:
            if error:
                self._drop(len(batch), error)
            else:
                self._metrics.sent(len(batch))
                if self._failing:
                    self._failing = False
                    _log.info("records are sent to the collector again")

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
