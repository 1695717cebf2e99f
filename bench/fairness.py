"""What one flooding caller does to a hundred others, by mutual TLS. See bench/README.md for the method."""

import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import trustme

from bench import example, machine, servers, table
from bench.servers import BENCH, CACHE, REMIT, Server, free_port
from remit.v1 import access_service_pb2, visibility_service_pb2

CALLERS: Final = 100
TARGET: Final = 2.0
ROUNDS: Final = 5
ROUND_S: Final = 5.0
IN_FLIGHT: Final = 64
_EACH_S: Final = 0.5
"""Between two checks of one caller."""
_CHECK: Final = "/remit.v1.AccessService/Check"
_NODES, _EDGES, _NAMESPACES = 2_000, 5_000, 50
_NICE: Final = 15
"""Of the flooding process: it must not keep the others from a core, only from the server."""


class Files(NamedTuple):
    """PEM files of mutual TLS."""

    ca: Path
    cert: Path
    key: Path

    def channel(self, target: str) -> grpc.aio.Channel:
        ca, cert, key = (path.read_bytes() for path in self)
        return grpc.aio.secure_channel(
            target, grpc.ssl_channel_credentials(ca, key, cert), [("grpc.enable_retries", 0)]
        )


class Limited(Server):
    """`remit serve` with mutual TLS."""

    def __init__(self, files: Files, core: int, scratch: Path, flags: list[str]) -> None:
        port = free_port()
        command = [str(REMIT), "serve", "--policies", str(BENCH / "example"), "--listen", f"127.0.0.1:{port}"]
        command += ["--audit", f"sqlite:///{scratch / 'audit.db'}", "--revisions", str(scratch / "revisions")]
        command += ["--tls-cert", str(files.cert), "--tls-key", str(files.key), "--tls-client-ca", str(files.ca)]
        command += ["--metrics", "", "--http", "", *flags]
        super().__init__("remit", command, port=port, core=core, scratch=scratch)


def certificates(folder: Path, names: list[str]) -> dict[str, Files]:
    folder.mkdir()
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    made = {}
    for name in names:
        issued = authority.issue_cert(name, key_type=trustme.KeyType.ECDSA)
        files = Files(ca, folder / f"{name}.pem", folder / f"{name}.key")
        files.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(files.key)
        files.key.chmod(0o600)
        made[name] = files
    return made


def floods() -> dict[str, tuple[str, bytes]]:
    """Method and message of what the flooding caller sends."""
    batch = example.remit_batch()
    namespaces = [f"acme.finance.team-{number}" for number in range(_NAMESPACES)]
    nodes = [
        visibility_service_pb2.GraphNode(uid=f"n{number}", kind="FLOW", namespace=random.choice(namespaces))
        for number in range(_NODES)
    ]
    edges = [
        visibility_service_pb2.GraphEdge(
            source=random.choice(nodes).uid, target=random.choice(nodes).uid, relation="SUBFLOW"
        )
        for _ in range(_EDGES)
    ]
    graph = visibility_service_pb2.VisibleGraphRequest(
        tenant="acme", principal="user:bob", nodes=nodes, edges=edges
    ).SerializeToString()
    return {
        "checks": (_CHECK, example.remit_check().message),
        f"batches of {example.BATCH}": (batch.method, batch.message),
        f"graphs of {_NODES:,} nodes": ("/remit.v1.VisibilityService/VisibleGraph", graph),
    }


class Child:
    """A process that runs what it is told, one at a time."""

    def __init__(self, loop: Callable[..., None], *arguments: Any) -> None:
        context = get_context("spawn")
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=loop, args=(other, *arguments), daemon=True)
        self._process.start()
        other.close()

    def ask(self, *question: Any) -> Any:
        self.pipe.send(question)
        return self.pipe.recv()

    def close(self) -> None:
        self.pipe.close()
        self._process.join(10)
        self._process.kill()


def _raw(channel: grpc.aio.Channel, method: str) -> Callable[..., Awaitable[bytes]]:
    call: Any = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
    return call


def honest(pipe: Connection, core: int, target: str, files: list[Files]) -> None:
    """The hundred: each asks a check, and the next one a moment after the answer."""
    os.sched_setaffinity(0, {core})
    message = example.remit_check().message

    async def run() -> None:
        channels = [each.channel(target) for each in files]
        calls = [_raw(channel, _CHECK) for channel in channels]

        async def one(
            call: Callable[..., Awaitable[bytes]], until: float, taken: list[float], codes: Counter[str]
        ) -> None:
            await asyncio.sleep(random.uniform(0, _EACH_S))
            while time.monotonic() < until:
                began = time.perf_counter()
                try:
                    answer = await call(message, timeout=10)
                    code = "OK" if access_service_pb2.CheckResponse.FromString(answer).decision.effect else "no answer"
                except grpc.aio.AioRpcError as error:
                    code = error.code().name
                taken.append(time.perf_counter() - began)
                codes[code] += 1
                await asyncio.sleep(_EACH_S * random.uniform(0.9, 1.1))

        while True:
            try:
                (seconds,) = await asyncio.to_thread(pipe.recv)
            except EOFError:
                return
            until = time.monotonic() + seconds
            taken: list[float] = []
            codes: Counter[str] = Counter()
            await asyncio.gather(*(one(call, until, taken, codes) for call in calls))
            pipe.send((taken, dict(codes)))

    asyncio.run(run())


