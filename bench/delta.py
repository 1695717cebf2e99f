"""Changes of g rows without a reload, and decisions after them. See bench/README.md for the method."""

import argparse
import gc
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count

from bench import machine, table, worlds
from bench.engine import load, times
from bench.servers import scratch
from remit.core.names import Subject, Tenant
from remit.core.patterns import NamespacePattern
from remit.core.question import Question, parse_question
from remit.core.rows import Link
from remit.engine.snapshot import Snapshot
from remit.policy.read.limits import Limits

BINDINGS = 1_000_000
_LIMITS = Limits(rows=10_000_000, bytes=2**30, seconds=600)
"""More rows than the files of a tenant may have: further bindings may come at run time."""
_MEMBERS = 10_000
_GROUP = "group:large"
_USERS = 10_000
_USER_CHANGES = 5_000
_GROUP_CHANGES = 100
_USER_MS = 1.0
_GROUP_MS = 20.0

Change = tuple[list[Link], list[Link]]
"""The rows to add and to remove."""


class Changes:
    def __init__(self, world: worlds.World) -> None:
        self._world = world
        self._choose = random.Random(1)
        self._lines = count(1)

    def of_users(self) -> Iterator[Change]:
        """A user more in a group, or bound to a role in some namespace; every second one is taken back next."""
        choose, world = self._choose, self._world
        groups = sorted({row.split(", ")[2] for row in world.g_rows if ", group:" in row})
        roles = sorted(world.grants)
        while True:
            held = choose.choice(groups if choose.random() < 0.5 else roles)
            row = self._row(choose.choice(world.users), held, choose.choice(choose.choice(world.namespaces)))
            yield [row], []
            if choose.random() < 0.5:
                yield [], [row]

    def of_the_group(self) -> Iterator[Change]:
        """A role more for the group, then taken back."""
        for role in sorted(self._world.grants):
            row = self._row(_GROUP, role, "**")
            yield [row], []
            yield [], [row]

    def _row(self, member: str, holds: str, scope: str) -> Link:
        pattern = NamespacePattern.parse(scope)
        return Link(Subject(member), Subject(holds), Tenant(worlds.TENANT), pattern, "runtime", next(self._lines))


def changed(snapshot: Snapshot, changes: Iterator[Change], number: int) -> tuple[Snapshot, list[float]]:
    """The snapshot after that many changes, and the milliseconds that each took."""
    taken = []
    for _ in range(number):
        added, removed = next(changes)
        start = time.perf_counter()
        snapshot = snapshot.changed("changed", added, removed)
        taken.append((time.perf_counter() - start) * 1000)
    return snapshot, taken


def decision_us(decide: Callable[[Question], object], questions: list[Question]) -> float:
    own = statistics.median(times(None, questions))
    return (statistics.median(times(decide, questions)) - own) / 1000


def measure(snapshot: Snapshot, world: worlds.World) -> None:
    asked = [parse_question(*each) for each in world.questions(world.users[:_USERS], 2 * _USERS, seed=2)]
    seen, warm = asked[:_USERS], asked[_USERS:]
    for question in [*seen, *warm]:
        snapshot.decide(question)
    before_us = decision_us(snapshot.decide, warm)
    made = Changes(world)
    of_users, of_the_group = made.of_users(), made.of_the_group()
    rows = []

    def row(what: str, limit: float | None, taken: list[float]) -> None:
        worst, median = max(taken), statistics.median(taken)
        aim = ["", ""] if limit is None else [f"<= {limit:g} ms", table.target(median <= limit)]
        rows.append([what, f"{len(taken):,}", aim[0], f"{median:.3f} ms", f"{worst:.1f} ms", aim[1]])

    snapshot, taken = changed(snapshot, of_users, _USER_CHANGES)
    row("a row of a user", _USER_MS, taken)
    start = time.perf_counter()
    snapshot.expect_changes()
    row("once before, to expect rows of groups", None, [(time.perf_counter() - start) * 1000])
    snapshot, taken = changed(snapshot, of_the_group, _GROUP_CHANGES)
    row(f"a row of a group of {_MEMBERS:,}", _GROUP_MS, taken)
    snapshot, taken = changed(snapshot, of_users, _USER_CHANGES)
    row("a row of a user, after these", _USER_MS, taken)
    table.show(["change", "times", "target", "median", "worst", ""], rows)

    for question in warm:
        snapshot.decide(question)
    after_us = decision_us(snapshot.decide, warm)
    snapshot, _ = changed(snapshot, of_users, 1)
    once = list({question.principal: question for question in warm}.values())
    first_us = decision_us(snapshot.decide, once)
    rows = [
        ["before all changes", f"{before_us:.2f} us"],
        ["after them", f"{after_us:.2f} us"],
        ["the first of an untouched principal after a change", f"{first_us:.2f} us"],
    ]
    table.show(["decision, principal seen before", "median"], rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bindings", type=int, default=BINDINGS)
    arguments = parser.parse_args()
    print(f"machine: {machine.describe()}")
    print(f"{machine.quietness()}\n")
    with scratch("delta") as folder:
        world = worlds.make(2 * arguments.bindings)
        world.g_rows += [f"g, {user}, {_GROUP}, {worlds.TENANT}" for user in world.users[-_MEMBERS:]]
        world.write(folder / "policies")
        snapshot = load(folder / "policies", _LIMITS)
    # As the server does once it has loaded.
    gc.collect()
    gc.freeze()
    print(f"{len(snapshot.policy.links):,} bindings, memberships and inclusions, {len(world.users):,} people\n")
    measure(snapshot, world)
    return 0


if __name__ == "__main__":
    sys.exit(main())
