import logging
import sys
from typing import Any, Final

import structlog

from remit.core.names import is_revision

_SHOWN_DIGITS: Final = 12


def configure_logs(level: str, form: str, **fields: str) -> None:
    """Sends structured lines to standard error, also from the standard library's loggers. Each line contains `fields`."""
    shared: list[Any] = [
        lambda _logger, _method, event: {**event, **fields},
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = (
        _for_people(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))
        if form == "console"
        else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # These libraries log their own internals at `info`.
    for noisy in ("alembic", "casbin", "watchfiles"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_of_the_server)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _for_people(renderer: Any) -> Any:
    """Shortens revisions as the command line does, and gives each diagnostic lines of its own."""

    def render(logger: Any, method: str, event: dict[str, Any]) -> str:
        shown = {
            key: value[:_SHOWN_DIGITS] if isinstance(value, str) and is_revision(value) else value
            for key, value in event.items()
        }
        lines = [line for text in shown.pop("diagnostics", ()) for line in str(text).splitlines()]
        return "\n    ".join([renderer(logger, method, shown), *lines])

    return render


def _is_of_the_server(record: logging.LogRecord) -> bool:
    """False for grpc's line and traceback about a header that is not UTF-8. Any caller can cause one.

    The server then reads the header as Latin-1.
    """
    return not str(record.msg).startswith("Invalid encoding")
