import inspect
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import structlog
import typer

from remit.cli.common.config import ConfigOption
from remit.cli.common.output import Exit, fail
from remit.process.memory import give_back_large_blocks
from remit.server import worker
from remit.server.run import installed, serve_until, started, stop_at
from remit.service.errors import StartupError
from remit.service.log_config import configure_logs
from remit.service.settings import Settings, default_told
from remit.service.settings_file import ENV_PREFIX
from remit.service.settings_reader import read_settings
from remit.service.workers.process_settings import ProcessSettings
from remit.service.workers.supervisor import Supervisor

_PANEL_FROM: Final = {
    "policies": "Policies",
    "workers": "Processes",
    "listen": "Listen and TLS",
    "operators": "Callers",
    "threads": "Limits of calls",
    "audit": "Audit",
    "policy_max_rows": "Limits of policies",
    "log_level": "Log",
}
"""The section of the help that begins with a setting."""
_METAVARS: Final = {
    "policies": "DIR",
    "revisions": "DIR",
    "releases": "DIR",
    "shadow": "DIR",
    "listen": "HOST:PORT",
    "http": "HOST:PORT",
    "http_origins": "URLS",
    "metrics": "HOST:PORT",
    "operators": "NAMES",
    "auditors": "NAMES",
    "audit": "URL",
    "audit_otlp": "URL",
    "audit_retention": "AGES",
    "audit_redact": "FIELDS",
    "node": "NAME",
}
_STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def _serve(config: Path | None = None, **flags: Any) -> None:
    """Answer questions over gRPC and HTTP from the policy files, and record every decision.

    Each option is a setting: `[VARIABLE=DEFAULT]` is its variable of the environment, and its default. The command line
    takes precedence over the environment, the environment over the settings file, and the file over the default.
    docs/reference/settings.md says more about each.

    Stops gracefully on SIGTERM, SIGINT and SIGHUP: calls in flight finish, and the audit journal drains. Exits 1 if it
    could not.

    Example: `remit serve --policies policies --audit sqlite:///var/audit.db`
    """
    try:
        settings = read_settings({name: value for name, value in flags.items() if value is not None}, config)
        configure_logs(settings.log_level, settings.log_format)
        settings = installed(settings)
        give_back_large_blocks()
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
    panel = ""
    for name, field in Settings.model_fields.items():
        panel = _PANEL_FROM.get(name, panel)
        flag = name.replace("_", "-")
        is_switch = field.annotation is bool
        default = "" if field.default in {None, "", False} else f"={default_told(field).strip('`')}"
        option = typer.Option(
            f"--{flag}/--no-{flag}" if is_switch else f"--{flag}",
            help=f"{_first_sentence(field.description or '')} [{ENV_PREFIX}{name.upper()}{default}]",
            metavar=None if is_switch else _metavar(name, field.annotation),
            show_default=False,
            rich_help_panel=panel,
        )
        yield _keyword(name, Annotated[bool | None if is_switch else str | None, option])
    yield _keyword("config", ConfigOption)


def _keyword(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _first_sentence(text: str) -> str:
    """The page of settings has the others. The metavar says the unit."""
    return re.sub(r", in (seconds|bytes)\b", "", re.split(r"(?<=\.) ", text, maxsplit=1)[0])


def _metavar(name: str, annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    if name in _METAVARS:
        return _METAVARS[name]
    if name.endswith(("_s", "_seconds")):
        return "SECONDS"
    if name.endswith("_bytes"):
        return "BYTES"
    return "FILE" if Path in {annotation, *get_args(annotation)} else "N" if annotation in {int, float} else "VALUE"


serve = _with_settings(_serve)
