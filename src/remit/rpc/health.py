"""The health service."""

from collections.abc import Mapping
from threading import Lock
from typing import Any, Final, Protocol

import grpc
from grpc_health.v1 import health, health_pb2

from remit.audit.batch import EMPTY_BATCH
from remit.rpc.boundary import AtOnce
from remit.service.decision_point import PendingAnswer

SERVICE: Final[str] = health.SERVICE_NAME
_MOMENT_S: Final = 1.0


class _Watcher(Protocol):
    """An iterator of statuses that `close` ends."""

    def __next__(self) -> health_pb2.HealthCheckResponse: ...

    def close(self) -> None: ...


class Health(health.HealthServicer):  # type: ignore[misc]
    """The standard health service. Watchers get changes only, and do not delay a stop.

    A watcher has its own thread. The non-blocking mode of grpcio's class sends to watchers under a lock that the
    sending thread needs too, so a watcher that leaves can deadlock the whole server.
    """

    def __init__(self) -> None:
        super().__init__(experimental_non_blocking=False)
        self._told: dict[str, bool] = {}
        self._watchers: set[_Watcher] = set()
        self._mutex = Lock()
        self._closed = False

    @property
    def at_once(self) -> Mapping[str, AtOnce]:
        """Answers without a thread: an orchestrator ends a server whose health check does not answer."""
        return {
            "Check": lambda request, context: PendingAnswer(self.Check(request, context), EMPTY_BATCH, {}, _MOMENT_S)
        }

    def tell(self, name: str, *, serving: bool) -> None:
        if self._told.get(name) is not serving:
            self._told[name] = serving
            status = health_pb2.HealthCheckResponse
            self.set(name, status.SERVING if serving else status.NOT_SERVING)

    def close(self) -> None:
        """Sets everything to NOT_SERVING permanently, and then ends the watchers' streams."""
        self.enter_graceful_shutdown()
        with self._mutex:
            self._closed = True
            for watcher in self._watchers:
                watcher.close()

    def Watch(
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.ServicerContext,
        send_response_callback: Any = None,
    ) -> _Watcher:
        with self._mutex:
            watcher: _Watcher = super().Watch(request, context, send_response_callback)
            self._watchers.add(watcher)
            if self._closed:
                watcher.close()
        if not context.add_callback(lambda: self._forget(watcher)):
            self._forget(watcher)
        return watcher

    def _forget(self, watcher: _Watcher) -> None:
        with self._mutex:
            self._watchers.discard(watcher)
