"""The faults of a fleet: each breaks one thing for a while, and heals it."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from threading import Barrier
from typing import Final, NamedTuple

from remit.clock import now_us
from remit.core.names import Tenant
from remit.fleet.store import PolicyStore
from remit.policy.read.tree import Tree
from remit.pytest_plugin.server_process import REMIT, environment

from ..promise import until
from .checker import FleetViolation, caught_up_s, violations
from .databases import HOST, url_at
from .history import PublishCall, WriteOutcome
from .network import node_network
from .proxy import FaultyProxy
from .tenants import TENANTS, long_request
from .world import FleetWorld

_A_WHILE_S: Final = 1.5
_A_MOMENT_S: Final = 0.3
_GIVEN_UP_S: Final = 8.0
"""How long a node takes to give up a connection that hangs: the timeout of the store, and a pause."""
_RACES: Final = 4
_PUBLISHERS: Final = 3
_MOST_REQUEST_BYTES: Final = 8_000
_MOST_CHANGE_BYTES: Final = 30_000
_MOST_SYNCS: Final = 12
"""Of some releases and changes of rows."""
_TEN_MINUTES_S: Final = 600
_SKEW_S: Final = 2.0

FleetFault = Callable[[FleetWorld], None]


def kill(world: FleetWorld) -> None:
    """kill -9 of a node while it applies a release. It starts again from its disk."""
    node = world.some_node()
    with world.publishing():
        world.publish()
        with world.away(node, runs=False):
            world.moment(0.5)
            node.server.kill()
            node.start()


def pause(world: FleetWorld) -> None:
    """A node stands still for a while, as a virtual machine does that is moved."""
    node = world.some_node()
    with world.publishing(), world.away(node, runs=False):
        node.server.signal(signal.SIGSTOP)
        try:
            world.moment(2 * _A_WHILE_S)
        finally:
            node.server.signal(signal.SIGCONT)


def database(world: FleetWorld) -> None:
    """PostgreSQL crashes and comes back. Decisions go on."""
    with world.publishing():
        with world.away(*world.nodes):
            world.store.stop()
            world.moment(_A_WHILE_S)
            world.store.start()
        world.moment(_A_WHILE_S)


def cut(world: FleetWorld) -> None:
    """The network between one node and the store is gone for a while."""
    node = world.some_node()
    with world.publishing():
        with world.away(node):
            node.proxy.cut()
            world.moment(2 * _A_WHILE_S)
            node.proxy.heal()
        world.moment(_A_WHILE_S)


def half_open(world: FleetWorld) -> None:
    """The node's connections stay open and carry nothing any more: it must give them up."""
    node = world.some_node()
    with world.publishing(), world.away(node, extra_s=_GIVEN_UP_S):
        node.proxy.hang()
        world.publish()
        world.moment(_A_WHILE_S)
    world.wait_for(node, extra_s=_GIVEN_UP_S)


def unplugged(world: FleetWorld) -> None:
    """The cable between a node and the store is pulled for a while: packets vanish. Raises NoNetworkError."""
    node = world.some_node()
    with node_network() as network, ExitStack() as moved:
        with world.away(node, runs=False):
            node.server.kill()
            moved.enter_context(node.within(network))
        with world.publishing():
            with world.away(node, extra_s=_GIVEN_UP_S):
                network.cut()
                world.moment(2 * _A_WHILE_S)
                network.heal()
            world.wait_for(node, extra_s=_GIVEN_UP_S)
        with world.away(node, runs=False):
            moved.close()
            node.start()


def truncated(world: FleetWorld) -> None:
    """Answers of the store end in the middle."""
    node = world.some_node()
    with world.publishing(), world.away(node):
        for _ in range(4):
            node.proxy.answer_bytes = world.rng.randrange(1, 8_000)
            node.proxy.reset()
            world.moment(0.5)
        node.proxy.heal()


def slow(world: FleetWorld) -> None:
    """Each message to and from the store of one node waits for some milliseconds."""
    node = world.some_node()
    node.proxy.delay_s = world.rng.uniform(0.001, 0.02)
    with world.publishing():
        time.sleep(_A_WHILE_S)
    node.proxy.heal()


