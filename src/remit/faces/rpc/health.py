from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, Final, Protocol

import grpc
from grpc_health.v1 import health, health_pb2

SERVICE: Final[str] = health.SERVICE_NAME
WATCHERS: Final = 64


class _Watcher(Protocol):
    """An iterator of statuses, which `close` ends."""

    def __next__(self) -> health_pb2.HealthCheckResponse: ...

    def close(self) -> None: ...


class Health(health.HealthServicer):  # type: ignore[misc]
    """The standard health service. At most `WATCHERS` watch at a time; they hear of changes only, and do not hold up a
    stop.

    Each has a thread of its own: the non-blocking way of grpcio's class tells watchers under a lock that it also wants
    on the thread that has to carry what is told, so that a watcher that leaves can lock up the whole server.
    """

    def __init__(self) -> None:
        # One thread more, to refuse with.
        threads = ThreadPoolExecutor(WATCHERS + 1, thread_name_prefix="remit-watch")
        super().__init__(experimental_non_blocking=False, experimental_thread_pool=threads)
        self._told: dict[str, bool] = {}
        self._watchers: set[_Watcher] = set()
        self._mutex = Lock()
        self._closed = False

    def tell(self, name: str, *, serving: bool) -> None:
        if self._told.get(name) is not serving:
            self._told[name] = serving
            status = health_pb2.HealthCheckResponse
            self.set(name, status.SERVING if serving else status.NOT_SERVING)

    def close(self) -> None:
        """Everything turns NOT_SERVING for good, and the watchers' streams end with that."""
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
            full = len(self._watchers) >= WATCHERS
            if not full:
                watcher: _Watcher = super().Watch(request, context, send_response_callback)
                self._watchers.add(watcher)
                if self._closed:
                    watcher.close()
        if full:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{WATCHERS} others watch the health already")
        if not context.add_callback(lambda: self._forget(watcher)):
            self._forget(watcher)
        return watcher

    def _forget(self, watcher: _Watcher) -> None:
        with self._mutex:
            self._watchers.discard(watcher)
