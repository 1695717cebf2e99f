"""Search in process, and checks beside a sorting of names, over 100,000 bindings and 10,000 namespaces. See bench/README.md for the method."""

import gc
import random
import statistics
import sys
import time
from collections.abc import Callable
from threading import Event, Thread

from bench import machine, table, worlds
from bench.engine import load
from bench.servers import scratch
from remit.core.names import Namespace, Principal, Word, parse_namespace
from remit.core.question import Question
from remit.engine.pacing import Pacing, unpaced
from remit.engine.queries.matrix import COLUMNS_LIMIT, ROWS_LIMIT, MatrixOf, NamespacesAsRows, PrincipalsAsRows
from remit.engine.queries.names import NameIndex
from remit.engine.queries.search import ActionsOf, NamespacesOf, PrincipalsFor
from remit.engine.snapshot import Snapshot
from remit.policy.build.throttle import throttled
from remit.server.run import SWITCH_S

_ROWS = 200_000
"""Half of them bindings."""
_NAMES = 10_000
_ROUNDS = 50
_BESIDE_S = 5.0
_BETWEEN_S = 0.0005


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def measure(snapshot: Snapshot, world: worlds.World) -> list[list[str]]:
    choose = random.Random(1)
    known = [name for department in world.namespaces for name in department]
    names = [Namespace(name) for name in known]
    while len(names) < _NAMES:
        names.append(parse_namespace(f"{choose.choice(known)}.job{len(names)}"))
    among = tuple(choose.sample(names, _NAMES))
    people = [Principal(name) for name in choose.sample(world.users, _ROUNDS)]
    kinds = [Word(choose.choice(worlds.KINDS)) for _ in people]
    actions = [Word(choose.choice(worlds.ACTIONS)) for _ in people]
    asked = list(zip(people, actions, kinds, strict=True))
    found: list[list[str]] = []

    def row(what: str, limit: float | None, taken: list[float], answers: list[int]) -> None:
        median = statistics.median(taken)
        target = ["", ""] if limit is None else [f"<= {limit:g} ms", table.target(median <= limit)]
        found.append(
            [what, target[0], f"{median:.2f} ms", f"{max(taken):.1f} ms", f"{statistics.median(answers):g}", target[1]]
        )

    def where(who: Principal, action: Word, kind: Word) -> int:
        return len(NamespacesOf(who, action, kind, among).answer(snapshot).among)

    def who(action: Word, kind: Word, namespace: Namespace) -> int:
        return len(PrincipalsFor(action, kind, namespace).answer(snapshot).principals)

    first = milliseconds(lambda: who(actions[0], kinds[0], among[0]))
    row("ListPrincipals, the first of a snapshot", 100, [first], [who(actions[0], kinds[0], among[0])])
    timed = [milliseconds(lambda each=each: where(*each)) for each in asked]
    row(f"ListNamespaces over {_NAMES:,} names", 20, timed, [where(*each) for each in asked])
    timed = [milliseconds(lambda each=each: where(each, Word(""), Word(""))) for each in people]
    row(
        f"ListNamespaces over {_NAMES:,} names, any kind and action",
        None,
        timed,
        [where(each, Word(""), Word("")) for each in people],
    )
    places = [(action, kind, choose.choice(names[: len(known)])) for action, kind in zip(actions, kinds, strict=True)]
    row(
        "ListPrincipals",
        100,
        [milliseconds(lambda each=each: who(*each)) for each in places],
        [who(*each) for each in places],
    )
    taken = [
        milliseconds(lambda each=each: ActionsOf(*each).answer(snapshot)) for each in zip(people, names, strict=False)
    ]
    row(
        "ListActions",
        None,
        taken,
        [len(ActionsOf(*each).answer(snapshot)) for each in zip(people, names, strict=False)],
    )
    columns = len(worlds.KINDS) * len(worlds.ACTIONS)
    for what, rows in (
        ("principals", [PrincipalsAsRows(place, tuple(people_of(choose, world))) for _, _, place in places]),
        ("namespaces", [NamespacesAsRows(each, tuple(choose.sample(names, ROWS_LIMIT))) for each in people]),
        ("everybody in a namespace", [PrincipalsAsRows(place) for _, _, place in places]),
    ):
        few = tuple(map(Word, worlds.KINDS))[: COLUMNS_LIMIT // len(worlds.ACTIONS)]
        shown = min(columns, len(few) * len(worlds.ACTIONS))
        asked_for = [MatrixOf(each, few) for each in rows]
        taken = [milliseconds(lambda each=each: each.answer(snapshot)) for each in asked_for]
        cells = [len(each.answer(snapshot).rows) * shown for each in asked_for]
        row(f"ListMatrix, a page of {what} x {shown}", 200, taken, cells)
    return found


def people_of(choose: random.Random, world: worlds.World) -> list[Principal]:
    return [Principal(name) for name in choose.sample(world.users, ROWS_LIMIT)]


def beside(snapshot: Snapshot, world: worlds.World, pacing: Pacing | None) -> list[str]:
    """Checks one after another, while another thread sorts the names of the policy again and again; alone without a
    pacing."""
    asked = [
        Question(Principal(who), Word(action), Word(kind), Namespace(where))
        for who, action, kind, where in world.questions(world.users[:500], 500, 2)
    ]
    sortings: list[float] = []
    done = Event()

    def sort_names(pacing: Pacing) -> None:
        while not done.is_set():
            sortings.append(milliseconds(lambda: NameIndex.of(snapshot.policy, pacing)))

    thread = Thread(target=sort_names, args=(pacing,)) if pacing is not None else None
    if thread is not None:
        thread.start()
    taken = []
    until = time.monotonic() + _BESIDE_S
    while time.monotonic() < until:
        for question in asked:
            # A call waits for its bytes before it computes, and lets another thread compute meanwhile.
            due = time.perf_counter() + _BETWEEN_S
            time.sleep(_BETWEEN_S)
            snapshot.decide(question)
            taken.append((time.perf_counter() - due) * 1000)
    done.set()
    if thread is not None:
        thread.join()
    taken.sort()
    name = {None: "nothing", unpaced: "a sorting without pauses", throttled: "a sorting with pauses"}[pacing]
    sorting = f"{statistics.median(sortings):.0f} ms" if sortings else ""
    return [
        name,
        sorting,
        f"{statistics.median(taken):.3f} ms",
        f"{taken[len(taken) * 99 // 100]:.2f} ms",
        f"{taken[-1]:.1f} ms",
    ]


def main() -> int:
    print(f"machine: {machine.describe()}")
    print(f"{machine.quietness()}\n")
    with scratch("search") as folder:
        world = worlds.make(_ROWS)
        world.write(folder / "policies")
        snapshot = load(folder / "policies")
    # As the server does once it has loaded: what stays is not looked at by each collection of what goes.
    gc.collect()
    gc.freeze()
    links, users = len(snapshot.policy.links), len(world.users)
    print(f"{links:,} bindings, memberships and inclusions, {len(snapshot.policy.rules):,} rules, {users:,} people\n")
    table.show(["search", "target", "median", "worst", "answers", ""], measure(snapshot, world))
    sys.setswitchinterval(SWITCH_S)
    print("Checks beside ListNames, the first of a revision:\n")
    rows = [beside(snapshot, world, pacing) for pacing in (None, unpaced, throttled)]
    table.show(["beside", "names are sorted in", "check, with its wake-up", "p99", "worst"], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
