import errno
import gc
import signal
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Final

import structlog

from remit.core.addresses import split_address
from remit.process.memory import without_collector
from remit.server.ways_in import WaysIn
from remit.service.descriptors import raise_descriptor_limit
from remit.service.errors import StartupError
from remit.service.node import ServerNode
from remit.service.settings import Settings
from remit.service.workers.port import PortReservation, cannot_listen, cannot_serve_metrics, http_taken
from remit.service.workers.process_settings import ProcessSettings

_AWAKE_EVERY_S: Final = 0.5
SWITCH_S: Final = 0.001
"""The time that a thread computes while another one waits to run. A check switches threads a few times: with the
default of 5 ms, one long question would delay each check by 20 ms."""

_log = structlog.get_logger("remit")


def stop_at(*signals: signal.Signals) -> threading.Event:
    """Returns an event, which is set when one of the signals arrives."""
    stop = threading.Event()
    for number in signals:
        # `nohup` ignores SIGHUP: its program must outlive the terminal.
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: stop.set())
    return stop


def started(process: ProcessSettings) -> tuple[ServerNode, WaysIn]:
    """Makes a node and a server that does not answer yet. Raises StartupError, and then nothing is left running."""
    raise_descriptor_limit()
    settings = process.own
    if settings.workers == 1:
        # Check before the node records its start: this node may be running already.
        _refuse_taken("listen", settings.listen, cannot_listen)
        _refuse_taken("metrics", settings.metrics, cannot_serve_metrics)
        _refuse_taken("http", settings.http, http_taken)
    with without_collector():
        node = ServerNode.start(process)
    try:
        return node, WaysIn(node)
    except StartupError:
        node.stop()
        raise


def installed(settings: Settings) -> Settings:
    """The settings without `http`, which is on by default, if what it needs is not installed.

    Raises StartupError if somebody has asked for it.
    """
    if not settings.http or all(map(find_spec, ("connectrpc", "httptools", "uvicorn", "uvloop"))):
        return settings
    if "http" in settings.model_fields_set:
        raise StartupError(
            f"`http` is `{settings.http}`, and the API over HTTP needs the extra `http` (docs/how-to/install.md)"
        )
    _log.info("no API over HTTP: it needs the extra `http` (docs/how-to/install.md)")
    return settings.model_copy(update={"http": ""})


def _refuse_taken(name: str, address: str, why: Callable[[str, OSError], str]) -> None:
    if not address:
        return
    try:
        PortReservation(*split_address(name, address)).close()
    except OSError as error:
        # The bind reports any other error of the address.
        if error.errno == errno.EADDRINUSE:
            raise StartupError(why(address, error)) from error


def serve_until(stop: threading.Event, server: WaysIn, begun: Callable[[], None]) -> bool:
    """Serves until `stop` is set, and calls `begun` once it serves. True if the journal drained after the stop."""
    # Compiled policies live as long as the process: the garbage collector must not walk them.
    gc.collect()
    gc.freeze()
    # A call makes hundreds of objects and no cycles: the default run after 700 objects would free nothing.
    gc.set_threshold(50_000, 20, 100)
    sys.setswitchinterval(SWITCH_S)
    server.start()
    begun()
    # The system delivers a signal to any thread. Python handles it in this thread, which must wake up for that.
    while not stop.wait(_AWAKE_EVERY_S):
        pass
    _log.info("stopping")
    return server.stop().unwritten == 0
