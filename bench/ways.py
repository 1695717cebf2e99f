"""Ways to ask the same question, measured in interleaved rounds."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import h2load
from bench.example import Call
from bench.h2load import Load, Run, VoidFigureError
from bench.servers import Server
from bench.service import in_turn

_PAUSE_S = 0.2


@dataclass(slots=True)
class Way:
    """A way to ask a server."""

    name: str
    server: Server
    """The one whose records and processor time count."""
    run: Callable[[int], Run]
    """Makes so many calls."""
    runs: list[Run] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    """Processor time of the server for each call, in microseconds: less noisy than the rate."""

    def measure(self, calls: int, decisions: int = 1) -> None:
        """Makes so many calls, each with so many decisions."""
        before, began = self.server.records(), self.server.cpu_s()
        self.runs.append(self.run(calls))
        self.cpu_us.append((self.server.cpu_s() - began) / calls * 1e6)
        if before is not None and self.server.records() != before + calls * decisions:
            raise VoidFigureError(f"{self.name}: the audit store does not hold a record for each answer")


def over_grpc(  # noqa: PLR0917 (a row of a table)
    name: str, server: Server, call: Call, load: Load, core: int, scratch: Path
) -> Way:
    shape = _shape(name, f"http://{server.target}{call.method}", h2load.frame(call.message), load, core, scratch)
    shape |= {"answer_bytes": call.ask(server.target)}
    return Way(name, server, lambda calls: h2load.run(calls=calls, **shape))


def over_http(  # noqa: PLR0917 (a row of a table)
    name: str,
    server: Server,
    path: str,
    body: bytes,
    content_type: str,
    answer_bytes: int,
    load: Load,
    core: int,
    scratch: Path,
) -> Way:
    shape = _shape(name, f"http://{server.http}{path}", body, load, core, scratch)
    shape |= {"content_type": content_type, "answer_bytes": answer_bytes}
    return Way(name, server, lambda calls: h2load.post(calls=calls, **shape))


def _shape(  # noqa: PLR0917 (what both have in common)
    name: str, url: str, body: bytes, load: Load, core: int, scratch: Path
) -> dict[str, Any]:
    file = scratch / f"{name.replace(' ', '-')}-{len(body)}.body"
    file.write_bytes(body)
    return {"url": url, "body": file, "load": load, "core": core, "scratch": scratch}


def measure(ways: Sequence[Way], rounds: int, calls: int, decisions: int = 1) -> None:
    for ways_in_turn in in_turn(ways, rounds):
        for each in ways_in_turn:
            time.sleep(_PAUSE_S)
            each.measure(calls, decisions)
