"""Processes of `remit` that are forked from one that has its modules: to import them is most of a server's start."""

import gc
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final
from unittest import mock

from remit.cli.main import main

_FORKED: Final = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(
    [
        "remit.cli.main",
        "remit.cli.server.serve",
        "alembic.command",
        "uvicorn.protocols.http.httptools_impl",
        "sqlalchemy.dialects.sqlite",
        "sqlalchemy.dialects.postgresql.psycopg",
    ]
)


class WarmProgram:
    """`remit` with these arguments, as `subprocess.Popen` shows it."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        ours, theirs = _FORKED.Pipe(duplex=False)
        self._process = _FORKED.Process(
            target=_run, args=(list(arguments), dict(environment), str(folder), theirs), daemon=True
        )
        with ours, theirs, mock.patch.dict(os.environ, GRPC_VERBOSITY="NONE"):
            self._process.start()
            self.stderr = os.fdopen(os.dup(ours.fileno()))

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("remit", timeout)
        return self.returncode


def _run(arguments: list[str], environment: dict[str, str], folder: str, errors: Connection) -> None:
    os.dup2(errors.fileno(), 2)
    errors.close()
    # What Python made of the descriptors before belongs to other files.
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
    os.environ.clear()
    # As the program sets it, for itself and for the processes that it starts.
    os.environ.update({"GRPC_VERBOSITY": "NONE"} | environment)
    os.chdir(folder)
    sys.argv = ["remit", *arguments]
    gc.disable()  # as the program does until it has what it imports
    main()
