import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Condition, Thread
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from remit.audit.many import AuditStores
from remit.client import Client
from remit.v1 import access_service_pb2_grpc

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "policies"
REMIT = str(Path(sys.executable).with_name("remit"))
DEADLINE_S = 60.0
"""For what takes a moment: generous, so that a busy machine fails no test."""

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def until(holds: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"not in {DEADLINE_S:g} s: {what}"
        time.sleep(0.005)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's, without settings of remit."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("REMIT_")}
    return {**kept, **extra}


def remit(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end. Keywords are added to the environment."""
    return subprocess.run(
        [REMIT, *arguments],
        env=environment(extra),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class Server:
    """`remit serve` as a process of its own, on free ports of the loopback, with its audit store in `folder`."""

    def __init__(
        self,
        folder: Path,
        *flags: str,
        policies: Path = POLICIES,
        listen: str = "127.0.0.1:0",
        launcher: Sequence[str] = (REMIT,),
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """`launcher` stands in for the console script; `extra` is added to the environment."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.database = folder / "audit.db"
        self.audit = f"sqlite:///{self.database}"
        self.logs: list[dict[str, Any]] = []
        self.port = 0
        self.metrics_port = 0
        named = ("--policies", str(policies), "--audit", self.audit, "--listen", listen, "--metrics", "127.0.0.1:0")
        self._command = [*launcher, "serve", *named, "--node", "node-1", *flags]
        self._environment = environment(extra or {})
        self._told = Condition()
        self._process: subprocess.Popen[str] | None = None
        self._listener: Thread | None = None

    def start(self) -> Self:
        """Returns when it serves. A second start is a new process over the same folder."""
        self.launch()
        line = self.wait_for("serving")
        self.port, self.metrics_port = line["port"], line["metrics_port"]
        return self

    def launch(self) -> Self:
        """Starts the process and does not wait for it."""
        assert self._process is None or self._process.returncode is not None
        with self._told:
            self.logs = []
        self._process = subprocess.Popen(
            self._command, env=self._environment, cwd=self.folder, stderr=subprocess.PIPE, text=True
        )
        self._listener = Thread(target=self._listen, args=(self._process,), daemon=True)
        self._listener.start()
        return self

    def wait_for(self, event: str) -> dict[str, Any]:
        """The first log line whose event begins so."""

        def found() -> dict[str, Any] | None:
            return next((line for line in self.logs if line["event"].startswith(event)), None)

        with self._told:
            self._told.wait_for(lambda: found() or self._ended(), DEADLINE_S)
            line = found()
        assert line is not None, f"no `{event}` in the log:\n{self.told()}"
        return line

    def told(self) -> str:
        """Its log, to read."""
        return "\n".join(map(str, self.logs))

    def kill(self) -> None:
        """SIGKILL: no last words."""
        self._signal(signal.SIGKILL)
        self._wait()

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.ask_to_stop()
        return self._wait()

    def ask_to_stop(self) -> None:
        """SIGTERM, without waiting for the end."""
        self._signal(signal.SIGTERM)

    def exit_code(self) -> int:
        """Waits for the end."""
        return self._wait()

    def children(self) -> list[int]:
        """Its processes' ids."""
        assert self._process is not None
        number = self._process.pid
        tasks = Path(f"/proc/{number}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def client(self, *, timeout_s: float = DEADLINE_S) -> Client:
        return Client(self.target, timeout_s=timeout_s)

    def channel(self) -> grpc.Channel:
        """Without retries, so that a status is that of one call; a connection of its own."""
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.insecure_channel(self.target, options)

    def store(self) -> AuditStores:
        return AuditStores(self.audit).open()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the metric's samples that have these labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=DEADLINE_S) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return sum(
                sample.value
                for family in families
                for sample in family.samples
                if sample.name == name and labels.items() <= sample.labels.items()
            )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self.kill()

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                try:
                    told = json.loads(line)
                except json.JSONDecodeError:
                    told = {"event": line.rstrip("\n")}
                with self._told:
                    self.logs.append(told)
                    self._told.notify_all()
        with self._told:
            self._told.notify_all()

    def _ended(self) -> bool:
        return self._listener is not None and not self._listener.is_alive()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _wait(self) -> int:
        assert self._process is not None
        assert self._listener is not None
        code = self._process.wait(DEADLINE_S)
        self._listener.join(DEADLINE_S)
        return code


def access_of(channel: grpc.Channel) -> access_service_pb2_grpc.AccessServiceStub:
    return access_service_pb2_grpc.AccessServiceStub(channel)


class Health:
    """The standard health service."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = health_pb2_grpc.HealthStub(channel)

    def of(self, service: str = "") -> int:
        request = health_pb2.HealthCheckRequest(service=service)
        return int(self._stub.Check(request, timeout=DEADLINE_S).status)

    def watch(self, service: str = "") -> Any:
        """A stream of statuses, the present one first."""
        return self._stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE_S)
