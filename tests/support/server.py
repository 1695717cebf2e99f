import contextlib
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from support.warm_start import WarmProgram
from tools.faults.promise import until
from typer.testing import CliRunner

from remit.cli.main import app
from remit.pytest_plugin.server_process import DEADLINE_S, Program, ServerProcess, environment
from remit.v1 import access_service_pb2_grpc

__all__ = [
    "DEADLINE_S",
    "Health",
    "Server",
    "access_of",
    "environment",
    "free_port",
    "remit",
    "remit_process",
    "tool",
    "until",
]

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "policies"
REMIT = str(Path(sys.executable).with_name("remit"))

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def remit(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, in this process: most of a short command's time is what Python takes to start."""
    unset = dict.fromkeys(os.environ.keys() - environment({}).keys())
    with contextlib.chdir("/"):
        done = CliRunner().invoke(app, arguments, env=unset, catch_exceptions=False)
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


def remit_process(*arguments: str, timeout_s: float = DEADLINE_S, **extra: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end as users do. Other keywords are added to the environment."""
    return subprocess.run(
        [REMIT, *arguments],
        env=environment(extra),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def tool(name: str, *arguments: str, timeout_s: float = DEADLINE_S) -> subprocess.CompletedProcess[str]:
    """Runs a program of `tests/tools` to its end as users do."""
    return subprocess.run(
        [sys.executable, "-m", f"tests.tools.{name}", *arguments],
        env=environment({}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class Server(ServerProcess):
    """`remit serve` over the example company unless told otherwise."""

    def __init__(
        self,
        folder: Path,
        *flags: str,
        policies: Path | None = POLICIES,
        launcher: Sequence[str] = (REMIT,),
        **options: Any,
    ) -> None:
        super().__init__(folder, *flags, policies=policies, launcher=launcher, **options)
        self._extra = options.get("extra") or {}

    def run_program(self) -> Program:
        # What is set for the interpreter and its libraries counts from their start.
        if self.command[0] == REMIT and all(name.startswith("REMIT_") for name in self._extra):
            return WarmProgram(self.command[1:], self.environment, self.folder)
        return super().run_program()

    def children(self) -> list[int]:
        return children_of(self.pid)

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


def children_of(pid: int) -> list[int]:
    """The ids of its child processes."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]
