"""One decision in process, load and size, and pycasbin over the same rows. See bench/README.md for the method."""

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import casbin

import remit.casbin
from bench import machine, table, worlds
from bench.servers import CACHE, scratch
from remit.core.names import Tenant
from remit.core.question import Question, parse_question
from remit.engine.snapshot import Snapshot
from remit.policy.load import DEFAULT_LIMITS, load_tree
from remit.policy.read.limits import Limits

SIZES = (1_000, 100_000, 1_000_000)
QUESTIONS = 100_000
_WARM_PRINCIPALS = 1_000
_COLD_PRINCIPALS = 5_000
_CASBIN_NAMESPACES = 10
_CASBIN_S = 8.0
_PAGE = os.sysconf("SC_PAGESIZE")


def prepare(rows: int, directory: Path) -> None:
    """Writes a world of `rows` rows and the questions about it below `directory`."""
    world = worlds.make(rows)
    world.write(directory / "policies")
    users = world.users
    warm = users[: min(_WARM_PRINCIPALS, len(users) * 3 // 4)]
    cold = users[len(warm) :][:_COLD_PRINCIPALS]
    for name, people in (("", warm), ("few-", users[: _few_principals()])):
        asked = world.questions(people, 2 * QUESTIONS, seed=2)
        _write(directory / f"{name}seen", asked[:QUESTIONS])
        _write(directory / f"{name}warm", asked[QUESTIONS:])
    _write(directory / "cold", world.questions(cold, len(cold), seed=3))


@cache
def _few_principals() -> int:
    """Those who are asked about in the smallest tenant."""
    return len(worlds.make(SIZES[0]).users) * 3 // 4


def _write(path: Path, questions: list[tuple[str, str, str, str]]) -> None:
    path.write_text("".join("\t".join(question) + "\n" for question in questions))


def _read(path: Path) -> list[Question]:
    return [parse_question(*line.split("\t")) for line in path.read_text().splitlines()]


def measure(rows: int, directory: Path) -> dict[str, float]:
    """Everything about one size, in this process, which must be fresh."""
    before = _resident()
    start = time.perf_counter()
    snapshot = load(directory / "policies")
    seconds = time.perf_counter() - start
    gc.collect()
    resident = _resident() - before
    decide = snapshot.decide
    seen, warm, cold = (_read(directory / name) for name in ("seen", "warm", "cold"))
    gc.collect()
    for question in seen:
        decide(question)
    own = statistics.median(times(None, warm))
    warm_ns, cold_ns = sorted(times(decide, warm)), sorted(times(decide, cold))
    allowed = sum(decide(question).allowed for question in warm) / len(warm)
    return {
        "rows": rows,
        "load_s": seconds,
        "bytes_a_row": resident / rows,
        "clock_ns": own,
        "warm_us": (statistics.median(warm_ns) - own) / 1000,
        "warm_p99_us": (warm_ns[len(warm_ns) * 99 // 100] - own) / 1000,
        "warm_mean_us": (statistics.fmean(warm_ns) - own) / 1000,
        "cold_us": (statistics.median(cold_ns) - own) / 1000,
        "cold_p99_us": (cold_ns[len(cold_ns) * 99 // 100] - own) / 1000,
        "cold_questions": len(cold),
        "allowed": allowed,
    }


def measure_few(directory: Path) -> dict[str, float]:
    """Warm decisions about as many principals as the smallest tenant has, in this process, which must be fresh."""
    decide = load(directory / "policies").decide
    seen, warm = (_read(directory / f"few-{name}") for name in ("seen", "warm"))
    gc.collect()
    for question in seen:
        decide(question)
    own = statistics.median(times(None, warm))
    return {"few_us": (statistics.median(times(decide, warm)) - own) / 1000}


def times(decide: Callable[[Question], object] | None, questions: list[Question]) -> list[int]:
    """Nanoseconds of each call; with None those of reading the clock twice, which is what the measuring itself costs."""
    clock = time.perf_counter_ns
    taken = []
    if decide is None:
        for _ in questions:
            start = clock()
            taken.append(clock() - start)
    else:
        for question in questions:
            start = clock()
            decide(question)
            taken.append(clock() - start)
    return taken


def _resident() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def load(policies: Path, limits: Limits = DEFAULT_LIMITS) -> Snapshot:
    """The way the server loads a policy directory."""
    loaded = load_tree(policies, limits).tenants[Tenant(worlds.TENANT)]
    if loaded.snapshot is None:
        raise ValueError(f"the made-up tenant was refused: {loaded.diagnostics[:3]}")
    return loaded.snapshot


def measure_casbin(directory: Path) -> dict[str, float]:
    """pycasbin and the engine over the same rows and the same questions, both warm; they must agree on each."""
    snapshot = load(directory / "policies")
    rows = directory / "rows.csv"
    tenant = directory / "policies" / worlds.TENANT
    rows.write_text((tenant / "roles.csv").read_text() + (tenant / "bindings.csv").read_text())
    with as_file(files("remit.engine") / "access.conf") as model:
        enforcer: Any = casbin.Enforcer(str(model))
    remit.casbin.register(enforcer)
    enforcer.set_adapter(casbin.FileAdapter(str(rows)))
    enforcer.load_policy()

    def enforce(question: Question) -> bool:
        principal, action, kind, namespace = question
        return bool(enforcer.enforce(principal, worlds.TENANT, namespace, kind, action))

    # pycasbin builds a role graph for each namespace when it is first asked about: that is not timed.
    warm = _read(directory / "warm")
    counted = Counter(question.namespace for question in warm)
    namespaces = [namespace for namespace, _ in counted.most_common(_CASBIN_NAMESPACES)]
    warm = [question for question in warm if question.namespace in namespaces]
    for namespace in namespaces:
        enforce(next(question for question in warm if question.namespace == namespace))
    for question in _read(directory / "seen"):
        snapshot.decide(question)
    deadline = time.monotonic() + _CASBIN_S
    asked, taken = 0, []
    while asked < len(warm) and time.monotonic() < deadline:
        some = warm[asked : asked + 100]
        taken += times(enforce, some)
        asked += len(some)
    for question in warm[:asked]:
        if snapshot.decide(question).allowed != enforce(question):
            raise ValueError(f"pycasbin and the engine differ on {question}")
    own = statistics.median(times(None, warm))
    mine = statistics.median(times(snapshot.decide, warm[:asked])) - own
    return {"casbin_us": (statistics.median(taken) - own) / 1000, "engine_us": mine / 1000, "casbin_questions": asked}


def child(what: str, rows: int, directory: Path) -> dict[str, float]:
    """Runs a measurement in a fresh process pinned to the server core."""
    core, _ = machine.cores()
    command = ["taskset", "-c", str(core), sys.executable, "-m", "bench.engine", "--child", what]
    command += ["--rows", str(rows), "--directory", str(directory)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def show(found: dict[int, dict[str, float]]) -> None:
    headings = ["rows", "load s", "bytes/row", "warm us", "p99", "mean", "few us", "cold us", "p99", "allowed"]
    table.show(headings, [
        [
            f"{rows:,}", f"{one['load_s']:.2f}", f"{one['bytes_a_row']:.0f}",
            f"{one['warm_us']:.2f}", f"{one['warm_p99_us']:.2f}", f"{one['warm_mean_us']:.2f}", f"{one['few_us']:.2f}",
            f"{one['cold_us']:.1f}", f"{one['cold_p99_us']:.1f}", f"{one['allowed']:.0%}",
        ]
        for rows, one in found.items()
    ])  # fmt: skip
    clock = max(one["clock_ns"] for one in found.values())
    print(f"each decision timed alone; taken off each: two readings of the clock, at most {clock:.0f} ns (median)\n")


def show_targets(found: dict[int, dict[str, float]], pycasbin: dict[str, float] | None) -> None:
    rows: list[list[str]] = []

    def at_most(what: str, limit: float, value: float, unit: str) -> None:
        rows.append([what, f"<= {limit:g} {unit}", f"{value:.2f} {unit}", table.target(value <= limit)])

    if (one := found.get(100_000)) is not None:
        at_most("one decision, 100,000 rows, warm", 2, one["warm_us"], "us")
        at_most("one decision, 100,000 rows, cold", 25, one["cold_us"], "us")
        at_most("load and compile 100,000 rows", 2, one["load_s"], "s")
        at_most("resident memory, 100,000 rows", 600, one["bytes_a_row"], "bytes/row")
    if (one := found.get(1_000_000)) is not None:
        at_most("load and compile 1,000,000 rows", 25, one["load_s"], "s")
        at_most("resident memory, 1,000,000 rows", 600, one["bytes_a_row"], "bytes/row")
        if 1_000 in found:
            by = one["few_us"] / found[1_000]["few_us"]
            at_most("warm at 1,000,000 rows by warm at 1,000, as many principals", 2, by, "times")
            by = one["warm_us"] / found[1_000]["warm_us"]
            rows.append(
                ["  the same, a thousand principals by those that 1,000 rows have", "", f"{by:.2f} times", "no aim"]
            )
    if pycasbin is not None:
        ratio = pycasbin["casbin_us"] / pycasbin["engine_us"]
        rows.append(
            [
                "faster than pycasbin over 1,000 rows",
                ">= 2000 times",
                f"{ratio:,.0f} times",
                table.target(ratio >= 2000),
            ]
        )
    table.show(["target", "", "measured", ""], rows)


_CHILDREN: dict[str, Callable[[int, Path], dict[str, float]]] = {
    "decide": measure,
    "few": lambda _, directory: measure_few(directory),
    "casbin": lambda _, directory: measure_casbin(directory),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, action="append", help=f"sizes to measure, {SIZES} by default")
    parser.add_argument("--child", choices=list(_CHILDREN), help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = arguments.rows or list(SIZES)
    if arguments.child:
        print(json.dumps(_CHILDREN[arguments.child](sizes[0], arguments.directory)))
        return 0

    print(f"machine: {machine.describe()}")
    print(f"{machine.quietness()}\n")
    results: dict[int, dict[str, float]] = {}
    pycasbin = None
    with scratch("engine") as folder:
        for rows in sizes:
            directory = folder / str(rows)
            prepare(rows, directory)
            results[rows] = child("decide", rows, directory) | child("few", rows, directory)
            if rows == 1_000:
                pycasbin = child("casbin", rows, directory)
            shutil.rmtree(directory)
    show(results)
    if pycasbin is not None:
        print(
            f"pycasbin over 1,000 rows: {pycasbin['casbin_us']:,.0f} us a decision (median of "
            f"{pycasbin['casbin_questions']:.0f}), the engine on the same questions {pycasbin['engine_us']:.2f} us\n"
        )
    show_targets(results, pycasbin)
    path = CACHE / f"engine-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.write_text(
        json.dumps({"machine": machine.describe(), "sizes": list(results.values()), "pycasbin": pycasbin}, indent=1)
    )
    print(f"raw figures: {path.relative_to(CACHE.parent.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
