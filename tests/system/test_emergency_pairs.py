"""Every two emergency tools at once: who is suspended, revoked, or denied by an edit or a rollback is out of every node within
the bounds of docs/how-to/grant-at-run-time.md, whatever else is going on."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import Thread
from time import monotonic
from typing import Final

import pytest
from support.load import Load
from support.postgres import Postgres
from support.runtime import BINDINGS, VOCABULARY, files
from support.server import ROOT, Server, remit, until
from support.trees import Files, snapshot_of, tree_of

from remit.client import DecisionUnavailable, RuntimeBinding
from remit.core.errors import RemitError
from remit.core.names import Tenant
from remit.fleet.review import reviewer
from remit.fleet.store import Draft, PolicyStore

BOUND_S: Final = 5.0
"""The bound of the page for rows of run time."""
ALICE, X, ZOE = "user:alice", "user:x", "user:zoe"
ZOE_VIEWS = RuntimeBinding(ZOE, "role:viewer", "a.**")
WITH_X = BINDINGS + b"g, user:x, role:viewer, acme\n"
LARGE = WITH_X + b"".join(b"g, user:u%d, role:viewer, acme/b.n%d\n" % (each, each % 500) for each in range(10_000))


class NotDoneError(Exception):
    """The tool could not be used now."""


@dataclass
class Fleet:
    """Two nodes and one policy store. Node one has its audit in a database that goes away, and a small spool before it."""

    one: Server
    two: Server
    store: PolicyStore
    stored: Postgres
    audited: Postgres
    tenants: dict[str, Files]
    first: dict[str, str]
    """The revisions of the first release."""
    root: bytes = VOCABULARY
    release: int = 0

    @property
    def nodes(self) -> tuple[Server, Server]:
        return self.one, self.two

    def content(self) -> Files:
        content = {"vocabulary.yaml": self.root}
        for name, own in self.tenants.items():
            renamed = ((path.replace("acme/", f"{name}/"), text) for path, text in own.items() if "/" in path)
            content |= {path: text.replace(b" acme", b" " + name.encode()) for path, text in renamed}
        return content

    def publish(self) -> None:
        content = self.content()
        review = reviewer(lambda tenant: snapshot_of(content, tenant))
        draft = Draft(tree_of(content), "ci")
        self.release = self.store.publish(draft, self.release, review=review).release.seq

    def change(self, tenant: str, *grants: RuntimeBinding, revokes: tuple[RuntimeBinding, ...] = ()) -> None:
        """Through node one, or through the other one if that cannot."""
        for node in self.nodes:
            with suppress(DecisionUnavailable), node.client(timeout_s=BOUND_S) as client:
                client.tenant(tenant).change_bindings(grants, revokes=revokes, granter=ALICE)
                return
        raise NotDoneError

    def views(self, node: Server, tenant: str, principal: str) -> bool:
        """Whether the node allows it. What is not answered is not allowed."""
        with suppress(DecisionUnavailable), node.client(timeout_s=1.0) as client:
            return client.tenant(tenant).check(principal, "VIEW", "FLOW", "a.x").allowed
        return False

    def answers(self, node: Server, tenant: str) -> bool:
        with suppress(DecisionUnavailable), node.client() as client:
            client.tenant(tenant).check("user:nobody", "VIEW", "FLOW", "a.x")
            return True
        return False


def suspend(fleet: Fleet, tenant: str) -> None:
    fleet.change(tenant, RuntimeBinding(ZOE, "group:suspended"))


def revoke(fleet: Fleet, tenant: str) -> None:
    fleet.change(tenant, revokes=(ZOE_VIEWS,))


def narrower_edit(fleet: Fleet, tenant: str) -> None:
    fleet.tenants[tenant] = files()
    try:
        fleet.publish()
    except RemitError as error:
        raise NotDoneError from error


def roll_back(fleet: Fleet, tenant: str) -> None:
    """To the first release. Every node pins for itself."""
    revision = fleet.first[tenant]
    pinned = [remit("rollback", tenant, revision, "--target", node.target).returncode for node in fleet.nodes]
    if any(pinned):
        raise NotDoneError


Taker = Callable[[Fleet, str], None]
TAKERS: Final[Mapping[Taker, str]] = {suspend: ZOE, revoke: ZOE, narrower_edit: X, roll_back: X}
"""What takes away, and from whom."""


@contextmanager
def rollback(fleet: Fleet, tenant: str) -> Iterator[None]:
    roll_back(fleet, tenant)
    yield


@contextmanager
def publish(fleet: Fleet, tenant: str) -> Iterator[None]:
    fleet.tenants[tenant] = files(bindings=LARGE)
    fleet.publish()
    yield


@contextmanager
def root_edit(fleet: Fleet, tenant: str) -> Iterator[None]:
    fleet.tenants[tenant] = files(bindings=LARGE)
    fleet.root += b"# again\n"
    fleet.publish()
    yield


@contextmanager
def suspend_another(fleet: Fleet, tenant: str) -> Iterator[None]:
    fleet.change(tenant, RuntimeBinding("user:carl", "group:suspended"))
    yield


@contextmanager
def revoke_another(fleet: Fleet, tenant: str) -> Iterator[None]:
    fleet.change(tenant, revokes=(RuntimeBinding("user:ann", "role:viewer", "b.**"),))
    yield


@contextmanager
def import_rows(fleet: Fleet, tenant: str) -> Iterator[None]:
    rows = [RuntimeBinding(f"user:i{number}", "role:viewer", "b.**") for number in range(10_000)]

    def load() -> None:
        # Whether the import is made or refused is not what is asked here.
        with suppress(DecisionUnavailable), fleet.one.client() as client:
            client.tenant(tenant).import_bindings(rows, granter=ALICE)

    loading = Thread(target=load)
    loading.start()
    yield
    loading.join()


@contextmanager
def store_away(fleet: Fleet, tenant: str) -> Iterator[None]:
    fleet.stored.take_away()
    try:
        yield
    finally:
        fleet.stored.bring_back()


@contextmanager
def audit_away(fleet: Fleet, tenant: str) -> Iterator[None]:
    fleet.audited.take_away()
    try:
        yield
    finally:
        fleet.audited.bring_back()


@contextmanager
def spool_full(fleet: Fleet, tenant: str) -> Iterator[None]:
    with audit_away(fleet, tenant):
        with Load(fleet.one) as load:
            load.until_acknowledged(1 << 40)  # that is: until a call fails
            load.join()
        yield


@contextmanager
def restart(fleet: Fleet, tenant: str) -> Iterator[None]:
    fleet.one.kill()
    try:
        yield
    finally:
        fleet.one.start()


Tool = Callable[[Fleet, str], AbstractContextManager[None]]
TOOLS: Final[tuple[Tool, ...]] = (
    rollback,
    publish,
    root_edit,
    suspend_another,
    revoke_another,
    import_rows,
    store_away,
    audit_away,
    spool_full,
    restart,
)
PAIRS: Final = {f"t{number}": pair for number, pair in enumerate(itertools.product(TOOLS, TAKERS))}
"""Each in a tenant of its own."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("pairs")
    with ExitStack() as until_end:
        stored, audited = (until_end.enter_context(Postgres()) for _ in range(2))
        store = until_end.enter_context(PolicyStore(stored.url))
        store.migrate()
        tenants = {name: files() for name in PAIRS}
        common = "--policy-store", stored.url, "--policy-poll-s", "1"
        spool = "--audit-migrate", "--audit-spool", str(folder / "spool.db"), "--audit-spool-max-bytes", str(3 << 20)
        one = Server(
            folder / "one", *common, *spool, "--audit-timeout-s", "1", policies=None, node="one", audit=audited.url
        )
        two = Server(folder / "two", *common, policies=None, node="two")
        made = Fleet(one, two, store, stored, audited, tenants, {})
        made.publish()
        made.first = {name: tree_of(made.content()).revision(Tenant(name)) for name in PAIRS}
        for each in made.nodes:
            until_end.enter_context(each)
        made.tenants = {name: files(bindings=WITH_X) for name in PAIRS}
        made.publish()
        yield made


