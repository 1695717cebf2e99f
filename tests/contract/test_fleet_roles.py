"""The rights of deploy/policy-store-roles.sql, with logins of a real PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from sqlalchemy import make_url, select, text, update
from sqlalchemy.exc import ProgrammingError
from support.database_roles import Logins, logins, run_script
from support.fleet import allows, publish

from remit.core.names import Tenant
from remit.core.runtime import parse_runtime_row
from remit.fleet.bindings import BindingChange
from remit.fleet.errors import PolicyStoreAwayError, PolicyStoreError
from remit.fleet.history import Known
from remit.fleet.node_report import NodeReport
from remit.fleet.schema.migrate import VERSION_TABLE
from remit.fleet.schema.tables import bindings, metadata, nodes
from remit.fleet.store import PolicyStore
from remit.fleet.trust import Trust

TABLES = [*(str(each) for each in metadata.sorted_tables if each is not bindings), VERSION_TABLE]
HISTORY = "releases", "folders", "changes"
NEVER = [
    *(f"{verb} {table}" for table in TABLES for verb in ("DELETE FROM", "TRUNCATE", "DROP TABLE")),
    *(f"LOCK TABLE {table} IN EXCLUSIVE MODE" for table in HISTORY),
    "UPDATE releases SET body = '{}'",
    "UPDATE folders SET content = ''",
    "UPDATE changes SET caller = 'mallory'",
    f"UPDATE {VERSION_TABLE} SET version_num = '0099'",
    "ALTER TABLE nodes DISABLE ROW LEVEL SECURITY",
    "CREATE TABLE planted (x int)",
    "CREATE FUNCTION planted() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE ROLE planted",
]
"""What neither a node nor a publisher may do."""
PUBLISHES = [
    "INSERT INTO releases VALUES (2, 'x', 1, '{}', '', '')",
    "INSERT INTO folders VALUES ('x', '')",
    "INSERT INTO changes SELECT 'globex', seq, hash, time_us, kind, caller, body, request_id, key_id, signature FROM changes",
    "INSERT INTO heads VALUES ('globex', 1, '')",
    "UPDATE heads SET seq = 9",
    "SELECT * FROM heads FOR UPDATE",
]
"""What a publisher may do, and a node may not."""


@pytest.fixture
def urls(new_postgresql: Callable[[], AbstractContextManager[str]]) -> Iterator[Logins]:
    with new_postgresql() as owner:
        with PolicyStore(owner) as store:
            store.migrate()
            publish(store, 0, acme=allows("ann"))
            store.beat(NodeReport("another", "x", "0.1.0"))
        yield logins(owner)


@pytest.fixture
def node(urls: Logins) -> Iterator[PolicyStore]:
    with PolicyStore(urls.node) as store:
        yield store.open()


@pytest.fixture
def publisher(urls: Logins) -> Iterator[PolicyStore]:
    with PolicyStore(urls.publisher) as store:
        yield store.open()


def refused(store: PolicyStore, statement: str) -> None:
    with (
        pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
        store.engine.begin() as connection,
    ):
        connection.execute(text(statement))


def test_a_node_pulls_and_reports(node: PolicyStore, urls: Logins) -> None:
    pulled = node.pull(Known(), Trust())
    assert pulled is not None
    assert 1 == pulled.release.seq
    assert {"acme"} == set(node.tree(pulled.release, 1_000_000).tenants)

    for seq in (0, 1):
        node.beat(NodeReport(urls.node_name, "x", "0.1.0", seq))
        node.beat(NodeReport(f"{urls.node_name}-7", "x", "0.1.0", seq))

    assert {"another": 0, urls.node_name: 1, f"{urls.node_name}-7": 1} == {each.node: each.seq for each in node.nodes()}


def test_a_node_never_reports_for_another(node: PolicyStore, urls: Logins) -> None:
    theirs = make_url(urls.other_node).username
    assert theirs
    with PolicyStore(urls.other_node) as other:
        other.beat(NodeReport(theirs, "x", "0.1.0", 1))

    for name in ("another", theirs, "new", f"{urls.node_name}7", urls.node_name[:-1]):
        with pytest.raises(
            PolicyStoreError, match=f"may not report for node `{name}`: by deploy/policy-store-roles.sql"
        ):
            node.beat(NodeReport(name, "y", "0.1.0", 9))
    with node.engine.begin() as connection:
        assert 0 == connection.execute(update(nodes).values(report="{}")).rowcount
    node.beat(NodeReport(urls.node_name, "x", "0.1.0", 1))
    with (
        pytest.raises(ProgrammingError, match="row-level security"),
        node.engine.begin() as connection,
    ):
        connection.execute(update(nodes).where(nodes.c.node == urls.node_name).values(node="new"))

    assert {"another": 0, theirs: 1, urls.node_name: 1} == {each.node: each.seq for each in node.nodes()}


def test_a_node_changes_nothing_else(node: PolicyStore) -> None:
    for statement in (*NEVER, *PUBLISHES):
        refused(node, statement)


def test_a_node_never_publishes(node: PolicyStore) -> None:
    with pytest.raises(PolicyStoreError, match="permission denied for table folders"):
        publish(node, 1, acme=allows("eve"))
    # With files that are there already.
    with pytest.raises(PolicyStoreError, match="permission denied for table releases"):
        publish(node, 1, acme=allows("ann"))
    with pytest.raises(PolicyStoreError, match="permission denied for table nodes"):
        node.forget("another")


def test_a_publisher_publishes(publisher: PolicyStore) -> None:
    publish(publisher, 1, acme=allows("bob"), globex="")
    publish(publisher, 2, acme=allows("bob"))

    assert [3, 2, 1] == [each.release.seq for each in publisher.releases(10)]
    assert ["another"] == [each.node for each in publisher.nodes()]
    pulled = publisher.pull(Known(), Trust())
    assert pulled is not None
    assert {"acme": 2, "globex": 2} == {tenant: each.head.seq for tenant, each in pulled.known.tenants.items()}


def test_a_publisher_never_rewrites_history(publisher: PolicyStore) -> None:
    for statement in NEVER:
        refused(publisher, statement)
    for statement in PUBLISHES:
        with publisher.engine.connect() as connection:
            connection.execute(text(statement))


def test_only_a_login_that_may_bind_grants(node: PolicyStore, urls: Logins) -> None:
    row = parse_runtime_row("user:zoe", "role:viewer")
    with pytest.raises(PolicyStoreError, match="permission denied for table heads"), node.changing(Tenant("acme")):
        pytest.fail("the head cannot be locked")
    with PolicyStore(urls.granter) as granter:
        with granter.changing(Tenant("acme")) as write:
            write.commit(BindingChange((row,), ()), "service:admin")
        assert [row] == [each.row for each in node.bindings(Tenant("acme"))[1]]
        with pytest.raises(PolicyStoreError, match="permission denied for table folders"):
            publish(granter, 1, acme=allows("eve"))
        for statement in NEVER:
            refused(granter, statement)


def test_a_publisher_never_reports(publisher: PolicyStore) -> None:
    with pytest.raises(PolicyStoreError, match="may not report for node `another`"):
        publisher.beat(NodeReport("another", "x", "0.1.0", 9))


@pytest.mark.parametrize("role", ["node", "publisher"])
def test_only_the_owner_migrates(
    new_postgresql: Callable[[], AbstractContextManager[str]], urls: Logins, role: str
) -> None:
    with new_postgresql() as fresh:
        login = make_url(getattr(urls, role)).set(database=make_url(fresh).database)
        with (
            PolicyStore(login.render_as_string(hide_password=False)) as store,
            pytest.raises(PolicyStoreError, match="permission denied for schema public"),
        ):
            store.migrate()
    with PolicyStore(getattr(urls, role)) as store:
        store.migrate()  # nothing is left to migrate


def test_the_script_runs_again_and_the_owner_keeps_all_rights(urls: Logins) -> None:
    run_script(urls.owner)
    with PolicyStore(urls.owner) as store:
        publish(store, 1, acme=allows("bob"))
        store.beat(NodeReport("another", "x", "0.1.0", 2))
        assert store.forget("another")


def test_a_login_needs_its_password(urls: Logins) -> None:
    wrong = make_url(urls.node).set(password="guessed").render_as_string(hide_password=False)
    with PolicyStore(wrong) as store, pytest.raises(PolicyStoreAwayError, match="password authentication failed"):
        store.open()


def test_both_roles_read_every_table(node: PolicyStore, publisher: PolicyStore) -> None:
    for store in (node, publisher):
        with store.engine.connect() as connection:
            for table in metadata.sorted_tables:
                connection.execute(select(table)).all()
