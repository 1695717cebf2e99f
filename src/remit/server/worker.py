"""A worker process: a server that shares its port with other workers and follows its supervisor."""

import select
import signal
import socket
import sys
import threading
from typing import Any, Final

import structlog

from remit.audit.errors import AuditStoreError
from remit.process.child import leave_signals_to_parent
from remit.server.run import serve_until, started, stop_at
from remit.service.errors import StartupError
from remit.service.log_config import configure_logs
from remit.service.metrics import Metrics
from remit.service.node import ServerNode
from remit.service.workers.messages import Order, Ready, Refused, Scrape, Serving, Wire, WorkerReports

_AWAKE_EVERY_S: Final = 0.5

_log = structlog.get_logger("remit")


def serve(descriptor: int) -> None:
    """The main function of a worker process. Exits 0 if the journal drained."""
    leave_signals_to_parent()
    with Wire(socket.socket(fileno=descriptor)) as wire:
        order: Order = wire.hear()
        settings = order.settings
        configure_logs(settings.log_level, settings.log_format, worker=settings.node)
        try:
            node, server = started(settings)
        except StartupError as error:
            wire.tell(Refused(str(error)))
            sys.exit(1)
        node.workers[:] = order.workers
        stop = stop_at(signal.SIGTERM)
        obeying = threading.Thread(target=_obey, args=(wire, node, stop), name="remit-supervisor", daemon=True)

        def begun() -> None:
            _log.info("worker serving", port=server.port)
            obeying.start()

        if not _told_to_begin(wire, stop):
            node.stop()
            return
        drained = serve_until(stop, server, begun)
        wire.stream.shutdown(socket.SHUT_RDWR)
        obeying.join()
    sys.exit(0 if drained else 1)


def _told_to_begin(wire: Wire, stop: threading.Event) -> bool:
    """Waits for the order to serve. False if the worker must stop instead."""
    try:
        wire.tell(Ready())
        while not stop.is_set():
            if select.select([wire.stream], [], [], _AWAKE_EVERY_S)[0]:
                wire.hear()
                return True
    except (EOFError, OSError):
        pass
    return False


def _obey(wire: Wire, node: ServerNode, stop: threading.Event) -> None:
    try:
        wire.tell(Serving())
        while True:
            match wire.hear():
                case WorkerReports(workers):
                    node.workers[:] = workers
                    wire.tell(node.report())
                case Scrape():
                    wire.tell(_scraped(node.metrics))
    except (EOFError, OSError):
        if not stop.is_set():
            _log.error("the supervisor is gone")
            stop.set()


def _scraped(metrics: Metrics) -> list[Any]:
    try:
        return metrics.scraped()
    except AuditStoreError as error:
        _log.error("metrics not told", error=str(error))
        return []
