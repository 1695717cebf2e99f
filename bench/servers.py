"""Server processes under test, each pinned to the server core and reachable on a loopback port of its own."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Self

BENCH = Path(__file__).parent
CACHE = BENCH / ".cache"
CERBOS = CACHE / "cerbos"
REMIT = Path(sys.executable).parent / "remit"
_START_S = 60
_STOP_S = 30


class Server:
    """Starts on entry and waits until the port accepts; stops with SIGTERM on leaving. `core` may be a list, `0,1`."""

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        port: int,
        core: int | str,
        scratch: Path,
        environment: dict[str, str] | None = None,
        start_s: float = _START_S,
    ) -> None:
        self.name = name
        self.target = f"127.0.0.1:{port}"
        self.http = ""
        """Where it answers over HTTP; '' for nowhere."""
        self._command = ["taskset", "-c", str(core), *command]
        self._port = port
        self._log = scratch / f"{name.replace(' ', '-')}.log"
        self._environment = os.environ | (environment or {})
        self._start_s = start_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, env=self._environment, cwd=BENCH.parent
            )
        deadline = time.monotonic() + self._start_s
        while True:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.name} exited with {self._process.returncode}:\n{self._log.read_text()}")
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                if time.monotonic() > deadline:
                    self.__exit__(None, None, None)
                    raise RuntimeError(
                        f"{self.name} did not listen in {self._start_s:g} s:\n{self._log.read_text()}"
                    ) from None
                time.sleep(0.05)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def last_words(self) -> str:
        """The end of the server's log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])

    def records(self) -> int | None:
        """Decisions in the server's audit store; None where it keeps none."""
        return None

    def cpu_s(self) -> float:
        """The processor time that it took so far, in seconds."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Remit(Server):
    def __init__(
        self,
        delivery: str,
        core: int,
        scratch: Path,
        *flags: str,
        name: str = "",
        remit: Path = REMIT,
        policies: Path = BENCH / "example",
        http: bool = False,
    ) -> None:
        """`remit` is the program, of another checkout perhaps; `name` then tells the two apart. `http`: it serves the
        API over HTTP too."""
        name = name or f"remit {delivery}"
        files = scratch / name.replace(" ", "-")
        self._store = files.with_suffix(".db")
        port = free_port()
        command = [str(remit), "serve", "--policies", str(policies), "--listen", f"127.0.0.1:{port}", *flags]
        command += ["--audit", f"sqlite:///{self._store}", "--audit-delivery", delivery]
        key = files.with_suffix(".pem")
        subprocess.run([str(remit), "audit", "key", "new", str(key)], check=True, capture_output=True)
        command += ["--audit-key", str(key), "--audit-checkpoint-s", "1"]
        command += ["--revisions", str(files.with_suffix(".revisions"))]
        address = f"127.0.0.1:{free_port()}" if http else ""
        command += ["--metrics", f"127.0.0.1:{free_port()}"]
        # `bench.compare` also starts commits that know no HTTP.
        if (
            remit == REMIT
            or "--http"
            in subprocess.run([str(remit), "serve", "--help"], capture_output=True, text=True, check=True).stdout
        ):
            command += ["--http", address]
        super().__init__(name, command, port=port, core=core, scratch=scratch)
        self.http = address

    def records(self) -> int:
        with closing(sqlite3.connect(f"file:{self._store}?mode=ro", uri=True)) as store:
            return int(store.execute("SELECT count(*) FROM decisions").fetchone()[0])


def posted(target: str, path: str, body: bytes, content_type: str) -> bytes:
    """Posts once over HTTP, as soon as the port accepts. Returns the answer's body."""
    deadline = time.monotonic() + _START_S
    while True:
        connection = HTTPConnection(target, timeout=_STOP_S)
        try:
            connection.request("POST", path, body, {"content-type": content_type})
            return connection.getresponse().read()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        finally:
            connection.close()


def echo(threads: int, core: int, scratch: Path) -> Server:
    port = free_port()
    command = [sys.executable, "-m", "bench.echo_server", "--listen", f"127.0.0.1:{port}", "--threads", str(threads)]
    return Server("echo", command, port=port, core=core, scratch=scratch)


def cerbos(core: int, scratch: Path, policies: Path = BENCH / "cerbos" / "policies") -> Server:
    port, http_port = free_port(), free_port()
    command = [str(CERBOS), "server", "--log-level=warn", f"--config={BENCH / 'cerbos' / 'config.yaml'}"]
    environment = {
        "GOMAXPROCS": "1",
        "CERBOS_GRPC_PORT": str(port),
        "CERBOS_HTTP_PORT": str(http_port),
        "CERBOS_POLICIES": str(policies),
        "CERBOS_NO_TELEMETRY": "1",
    }
    server = Server("cerbos", command, port=port, core=core, scratch=scratch, environment=environment)
    server.http = f"127.0.0.1:{http_port}"
    return server


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A folder on the disk of the checkout, gone at the end."""
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=CACHE) as folder:
        yield Path(folder)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
