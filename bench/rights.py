"""What rights and tokens cost: Check with 64 in flight over TLS, in interleaved rounds. See bench/README.md."""

import argparse
import asyncio
import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from joserfc import jwt
from joserfc.jwk import ECKey

from bench import example, machine, table
from bench.fairness import Files, certificates
from bench.servers import BENCH, REMIT, Server, free_port, scratch
from remit.v1 import access_service_pb2

CHECK: Final = "/remit.v1.AccessService/Check"
IN_FLIGHT: Final = 64
TARGET: Final = 1.03
_CALLER: Final = "caller.example"
_RIGHTS: Final = "p, role:enforcer, _callers, **, REMIT, CHECK|LIST|RESOLVE|WATCH, allow\n"
_ISSUER: Final = "https://id.example"
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Side:
    """A server, and how its caller shows who it is."""

    name: str
    server: "Secured"
    files: Files
    token: str = ""
    header: str = "authorization"
    """In which the token is shown. In another one the server reads it over, which takes its share of the time."""


class Secured(Server):
    """`remit serve` with mutual TLS."""

    def __init__(self, name: str, policies: Path, files: Files, core: int, folder: Path, *flags: str) -> None:
        port = free_port()
        store = folder / f"{name.replace(' ', '-')}.db"
        command = [
            str(REMIT),
            "serve",
            "--policies",
            str(policies),
            "--listen",
            f"127.0.0.1:{port}",
            "--metrics",
            "",
            "--http",
            "",
        ]
        command += ["--audit", f"sqlite:///{store}", "--revisions", ""]
        command += ["--tls-cert", str(files.cert), "--tls-key", str(files.key), "--tls-client-ca", str(files.ca)]
        super().__init__(name, [*command, *flags], port=port, core=core, scratch=folder)

    def cpu_s(self) -> float:
        """Processor time of the server so far."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


async def ask(side: Side, seconds: float) -> tuple[int, float]:
    """Calls with IN_FLIGHT in flight; the number of allows, and the server's processor time."""
    ca, cert, key = (path.read_bytes() for path in side.files)
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    message = example.remit_check().message
    metadata = ((side.header, f"Bearer {side.token}"),) if side.token else ()
    calls = 0
    async with grpc.aio.secure_channel(side.server.target, credentials) as channel:
        check = channel.unary_unary(CHECK, response_deserializer=access_service_pb2.CheckResponse.FromString)
        await check(message, metadata=metadata)
        until = time.monotonic() + seconds

        async def one() -> None:
            nonlocal calls
            while time.monotonic() < until:
                await check(message, metadata=metadata)
                calls += 1

        before = side.server.cpu_s()
        await asyncio.gather(*(one() for _ in range(IN_FLIGHT)))
        return calls, side.server.cpu_s() - before


def policies_with_rights(folder: Path, *callers: str) -> Path:
    policies = Path(shutil.copytree(BENCH / "example", folder / "policies"))
    rights = policies / "_callers"
    rights.mkdir()
    (rights / "roles.csv").write_text(_RIGHTS)
    (rights / "bindings.csv").write_text("".join(f"g, {each}, role:enforcer, _callers/*\n" for each in callers))
    return policies


