import errno
import gc
import signal
import threading
from collections.abc import Callable
from typing import Final

import structlog

from remit.rpc.server import Server
from remit.service.addresses import split_address
from remit.service.descriptors import raise_descriptor_limit
from remit.service.errors import StartupError
from remit.service.node import ServerNode
from remit.service.settings import Settings
from remit.service.workers.port import PortReservation, taken

_AWAKE_EVERY_S: Final = 0.5

_log = structlog.get_logger("remit")


def stop_at(*signals: signal.Signals) -> threading.Event:
    """What is set when one of them comes."""
    stop = threading.Event()
    for number in signals:
        # `nohup` ignores it for its program, which is to outlive the terminal.
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: stop.set())
    return stop


def started(settings: Settings) -> tuple[ServerNode, Server]:
    """A server that does not answer yet, and all that is behind it. Raises StartupError, and then nothing is left."""
    raise_descriptor_limit()
    if settings.workers == 1:
        # Before the node records that it serves: it may be one that does, started twice.
        _refuse_taken("listen", settings.listen, "listen")
        _refuse_taken("metrics", settings.metrics, "serve metrics")
    node = ServerNode.start(settings)
    try:
        return node, Server(node)
    except StartupError:
        node.stop()
        raise


def _refuse_taken(name: str, address: str, what: str) -> None:
    if not address:
        return
    try:
        PortReservation(*split_address(name, address)).close()
    except OSError as error:
        # What else is wrong with it, binding it tells.
        if error.errno == errno.EADDRINUSE:
            raise StartupError(f"cannot {what} on {taken(address, error)}") from error


def serve_until(stop: threading.Event, server: Server, begun: Callable[[], None]) -> bool:
    """Answers from `begun` until `stop`. Whether the journal drained then."""
    # The compiled policies live as long as the process: keep the collector from walking them.
    gc.collect()
    gc.freeze()
    # A call leaves hundreds of objects and no cycles: to look through them at every seven hundredth frees nothing.
    gc.set_threshold(50_000, 20, 100)
    server.start()
    begun()
    # The system may hand a signal to any thread; Python acts on it in this one, which has to be awake for it.
    while not stop.wait(_AWAKE_EVERY_S):
        pass
    _log.info("stopping")
    return server.stop().unwritten == 0
