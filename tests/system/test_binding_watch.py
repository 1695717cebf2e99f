"""Watches of rows of run time while rights and rows end."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme
from support.certificates import Authority
from support.runtime import files
from support.server import DEADLINE_S, Server, until
from support.trees import tree_of

from remit.client import Client, DecisionUnavailable, RuntimeBinding, WatchedChange
from remit.clock import now_us
from remit.fleet.store import Draft, PolicyStore

WATCHER, GRANTER = "watcher.example.org", "granter.example.org"
MAY = "p, service:dns/{}, _callers, acme, REMIT, *, allow\n"
ZOE, ANN = RuntimeBinding("user:zoe", "role:viewer", "a.**"), RuntimeBinding("user:ann", "role:viewer", "a.**")


def draft(*callers: str) -> Draft:
    rows = "".join(map(MAY.format, callers)).encode()
    return Draft(tree_of(files() | {"_callers/roles.csv": rows}), "ci")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, trustme.CA())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PolicyStore]:
    with PolicyStore(f"sqlite:///{tmp_path / 'policy.db'}") as made:
        made.migrate()
        made.publish(draft(WATCHER, GRANTER), 0)
        yield made


@pytest.fixture
def server(store: PolicyStore, authority: Authority, tmp_path: Path) -> Iterator[Server]:
    flags = authority.server_flags(*authority.signed("server", "127.0.0.1"))
    flags += ("--policy-store", f"sqlite:///{tmp_path / 'policy.db'}", "--policy-poll-s", "0.2")
    with Server(tmp_path / "one", *flags, policies=None, node="one") as started:
        yield started


def client(server: Server, authority: Authority, name: str) -> Client:
    return Client(server.target, timeout_s=DEADLINE_S, tls=authority.caller(authority.signed(name, name)))


def _end_of(watch: Iterator[WatchedChange]) -> tuple[str, str]:
    with pytest.raises(DecisionUnavailable) as caught:
        next(watch)
    return caught.value.code, caught.value.message


def test_a_watch_ends_with_the_right_to_it(server: Server, store: PolicyStore, authority: Authority) -> None:
    with client(server, authority, WATCHER) as watcher, client(server, authority, GRANTER) as granter:
        position = granter.tenant("acme").change_bindings([ZOE], granter="user:alice").position
        watch = watcher.tenant("acme").watch_bindings()
        assert (ZOE,) == next(watch).granted
        with ThreadPoolExecutor(1) as pool:
            ends = pool.submit(_end_of, watch)
            store.publish(draft(GRANTER), 1)
            ended = ends.result(DEADLINE_S)
        # The same as for who never had the right.
        assert _end_of(watcher.tenant("acme").watch_bindings(position)) == ended
        assert "PERMISSION_DENIED" == ended[0]
        assert (ZOE,) == next(granter.tenant("acme").watch_bindings()).granted


def test_a_watch_hears_of_an_end_with_the_next_change(server: Server, authority: Authority) -> None:
    with client(server, authority, WATCHER) as watcher, client(server, authority, GRANTER) as granter:
        soon = ZOE._replace(expires_us=now_us() + 1_500_000)
        position = granter.tenant("acme").change_bindings([soon], granter="user:alice").position
        watch = watcher.tenant("acme").watch_bindings()
        assert (soon,) == next(watch).granted
        at_position = granter.tenant("acme", at_least=position)
        until(lambda: not at_position.check("user:zoe", "VIEW", "FLOW", "a.x").allowed, "the row ends")
        granter.tenant("acme").change_bindings([ANN], granter="user:alice")
        change = next(watch)
        assert ((ANN,), (ZOE,)) == (change.granted, change.ended)
