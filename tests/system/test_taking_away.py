"""Two emergency tools at once: whatever else is going on, who is suspended, revoked or denied is out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest
from support.postgres import Postgres
from support.runtime import BINDINGS, ROLES, files
from support.server import Server, remit, until
from support.trees import Files, snapshot_of, tree_of

from remit.client import DecisionUnavailable, RuntimeBinding
from remit.fleet.history import Known
from remit.fleet.journal import ReleaseJournal
from remit.fleet.review import reviewer
from remit.fleet.store import Draft, PolicyStore

ALICE, ZOE_VIEWS = "user:alice", RuntimeBinding("user:zoe", "role:viewer", "a.**")
ROWS = 40_000
"""Rows of a release that takes a node some seconds to load."""
LARGE = BINDINGS + b"".join(
    b"g, user:u%d, role:viewer, acme/b.n%d\n" % (number, number % 500) for number in range(ROWS)
)


class Scene(NamedTuple):
    store: PolicyStore
    folder: Path
    server: Server
    release: int

    def change(self, *grants: RuntimeBinding, revokes: Sequence[RuntimeBinding] = ()) -> None:
        # A server that was started again listens elsewhere.
        with self.server.client() as client:
            client.tenant("acme").change_bindings(grants, revokes=revokes, granter=ALICE)

    def views(self, principal: str = "user:zoe") -> bool:
        with self.server.client() as client:
            return client.tenant("acme").check(principal, "VIEW", "FLOW", "a.x").allowed

    def publish(self, content: Files) -> None:
        review = reviewer(lambda tenant: snapshot_of(content, tenant))
        self.store.publish(Draft(tree_of(content), "ci"), self.release, review=review)


def rollback(scene: Scene) -> None:
    revision = snapshot_of(files(), "acme").revision
    done = remit("rollback", "acme", revision, "--target", scene.server.target)
    assert done.returncode == 0, done.stderr


def publish(scene: Scene) -> None:
    scene.publish(files(bindings=LARGE))


def root_edit(scene: Scene) -> None:
    scene.publish(files(bindings=LARGE, roles=ROLES + b"p, role:other, acme, **, FLOW, VIEW, allow\n"))


def suspend_another(scene: Scene) -> None:
    scene.change(RuntimeBinding("user:carl", "group:suspended"))


def revoke_another(scene: Scene) -> None:
    scene.change(revokes=[RuntimeBinding("user:ann", "role:viewer", "b.**")])


def import_rows(scene: Scene) -> None:
    rows = [RuntimeBinding(f"user:i{number}", "role:viewer", "b.**") for number in range(20_000)]

    def load() -> None:
        # A change of others may come first: whether the import is made or refused is not what is asked here.
        with suppress(DecisionUnavailable), scene.server.client() as client:
            client.tenant("acme").import_bindings(rows, granter=ALICE)

    Thread(target=load, daemon=True).start()


def restart(scene: Scene) -> None:
    scene.server.kill()
    scene.server.start()


def suspend(scene: Scene) -> None:
    scene.change(RuntimeBinding("user:zoe", "group:suspended"))


def revoke(scene: Scene) -> None:
    scene.change(revokes=[ZOE_VIEWS])


def narrower_edit(scene: Scene) -> None:
    scene.publish(files())


TOOLS: list[Callable[[Scene], None]] = [
    rollback,
    publish,
    root_edit,
    suspend_another,
    revoke_another,
    import_rows,
    restart,
]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    url = f"sqlite:///{tmp_path / 'policy.db'}"
    with PolicyStore(url) as store:
        store.migrate()
        store.publish(Draft(tree_of(files()), "ci"), 0)
        with Server(tmp_path / "one", "--policy-store", url, policies=None, node="one") as server:
            made = Scene(store, tmp_path, server, 1)
            made.change(ZOE_VIEWS, RuntimeBinding("user:ann", "role:viewer", "b.**"))
            until(made.views, "zoe may")
            made.publish(files(bindings=BINDINGS + b"g, user:x, role:viewer, acme\n"))
            until(lambda: made.views("user:x"), "the second release serves")
            yield made._replace(release=2)


@pytest.mark.parametrize("take_away", [suspend, revoke])
@pytest.mark.parametrize("tool", TOOLS)
def test_who_is_suspended_or_revoked_is_out_whatever_else_is_going_on(
    scene: Scene, tool: Callable[[Scene], None], take_away: Callable[[Scene], None]
) -> None:
    tool(scene)
    take_away(scene)
    until(lambda: not scene.views(), "zoe is out")


@pytest.mark.parametrize("tool", TOOLS)
def test_who_was_suspended_stays_out_whatever_comes_after(scene: Scene, tool: Callable[[Scene], None]) -> None:
    suspend(scene)
    until(lambda: not scene.views(), "zoe is out")
    tool(scene)
    assert not scene.views()


def test_while_a_tenant_is_pinned_a_grant_is_refused_at_once_with_the_cure(scene: Scene) -> None:
    rollback(scene)
    with pytest.raises(DecisionUnavailable, match="remit rollback acme --unpin"):
        scene.change(RuntimeBinding("user:eve", "role:viewer", "a.**"))
    remit("rollback", "acme", "--unpin", "--target", scene.server.target)
    until(lambda: scene.views("user:x"), "the files serve again")
    scene.change(RuntimeBinding("user:eve", "role:viewer", "a.**"))
    until(lambda: scene.views("user:eve"), "eve may")


@pytest.fixture(scope="module")
def one_server() -> Iterator[Postgres]:
    with Postgres() as started:
        yield started


@contextmanager
def away(database: Postgres) -> Iterator[None]:
    database.take_away()
    try:
        yield
    finally:
        database.bring_back()


def first_answer(server: Server, principal: str) -> bool:
    while True:
        with suppress(DecisionUnavailable), server.client() as client:
            return client.tenant("acme").check(principal, "VIEW", "FLOW", "a.x").allowed


@pytest.mark.parametrize("outage", [away, Postgres.frozen])
@pytest.mark.parametrize(
    ("tool", "principal"), [(suspend, "user:zoe"), (revoke, "user:zoe"), (narrower_edit, "user:x")]
)
def test_a_node_whose_audit_was_away_answers_nothing_before_it_has_caught_up(
    scene: Scene,
    one_server: Postgres,
    outage: Callable[[Postgres], AbstractContextManager[None]],
    tool: Callable[[Scene], None],
    principal: str,
) -> None:
    """Another node took something away meanwhile, and the store of policies was there all the time."""
    one_server.new_database()
    named = ("--policy-store", scene.store.url, "--audit-migrate", "--audit-timeout-s", "1")
    with Server(scene.folder / "two", *named, policies=None, node="two", audit=one_server.url) as two:
        assert first_answer(two, principal)
        journal = ReleaseJournal(scene.folder / "two" / "var" / "releases")
        with outage(one_server):
            tool(scene)
            pulled = scene.store.pull(Known())
            assert pulled is not None
            until(lambda: journal.known().tenants == pulled.known.tenants, "the other node has the change on its disk")
            with two.client(timeout_s=1.0) as client, pytest.raises(DecisionUnavailable):
                client.tenant("acme").check(principal, "VIEW", "FLOW", "a.x")
        assert not first_answer(two, principal)
