import logging
import sys
from typing import Any

import structlog


def configure_logs(level: str, form: str, **said: str) -> None:
    """Structured lines on standard error, the standard library's loggers included. `said` stands in each of them."""
    shared: list[Any] = [
        lambda _logger, _method, event: {**event, **said},
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
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
    # Libraries that tell of their own workings at `info`.
    for noisy in ("alembic", "casbin", "watchfiles"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_of_the_server)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _is_of_the_server(record: logging.LogRecord) -> bool:
    """Not so a line with a traceback for each header that is no UTF-8, of whoever sends some: it is read as Latin-1 then."""
    return not str(record.msg).startswith("Invalid encoding")
