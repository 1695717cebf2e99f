"""The command line."""

import gc
import os
import sys
from typing import Final

INSTALL: Final = "docs/how-to/install.md"
"""The page that says how."""


_OF_THE_CONSOLE: Final = ("starlette", "jinja2", "authlib", "httpx2", "itsdangerous")
OLDEST_PYTHON: Final = (3, 11)


def main() -> None:
    """The program `remit`. On a Python that is too old, and without the extra `server`, it says so."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from remit.service.version import VERSION  # noqa: PLC0415 (its own import takes longer than to answer)

        print(VERSION)  # noqa: T201 (all that others print with is not imported yet)
        return
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(too_old("{}.{}".format(*sys.version_info)))
    # gRPC's core writes plain lines to standard error, one for each failed handshake: logs are JSON lines, and what fails is
    # told by remit. It reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # What is imported stays: a short command would spend much of its time on looking through it for garbage, now and at the end.
    # `LazyCommand` switches the collector on when the command is imported.
    gc.disable()
    try:
        from remit.cli.main import main as run  # noqa: PLC0415 (what it needs may not be installed)
    except ModuleNotFoundError as error:
        sys.exit(missing(error))
    run()


def missing(error: ModuleNotFoundError) -> str:
    extra = "console" if error.name in _OF_THE_CONSOLE else "server"
    return f"remit's command line needs `{error.name}`: install remit with the extra `{extra}` ({INSTALL})"


def too_old(version: str) -> str:
    return (
        "remit's command line, its server and its pytest plugin need Python 3.11 or newer, "
        f"and this is Python {version}: on it remit is the client alone ({INSTALL})"
    )