def out_s(fleet: Fleet, tenant: str, principal: str) -> float:
    """How long it takes until no node allows it."""
    began_s = monotonic()
    for node in fleet.nodes:
        until(lambda node=node: not fleet.views(node, tenant, principal), f"{principal} is out of {tenant}")
    return monotonic() - began_s


@pytest.mark.parametrize("tenant", PAIRS, ids=lambda name: " ".join(each.__name__ for each in PAIRS[name]))
def test_taking_away_works_beside_every_other_tool(fleet: Fleet, tenant: str) -> None:
    tool, taker = PAIRS[tenant]
    principal = TAKERS[taker]
    for node in fleet.nodes:
        until(lambda node=node: fleet.answers(node, tenant), "the node answers")
    fleet.change(tenant, ZOE_VIEWS, RuntimeBinding("user:ann", "role:viewer", "b.**"))
    for node in fleet.nodes:
        until(lambda node=node: fleet.views(node, tenant, principal), "the person may")
    is_done = True
    with tool(fleet, tenant):
        try:
            taker(fleet, tenant)
        except NotDoneError:
            is_done = False
        else:
            took_s = out_s(fleet, tenant, principal)
    assert is_done or tool in {store_away, spool_full, restart}
    if not is_done:
        for node in fleet.nodes:
            until(lambda node=node: fleet.answers(node, tenant), "the node answers")
        taker(fleet, tenant)
        took_s = out_s(fleet, tenant, principal)
    if taker is not narrower_edit:
        assert took_s < BOUND_S
    # Nor does anything bring it back.
    for node in fleet.nodes:
        until(lambda node=node: fleet.answers(node, tenant), "the node answers")
        assert not fleet.views(node, tenant, principal)


def test_the_bound_is_the_one_of_the_page() -> None:
    page = (ROOT / "docs" / "how-to" / "grant-at-run-time.md").read_text()
    assert f"at most {BOUND_S:g} s" in page
