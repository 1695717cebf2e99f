import gc
import inspect
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final

import structlog
import typer

from remit.faces.cli.exits import Exit, fail
from remit.faces.rpc.server import Server
from remit.service.errors import StartupError
from remit.service.logs import configure_logs
from remit.service.node import Node
from remit.service.settings import ENV_PREFIX, Settings, default_told, read_settings

_AWAKE_EVERY_S: Final = 0.5


def _serve(**flags: Any) -> None:
    """Answer questions over gRPC from the policy files, and record every decision.

    Each option is a setting: a flag beats the environment (`REMIT_LISTEN`), which beats the TOML file that
    `REMIT_CONFIG` names, which beats the default. Stops gracefully on SIGTERM and SIGINT: calls in flight finish, the
    audit journal drains.
    """
    try:
        settings = read_settings({name: value for name, value in flags.items() if value is not None})
        configure_logs(settings.log_level, settings.log_format)
        node = Node.start(settings)
        try:
            server = Server(node)
        except StartupError:
            node.stop()
            raise
    except StartupError as error:
        fail(Exit.UNAVAILABLE, f"remit does not start: {error}")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # The compiled policies live as long as the process: keep the collector from walking them.
    gc.collect()
    gc.freeze()
    server.start()
    log = structlog.get_logger("remit")
    log.info("serving", listen=settings.listen, port=server.port, metrics_port=server.metrics_port, node=settings.node)
    # The system may hand a signal to any thread; Python acts on it in this one, which has to be awake for it.
    while not stop.wait(_AWAKE_EVERY_S):
        pass
    log.info("stopping")
    server.stop()


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Gives the command one option for each setting, so that the flags cannot fall behind them."""
    command.__signature__ = inspect.Signature([*_options()])  # type: ignore[attr-defined]
    command.__name__ = "serve"
    return command


def _options() -> Iterator[inspect.Parameter]:
    for name, field in Settings.model_fields.items():
        flag = name.replace("_", "-")
        is_switch = field.annotation is bool
        option = typer.Option(
            f"--{flag}/--no-{flag}" if is_switch else f"--{flag}",
            help=f"{field.description} \\[{ENV_PREFIX}{name.upper()}; default: {default_told(field)}]",
            metavar=None if is_switch else "TEXT",
            show_default=False,
        )
        yield inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[bool | None if is_switch else str | None, option],
        )


serve = _with_settings(_serve)
