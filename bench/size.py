"""Lines and files of each room beside its budget, and the files that four journeys pass. See bench/README.md."""

import logging
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import CodeType, FrameType
from typing import Final, NamedTuple

import structlog
from support.in_process import both_ways
from support.runtime import BINDINGS, files
from support.server import remit, until
from support.trees import write

from bench import table
from remit.client import Client, RuntimeBinding

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "src" / "remit"
_GENERATED: Final = (SOURCE / "v1", SOURCE / "envoy" / "v1", SOURCE / "client" / "sync_client.py")
_TOP: Final = "(top level)"
_BUDGETS: Final = {
    "core": 1_900,
    "engine": 4_500,
    "policy": 6_400,
    "audit": 7_800,
    "grants": 5_000,
    "decide": 1_700,
    "callers": 2_300,
    "node": 4_200,
    "api": 6_900,
    "client": 3_600,
    "cli": 7_400,
    "console": 4_700,
    "migrate": 1_900,
    "testing": 250,
    "server": 280,
}
"""Lines. A room without a budget has to find its place in one of these."""


class Room(NamedTuple):
    lines: int
    files: int
    median: int
    """Lines of the file in the middle."""

    @classmethod
    def of(cls, lengths: list[int]) -> "Room":
        return cls(sum(lengths), len(lengths), round(median(lengths))) if lengths else cls(0, 0, 0)


def rooms() -> dict[str, list[int]]:
    """The lengths of the hand-written Python files, by package."""
    found: dict[str, list[int]] = {name: [] for name in _BUDGETS}
    for path in sorted(SOURCE.rglob("*.py")):
        if not any(path.is_relative_to(each) for each in _GENERATED):
            name = path.relative_to(SOURCE).parts[0]
            found.setdefault(_TOP if name.endswith(".py") else name, []).append(_lines(path))
    return found


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def show_rooms() -> None:
    found, rows = rooms(), []
    for name, lengths in found.items():
        room = Room.of(lengths)
        budget = f"{_BUDGETS[name]:,}" if name in _BUDGETS else ""
        rows.append((name, f"{room.lines:,}", budget, str(room.files), str(room.median)))
    whole = Room.of([each for lengths in found.values() for each in lengths])
    rows.append(("all", f"{whole.lines:,}", f"{sum(_BUDGETS.values()):,}", str(whole.files), str(whole.median)))
    tests = Room.of([_lines(each) for each in sorted((ROOT / "tests").rglob("*.py"))])
    golden = [each for each in (ROOT / "tests" / "golden").rglob("*") if each.is_file()]
    rows.append(("tests", f"{tests.lines:,}", "", str(tests.files), str(tests.median)))
    rows.append(("golden files", f"{sum(map(_lines, golden)):,}", "", str(len(golden)), ""))
    table.show(("room", "lines", "budget", "files", "median file"), rows)


class Passed:
    """The code of remit that runs in any thread while a journey is recorded."""

    def __init__(self) -> None:
        self._calls: Counter[CodeType] = Counter()
        self._records = False
        sys.setprofile(self._event)
        threading.setprofile(self._event)

    def _event(self, frame: FrameType, event: str, _: object) -> None:
        if self._records and event == "call":
            self._calls[frame.f_code] += 1

    @contextmanager
    def recorded(self, rows: list[tuple[str, ...]], name: str) -> Iterator[None]:
        """Adds a row about what runs in this block."""
        self._calls.clear()
        self._records = True
        yield
        self._records = False
        ours = {code: count for code, count in self._calls.copy().items() if _is_of_the_server(code.co_filename)}
        paths = {code.co_filename for code in ours}
        rows.append((name, str(len(paths)), str(len(ours)), str(sum(ours.values()))))


def _is_of_the_server(path: str) -> bool:
    """The client runs in this process too, and is elsewhere in life."""
    return path.startswith(f"{SOURCE}/") and not path.startswith(f"{SOURCE}/client/")


def show_journeys() -> None:
    """Polls of the server that happen to run meanwhile count too: the figures differ by a few from run to run."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    passed, rows = Passed(), list[tuple[str, ...]]()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _serve(folder, passed, rows)
        with passed.recorded(rows, "remit audit verify"):
            done = remit("audit", "verify", "--audit", f"sqlite:///{folder / 'audit.db'}")
        assert done.returncode == 0, done.stderr
    table.show(("journey", "files", "functions", "calls"), rows)


def _serve(folder: Path, passed: Passed, rows: list[tuple[str, ...]]) -> None:
    policies = write(folder / "policies", files())
    with both_ways(folder, policies, watch=True) as (_, server, _), Client(f"127.0.0.1:{server.port}") as client:
        assert _views(client, "user:alice")
        with passed.recorded(rows, "Check over gRPC"):
            assert _views(client, "user:alice")
        with passed.recorded(rows, "edit of a file, until it serves"):
            edited = BINDINGS + b"g, user:dora, role:viewer, acme/a.**\n"
            (policies / "acme" / "bindings.csv").write_bytes(edited)
            until(lambda: _views(client, "user:dora"), "the edit serves")
    flags = {"policy_store": f"sqlite:///{folder / 'policy.db'}", "releases": folder / "releases", "watch": True}
    grant = RuntimeBinding("user:zoe", "role:viewer", "a.**")
    with (
        both_ways(folder, policies, **flags) as (_, server, _),
        Client(f"127.0.0.1:{server.port}") as client,
        passed.recorded(rows, "grant, until it serves"),
    ):
        client.tenant("acme").change_bindings([grant], granter="user:alice")
        until(lambda: _views(client, "user:zoe"), "the grant serves")


def _views(client: Client, principal: str) -> bool:
    return client.tenant("acme").check(principal, "VIEW", "FLOW", "a.x").allowed


def main() -> None:
    show_rooms()
    show_journeys()


if __name__ == "__main__":
    main()
