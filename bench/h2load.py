"""Runs h2load over one framed gRPC message and believes a figure only if every call was answered in full."""

import re
import shutil
import statistics
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import machine


class VoidFigureError(Exception):
    """Not every call of a run was answered as it should, so the run measured something else."""


@dataclass(frozen=True, slots=True)
class Load:
    """A closed loop: `connections` x `streams` calls are in flight at any time."""

    connections: int
    streams: int

    def __str__(self) -> str:
        return f"{self.connections} x {self.streams}"


@dataclass(frozen=True, slots=True)
class Run:
    calls: int
    seconds: float
    median_us: float
    p99_us: float

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds


_COUNTS = re.compile(
    r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout"
)
_STATUS = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
_DATA = re.compile(r"traffic: .*\((\d+)\) total, .*\((\d+)\) headers .*\((\d+)\) data")
_FINISHED = re.compile(r"finished in ([0-9.]+)(us|ms|s|m),")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def installed() -> bool:
    return shutil.which("h2load") is not None


def run_bench(measure: Callable[[int, int], None]) -> int:
    """Says which machine this is, and calls `measure` with the core of the server and the core of the load. Returns the
    exit code of the program: 1 if a figure is void."""
    if not installed():
        print("skipped: no h2load (Debian: nghttp2-client); run bench/install")
        return 0
    print(f"machine: {machine.describe()}\n{machine.quietness()}\n")
    try:
        measure(*machine.cores())
    except VoidFigureError as error:
        print(f"void: {error}", file=sys.stderr)
        return 1
    return 0


def frame(message: bytes) -> bytes:
    """The message as gRPC puts it on the wire: uncompressed, length first."""
    return b"\0" + struct.pack(">I", len(message)) + message


def run(*, core: int, url: str, body: Path, load: Load, calls: int, answer_bytes: int, scratch: Path) -> Run:
    """Posts the framed message in `body` to `url` exactly `calls` times.

    `answer_bytes` is the length of one right answer. A gRPC error travels as HTTP 200 with trailers and no message, so
    the bytes of the data frames tell whether each call was answered: they must be `calls` whole answers.

    Raises VoidFigureError where they are not, or where h2load counts a call that did not succeed.
    """
    asked = ["-H", "content-type: application/grpc", "-H", "te: trailers", "-d", str(body), url]
    return _run(core, asked, load=load, calls=calls, answer_bytes=5 + answer_bytes, scratch=scratch)


def post(
    *, core: int, url: str, body: Path, content_type: str, load: Load, calls: int, answer_bytes: int, scratch: Path
) -> Run:
    """Posts `body` by HTTP/1.1, one call at a time on each of as many connections as the load has calls in flight.
    Raises VoidFigureError as `run` does."""
    asked = ["--h1", "-H", f"content-type: {content_type}", "-d", str(body), url]
    alone = Load(load.connections * load.streams, 1)
    return _run(core, asked, load=alone, calls=calls, answer_bytes=answer_bytes, scratch=scratch)


def get(
    *, core: int, url: str, headers: Sequence[str], load: Load, calls: int, answer_bytes: int, scratch: Path
) -> Run:
    """Gets `url` exactly `calls` times. Raises VoidFigureError as `run` does."""
    asked = [*(word for each in headers for word in ("-H", each)), url]
    return _run(core, asked, load=load, calls=calls, answer_bytes=answer_bytes, scratch=scratch)


def _run(core: int, asked: Sequence[str], *, load: Load, calls: int, answer_bytes: int, scratch: Path) -> Run:
    log = scratch / "h2load.log"
    log.unlink(missing_ok=True)
    command = ["taskset", "-c", str(core), "h2load", "-t", "1", "-n", str(calls)]
    command += ["-c", str(load.connections), "-m", str(load.streams), "--log-file", str(log), *asked]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise VoidFigureError(f"h2load exited with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    seconds = check_output(done.stdout, calls, answer_bytes)
    taken = sorted(int(line.rsplit("\t", 1)[1]) for line in log.read_text().splitlines())
    log.unlink()
    if len(taken) != calls:
        raise VoidFigureError(f"h2load logged {len(taken)} calls, expected {calls}")
    return Run(calls, seconds, statistics.median(taken), taken[len(taken) * 99 // 100])


def check_output(output: str, calls: int, answer_bytes: int) -> float:
    """Seconds that the run took, read from h2load's report. Raises VoidFigureError where a call failed, or had an answer
    of another length."""
    counts, status, data, finished = (pattern.search(output) for pattern in (_COUNTS, _STATUS, _DATA, _FINISHED))
    if not (counts and status and data and finished):
        raise VoidFigureError(f"h2load's report was not understood:\n{output}")
    if tuple(map(int, counts.groups())) != (calls, calls, calls, calls, 0, 0, 0):
        raise VoidFigureError(f"expected {calls} calls to succeed, h2load says {counts.group()}")
    if tuple(map(int, status.groups())) != (calls, 0, 0, 0):
        raise VoidFigureError(f"expected {calls} times 2xx, h2load says {status.group()}")
    expected, got = calls * answer_bytes, int(data.group(3))
    if got != expected:
        raise VoidFigureError(
            f"{calls} answers of {answer_bytes} bytes are {expected} bytes in frames, h2load received {got}: "
            "some calls were answered with an error or another answer"
        )
    return float(finished.group(1)) * _UNITS[finished.group(2)]
