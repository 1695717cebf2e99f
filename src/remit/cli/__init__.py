"""The command line."""

import gc
import os
import sys


def main() -> None:
    """The program `remit`. Installed without the extra `server` it says so."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from remit.service.version import VERSION  # noqa: PLC0415 (its own import takes longer than to answer)

        print(VERSION)  # noqa: T201 (all that others print with is not imported yet)
        return
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
    return f"remit's command line needs `{error.name}`: install it with `pip install 'remit[server]'`"
