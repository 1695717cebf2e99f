import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Condition, Thread
from typing import IO, Any, Final, Protocol, Self

import grpc

from remit.audit.store.shards import ShardedStore
from remit.client import Client
from remit.files import write_whole
from remit.service.settings_file import ENV_PREFIX

ORDERS: Final = "orders.json"
DEADLINE_S: Final = 60.0
"""The timeout for things that take a moment. It is long, because the machine may be busy."""
REMIT: Final = (sys.executable, "-c", "from remit.cli import main; main()")


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process without settings of remit, plus `extra`. No server takes the one default port of
    `http`."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(ENV_PREFIX)}
    return {**kept, f"{ENV_PREFIX}HTTP": "", **extra}


class ServerProcessError(Exception):
    """The server did not do in time what it was expected to do."""


class Program(Protocol):
    """What a server needs of a `subprocess.Popen`."""

    stderr: IO[str] | None

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def send_signal(self, number: int, /) -> None: ...

    def wait(self, timeout: float, /) -> int: ...


class ServerProcess:
    """A `remit serve` process on free ports of the loopback address, with its files in `folder`."""

    def __init__(
        self,
        folder: Path,
        *flags: str,
        policies: Path | None,
        audit: str = "",
        node: str = "node-1",
        listen: str = "127.0.0.1:0",
        http: str = "",
        launcher: Sequence[str] = REMIT,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """Defines the process and does not start it. Without `policies`, flags say where they come from.

        `audit` is by default a SQLite file in the folder. `launcher` replaces the program `remit`. `extra` is added to
        the environment.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.database = folder / "audit.db"
        self.audit = audit or f"sqlite:///{self.database}"
        self.logs: list[dict[str, Any]] = []
        self.port = 0
        self.http_port = 0
        self.metrics_port = 0
        named = ["--policies", str(policies)] if policies is not None else []
        named += ["--audit", self.audit, "--listen", listen, "--http", http]
        self.command = [*launcher, "serve", *named, "--metrics", "127.0.0.1:0", "--node", node, *flags]
        self.environment = environment(extra or {})
        self._heard = Condition()
        self._process: Program | None = None
        self._listener: Thread | None = None

    def start(self) -> Self:
        """Starts the process and waits until it serves. A second start makes a new process over the same folder. A process
        that does not serve in time is killed."""
        self.launch()
        try:
            line = self.wait_for("serving")
        except ServerProcessError:
            self._end()
            raise
        self.port, self.http_port, self.metrics_port = line["port"], line["http_port"], line["metrics_port"]
        return self

    def launch(self) -> Self:
        """Starts the process without waiting until it serves."""
        assert self._process is None or self._process.returncode is not None
        with self._heard:
            self.logs = []
        self._process = self.run_program()
        self._listener = Thread(target=self._listen, args=(self._process,), daemon=True)
        self._listener.start()
        return self

    def run_program(self) -> Program:
        """Starts the program, with its standard error as a pipe."""
        return subprocess.Popen(  # noqa: S603 (our own program)
            self.command, env=self.environment, cwd=self.folder, stderr=subprocess.PIPE, text=True
        )

    def wait_for(self, event: str) -> dict[str, Any]:
        """The first log line whose event begins with `event`. Raises ServerProcessError after `DEADLINE_S`."""

        def found() -> dict[str, Any] | None:
            return next((line for line in self.logs if line["event"].startswith(event)), None)

        with self._heard:
            self._heard.wait_for(lambda: found() or self._ended(), DEADLINE_S)
            line = found()
        if line is None:
            raise ServerProcessError(f"no `{event}` in the server's log:\n{self.log_text()}")
        return line

    def log_text(self) -> str:
        return "\n".join(map(str, self.logs))

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._wait()

    def terminate(self) -> int:
        self.ask_to_stop()
        return self._wait()

    def order(self, **orders: float) -> None:
        """What `launcher.py` is to do to the server from now on, and to those that start later."""
        write_whole(self.folder / ORDERS, json.dumps(orders).encode())
        if self._process is not None and self._process.returncode is None:
            self.signal(signal.SIGUSR1)

    def ask_to_stop(self) -> None:
        self.signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def exit_code(self) -> int:
        return self._wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def client(self, *, timeout_s: float = DEADLINE_S) -> Client:
        return Client(self.target, timeout_s=timeout_s)

    def channel(self) -> grpc.Channel:
        """A channel with a separate connection and without retries: a status is the result of one call."""
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
        return grpc.insecure_channel(self.target, options)

    def store(self) -> ShardedStore:
        return ShardedStore(self.audit).open()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self.kill()

    def _listen(self, process: Program) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                try:
                    fields = json.loads(line)
                except json.JSONDecodeError:
                    fields = {"event": line.rstrip("\n")}
                with self._heard:
                    self.logs.append(fields)
                    self._heard.notify_all()
        with self._heard:
            self._heard.notify_all()

    def _ended(self) -> bool:
        return self._listener is not None and not self._listener.is_alive()

    def _wait(self) -> int:
        assert self._process is not None
        assert self._listener is not None
        code = self._process.wait(DEADLINE_S)
        self._listener.join(DEADLINE_S)
        return code
