"""A fleet of three real servers over one policy store, who publishes to it, and callers who write down what they see."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Event, Lock
from typing import Any, Final, Self

import grpc
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from remit.audit.chain.chain import Head
from remit.client.stubs import rpcs_over
from remit.core.names import Tenant, parse_action, parse_kind, parse_namespace, parse_principal
from remit.core.position import Position, parse_position
from remit.core.question import Question
from remit.core.rows import Effect
from remit.faults.fleet.databases import HOST, StandbyPair, url_at
from remit.faults.fleet.history import (
    AwayTime,
    CheckCall,
    FleetHistory,
    LoggedPosition,
    LoggedRelease,
    NewsTime,
    PublishCall,
    PublishOutcome,
    SeenAnswer,
    StoreLog,
)
from remit.faults.fleet.proxy import FaultyProxy
from remit.faults.promise import until
from remit.faults.server import REMIT, ServerProcess
from remit.fleet.change import PolicyChange, position_of
from remit.fleet.errors import PolicyStoreError, PublishRefusedError
from remit.fleet.schema.tables import changes, heads
from remit.fleet.store import Draft, PolicyStore
from remit.policy.load import DEFAULT_LIMITS, load_root, load_tenant
from remit.policy.read.tree import Folder, Tree
from remit.v1 import access_service_pb2 as messages
from remit.v1 import decision_pb2

NODES: Final = ("node-1", "node-2", "node-3")
_TENANTS: Final = (Tenant("acme"), Tenant("globex"))
_PRINCIPALS: Final = tuple(f"user:{name}" for name in ("ann", "bob", "cid", "dee", "eve", "fay"))
_KIND, _ACTION = "FLOW", "VIEW"
_VOCABULARY: Final = b"kinds:\n  FLOW: {class: namespace, actions: [VIEW]}\n"
_CALL_TIMEOUT_S: Final = 3.0
_CALLERS: Final = 4
_CALL_EVERY_S: Final = 0.04
_TOKEN_SHARE: Final = 0.4
_CHANGED_SHARE: Final = 0.6
_ALLOWED_SHARE: Final = 0.5
_MOST_RELEASES: Final = 1_000_000
_PATIENCE_S: Final = 5.0
_LOOK_S: Final = 0.02

Members = Mapping[Tenant, frozenset[str]]
"""Whom each tenant's policy allows to view flows."""


@dataclass(frozen=True, slots=True)
class FleetOrder:
    """How to make a fleet."""

    folder: Path
    bound_s: float
    """How long news may take to a connected node."""
    launcher: Sequence[str] = REMIT


