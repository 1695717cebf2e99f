import inspect
import signal
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final

import structlog
import typer

from remit.cli.common.output import Exit, fail
from remit.server import worker
from remit.server.run import installed, serve_until, started, stop_at
from remit.service.errors import StartupError
from remit.service.log_config import configure_logs
from remit.service.settings import ENV_PREFIX, Settings, default_told
from remit.service.settings_reader import read_settings
from remit.service.workers.process_settings import ProcessSettings
from remit.service.workers.supervisor import Supervisor

_STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def _serve(**flags: Any) -> None:
    """Answer questions over gRPC and HTTP from the policy files, and record every decision.

    Each option is a setting (docs/reference/settings.md). A flag takes precedence over the environment
    (`REMIT_LISTEN`), the environment over the TOML file that `REMIT_CONFIG` names, and the file over the default.

    Stops gracefully on SIGTERM, SIGINT and SIGHUP: calls in flight finish, and the audit journal drains. Exits 1 if it
    could not.
    """
    try:
        settings = read_settings({name: value for name, value in flags.items() if value is not None})
        configure_logs(settings.log_level, settings.log_format)
        settings = installed(settings)
        drained = _by_workers(settings) if settings.workers > 1 else _alone(settings)
    except StartupError as error:
        fail(Exit.UNAVAILABLE, f"remit does not start: {error}")
    raise typer.Exit(Exit.OK if drained else Exit.NO)


def _alone(settings: Settings) -> bool:
    _, server = started(ProcessSettings.single(settings))

    def begun() -> None:
        structlog.get_logger("remit").info("serving", listen=settings.listen, **server.ports, node=settings.node)

    return serve_until(stop_at(*_STOPPING), server, begun)


def _by_workers(settings: Settings) -> bool:
    supervisor = Supervisor(settings, worker.__name__, worker.serve.__name__)
    return supervisor.run(stop_at(*_STOPPING))


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Gives the command one option for each setting: the flags are always complete."""
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
