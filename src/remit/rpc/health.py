"""The health service."""

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, Final, NamedTuple, Protocol

import grpc
from grpc_health.v1 import health, health_pb2

from remit.audit.batch import EMPTY_BATCH
from remit.core.caller_actions import CallerAction
from remit.core.errors import RemitError
from remit.core.names import is_tenant
from remit.rpc.call_context import AtOnce, caller, still_called
from remit.service.caller_rights import CallerRights
from remit.service.callers import Caller
from remit.service.decision_point import PendingAnswer
from remit.service.identities.errors import KeysAwayError

SERVICE: Final[str] = health.SERVICE_NAME
TENANT: Final = "tenant/"
"""Before a tenant's name in the name of its service."""
_MOMENT_S: Final = 1.0
_FORBIDDEN: Final = "forbidden"


class _Watcher(Protocol):
    """An iterator of statuses that `close` ends."""

    def __next__(self) -> health_pb2.HealthCheckResponse: ...

    def close(self) -> None: ...


class _Watching(NamedTuple):
    """What a watcher's stream is about."""

    caller: Caller
    service: str
    require_caller: Callable[[], None]
    """As `still_called`."""


class Health(health.HealthServicer):  # type: ignore[misc]
    """The standard health service. Watchers get changes only, and do not delay a stop.

    A watcher has its own thread. The non-blocking mode of grpcio's class sends to watchers under a lock that the
    sending thread needs too, so a watcher that leaves can deadlock the whole server.
    """

    def __init__(self, rights: CallerRights) -> None:
        super().__init__(experimental_non_blocking=False)
        self._rights = rights
        self._told: dict[str, bool] = {}
        self._watchers: dict[_Watcher, _Watching] = {}
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

    def end_forbidden(self) -> None:
        """Ends the streams of callers who may no longer see the service that they watch, or who are none any more."""
        with self._mutex:
            for watcher, watching in self._watchers.items():
                if not self._may_see(watching.caller, watching.service) or not _is_called(watching):
                    watcher.close()

    def close(self) -> None:
        """Sets everything to NOT_SERVING permanently, and then ends the watchers' streams."""
        self.enter_graceful_shutdown()
        with self._mutex:
            self._closed = True
            for watcher in self._watchers:
                watcher.close()

    def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        if not self._may_see(caller.get(), request.service):
            # As for a service that does not exist.
            context.set_code(grpc.StatusCode.NOT_FOUND)
            return health_pb2.HealthCheckResponse()
        response: health_pb2.HealthCheckResponse = super().Check(request, context)
        return response

    def Watch(
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.ServicerContext,
        send_response_callback: Any = None,
    ) -> _Watcher:
        watching, service = caller.get(), request.service
        if not self._may_see(watching, service):
            # As for a service that does not exist; a name that no service has is never updated.
            service = request.service = _FORBIDDEN
        with self._mutex:
            watcher: _Watcher = super().Watch(request, context, send_response_callback)
            self._watchers[watcher] = _Watching(watching, service, still_called.get())
            if self._closed:
                watcher.close()
        if not context.add_callback(lambda: self._forget(watcher)):
            self._forget(watcher)
        return watcher

    def _may_see(self, watching: Caller, service: str) -> bool:
        if not service.startswith(TENANT) or not self._rights.enforced:
            return True
        tenant = service.removeprefix(TENANT)
        return is_tenant(tenant) and self._rights.may(watching, CallerAction.STATUS, tenant)

    def _forget(self, watcher: _Watcher) -> None:
        with self._mutex:
            forgotten = self._watchers.pop(watcher, None)
            service = forgotten.service if forgotten is not None else ""
        with self._lock:
            # The library keeps every name that was ever watched, and callers may invent names.
            if not self._send_response_callbacks.get(service):
                self._send_response_callbacks.pop(service, None)


def _is_called(watching: _Watching) -> bool:
    try:
        watching.require_caller()
    except (RemitError, KeysAwayError):
        return False
    return True
