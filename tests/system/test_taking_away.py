"""Who is suspended, revoked or denied stays out, also where an audit was away meanwhile."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest
from starlette.testclient import TestClient
from support.postgres import Postgres
from support.runtime import BINDINGS, ROLES, RUNTIME, files
from support.server import Server, remit, until
from support.trees import Files, snapshot_of, tree_of

from remit.client import AsyncClient, Client, DecisionUnavailable, RuntimeBinding
from remit.console.app import application
from remit.console.options import ConsoleOptions
from remit.fleet.history import Known
from remit.fleet.journal import ReleaseJournal
from remit.fleet.review import reviewer
from remit.fleet.store import Draft, PolicyStore
from remit.v1 import policy_service_pb2 as messages

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


def test_who_suspends_somebody_and_cannot_lift_it_is_told_by_the_command(scene: Scene) -> None:
    words = ("grant", "acme", ALICE, "group:suspended", "--by", "user:bert", "--target", scene.server.target)
    done = remit(*words)
    assert done.returncode == 0, done.stderr
    assert "note: `user:bert` cannot lift this suspension" in " ".join(done.stdout.split())


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


BLOCKING = ROLES.replace(b"group:suspended", b"group:blocked")
WITHOUT_SUSPENSION = {
    "no runtime": {name: content for name, content in files().items() if name != "acme/tenant.yaml"},
    "another group": files(roles=BLOCKING, runtime=RUNTIME.replace(b"group:suspended", b"group:blocked")),
    "a smaller deny": files(roles=ROLES.replace(b"FLOW, *, deny", b"FLOW, UPDATE, deny")),
}


@pytest.mark.parametrize("content", WITHOUT_SUSPENSION.values(), ids=WITHOUT_SUSPENSION)
def test_a_revision_without_the_suspensions_that_stand_is_pinned_only_if_that_is_wanted(
    tmp_path: Path, content: Files
) -> None:
    revision = snapshot_of(content, "acme").revision
    url = f"sqlite:///{tmp_path / 'policy.db'}"
    with PolicyStore(url) as store:
        store.migrate()
        store.publish(Draft(tree_of(content), "ci"), 0)
        with Server(tmp_path / "one", "--policy-store", url, policies=None, node="one", http="127.0.0.1:0") as server:
            scene = Scene(store, tmp_path, server, 1)
            scene.publish(files(bindings=BINDINGS + b"g, user:x, role:viewer, acme\n"))
            until(lambda: scene.views("user:x"), "the second release serves")
            assert scene.views("user:bert")
            # Of these two, one may do nothing by the files.
            scene.change(*(RuntimeBinding(f"user:{who}", "group:suspended") for who in ("bert", "nobody")))
            until(lambda: not scene.views("user:bert"), "bert is out")

            words = "rollback", "acme", revision[:12], "--target", server.target
            refused = remit(*words)
            assert (1, False, True) == (
                refused.returncode,
                "user:nobody" in refused.stderr,
                "for `user:bert`" in refused.stderr and "--lift-suspensions" in refused.stderr,
            ), refused.stderr
            for target in (server.target, f"http://127.0.0.1:{server.http_port}"):
                with Client(target) as client, pytest.raises(DecisionUnavailable, match="`lift_suspensions`") as caught:
                    client.ask(messages.PinRevisionRequest(tenant="acme", revision=revision))
                assert caught.value.code == "FAILED_PRECONDITION"
            console = ConsoleOptions(lambda: AsyncClient(server.target), server.target)
            with TestClient(application(console), base_url="http://127.0.0.1:9095", follow_redirects=False) as browser:
                form = {"rev": revision, "tenant": "acme"}
                own = {"sec-fetch-site": "same-origin"}
                page = browser.post("/t/acme/pin", data=form, headers=own)
                assert (400, True, True) == (page.status_code, "user:bert" in page.text, 'name="lift"' in page.text)
                assert not scene.views("user:bert")
                assert browser.post("/t/acme/pin", data=form | {"lift": "1"}, headers=own).status_code == 303
            assert scene.views("user:bert")

            assert remit("rollback", "acme", "--unpin", "--target", server.target).returncode == 0
            until(lambda: not scene.views("user:bert"), "bert is out again")
            done = remit(*words, "--lift-suspensions")
            assert (0, True) == (done.returncode, scene.views("user:bert")), done.stderr
            with server.store() as audit:
                assert [["user:bert"]] * 2 == [
                    json.loads(each.detail)["lifted"] for each in audit.lifecycle(type_="POLICY_PINNED")
                ]