class FleetNode:
    """A server, with a proxy between it and the store."""

    def __init__(self, order: FleetOrder, name: str, store_port: int) -> None:
        self.name = name
        self.proxy = FaultyProxy(HOST, store_port).start()
        flags = ("--policy-witness-rows", "0", "--revision-wait-s", "1")
        self.server = ServerProcess(
            order.folder / name,
            "--policy-store",
            url_at(self.proxy.port),
            *flags,
            policies=None,
            node=name,
            launcher=order.launcher,
        )
        self._calls: tuple[grpc.Channel, Mapping[str, Any]] | None = None

    def start(self) -> None:
        """Starts the server, and waits until it serves."""
        self.server.start()
        if self._calls is not None:
            self._calls[0].close()
        channel = self.server.channel()
        self._calls = channel, rpcs_over(channel)

    def check(self, tenant: str, principal: str, at_least: Position | None = None) -> CheckCall:
        question = messages.Question(principal=principal, action=_ACTION, kind=_KIND, namespace="a")
        request = messages.CheckRequest(
            tenant=tenant, question=question, at_least="" if at_least is None else str(at_least)
        )
        assert self._calls is not None
        _, rpcs = self._calls
        answer, error = None, ""
        began_s = time.monotonic()
        try:
            response = rpcs[request.DESCRIPTOR.full_name](request, timeout=_CALL_TIMEOUT_S)
        except (grpc.RpcError, ValueError) as failed:
            error = f"{failed.code()}: {failed.details()}" if isinstance(failed, grpc.Call) else str(failed)
        else:
            allowed = response.decision.effect == decision_pb2.EFFECT_ALLOW
            position = parse_position(response.position) if response.position else None
            answer = SeenAnswer(allowed, response.revision, position)
        return CheckCall(self.name, tenant, principal, at_least, answer, began_s, time.monotonic(), error)

    def forks(self) -> int:
        """How many records POLICY_FORK the node has written."""
        with self.server.store() as store:
            return len(store.lifecycle(type_="POLICY_FORK"))

    def close(self) -> None:
        self.server.__exit__()
        if self._calls is not None:
            self._calls[0].close()
        self.proxy.close()


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
        """Of the calls: they ask for the newest release that was acknowledged."""
        self._logs: list[StoreLog] = []
        self._read: set[str] = set()
        """The hashes of the releases whose files were asked."""
        self._allowed: dict[str, frozenset[str]] = {}
        self._published = 0
        self._members: Members = dict.fromkeys(_TENANTS, frozenset(_PRINCIPALS[:3]))
        self._newest: Mapping[str, Position] = {}
        self._mutex = Lock()
        self._stop = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as failed:
            self._threads = failed.enter_context(ThreadPoolExecutor())
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
        """One round of a fault, while callers ask. Afterwards all nodes have had the time to serve the newest release."""
        before = {each.name: each.forks() for each in self.nodes}
        self.token_share = _TOKEN_SHARE
        self._logs = []
        self.history = FleetHistory()
        stopping = Event()
        with ExitStack() as stop:
            for _ in range(_CALLERS):
                stop.callback(self._threads.submit(self._ask, Random(self.rng.random()), stopping).result)
            stop.callback(stopping.set)
            fault(self)
            self._converge()
        self.keep_log()
        self.history.logs = self._logs
        self.history.allowed = self._allowed
        self.history.forks = {each.name: each.forks() - before[each.name] for each in self.nodes}
        return self.history

    def write_down(self) -> None:
        """Keeps in the folder what the last round knows, for whoever looks for its end."""
        calls: list[PublishCall | CheckCall | AwayTime] = [
            *self.history.publishes,
            *self.history.checks,
            *self.history.aways,
        ]
        lines = [f"{each.began_s:.6f} {each}" for each in sorted(calls, key=lambda each: each.began_s)]
        lines += [str(each) for each in (*self.history.news, self.history.forks)]
        (self.order.folder / "history.txt").write_text("\n".join(lines) + "\n")
        for each in self.nodes:
            (self.order.folder / f"{each.name}.log").write_text(each.server.log_text() + "\n")

    def keep_log(self) -> None:
        """Reads what the store holds. Call it before a standby takes its place."""
        with PolicyStore(self.store.url) as store:
            signed = [each.release for each in reversed(store.releases(_MOST_RELEASES))]
            for release in signed:
                if release.hash not in self._read:
                    self._read.add(release.hash)
                    self._allowed |= decisions_of(store.tree(release, DEFAULT_LIMITS.bytes))
            with store.engine.connect() as connection:
                rows = connection.execute(select(changes).order_by(changes.c.tenant, changes.c.seq))
                found = [PolicyChange(*row)._replace(hash=bytes(row.hash)) for row in rows]
        self._logs.append(
            StoreLog(
                [LoggedRelease(each.seq, each.message, each.root, each.tenants) for each in signed],
                [
                    LoggedPosition(
                        position_of(Tenant(each.tenant), each.head), int(told["release"]), str(told["revision"])
                    )
                    for each in found
                    for told in (each.members,)
                ],
            )
        )

    def draw(self) -> Tree:
        """The newest files, with some of the members drawn anew."""
        self._members = {
            tenant: frozenset(each for each in _PRINCIPALS if self.rng.random() < _ALLOWED_SHARE)
            if self.rng.random() < _CHANGED_SHARE
            else members
            for tenant, members in self._members.items()
        }
        return tree_of(self._members)

    def publish(
        self, store: PolicyStore | None = None, after: int | None = None, tree: Tree | None = None
    ) -> PublishOutcome:
        """Publishes drawn files, and writes down how that ended."""
        store, tree = store or self.publisher, tree or self.draw()
        message, began_s = self.next_message(), time.monotonic()
        outcome = PublishOutcome.UNKNOWN
        with suppress(PolicyStoreError):
            after = _newest_in(store) if after is None else after
            try:
                store.publish(Draft(tree, "faults", message), after)
                outcome = PublishOutcome.ACKNOWLEDGED
            except PublishRefusedError:
                outcome = PublishOutcome.REFUSED
        self.note_publish(PublishCall(message, after, outcome, began_s, time.monotonic()))
        return outcome

    def publish_surely(self) -> None:
        """Publishes when nothing is broken any more."""
        until(lambda: self.publish() is PublishOutcome.ACKNOWLEDGED, "a release is published")

    def next_message(self) -> str:
        with self._mutex:
            self._published += 1
            return f"change {self._published}"

    def note_publish(self, call: PublishCall) -> None:
        self.history.publishes.append(call)
        if call.outcome is PublishOutcome.ACKNOWLEDGED:
            with suppress(SQLAlchemyError), self.publisher.engine.connect() as connection:
                rows = connection.execute(select(heads.c.tenant, heads.c.seq, heads.c.hash))
                self._newest = {
                    tenant: position_of(Tenant(tenant), Head(seq, bytes(hash_))) for tenant, seq, hash_ in rows
                }

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Publishes one release after another during the block."""
        stopping = Event()

        def run() -> None:
            while not stopping.wait(self.rng.uniform(0.05, 0.4)):
                self.publish()

        running = self._threads.submit(run)
        try:
            yield
        finally:
            stopping.set()
            running.result()

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
        call = node.check(tenant, _PRINCIPALS[0])
        self.history.checks.append(call)
        position = call.answer.position if call.answer is not None else None
        return position is not None and (position == wanted or position.seq > wanted.seq)

    def _ask(self, rng: Random, stopping: Event) -> None:
        while not stopping.wait(rng.uniform(0, _CALL_EVERY_S)):
            tenant = rng.choice(_TENANTS)
            at_least = self._newest.get(tenant) if rng.random() < self.token_share else None
            self.history.checks.append(rng.choice(self.nodes).check(tenant, rng.choice(_PRINCIPALS), at_least))


def tree_of(members: Members) -> Tree:
    """The policy files that allow this."""
    folders = {
        tenant: Folder(tenant, {f"{tenant}/bindings.csv": _rows(tenant, allowed)})
        for tenant, allowed in members.items()
    }
    return Tree(Folder("", {"vocabulary.yaml": _VOCABULARY}), folders)


def decisions_of(tree: Tree) -> Iterator[tuple[str, frozenset[str]]]:
    """Whom the files of each tenant allow what callers ask, by their revision."""
    root = load_root(tree)
    for tenant in tree.tenants:
        snapshot = load_tenant(tree, tenant, root, tested=False).snapshot
        assert snapshot is not None
        question = Question(
            parse_principal(_PRINCIPALS[0]), parse_action(_ACTION), parse_kind(_KIND), parse_namespace("a")
        )
        decided = {each: snapshot.decide(question._replace(principal=parse_principal(each))) for each in _PRINCIPALS}
        yield (
            snapshot.revision,
            frozenset(each for each, decision in decided.items() if decision.effect is Effect.ALLOW),
        )


def _rows(tenant: str, allowed: Iterable[str]) -> bytes:
    return "".join(f"p, {each}, {tenant}, **, {_KIND}, {_ACTION}, allow\n" for each in sorted(allowed)).encode()


def _newest_in(store: PolicyStore) -> int:
    newest = store.newest()
    return newest.release.seq if newest is not None else 0
