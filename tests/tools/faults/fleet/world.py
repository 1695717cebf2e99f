"""A fleet of three real servers over one policy store, who publishes to it, and callers who write down what they see."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from random import Random
from threading import Event, Lock
from typing import Final, Self

from remit.clock import now_us
from remit.core.names import Tenant
from remit.core.position import Position
from remit.fleet.errors import PolicyStoreError, PublishRefusedError
from remit.fleet.review import reviewer
from remit.fleet.store import Draft, PolicyStore
from remit.policy.load import DEFAULT_LIMITS
from remit.policy.read.tree import Tree

from ..promise import until
from .databases import HOST, StandbyPair, url_at
from .history import (
    AwayTime,
    ChangeCall,
    CheckCall,
    ClockTime,
    FleetHistory,
    NewsTime,
    PublishCall,
    StoreLog,
    WriteOutcome,
)
from .logs import read_log, read_positions
from .node import FleetNode, FleetOrder
from .proxy import FaultyProxy
from .tenants import (
    PRINCIPALS,
    TENANTS,
    Members,
    RowRequest,
    decisions_of,
    drawn_request,
    opposite,
    policies_of,
    tree_of,
)

NODES: Final = ("node-1", "node-2", "node-3")
_CALLERS: Final = 4
_CALL_EVERY_S: Final = 0.04
_TOKEN_SHARE: Final = 0.4
_CHANGED_SHARE: Final = 0.6
_ALLOWED_SHARE: Final = 0.5
_GRANTERS: Final = 2
_GRANT_EVERY_S: Final = 0.3
_MOST_THREADS: Final = 16
_TRIES: Final = 4
_AGAIN_SHARE: Final = 0.2
"""Of the requests that were acknowledged: they are sent once more."""
_CLOCKS_S: Final = 60.0
"""How long a clock that was wrong has consequences: rows that ended stay ended until the next change."""
_PATIENCE_S: Final = 5.0
_LOOK_S: Final = 0.02


class FleetWorld:
    """Three nodes, a publisher, callers, and a store that may be broken. What happens in a round goes into `history`."""

    def __init__(self, order: FleetOrder) -> None:
        """Raises NoDatabaseError if PostgreSQL is not installed."""
        self.order = order
        self.rng = Random()
        self.history = FleetHistory()
        self.store = StandbyPair()
        self.nodes: list[FleetNode] = []
        self.token_share = _TOKEN_SHARE
        """Of the calls: they ask for the newest change that was acknowledged."""
        self.granting: list[FleetNode] = []
        """The nodes that are asked to grant and to revoke."""
        self.clocks: list[ClockTime] = []
        self._logs: list[StoreLog] = []
        self._read: set[str] = set()
        """The hashes of the releases whose files were asked."""
        self._allowed: dict[str, frozenset[str]] = {}
        self._written = 0
        self._members: Members = dict.fromkeys(TENANTS, frozenset(PRINCIPALS[:3]))
        self._newest: Mapping[str, Position] = {}
        self._mutex = Lock()
        self._stop = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as failed:
            self._threads = failed.enter_context(ThreadPoolExecutor(_MOST_THREADS))
            failed.enter_context(self.store)
            with PolicyStore(self.store.url) as store:
                store.migrate()
            self.proxy = failed.enter_context(FaultyProxy(HOST, self.store.port))
            self.publisher = failed.enter_context(PolicyStore(url_at(self.proxy.port)))
            self.publish()
            for name in NODES:
                self.nodes.append(FleetNode(self.order, name, self.store.port))
                failed.callback(self.nodes[-1].close)
            list(self._threads.map(FleetNode.start, self.nodes))
            self._stop = failed.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.close()

    def play(self, fault: Callable[["FleetWorld"], None]) -> FleetHistory:
        """One round of a fault, while callers ask, grant and revoke. Afterwards all nodes have had the time to serve the
        newest change."""
        before = {each.name: each.forks() for each in self.nodes}
        self.token_share, self.granting = _TOKEN_SHARE, self.nodes
        self._logs = []
        began_s = time.monotonic()
        self.clocks = [each for each in self.clocks if each.at_s > began_s - _CLOCKS_S]
        self.history = FleetHistory(clocks=self.clocks, zero_us=int((time.time() - began_s) * 1e6))
        with self._running(self._ask, _CALLERS):
            with self._running(self._grant, _GRANTERS):
                fault(self)
            self._converge()
        self.keep_log()
        self.history.logs = self._logs
        self.history.allowed = self._allowed
        self.history.forks = {each.name: each.forks() - before[each.name] for each in self.nodes}
        return self.history

    def write_down(self) -> None:
        """Keeps in the folder what the last round knows, for whoever looks for its end."""
        calls: list[PublishCall | ChangeCall | CheckCall | AwayTime] = [
            *self.history.publishes,
            *self.history.changes,
            *self.history.checks,
            *self.history.aways,
        ]
        lines = [f"{each.began_s:.6f} {each}" for each in sorted(calls, key=lambda each: each.began_s)]
        lines += [str(each) for each in (*self.history.news, *self.history.clocks, self.history.forks)]
        lines += [str(each) for log in self._logs for each in ("log", *log.changes)]
        (self.order.folder / "history.txt").write_text("\n".join(lines) + "\n")
        for each in self.nodes:
            (self.order.folder / f"{each.name}.log").write_text(each.server.log_text() + "\n")

    def keep_log(self) -> None:
        """Reads what the store holds. Call it before a standby takes its place."""
        with PolicyStore(self.store.url) as store:
            log, releases = read_log(store)
            self._logs.append(log)
            for release in releases:
                if release.hash not in self._read:
                    self._read.add(release.hash)
                    self._allowed |= decisions_of(store.tree(release, DEFAULT_LIMITS.bytes))

    def draw(self) -> Tree:
        """The newest files, with some of the members drawn anew."""
        self._members = {
            tenant: frozenset(each for each in PRINCIPALS if self.rng.random() < _ALLOWED_SHARE)
            if self.rng.random() < _CHANGED_SHARE
            else members
            for tenant, members in self._members.items()
        }
        return tree_of(self._members)

    def publish(
        self, store: PolicyStore | None = None, after: int | None = None, tree: Tree | None = None
    ) -> WriteOutcome:
        """Publishes drawn files, and writes down how that ended."""
        store, tree = store or self.publisher, tree or self.draw()
        message, began_s = self.next_message(), time.monotonic()
        outcome = WriteOutcome.UNKNOWN
        with suppress(PolicyStoreError):
            after = _newest_in(store) if after is None else after
            try:
                store.publish(Draft(tree, "faults", message), after, review=reviewer(policies_of(tree)))
                outcome = WriteOutcome.ACKNOWLEDGED
            except PublishRefusedError:
                outcome = WriteOutcome.REFUSED
        self.note_publish(PublishCall(message, after, outcome, began_s, time.monotonic()))
        return outcome

    def publish_surely(self) -> None:
        """Publishes when nothing is broken any more."""
        until(lambda: self.publish() is WriteOutcome.ACKNOWLEDGED, "a release is published")

    def next_message(self) -> str:
        with self._mutex:
            self._written += 1
            return f"change {self._written}"

    def next_name(self) -> str:
        """Of a request to grant and revoke."""
        return self.next_message().replace(" ", "-")

    def send(self, request: RowRequest, rng: Random) -> None:
        """Sends a request to random nodes until one says what became of it. Some come once more, when others have changed
        the same rows."""
        for _ in range(_TRIES):
            call = self.send_to(rng.choice(self.granting), request)
            if call.outcome is WriteOutcome.ACKNOWLEDGED and not call.already and rng.random() < _AGAIN_SHARE:
                self.send_to(rng.choice(self.granting), opposite(request, self.next_name()))
                self.send_to(rng.choice(self.granting), request)
            if call.outcome is not WriteOutcome.UNKNOWN:
                return
            time.sleep(rng.uniform(0, _GRANT_EVERY_S))

    def send_to(self, node: FleetNode, request: RowRequest) -> ChangeCall:
        call = node.change(request)
        self.history.changes.append(call)
        with self._mutex:
            known = self._newest.get(request.tenant)
            if call.position is not None and (known is None or call.position.seq > known.seq):
                self._newest = {**self._newest, request.tenant: call.position}
        return call

    def newest(self, tenant: Tenant) -> Position | None:
        """Of the changes that were acknowledged."""
        return self._newest.get(tenant)

    def note_publish(self, call: PublishCall) -> None:
        self.history.publishes.append(call)
        if call.outcome is WriteOutcome.ACKNOWLEDGED:
            newest = read_positions(self.publisher)
            if newest is not None:
                with self._mutex:
                    self._newest = newest

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Publishes one release after another during the block."""

        def run(_: Random, stopping: Event) -> None:
            while not stopping.wait(self.rng.uniform(0.05, 0.4)):
                self.publish()

        with self._running(run, 1):
            yield

    @contextmanager
    def away(self, *nodes: FleetNode, runs: bool = True, extra_s: float = 0.0) -> Iterator[None]:
        """These nodes learn of nothing during the block; after it they do. With `runs`, they answer meanwhile."""
        began_s = time.monotonic()
        try:
            yield
        finally:
            ended_s = time.monotonic() + extra_s
            self.history.aways += [AwayTime(each.name, began_s, ended_s, runs) for each in nodes]
            self.news(*nodes, extra_s=extra_s)

    def news(self, *nodes: FleetNode, extra_s: float = 0.0) -> None:
        """From now on these nodes can learn of all that was acknowledged."""
        self.history.news.append(NewsTime([each.name for each in nodes], time.monotonic(), extra_s))

    def set_clock(self, node: FleetNode, offset_s: float) -> None:
        """From now on the clock of a node is wrong by so many seconds. Needs nodes that `launcher.py` started."""
        self.clocks.append(ClockTime(node.name, time.monotonic(), offset_s))
        node.server.order(clock_s=offset_s)

    def some_node(self) -> FleetNode:
        return self.rng.choice(self.nodes)

    def moment(self, most_s: float) -> None:
        """A random moment passes."""
        time.sleep(self.rng.uniform(0, most_s))

    def serves_newest(self, node: FleetNode) -> bool:
        """Whether a node answers at the newest position of each tenant."""
        return all(self._reaches(node, tenant, wanted) for tenant, wanted in self._newest.items())

    def wait_for(self, *nodes: FleetNode, extra_s: float = 0.0) -> None:
        """Waits until these nodes serve the newest release. The checker judges how long it took."""
        patience = time.monotonic() + self.order.bound_s + extra_s + _PATIENCE_S
        for each in nodes:
            while not self.serves_newest(each) and time.monotonic() < patience:
                time.sleep(_LOOK_S)

    def _converge(self) -> None:
        self.publish_surely()
        self.news(*self.nodes)
        self.wait_for(*self.nodes)

    def _reaches(self, node: FleetNode, tenant: str, wanted: Position) -> bool:
        call = node.check(tenant, PRINCIPALS[0])
        self.history.checks.append(call)
        position = call.answer.position if call.answer is not None else None
        return position is not None and (position == wanted or position.seq > wanted.seq)

    @contextmanager
    def _running(self, work: Callable[[Random, Event], None], times: int) -> Iterator[None]:
        """Runs so many of it in threads until the end of the block."""
        stopping = Event()
        with ExitStack() as stop:
            for _ in range(times):
                stop.callback(self._threads.submit(work, Random(self.rng.random()), stopping).result)
            stop.callback(stopping.set)
            yield

    def _grant(self, rng: Random, stopping: Event) -> None:
        while not stopping.wait(rng.uniform(0, _GRANT_EVERY_S)):
            tenant = rng.choice(TENANTS)
            request = drawn_request(rng, tenant, self.next_name(), now_us(), self.newest(tenant))
            self.send(request, rng)

    def _ask(self, rng: Random, stopping: Event) -> None:
        while not stopping.wait(rng.uniform(0, _CALL_EVERY_S)):
            tenant = rng.choice(TENANTS)
            at_least = self._newest.get(tenant) if rng.random() < self.token_share else None
            self.history.checks.append(rng.choice(self.nodes).check(tenant, rng.choice(PRINCIPALS), at_least))


def _newest_in(store: PolicyStore) -> int:
    newest = store.newest()
    return newest.release.seq if newest is not None else 0