def flooding(pipe: Connection, core: int, target: str, files: Files) -> None:
    """One caller, IN_FLIGHT calls in flight at any time, without a pause."""
    os.sched_setaffinity(0, {core})
    os.nice(_NICE)
    messages = floods()

    async def flood(call: Callable[[], Awaitable[bytes]], stopping: asyncio.Event, codes: Counter[str]) -> None:
        while not stopping.is_set():
            try:
                await call()
                codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1

    async def run() -> None:
        channel = files.channel(target)
        while True:
            try:
                (name,) = await asyncio.to_thread(pipe.recv)
            except EOFError:
                return
            method, message = messages[name]
            call = partial(_raw(channel, method), message, timeout=30)
            codes: Counter[str] = Counter()
            stopping = asyncio.Event()
            pipe.send("begun")
            began = time.monotonic()
            tasks = [asyncio.create_task(flood(call, stopping, codes)) for _ in range(IN_FLIGHT)]
            await asyncio.to_thread(pipe.recv)
            stopping.set()
            seconds, counted = time.monotonic() - began, dict(codes)
            await asyncio.gather(*tasks)
            pipe.send((counted, seconds))

    asyncio.run(run())


@contextmanager
def child(loop: Callable[..., None], *arguments: Any) -> Iterator[Child]:
    made = Child(loop, *arguments)
    try:
        yield made
    finally:
        made.close()


def p99_ms(taken: list[float]) -> float:
    return sorted(taken)[len(taken) * 99 // 100] * 1000


def measure(others: Child, flooder: Child, rounds: int, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Rounds of the hundred alone and beside each flood, in turn."""
    figures: dict[str, list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for name in floods():
            alone, codes = others.ask(seconds)
            refused_alone = sum(codes.values()) - codes.get("OK", 0)
            flooder.ask(name)
            time.sleep(0.5)
            beside, codes = others.ask(seconds)
            counted, taken_s = flooder.ask("stop")
            refused = sum(codes.values()) - codes.get("OK", 0)
            figures.setdefault(name, []).append(
                {
                    "alone_ms": p99_ms(alone),
                    "beside_ms": p99_ms(beside),
                    "alone_median_ms": statistics.median(alone) * 1000,
                    "beside_median_ms": statistics.median(beside) * 1000,
                    "not_answered": refused + refused_alone,
                    "answered_flood_s": counted.get("OK", 0) / taken_s,
                    "refused_flood_s": (sum(counted.values()) - counted.get("OK", 0)) / taken_s,
                }
            )
    return figures


def show(figures: dict[str, list[dict[str, Any]]]) -> None:
    rows = []
    for name, rounds in figures.items():
        median = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
        ratio = statistics.median(each["beside_ms"] / each["alone_ms"] for each in rounds)
        missed = "reached" if ratio <= TARGET else f"missed by {ratio - TARGET:.1f}"
        rows.append(
            [
                name,
                f"{median['alone_ms']:.1f} ms",
                f"{median['beside_ms']:.1f} ms",
                f"{ratio:.2f}",
                missed,
                f"{median['alone_median_ms']:.1f} / {median['beside_median_ms']:.1f} ms",
                f"{median['answered_flood_s']:,.0f}",
                f"{median['refused_flood_s']:,.0f}",
                f"{sum(each['not_answered'] for each in rounds):,.0f}",
            ]
        )
    headings = ["the flood", "p99 alone", "p99 beside", "ratio", f"<= {TARGET:g}", "medians", "flood answered/s"]
    table.show([*headings, "flood refused/s", "others not answered"], rows)


def main() -> int:
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    flags = sys.argv[2:]
    print(f"machine: {machine.describe()}")
    print(f"{machine.quietness()}\n")
    server_core, load_core = machine.cores()
    with servers.scratch("fairness") as scratch:
        names = [f"caller{number}.example" for number in range(CALLERS)]
        files = certificates(scratch / "tls", ["127.0.0.1", "flood.example", *names])
        with (
            Limited(files["127.0.0.1"], server_core, scratch, flags) as server,
            child(honest, load_core, server.target, [files[name] for name in names]) as others,
            child(flooding, load_core, server.target, files["flood.example"]) as flooder,
        ):
            # Connections are made, and caches filled.
            others.ask(2.0)
            rounds = max(round(ROUNDS * scale), 1)
            figures = measure(others, flooder, rounds, ROUND_S)
    print(
        f"{CALLERS} callers, each a check every {_EACH_S:g} s, beside one caller with {IN_FLIGHT} calls in flight; "
        f"{rounds} rounds of {ROUND_S:g} s\n"
    )
    show(figures)
    path = CACHE / f"fairness-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.write_text(json.dumps({"machine": machine.describe(), "floods": figures}, indent=1))
    print(f"raw figures: {path.relative_to(CACHE.parent.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
