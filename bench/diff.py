"""A diff of two policies that are ten edits apart, after loading: closed at run time, and with every group and role open. See bench/README.md for the method."""

import argparse
import json
import random
import statistics
import time
from dataclasses import dataclass, replace

from bench import machine, table, worlds
from bench.servers import CACHE
from remit.core.names import Tenant
from remit.core.patterns import EVERYWHERE
from remit.core.runtime import Runtime
from remit.engine.diff import TenantDiff, diff
from remit.engine.snapshot import Snapshot
from remit.policy.load import load_root, load_tenant
from remit.policy.read.limits import Limits
from remit.policy.read.tree import Folder, Tree

SIZES = (1_000, 100_000)
EDITS = 10
ROUNDS = 9
TARGET_S = 5.0
_TARGET_ROWS = 100_000
_ALL = Runtime(("role:*",), ("group:*",), (EVERYWHERE,))


@dataclass(frozen=True, slots=True)
class Round:
    seconds: float
    opened_s: float
    """With every group and role open at run time, in all of the tenant."""
    opened: TenantDiff
    found: TenantDiff


def loaded(world: worlds.World) -> Snapshot:
    """The world's files, loaded without touching a disk."""
    files = {path: text.encode() for path, text in world.files().items()}
    root = Folder("", {path: content for path, content in files.items() if "/" not in path})
    folder = Folder(worlds.TENANT, {path: content for path, content in files.items() if "/" in path})
    tree = Tree(root, {Tenant(worlds.TENANT): folder})
    tenant = load_tenant(tree, Tenant(worlds.TENANT), load_root(tree), Limits(), tested=False)
    if tenant.snapshot is None:
        raise SystemExit("\n".join(map(str, tenant.diagnostics)))
    return tenant.snapshot


def edit(world: worlds.World, seed: int) -> None:
    """Ten edits in place: rows gone, turned round, new, and with another pattern; p rows and g rows alike."""
    choose = random.Random(seed)
    for turn in range(EDITS):
        rows = world.p_rows if turn % 2 else world.g_rows
        place = choose.randrange(len(rows))
        fields = rows[place].split(", ")
        match turn // 2:
            case 0:
                del rows[place]
            case 1 if fields[0] == "p":
                rows[place] = ", ".join([*fields[:-1], "deny" if fields[-1] == "allow" else "allow"])
            case 1 | 2:
                # A user may hold whatever another subject holds; a role may have any other role's row.
                subject = fields[1] if fields[0] == "p" else choose.choice(world.users)
                rows.append(", ".join([fields[0], subject, *choose.choice(rows).split(", ")[2:]]))
            case _:
                other = choose.choice(rows).split(", ")[3]
                rows[place] = ", ".join([*fields[:3], other, *fields[4:]])


def measure(rows: int) -> list[Round]:
    """Each round edits the same world anew."""
    old = loaded(worlds.make(rows))
    found = []
    for seed in range(ROUNDS):
        world = worlds.make(rows)
        edit(world, seed)
        new = loaded(world)
        seconds, told = _timed(old, new)
        found.append(Round(seconds, *_timed(*map(_opened, (old, new))), told))
    return found


def _timed(old: Snapshot, new: Snapshot) -> tuple[float, TenantDiff]:
    start = time.perf_counter()
    told = diff(Tenant(worlds.TENANT), old, new)
    return time.perf_counter() - start, told


def _opened(snapshot: Snapshot) -> Snapshot:
    return Snapshot(replace(snapshot.policy, runtime=_ALL))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=SIZES)
    arguments = parser.parse_args()
    print(machine.describe())
    print(machine.quietness())
    print()
    results = {rows: measure(rows) for rows in arguments.rows}
    table.show(
        [
            "rows",
            "edits",
            "rounds",
            "median s",
            "slowest s",
            "principals that change",
            "sentences",
            "all open: median s",
            "sentences of it",
        ],
        [
            [
                f"{rows:,}",
                str(EDITS),
                str(len(rounds)),
                f"{statistics.median(each.seconds for each in rounds):.2f}",
                f"{max(each.seconds for each in rounds):.2f}",
                f"{statistics.median(_principals(each.found) for each in rounds):.0f}",
                f"{statistics.median(len(each.found.access) for each in rounds):.0f}",
                f"{statistics.median(each.opened_s for each in rounds):.2f}",
                f"{statistics.median(len(each.opened.runtime) for each in rounds):.0f}",
            ]
            for rows, rounds in results.items()
        ],
    )
    if _TARGET_ROWS in results:
        median = statistics.median(each.opened_s for each in results[_TARGET_ROWS])
        print(f"{_TARGET_ROWS:,} rows within {TARGET_S:g} s: {table.target(median <= TARGET_S)}")
    CACHE.mkdir(exist_ok=True)
    seconds = {rows: [each.seconds for each in rounds] for rows, rounds in results.items()}
    (CACHE / "diff.json").write_text(json.dumps(seconds))


def _principals(found: TenantDiff) -> int:
    return len({principal for change in found.access for principal in change.principals})


if __name__ == "__main__":
    main()
