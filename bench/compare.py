"""This checkout beside another commit of it, in interleaved rounds of one run. See bench/README.md for the method."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import engine, h2load, machine, servers, service, table
from bench.h2load import VoidFigureError

ROOT: Final = servers.BENCH.parent
_ROWS: Final = 100_000
_TIMEOUT_S: Final = 600

Figures = dict[str, float]
"""By name; of all of them less is better."""


@dataclass(frozen=True, slots=True)
class Side:
    """A commit, ready to run: its files, and an environment that finds them and the packages of ours."""

    name: str
    tree: Path
    environment: Path

    @property
    def remit(self) -> Path:
        return self.environment / "bin" / "remit"

    def bench(self, module: str, *arguments: str) -> str:
        """What a bench of this side prints, run on the server's core alone."""
        core, _ = machine.cores()
        command = ["taskset", "-c", str(core)] if module != "bench.reload" else []
        command += [str(self.environment / "bin" / "python"), "-m", module, *arguments]
        done = subprocess.run(command, cwd=self.tree, stdout=subprocess.PIPE, text=True, check=True, timeout=_TIMEOUT_S)
        return done.stdout


def side(name: str, tree: Path, folder: Path) -> Side:
    environment = folder / f"{name}-environment"
    venv.create(environment, symlinks=True)
    bin_ = environment / "bin"
    versioned = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = environment / "lib" / versioned / "site-packages"
    # A path of a .pth file is not read for .pth files of its own, so our own editable install stays out.
    (site / "compared.pth").write_text(f"{tree / 'src'}\n{sysconfig.get_path('purelib')}\n")
    module, _, function = tomllib.loads((tree / "pyproject.toml").read_text())["project"]["scripts"]["remit"].partition(
        ":"
    )
    (bin_ / "remit").write_text(f"#!{bin_ / 'python'}\nfrom {module} import {function}\n{function}()\n")
    (bin_ / "remit").chmod(0o755)
    (tree / "bench" / ".cache").mkdir(exist_ok=True)
    return Side(name, tree, environment)


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """The files of a commit. Raises CalledProcessError where there is none of that name."""
    tree = folder / "before"
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", tree, commit], cwd=ROOT, check=True)
    try:
        yield tree
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)


def compare_service(sides: Sequence[Side], folder: Path, rounds: int, scale: float) -> None:
    """Calls a second through a real server, audited before the answer. Here more is better."""
    server_core, load_core = machine.cores()
    with ExitStack() as stack:
        running = [
            stack.enter_context(servers.Remit("before_answer", server_core, folder, name=each.name, remit=each.remit))
            for each in sides
        ]
        bench = service.Bench([*running], load_core, folder)
        rows = []
        for figure in service.figures(scale)[:3]:
            series = bench.measure(service.Figure(figure.title, figure.load, figure.batch, rounds, figure.seconds))
            before, after = (series[each.name].rates() for each in sides)
            rows.append(_row(figure.title, before, after, "{:,.0f}"))
            before, after = ([run.p99_us for run in series[each.name].runs] for each in sides)
            rows.append(_row("  the same, p99 us", before, after, "{:,.0f}"))
    _show("decisions a second, one core", rows)


def compare_batch(sides: Sequence[Side], folder: Path, rounds: int, scale: float) -> None:
    """The stages of a decision of a batch, in one thread."""
    del folder, scale

    def once(each: Side) -> Figures:
        lines = each.bench("bench.batch").splitlines()
        numbers = next(line for line in lines if line.startswith("all of these")).split()[3:]
        return {f"a decision, {calls} calls a commit": float(us) for calls, us in zip((1, 4, 32), numbers, strict=True)}

    _show("us of a core", _in_turn(sides, rounds, once))


def compare_engine(sides: Sequence[Side], folder: Path, rounds: int, scale: float) -> None:
    """One decision in process, and what loading takes."""
    del scale
    world = folder / "world"
    engine.prepare(_ROWS, world)

    def once(each: Side) -> Figures:
        found = json.loads(
            each.bench("bench.engine", "--child", "decide", "--rows", str(_ROWS), "--directory", str(world))
        )
        return {name: found[name] for name in ("warm_us", "cold_us", "load_s", "bytes_a_row")}

    _show(f"{_ROWS:,} rows", _in_turn(sides, rounds, once))


def compare_reload(sides: Sequence[Side], folder: Path, rounds: int, scale: float) -> None:
    """The 99th percentile of Check without and with a reload every second, and how long an edit takes."""
    del folder

    def once(each: Side) -> Figures:
        before = set((each.tree / "bench" / ".cache").glob("reload-*.json"))
        each.bench("bench.reload", "--rounds", "1", "--seconds", str(4 * scale))
        (path,) = set((each.tree / "bench" / ".cache").glob("reload-*.json")) - before
        found: dict[str, Any] = json.loads(path.read_text())
        figures = {
            f"p99 us, {load}{words}": pairs[0][position]
            for load, pairs in found["p99_us"].items()
            for position, words in enumerate(("", ", reloading"))
        }
        return figures | {f"s from an edit, {rows} rows": taken[0] for rows, taken in found["reload_s"].items()}

    _show("reload", _in_turn(sides, rounds, once))


def _in_turn(sides: Sequence[Side], rounds: int, once: Callable[[Side], Figures]) -> list[list[str]]:
    found: dict[str, list[Figures]] = {each.name: [] for each in sides}
    for sides_in_turn in service.in_turn(sides, rounds):
        for each in sides_in_turn:
            found[each.name].append(once(each))
    before, after = found.values()
    return [_row(name, [one[name] for one in before], [one[name] for one in after], "{:.4g}") for name in before[0]]


def _row(what: str, before: Sequence[float], after: Sequence[float], form: str) -> list[str]:
    """The medians, and the median and the range of the ratios within each round."""
    ratios = sorted(new / old for old, new in zip(before, after, strict=True))
    medians = [form.format(statistics.median(side_)) for side_ in (before, after)]
    return [what, *medians, f"{statistics.median(ratios):.3f}", f"{ratios[0]:.2f} - {ratios[-1]:.2f}"]


def _show(title: str, rows: list[list[str]]) -> None:
    table.show([title, "before", "after", "after by before", "min - max"], rows)


PARTS: Final[dict[str, Callable[[Sequence[Side], Path, int, float], None]]] = {
    "service": compare_service,
    "batch": compare_batch,
    "engine": compare_engine,
    "reload": compare_reload,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", help="the commit to compare with")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="only these; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="length of a round of calls, 1 for about 2 s")
    arguments = parser.parse_args()
    wanted = arguments.only or list(PARTS)
    if not h2load.installed():
        print("skipped: no h2load (Debian: nghttp2-client); run bench/install")
        wanted = [each for each in wanted if each in {"batch", "engine"}]
    print(f"machine: {machine.describe()}\n{machine.quietness()}\n")
    try:
        with servers.scratch("compare") as folder, worktree(arguments.commit, folder) as tree:
            if (tree / "requirements.lock").read_bytes() != (ROOT / "requirements.lock").read_bytes():
                print("the two commits lock other packages: both run with those installed here\n")
            sides = [side("before", tree, folder), side("after", ROOT, folder)]
            for each in wanted:
                PARTS[each](sides, folder, arguments.rounds, arguments.scale)
    except (VoidFigureError, subprocess.CalledProcessError) as error:
        print(f"void: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
