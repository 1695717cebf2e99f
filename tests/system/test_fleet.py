"""Server processes that serve the releases of one policy store."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from sqlalchemy import delete, update
from support import runtime
from support.database_roles import Logins, logins
from support.fleet import allows, files, publish
from support.pgbouncer import pooled
from support.server import NOT_SERVING, SERVING, Health, Server, remit, until
from support.trees import tree_of, write

from remit.audit.chain.signing import SigningKey
from remit.client import DecisionUnavailable, RuntimeBinding
from remit.core.names import Tenant
from remit.core.runtime import parse_runtime_row
from remit.fleet.bindings import BindingChange
from remit.fleet.journal import ReleaseJournal
from remit.fleet.node_report import NodeReport
from remit.fleet.schema.tables import changes, folders, heads, releases
from remit.fleet.store import Draft, PolicyStore
from remit.policy.revisions.archive import pack

QUESTION = "VIEW", "FLOW", "a"
IN_A = "VIEW", "FLOW", "a.x"
Fleet = tuple[str, PolicyStore]


@pytest.fixture(params=["sqlite", "postgresql"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    with _database(request, tmp_path) as url, PolicyStore(url) as store:
        store.migrate()
        yield url, store.open()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Fleet]:
    url = f"sqlite:///{tmp_path / 'policy.db'}"
    with PolicyStore(url) as store:
        store.migrate()
        yield url, store.open()


def _database(request: pytest.FixtureRequest, folder: Path) -> AbstractContextManager[str]:
    if request.param == "postgresql":
        made: Callable[[], AbstractContextManager[str]] = request.getfixturevalue("new_postgresql")
        return made()
    return nullcontext(f"sqlite:///{folder / 'policy.db'}")


def node(folder: Path, url: str, name: str, *flags: str) -> Server:
    return Server(folder / name, "--policy-store", url, *flags, policies=None, node=name)


def may(server: Server, principal: str) -> bool:
    with server.client() as client:
        return client.tenant("acme").check(f"user:{principal}", *QUESTION).allowed


def soon(holds: Callable[[], bool]) -> None:
    until(holds, "the fleet is as the test expects")


def release_of(server: Server) -> int:
    return int(server.metric("remit_policy_release"))


def kinds(server: Server) -> list[str]:
    with server.store() as store:
        return [each.type for each in store.lifecycle()]


def test_every_node_serves_a_new_release(fleet: Fleet, tmp_path: Path) -> None:
    url, store = fleet
    publish(store, 0, acme=allows("ann"), globex="")
    with node(tmp_path, url, "one") as one, node(tmp_path, url, "two") as two:
        for each in (one, two):
            assert (True, False) == (may(each, "ann"), may(each, "bob"))

        publish(store, 1, acme=allows("bob"), globex="")
        for each in (one, two):
            soon(lambda each=each: may(each, "bob"))
            assert not may(each, "ann")

        told = remit("nodes", "--policy-store", url, "--wait", "20")
        assert 0 == told.returncode, told.stderr
        mode = "polling" if url.startswith("sqlite") else "listening"
        rows = [line.split("\t") for line in told.stdout.splitlines()[1:3]]
        assert [["one", "SERVING", "2", mode], ["two", "SERVING", "2", mode]] == [
            [row[0], row[1], row[2], row[5]] for row in rows
        ]
        assert "all 2 nodes serve it" in told.stdout
        with one.client() as client:
            status = client.status().policy_store
        assert (2, mode, "") == (status.release, status.mode, status.error)
        assert {"one", "two"} == {each.node for each in status.nodes}
        soon(lambda: 2 == one.metric("remit_fleet_nodes"))
        soon(lambda: 0 == one.metric("remit_fleet_behind"))
        assert [two.terminate(), two.exit_code()] == [0, 0]
        assert "STOPPED" in remit("nodes", "--policy-store", url).stdout


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_node_without_the_audit_schema_stops_before_it_pulls(
    local: Fleet, new_postgresql: Callable[[], AbstractContextManager[str]], tmp_path: Path, workers: str
) -> None:
    url, store = local
    store.publish(Draft(tree_of(files(acme=allows("ann"))), "ci"), 0)
    flags = "--policy-store", url, "--workers", workers
    with new_postgresql() as audit:
        server = Server(tmp_path, *flags, policies=None, audit=audit).launch()
        assert 3 == server.exit_code()
        assert "has no audit tables" in server.log_text()
        assert "start `remit serve` once with `--audit-migrate`" in server.log_text()
        assert "release pulled" not in server.log_text()
        with Server(tmp_path, *flags, "--audit-migrate", policies=None, audit=audit) as migrated:
            assert "release pulled" in migrated.log_text()


def test_a_node_and_a_publisher_need_no_more_than_their_rights(
    new_postgresql: Callable[[], AbstractContextManager[str]], tmp_path: Path
) -> None:
    first = write(tmp_path / "first", files(acme=allows("ann")))
    second = write(tmp_path / "second", files(acme=allows("bob")))
    with new_postgresql() as owner:
        with PolicyStore(owner) as store:
            store.migrate()
        urls = logins(owner)
        for login in (urls.node, urls.other_node):
            refused = remit("publish", str(first), "--to", login)
            assert (3, True) == (refused.returncode, "permission denied" in refused.stderr), refused.stderr
        assert 0 == remit("publish", str(first), "--to", urls.publisher).returncode

        # Whoever polls every hour learns of a release by a notification alone.
        with node(tmp_path, urls.node, urls.node_name, "--policy-poll-s", "3600") as server:
            assert may(server, "ann")
            soon(lambda: "listening" in remit("nodes", "--policy-store", urls.publisher).stdout)
            assert 0 == remit("publish", str(second), "--to", urls.publisher).returncode
            soon(lambda: may(server, "bob"))
            soon(lambda: 0 == remit("nodes", "--policy-store", urls.publisher).returncode)
            assert 0 == server.terminate()
        assert "STOPPED" in remit("nodes", "--policy-store", urls.publisher).stdout

        with node(tmp_path, urls.node, "another") as server:
            told = server.wait_for("no news from the policy store")["error"]
            assert "may not report for node `another`" in told
            with server.client() as client:
                soon(lambda: told == client.status().policy_store.error)
            assert may(server, "bob")


@pytest.mark.parametrize("prepared", ["0", "200"])
def test_nodes_behind_a_pooler_of_transactions_poll(
    new_postgresql: Callable[[], AbstractContextManager[str]], tmp_path: Path, prepared: str
) -> None:
    """PgBouncer knows prepared statements, or does not, by its setting `max_prepared_statements`."""
    first = write(tmp_path / "first", files(acme=allows("ann")))
    with new_postgresql() as owner:
        with PolicyStore(owner) as store:
            store.migrate()
        urls = logins(owner)
        with pooled(urls, max_prepared_statements=prepared) as through:
            pool = Logins(*through)
            done = remit("publish", str(first), "--to", pool.owner, "--migrate")
            assert 0 == done.returncode, done.stderr
            names = [f"{urls.node_name}-{number}" for number in range(2)]
            flags = "--policy-poll-s", "0.2"
            with (
                node(tmp_path, pool.node, names[0], *flags) as one,
                node(tmp_path, pool.node, names[1], *flags) as two,
                PolicyStore(pool.publisher) as store,
            ):
                for seq in range(1, 11):
                    publish(store, seq, acme=allows(f"user-{seq}"))
                    for each in (one, two):
                        soon(lambda each=each, seq=seq: may(each, f"user-{seq}"))

                told = remit("nodes", "--policy-store", pool.publisher, "--wait", "20")
                assert 0 == told.returncode, told.stdout + told.stderr
                rows = [line.split("\t") for line in told.stdout.splitlines()[1:3]]
                assert [[name, "SERVING", "11", "polling"] for name in names] == [
                    [row[0], row[1], row[2], row[5]] for row in rows
                ]
                for each in (one, two):
                    (warned,) = [line for line in each.logs if "sends no notifications" in line["event"]]
                    assert "warning" == warned["level"]
                    with each.client() as client:
                        status = client.status().policy_store
                    assert ("polling", "") == (status.mode, status.error)
                    assert [] == [line for line in each.logs if line["event"] == "no news from the policy store"]
                assert [0, 0] == [each.terminate() for each in (one, two)]
            assert 2 == remit("nodes", "--policy-store", pool.publisher).stdout.count("STOPPED")


def test_an_answer_that_must_know_a_release_waits_for_it(fleet: Fleet, tmp_path: Path) -> None:
    url, store = fleet
    publish(store, 0, acme=allows("ann"), globex="")
    flags = "--policy-poll-s", "3600", "--policy-witness-rows", "0"
    with node(tmp_path, url, "one", *flags) as server, server.client() as client:
        before = client.tenant("acme").check("user:ann", *QUESTION)
        assert f"acme:1:{heads_in(store)['acme'][1]}" == before.position
        with server.store() as audit:
            assert before.position in next(iter(audit.decisions())).detail

        for seq in range(1, 6):
            publish(store, seq, acme=allows(f"user-{seq}"), globex="")
            position = "acme:{}:{}".format(*heads_in(store)["acme"])
            answer = client.tenant("acme", at_least=position).check(f"user:user-{seq}", *QUESTION)
            assert (True, position) == (answer.allowed, answer.position)
        # Nothing of globex has changed since.
        assert "globex:1:" in client.tenant("globex").check("user:ann", *QUESTION).position
        # The same files again are a later position of the same revision.
        publish(store, 6, acme=allows("ann"), globex="")
        publish(store, 7, acme=allows("ann"), globex="", third="")
        publish(store, 8, acme=allows("ann"), globex="")
        last = "acme:{}:{}".format(*heads_in(store)["acme"])
        again = client.tenant("acme", at_least=last).check("user:ann", *QUESTION)
        assert (before.revision, last) == (again.revision, again.position)
        with pytest.raises(DecisionUnavailable, match="history"):
            client.tenant("acme", at_least=f"{last[:-1]}{'0' if last[-1] != '0' else '1'}").check("user:ann", *QUESTION)


def heads_in(store: PolicyStore) -> dict[str, tuple[int, str]]:
    with store.engine.connect() as connection:
        rows = connection.execute(heads.select())
        return {row.tenant: (row.seq, bytes(row.hash).hex()[:16]) for row in rows}


def test_a_node_starts_and_serves_without_the_store(local: Fleet, tmp_path: Path) -> None:
    url, store = local
    publish(store, 0, acme=allows("ann"))
    server = node(tmp_path, url, "one", "--policy-poll-s", "0.2")
    with server:
        assert may(server, "ann")
        server.kill()
        hidden = (tmp_path / "policy.db").rename(tmp_path / "away.db")

        server.start()

        assert may(server, "ann")
        server.wait_for("starts with the release on disk")
        soon(lambda: 0 == server.metric("remit_policy_store_healthy"))
        hidden.rename(tmp_path / "policy.db")
        publish(store, 1, acme=allows("bob"))
        soon(lambda: may(server, "bob"))
        soon(lambda: 1 == server.metric("remit_policy_store_healthy"))


def test_without_store_and_without_release_a_node_does_not_start(local: Fleet, tmp_path: Path) -> None:
    url, store = local
    empty = node(tmp_path, url, "one").launch()
    assert 3 == empty.exit_code()

    publish(store, 0, acme="")
    store.close()
    (tmp_path / "policy.db").unlink()
    gone = node(tmp_path, url, "two").launch()
    assert 3 == gone.exit_code()


def test_old_news_turns_health_off_and_decisions_go_on(local: Fleet, tmp_path: Path) -> None:
    url, store = local
    publish(store, 0, acme=allows("ann"))
    flags = "--policy-poll-s", "0.2", "--policy-max-age-s", "1.5"
    with node(tmp_path, url, "one", *flags) as server, server.channel() as channel:
        health = Health(channel)
        soon(lambda: SERVING == health.of())
        hidden = (tmp_path / "policy.db").rename(tmp_path / "away.db")

        soon(lambda: NOT_SERVING == health.of())
        assert may(server, "ann")
        assert 1.5 < server.metric("remit_policy_age_seconds")

        hidden.rename(tmp_path / "policy.db")
        soon(lambda: SERVING == health.of())


def test_a_release_that_does_not_load_leaves_the_last_good_one(local: Fleet, tmp_path: Path) -> None:
    url, store = local
    publish(store, 0, acme=allows("ann"), globex=allows("ann", "globex"))
    with node(tmp_path, url, "one") as server:
        publish(store, 1, acme="nonsense", globex=allows("bob", "globex"))
        server.wait_for("tenant refused")
        soon(lambda: 2 == release_of(server))

        assert may(server, "ann")
        told = remit("nodes", "--policy-store", url, "--wait", "2")
        assert 1 == told.returncode
        assert "acme serves" in told.stdout
        assert "STALE" in told.stdout
        assert "1 of 1 nodes do not serve it" in told.stderr

        publish(store, 2, acme=allows("bob"), globex=allows("bob", "globex"))
        soon(lambda: may(server, "bob"))
        assert 0 == remit("nodes", "--policy-store", url, "--wait", "20").returncode


def test_a_release_without_the_right_signature_is_not_served(local: Fleet, tmp_path: Path) -> None:
    url, store = local
    key, other = SigningKey.new(tmp_path / "key"), SigningKey.new(tmp_path / "other")
    publish(store, 0, key, acme=allows("ann"))
    with node(tmp_path, url, "one", "--policy-keys", str(tmp_path / "key.pub")) as server:
        for signing in (None, other):
            publish(store, 1, signing, acme=allows("eve"))
            server.wait_for("no news from the policy store")
            assert not may(server, "eve")
            with store.engine.begin() as connection:
                connection.execute(delete(releases).where(releases.c.seq == 2))
                connection.execute(delete(changes).where(changes.c.seq == 2))
                first = changes.select().where(changes.c.seq == 1)
                connection.execute(update(heads).values(seq=1, hash=connection.execute(first).one().hash))
        with server.client() as client:
            assert 1 == client.status().policy_store.release
        assert may(server, "ann")

        publish(store, 1, key, acme=allows("bob"))
        soon(lambda: may(server, "bob"))


def test_grants_without_the_right_signature_are_not_served(local: Fleet, tmp_path: Path) -> None:
    url, store = local
    SigningKey.new(tmp_path / "one.pem")
    store.publish(Draft(tree_of(runtime.files()), "ci"), 0)
    known = "--binding-keys", str(tmp_path / "one.pem.pub")
    with (
        node(tmp_path, url, "one", *known, "--binding-key", str(tmp_path / "one.pem")) as one,
        node(tmp_path, url, "two", *known, "--policy-poll-s", "0.2") as two,
        one.client() as granter,
        two.client() as other,
    ):
        zoe = RuntimeBinding("user:zoe", "role:viewer", "a.**")
        with pytest.raises(DecisionUnavailable, match="this node has no `binding_key`"):
            other.tenant("acme").change_bindings([zoe], granter="user:alice")
        granted = granter.tenant("acme").change_bindings([zoe], granter="user:alice")
        assert other.tenant("acme", at_least=granted.position).check("user:zoe", *IN_A).allowed

        # Whoever can write to the database.
        with store.changing(Tenant("acme")) as write:
            write.commit(BindingChange((parse_runtime_row("user:eve", "role:viewer", "a.**"),), ()), "service:admin")

        soon(lambda: "is not signed" in other.status().policy_store.error)
        assert not other.tenant("acme").check("user:eve", *IN_A).allowed
        assert other.tenant("acme").check("user:zoe", *IN_A).allowed
        # Nobody signs on top of it.
        with pytest.raises(DecisionUnavailable):
            granter.tenant("acme").change_bindings(revokes=[zoe], granter="user:alice")


def test_a_node_whose_own_grants_no_node_would_take_does_not_start(local: Fleet, tmp_path: Path) -> None:
    url, store = local
    publish(store, 0, acme=allows("ann"))
    for name in ("one", "stranger"):
        SigningKey.new(tmp_path / f"{name}.pem")
    keys = "--binding-keys", str(tmp_path / "one.pem.pub"), "--binding-key", str(tmp_path / "stranger.pem")

    server = node(tmp_path, url, "one", *keys)
    server.launch()

    assert server.exit_code()
    assert "its public half is not in `binding_keys`" in server.log_text()


def test_changed_files_in_the_store_are_not_served(local: Fleet, tmp_path: Path) -> None:
    url, store = local
    publish(store, 0, acme=allows("ann"))
    with node(tmp_path, url, "one", "--policy-poll-s", "3600") as server:
        forged = publish(store, 1, acme=allows("bob")).release
        theirs = pack({"acme/bindings.csv": allows("eve").encode()})
        with store.engine.begin() as connection:
            digest = forged.tenants[Tenant("acme")]
            connection.execute(update(folders).where(folders.c.digest == digest).values(content=theirs))
        ReleaseJournal(server.folder / "var/releases").ask_for_news()

        assert "are not those that it names" in server.wait_for("no news from the policy store")["error"]
        assert (True, False) == (may(server, "ann"), may(server, "eve"))


def test_another_history_is_told_recorded_and_taken_over(fleet: Fleet, tmp_path: Path) -> None:
    url, store = fleet
    publish(store, 0, acme=allows("ann"))
    publish(store, 1, acme=allows("eve"))
    with node(tmp_path, url, "one") as server:
        assert may(server, "eve")
        with store.engine.begin() as connection:
            connection.execute(delete(releases).where(releases.c.seq == 2))
            connection.execute(delete(changes).where(changes.c.seq == 2))
            first = changes.select().where(changes.c.seq == 1)
            connection.execute(update(heads).values(seq=1, hash=connection.execute(first).one().hash))
        publish(store, 1, acme=allows("bob"))

        soon(lambda: may(server, "bob"))

        assert not may(server, "eve")
        server.wait_for("the policy store has another history")
        soon(lambda: "POLICY_FORK" in kinds(server))
        with server.store() as audit:
            (fork,) = audit.lifecycle(type_="POLICY_FORK")
        # It may look before there is another release 2.
        assert "another release 2" in fork.detail or "the store ends at release 1" in fork.detail

        publish(store, 2, acme=allows("cid"))
        soon(lambda: may(server, "cid"))
        server.kill()
        server.start()
        publish(store, 3, acme=allows("dee"))
        soon(lambda: may(server, "dee"))
        assert 1 == kinds(server).count("POLICY_FORK")


def test_a_rollback_is_a_new_release(local: Fleet, tmp_path: Path) -> None:
    url, _ = local
    first = write(tmp_path / "first", files(acme=allows("ann")))
    second = write(tmp_path / "second", files(acme=allows("eve")))
    assert 0 == remit("publish", str(first), "--to", url, "--message", "the first").returncode
    with node(tmp_path, url, "one") as server:
        assert 0 == remit("publish", str(second), "--to", url).returncode
        soon(lambda: may(server, "eve"))

        done = remit("publish", "--again", "1", "--to", url, "--message", "eve had too much")

        assert 0 == done.returncode, done.stderr
        soon(lambda: may(server, "ann"))
        assert not may(server, "eve")
        listed = remit("releases", "--policy-store", url).stdout.splitlines()
        assert listed[1].startswith("3\t")
        assert listed[1].endswith("again release 1: eve had too much")


def test_workers_serve_releases_that_their_supervisor_pulls(fleet: Fleet, tmp_path: Path) -> None:
    url, store = fleet
    publish(store, 0, acme=allows("ann"))
    with node(tmp_path, url, "one", "--workers", "2") as server:
        assert may(server, "ann")
        publish(store, 1, acme=allows("bob"))
        soon(lambda: all(may(server, "bob") for _ in range(10)))

        told = remit("nodes", "--policy-store", url, "--wait", "20")
        assert 0 == told.returncode, told.stdout + told.stderr
        assert "the only node serves it" in told.stdout


def test_two_servers_never_share_their_releases(local: Fleet, tmp_path: Path) -> None:
    url, store = local
    publish(store, 0, acme="")
    releases_ = "--releases", str(tmp_path / "shared")
    with node(tmp_path, url, "one", *releases_):
        second = node(tmp_path, url, "two", *releases_).launch()
        assert 3 == second.exit_code()


def test_two_servers_never_share_a_name(fleet: Fleet, tmp_path: Path) -> None:
    url, store = fleet
    publish(store, 0, acme="")
    with node(tmp_path, url, "one") as first:
        soon(lambda: bool(store.nodes()))
        second = Server(tmp_path / "two", "--policy-store", url, policies=None, node="one")
        assert 3 == second.launch().exit_code()
        assert "another server with another directory `releases` runs as node `one`" in second.log_text()

        # A kill says nothing to the store. The same directory is the same node.
        first.kill()
        first.start()
        soon(lambda: 1 == len(store.nodes()))
        first.kill()
        assert 3 == second.launch().exit_code()
        assert store.forget("one")
        with second:
            soon(lambda: ["one"] == [each.node for each in store.nodes()])
            # One that started without the store is told of when it reports. A single report may be overwritten unseen.
            version = store.nodes()[0].version

            def told() -> bool:
                store.beat(NodeReport("one", "another", version))
                return "another server reports under the name of this node" in second.log_text()

            soon(told)


def test_a_killed_node_goes_on_from_its_disk(local: Fleet, tmp_path: Path) -> None:
    url, store = local
    publish(store, 0, acme=allows("ann"))
    server = node(tmp_path, url, "one")
    with server:
        for seq in range(1, 6):
            publish(store, seq, acme=allows(f"user-{seq}"))
            time.sleep(0.05 * seq)
            server.kill()
            server.start()
            assert may(server, f"user-{seq}")


def test_status_tells_a_damaged_release_file_and_decisions_go_on(local: Fleet, tmp_path: Path) -> None:
    url, store = local
    publish(store, 0, acme=allows("ann"))
    with node(tmp_path, url, "one") as server, server.client() as client:
        about = server.folder / "var" / "releases" / "current" / "release.json"
        about.write_text("{}")

        told = client.status().policy_store

        assert told is not None
        assert "release.json` is damaged" in told.error
        assert any("release.json` is damaged" in each for each in told.behind)
        assert may(server, "ann")
        publish(store, 1, acme=allows("bob"))
        soon(lambda: may(server, "bob"))
        assert not client.status().policy_store.error