def issuer(folder: Path) -> tuple[Path, str]:
    """The file `identities` of an issuer of tokens, and a token of an hour."""
    key = ECKey.generate_key("P-256", {"kid": "first"})
    (folder / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    identities = folder / "identities.yaml"
    about = f"{{issuer: {_ISSUER}, audience: remit, algorithms: [ES256], jwks_file: {folder / 'jwks.json'}}}"
    identities.write_text(f"issuers:\n  kc: {about}\n")
    now = int(time.time())
    claims = {"iss": _ISSUER, "aud": "remit", "sub": "shop", "iat": now, "exp": now + 3_600}
    return identities, jwt.encode({"alg": "ES256", "kid": "first"}, claims, key)


def measure(sides: Sequence[Side], rounds: int, seconds: float) -> dict[str, list[tuple[float, float]]]:
    """Microseconds of processor time a call, and calls a second, by round."""
    figures: dict[str, list[tuple[float, float]]] = {side.name: [] for side in sides}
    for number in range(rounds + 1):
        for side in sides[::-1] if number % 2 else sides:
            calls, cpu_s = asyncio.run(ask(side, seconds))
            if number:  # the first round warms
                figures[side.name].append((cpu_s / calls * 1e6, calls / seconds))
    return figures


async def flood(target: str, files: Files, token: str, connections: int) -> None:
    """Junk in the shape of a token, each another one, over many connections, until it is killed."""
    head, claims, _ = token.split(".")
    ca, cert, key = (path.read_bytes() for path in files)
    channels = [
        grpc.aio.secure_channel(
            target, grpc.ssl_channel_credentials(ca, key, cert), [("grpc.use_local_subchannel_pool", 1)]
        )
        for _ in range(connections)
    ]

    async def one(channel: grpc.aio.Channel) -> None:
        check = channel.unary_unary(CHECK)
        while True:
            junk = base64.urlsafe_b64encode(os.urandom(64)).decode().rstrip("=")
            try:
                await check(b"", metadata=(("authorization", f"Bearer {head}.{claims}.{junk}"),))
            except grpc.aio.AioRpcError as error:
                refused[error.code().name] += 1

    async def report() -> None:
        while True:
            await asyncio.sleep(1)
            print(dict(refused), flush=True)

    refused: Counter[str] = Counter()
    await asyncio.gather(report(), *map(one, channels))


def junk(target: str, files: Files, token: str, load_core: int, seconds: float) -> None:
    """What junk tokens of others do to a token that the server knows."""
    ca, cert, key = (path.read_bytes() for path in files)
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    message = example.remit_check().message
    rows = []
    for connections in (0, 16, 256):
        command = [sys.executable, "-m", "bench.rights", "--flood", target, *map(str, files), token, str(connections)]
        flooding = subprocess.Popen(
            ["nice", "-n", "15", "taskset", "-c", str(load_core), *command], stdout=subprocess.PIPE, text=True
        )
        with grpc.secure_channel(target, credentials) as channel, flooding:
            check = channel.unary_unary(CHECK)
            assert flooding.stdout is not None
            flooding.stdout.readline()
            taken = []
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                began = time.perf_counter()
                check(message, metadata=(("authorization", f"Bearer {token}"),), timeout=30)
                taken.append((time.perf_counter() - began) * 1000)
            flooding.terminate()
            refused = flooding.stdout.read().splitlines()[-1]
        taken.sort()
        shown = [f"{taken[int((len(taken) - 1) * part)]:.1f} ms" for part in (0.5, 0.99, 1)]
        rows.append([str(connections), refused, str(len(taken)), *shown])
    table.show(["connections with junk", "junk", "checks of a known token", "p50", "p99", "worst"], rows)


def main() -> int:
    if sys.argv[1:2] == ["--flood"]:
        target, *files, token, connections = sys.argv[2:]
        asyncio.run(flood(target, Files(*map(Path, files)), token, int(connections)))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--junk", action="store_true", help="only a known token beside others' junk tokens")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round of one server")
    arguments = parser.parse_args()
    print(f"machine: {machine.describe()}\n{machine.quietness()}\n")
    core, load_core = machine.cores()
    with scratch("rights") as folder, ExitStack() as stack:
        files = certificates(folder / "certificates", ["127.0.0.1", _CALLER])
        policies = policies_with_rights(folder, f"service:dns/{_CALLER}", "service:jwt/kc/shop")
        identities, token = issuer(folder)
        own = files["127.0.0.1"]

        def started(name: str, with_policies: Path, *flags: str) -> Secured:
            return stack.enter_context(Secured(name, with_policies, own, core, folder, *flags))

        caller = files[_CALLER]
        without = Side("without rights", started("without rights", BENCH / "example"), caller)
        rights = Side("rights", started("rights", policies), caller)
        if arguments.junk:
            server = started("tokens", policies, "--identities", str(identities))
            junk(server.target, caller, token, load_core, 4 * arguments.seconds)
            return 0
        tokens = started("rights and tokens", policies, "--identities", str(identities))
        sides = [
            without,
            rights,
            Side("rights, and a header as long as a token", rights.server, caller, token, "x-other"),
            Side("rights and a token", tokens, caller, token),
        ]
        os.sched_setaffinity(0, {load_core})
        figures = measure(sides, arguments.rounds, arguments.seconds)
    base = figures[without.name]
    rows = []
    for name, measured in figures.items():
        ratios = sorted(mine[0] / theirs[0] for mine, theirs in zip(measured, base, strict=True))
        ratio = statistics.median(ratios)
        verdict = "" if name == without.name else "reached" if ratio <= TARGET else "NOT REACHED"
        medians = [statistics.median(column) for column in zip(*measured, strict=True)]
        rows.append([name, f"{medians[0]:,.0f}", f"{medians[1]:,.0f}", f"{ratio:.3f}"])
        rows[-1] += [f"{ratios[0]:.2f} - {ratios[-1]:.2f}", verdict]
    table.show(["Check, 64 in flight, TLS", "us of CPU", "calls/s", "by without", "min - max", f"{TARGET:.2f}"], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