def notifications_lost(world: FleetWorld) -> None:
    """No notification reaches any node: they must look by themselves."""
    # A call that asks for a position makes a node look, and so may a grant.
    world.token_share, world.granting = 0.0, world.nodes[:1]
    for each in world.nodes:
        each.proxy.loses_notifications = True
    with world.publishing():
        time.sleep(_A_WHILE_S)
    world.publish_surely()
    world.news(*world.nodes)
    world.wait_for(*world.nodes)
    for each in world.nodes:
        each.proxy.heal()


def failover(world: FleetWorld) -> None:
    """A standby takes the place of the store, and lacks what the store acknowledged last."""
    unaware, killed = world.rng.sample(world.nodes, 2)
    world.store.attach()
    world.publish_surely()
    world.wait_for(*world.nodes)
    world.store.detach()
    with world.away(*world.nodes, runs=True):
        unaware.proxy.cut()
        for _ in range(world.rng.randrange(1, 4)):
            world.publish_surely()
        world.wait_for(*(each for each in world.nodes if each is not unaware))
        for each in world.nodes:
            each.proxy.cut()
        # No node learns of what comes after it.
        world.keep_log()
        with world.away(killed, runs=False):
            killed.server.kill()
            _fail_over(world)
            # The new history may be shorter than the lost one, as long, or longer.
            for _ in range(world.rng.randrange(4)):
                world.publish_surely()
            # Callers who know of it ask nodes that do not.
            time.sleep(_A_MOMENT_S)
            for each in world.nodes:
                each.proxy.heal()
            for _ in range(world.rng.randrange(3)):
                world.publish_surely()
            killed.start()


def synchronous_failover(world: FleetWorld) -> None:
    """The store waits for its standby, which takes its place: nothing that was acknowledged is lost."""
    world.history.synchronous = True
    world.store.attach(synchronous=True)
    with world.publishing():
        world.moment(_A_WHILE_S)
        with world.away(*world.nodes):
            if world.rng.random() < 0.5:
                world.store.detach()
                # Nothing is acknowledged now, however long one waits.
                time.sleep(_A_WHILE_S)
            world.keep_log()
            _fail_over(world)


def two_publishers(world: FleetWorld) -> None:
    """Several publish at once, after the same release: one of them does."""
    with ExitStack() as stop:
        stores = [stop.enter_context(PolicyStore(url_at(world.proxy.port))) for _ in range(_PUBLISHERS)]
        threads = stop.enter_context(ThreadPoolExecutor(_PUBLISHERS))
        for _ in range(_RACES):
            newest, together = world.publisher.newest(), Barrier(_PUBLISHERS)
            assert newest is not None

            def race(store: PolicyStore, tree: Tree, after: int, together: Barrier) -> None:
                together.wait()
                world.publish(store, after, tree)

            waits = [threads.submit(race, each, world.draw(), newest.release.seq, together) for each in stores]
            for each in waits:
                each.result()


