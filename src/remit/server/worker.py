"""A worker process: a server that shares its port with other workers and follows its supervisor."""

import signal
import socket
import sys
import threading
from contextlib import closing
from typing import Any, Final

import structlog

from remit.audit.errors import AuditStoreError
from remit.process.channel import Channel, leave_signals_to_parent
from remit.process.errors import ChannelError
from remit.server.run import serve_until, started, stop_at
from remit.server.ways_in import WaysIn
from remit.service.errors import StartupError
from remit.service.log_config import configure_logs
from remit.service.metrics import Metrics
from remit.service.node import ServerNode
from remit.service.workers.messages import MayScrape, Order, Ready, Refused, Scrape, Serving, WorkerReports

_AWAKE_EVERY_S: Final = 0.5

_log = structlog.get_logger("remit")


def serve(descriptor: int) -> None:
    """The main function of a worker process. Exits 0 if the journal drained."""
    leave_signals_to_parent()
    with closing(Channel(socket.socket(fileno=descriptor))) as channel:
        order: Order = channel.receive()
        settings = order.process.own
        configure_logs(settings.log_level, settings.log_format, worker=settings.node)
        try:
            node, server = started(order.process)
        except StartupError as error:
            channel.send(Refused(str(error)))
            sys.exit(1)
        node.workers[:] = order.workers
        stop = stop_at(signal.SIGTERM)
        obeying = threading.Thread(
            target=_obey, args=(channel, node, server, stop), name="remit-supervisor", daemon=True
        )

        def begun() -> None:
            _log.info("worker serving", **server.ports)
            obeying.start()

        if not _told_to_begin(channel, stop):
            node.stop()
            return
        drained = serve_until(stop, server, begun)
        channel.shut_down()
        obeying.join()
    sys.exit(0 if drained else 1)


def _told_to_begin(channel: Channel, stop: threading.Event) -> bool:
    """Waits for the order to serve. False if the worker must stop instead."""
    try:
        channel.send(Ready())
        while not stop.is_set():
            if channel.wait(_AWAKE_EVERY_S):
                channel.receive()
                return True
    except ChannelError:
        pass
    return False


def _obey(channel: Channel, node: ServerNode, server: WaysIn, stop: threading.Event) -> None:
    try:
        channel.send(Serving())
        while True:
            match channel.receive():
                case WorkerReports(workers):
                    node.workers[:] = workers
                    channel.send(node.report())
                case Scrape():
                    channel.send(_scraped(node.metrics))
                case MayScrape(certificate):
                    channel.send(server.grpc.may_scrape(certificate))
    except ChannelError:
        if not stop.is_set():
            _log.error("the supervisor is gone")
            stop.set()


def _scraped(metrics: Metrics) -> list[Any]:
    try:
        return metrics.scraped()
    except AuditStoreError as error:
        _log.error("metrics not told", error=str(error))
        return []