def publisher_killed(world: FleetWorld) -> None:
    """`remit publish` is killed at a random byte that it sends: before its transaction, within it, or after it."""
    newest = world.publisher.newest()
    assert newest is not None
    folder, after = world.order.folder / "publish", newest.release.seq
    shutil.rmtree(folder, ignore_errors=True)
    tree = _other_tree(world, newest.release.tenants)
    for each in (tree.root, *tree.tenants.values()):
        for path, content in each.files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    message = world.next_message()
    with FaultyProxy(HOST, world.store.port) as proxy:
        proxy.request_bytes = world.rng.randrange(1, _MOST_REQUEST_BYTES)
        options = ("--to", url_at(proxy.port), "--message", message, "--by", "faults", "--based-on", str(after))
        began_s = time.monotonic()
        process = subprocess.Popen(
            [*REMIT, "publish", str(folder), *options],
            env=environment({}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: proxy.hung.is_set() or process.poll() is not None, "`remit publish` hangs or ends")
        process.kill()
        published = process.wait() == 0
    outcome = WriteOutcome.ACKNOWLEDGED if published else WriteOutcome.UNKNOWN
    world.note_publish(PublishCall(message, after, outcome, began_s, time.monotonic()))


def clock(world: FleetWorld) -> None:
    """The clock of a node steps back ten minutes, and then forward to the right time."""
    node = world.some_node()
    with world.publishing():
        world.moment(_A_WHILE_S)
        world.set_clock(node, -_TEN_MINUTES_S)
        world.moment(_A_WHILE_S)
        world.set_clock(node, 0)
        world.moment(_A_WHILE_S)


def skew(world: FleetWorld) -> None:
    """The clock of each node is wrong by up to two seconds, while rows end."""
    for each in world.nodes:
        world.set_clock(each, world.rng.uniform(-_SKEW_S, _SKEW_S))
    with world.publishing():
        time.sleep(2 * _A_WHILE_S)
    for each in world.nodes:
        world.set_clock(each, 0)


def journal_torn(world: FleetWorld) -> None:
    """A node dies while it writes its journal, and what it had not synced is lost. It starts again from its disk."""
    node = world.some_node()
    with world.publishing(), world.away(node, runs=False):
        node.server.order(dies_at_sync=world.rng.randrange(1, _MOST_SYNCS))
        node.server.exit_code()
        node.server.order()
        node.start()


def rows_lost(world: FleetWorld) -> None:
    """The rows of run time on a node's disk are lost or end in the middle, under a running server and before its start."""
    node = world.some_node()
    with world.publishing():
        for running in (True, False):
            world.moment(_A_WHILE_S)
            with world.away(node, runs=running):
                if not running:
                    node.server.kill()
                for log in sorted(node.server.folder.glob("var/releases/bindings/*.jsonl")):
                    _damage(log, world.rng)
                if not running:
                    node.start()


def writer_killed(world: FleetWorld) -> None:
    """kill -9 of a node that writes a change of many rows, at a random byte that it sends. Another node gets the request
    again."""
    node = world.some_node()
    tenant = world.rng.choice(TENANTS)
    request = long_request(tenant, world.next_name(), now_us())
    with world.publishing(), ThreadPoolExecutor(1) as threads:
        with world.away(node, runs=False):
            node.proxy.request_bytes = world.rng.randrange(1, _MOST_CHANGE_BYTES)
            node.proxy.reset()
            sent = threads.submit(world.send_to, node, request)
            until(lambda: node.proxy.hung.is_set() or sent.done(), "a connection hangs or the change is made")
            world.moment(_A_MOMENT_S)
            node.server.kill()
            node.proxy.heal()
            node.start()
        sent.result()
        world.granting = [each for each in world.nodes if each is not node]
        world.send(request, world.rng)


FLEET_FAULTS: Final[dict[str, FleetFault]] = {
    "kill": kill,
    "pause": pause,
    "database": database,
    "cut": cut,
    "half-open": half_open,
    "unplugged": unplugged,
    "truncated": truncated,
    "slow": slow,
    "notifications": notifications_lost,
    "failover": failover,
    "sync-failover": synchronous_failover,
    "publishers": two_publishers,
    "publisher-killed": publisher_killed,
    "writer-killed": writer_killed,
    "journal-torn": journal_torn,
    "rows-lost": rows_lost,
    "skew": skew,
    "clock": clock,
}


class FleetRound(NamedTuple):
    """What came of one round of a fault."""

    answers: int
    published: int
    changed: int
    """Requests to grant and revoke that were acknowledged."""
    caught_up_s: Sequence[float]
    """How long each node took once it could learn of news; infinite if it never did."""
    violations: Sequence[FleetViolation]


def play(world: FleetWorld, fault: FleetFault) -> FleetRound:
    """Raises BrokenPromiseError if the fleet does not get as far as to be judged."""
    history = world.play(fault)
    return FleetRound(
        sum(each.answer is not None for each in history.checks),
        sum(each.outcome is WriteOutcome.ACKNOWLEDGED for each in history.publishes),
        sum(each.outcome is WriteOutcome.ACKNOWLEDGED for each in history.changes),
        caught_up_s(history, world.order.bound_s),
        violations(history, world.order.bound_s),
    )


def _other_tree(world: FleetWorld, tenants: Mapping[Tenant, str]) -> Tree:
    """Drawn files that differ: `remit publish` publishes no others."""
    while True:
        tree = world.draw()
        if any(folder.digest != tenants[tenant] for tenant, folder in tree.tenants.items()):
            return tree


def _fail_over(world: FleetWorld) -> None:
    world.store.fail_over()
    for each in (world.proxy, *(node.proxy for node in world.nodes)):
        each.lead_to(HOST, world.store.port)


def _damage(log: Path, rng: Random) -> None:
    content = log.read_bytes()
    # An earlier fault may have left nothing of it to cut off.
    if not content or rng.random() < 0.5:
        log.unlink()
    else:
        log.write_bytes(content[: rng.randrange(len(content))])
