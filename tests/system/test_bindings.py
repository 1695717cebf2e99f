"""Rows of run time through real servers: grants, gates, expiry, restarts, releases, the audit."""

import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy import Executable, delete, update
from support.runtime import BINDINGS, ROLES, RUNTIME, files
from support.server import Server, remit, until
from support.trees import tree_of, write

from remit.client import Client, DecisionUnavailable, RuntimeBinding
from remit.core.names import Tenant
from remit.fleet.schema.tables import bindings
from remit.fleet.store import Draft, PolicyStore, Reviewed

ALICE, BERT = "user:alice", "user:bert"
ZOE = RuntimeBinding("user:zoe", "role:viewer", "a.**")
SUSPENDED = RuntimeBinding("user:eve", "group:suspended")
UNRECORDED = Path(__file__).parents[1] / "support" / "launcher_unrecorded.py"
Fleet = tuple[str, PolicyStore]


@pytest.fixture(params=["sqlite", "postgresql"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    made = (
        request.getfixturevalue("new_postgresql")()
        if request.param == "postgresql"
        else nullcontext(f"sqlite:///{tmp_path / 'policy.db'}")
    )
    with made as url, PolicyStore(url) as store:
        store.migrate()
        store.publish(Draft(tree_of(files()), "ci"), 0)
        yield url, store


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Fleet]:
    url = f"sqlite:///{tmp_path / 'policy.db'}"
    with PolicyStore(url) as store:
        store.migrate()
        store.publish(Draft(tree_of(files()), "ci"), 0)
        yield url, store


def node(folder: Path, url: str, name: str = "one", *flags: str) -> Server:
    return Server(folder / name, "--policy-store", url, *flags, policies=None, node=name)


def views(client: Client, principal: str, namespace: str = "a.x", action: str = "VIEW", **options: str) -> bool:
    return client.tenant("acme", **options).check(principal, action, "FLOW", namespace).allowed


def soon(holds: Callable[[], bool]) -> None:
    until(holds, "the fleet is as the test expects")


def now_us() -> int:
    return int(time.time() * 1e6)


def test_a_grant_serves_on_every_node_and_is_taken_back(fleet: Fleet, tmp_path: Path) -> None:
    url, _ = fleet
    flags = "--policy-poll-s", "60" if url.startswith("postgresql") else "0.2"
    with (
        node(tmp_path, url, "one", *flags) as one,
        node(tmp_path, url, "two", *flags) as two,
        one.client() as client,
        two.client() as other,
    ):
        before = client.tenant("acme").check("user:zoe", "VIEW", "FLOW", "a.x")
        granted = client.tenant("acme").change_bindings([ZOE], granter=ALICE, reason="holiday")

        after = other.tenant("acme", at_least=granted.position).check("user:zoe", "VIEW", "FLOW", "a.x")
        assert (False, True) == (before.allowed, after.allowed)
        assert before.revision != after.revision
        assert granted.position == after.position
        assert not views(other, "user:zoe", "b.x")
        soon(lambda: views(client, "user:zoe"))
        same = client.tenant("acme").check("user:zoe", "VIEW", "FLOW", "a.x")
        assert (after.revision, after.position) == (same.revision, same.position)
        explained = client.tenant("acme").explain("user:zoe", "VIEW", "FLOW", "a.x")
        assert "runtime:change 2" in explained.summary
        (row,) = client.tenant("acme").list_bindings()
        assert ("user:zoe", "role:viewer", "a.**", 2) == (row.row.member, row.row.holds, row.row.scope, row.change)

        assert [[], []] == [list(each.status().policy_store.behind) for each in (client, other)]
        told = remit("nodes", "--policy-store", url, "--wait", "20")
        assert (0, 2) == (told.returncode, told.stdout.count("SERVING")), told.stdout

        again = client.tenant("acme").change_bindings([ZOE], granter=ALICE)
        assert (granted.position, 1) == (again.position, len(again.already))
        revoked = client.tenant("acme").change_bindings(revokes=[ZOE], granter=BERT)
        gone = other.tenant("acme", at_least=revoked.position).check("user:zoe", "VIEW", "FLOW", "a.x")
        assert (False, before.revision) == (gone.allowed, gone.revision)
        assert [] == list(client.tenant("acme").list_bindings())


@pytest.mark.parametrize(
    ("rows", "granter", "code", "told"),
    [
        ([ZOE], "user:zoe", "PERMISSION_DENIED", "`user:zoe` may not CREATE BINDING: NO_BINDING"),
        (
            [RuntimeBinding("user:zoe", "role:viewer", "b.**")],
            BERT,
            "PERMISSION_DENIED",
            "would gain FLOW VIEW in `b.**`",
        ),
        (
            [RuntimeBinding("user:zoe", "role:editor", "a.**")],
            BERT,
            "PERMISSION_DENIED",
            "would gain FLOW UPDATE in `a.**`",
        ),
        (
            [RuntimeBinding("user:zoe", "role:viewer")],
            ALICE,
            "PERMISSION_DENIED",
            "the whole tenant is not within `scopes`",
        ),
        (
            [RuntimeBinding("user:zoe", "role:owner", "a.**")],
            ALICE,
            "PERMISSION_DENIED",
            "`role:owner` is not opened at run time",
        ),
        ([ZOE._replace(expires_us=5)], ALICE, "PERMISSION_DENIED", "which is not after"),
        ([ZOE._replace(member="role:viewer")], ALICE, "INVALID_ARGUMENT", "grants[1].member"),
        ([ZOE, ZOE._replace(scope="a..b")], ALICE, "INVALID_ARGUMENT", "grants[2].scope"),
        ([RuntimeBinding("user:mallory", "role:editor", "b.**")], ALICE, "PERMISSION_DENIED", "always.yaml:3"),
        ([ZOE], "nobody", "INVALID_ARGUMENT", "granter"),
    ],
)
def test_what_must_not_be_granted_is_refused_and_nothing_changes(
    local: Fleet, tmp_path: Path, rows: list[RuntimeBinding], granter: str, code: str, told: str
) -> None:
    url, store = local
    head, _ = store.bindings(Tenant("acme"))
    with node(tmp_path, url) as server, server.client() as client:
        with pytest.raises(DecisionUnavailable) as caught:
            client.tenant("acme").change_bindings(
                [RuntimeBinding("user:fine", "role:viewer", "a.b"), *rows], granter=granter
            )

        assert code == caught.value.code
        assert told in str(caught.value)
        assert [] == list(client.tenant("acme").list_bindings())
    assert (head, []) == store.bindings(Tenant("acme"))


def test_a_bypass_may_grant_what_it_does_not_hold(local: Fleet, tmp_path: Path) -> None:
    url, _ = local
    with node(tmp_path, url) as server, server.client() as client:
        position = client.tenant("acme").change_bindings([ZOE], granter="user:olga").position
        assert views(client, "user:zoe", at_least=position)


def test_losing_a_deny_is_a_gain(local: Fleet, tmp_path: Path) -> None:
    url, _ = local
    out = RuntimeBinding("user:carl", "group:suspended")
    with node(tmp_path, url) as server, server.client() as client:
        assert views(client, "user:carl", "b.x")
        position = client.tenant("acme").change_bindings([out], granter=BERT).position
        assert not views(client, "user:carl", "b.x", at_least=position)

        with pytest.raises(DecisionUnavailable, match="would gain FLOW VIEW in `b"):
            client.tenant("acme").change_bindings(revokes=[out], granter=BERT)
        with pytest.raises(DecisionUnavailable, match="a row to it must not expire"):
            client.tenant("acme").change_bindings(
                [out._replace(member="user:al", expires_us=now_us() + 10**9)], granter=ALICE
            )

        position = client.tenant("acme").change_bindings(revokes=[out], granter=ALICE).position
        assert views(client, "user:carl", "b.x", at_least=position)


def test_a_row_of_the_files_is_neither_shadowed_nor_revoked(local: Fleet, tmp_path: Path) -> None:
    url, _ = local
    of_file = RuntimeBinding("user:carl", "role:viewer", "b.**")
    with node(tmp_path, url) as server, server.client() as client:
        with pytest.raises(
            DecisionUnavailable, match=r"acme/bindings\.csv:\d+ has `user:carl` in `role:viewer`"
        ) as caught:
            client.tenant("acme").change_bindings(revokes=[of_file], granter=ALICE)
        assert "ABORTED" == caught.value.code

        client.tenant("acme").change_bindings([of_file], granter=ALICE)
        position = client.tenant("acme").change_bindings(revokes=[of_file], granter=ALICE).position
        assert views(client, "user:carl", "b.x", at_least=position)


@pytest.mark.parametrize(
    ("forge", "grants", "revokes"),
    [
        (update(bindings).values(expires_us=1), [ZOE], []),
        (update(bindings).values(seq=bindings.c.seq + 1), [], [SUSPENDED]),
        (delete(bindings), [], [SUSPENDED]),
    ],
)
def test_a_node_signs_no_revoke_that_only_the_table_of_rows_asks_for(
    local: Fleet, tmp_path: Path, forge: Executable, grants: list[RuntimeBinding], revokes: list[RuntimeBinding]
) -> None:
    """The changes are chained and signed; the table of rows in force is not. Whoever can write to it must not end a deny."""
    url, store = local
    with node(tmp_path, url) as server, server.client() as client:
        client.tenant("acme").change_bindings([SUSPENDED], granter=ALICE)
        with store.engine.begin() as connection:
            connection.execute(forge)
        with pytest.raises(
            DecisionUnavailable, match=r"`user:eve` in `group:suspended` is not there as a change"
        ) as refused:
            client.tenant("acme").change_bindings(grants, revokes=revokes, granter="user:olga")
        assert "FAILED_PRECONDITION" == refused.value.code
        if grants:
            with pytest.raises(DecisionUnavailable, match=r"`user:eve` in `group:suspended` is not there as a change"):
                client.tenant("acme").import_bindings(grants, granter="user:olga")


def test_expectations_and_repeated_requests(local: Fleet, tmp_path: Path) -> None:
    url, _ = local
    ann = ZOE._replace(member="user:ann")
    with node(tmp_path, url) as server, server.client() as client:
        first = client.tenant("acme").change_bindings([ZOE], granter=ALICE, request_id="r-1")
        again = client.tenant("acme").change_bindings([ZOE], granter=ALICE, request_id="r-1")
        assert (first.position, True, False) == (again.position, again.repeated_request, first.repeated_request)
        for wrong, told in (
            ({"expected_position": f"acme:1:{'0' * 16}"}, "is at position"),
            ({"must_exist": [ann]}, "`user:ann` in `role:viewer` in `a.**` is not granted, and must be"),
            ({"must_not_exist": [ZOE]}, "is granted by change 2, and must not be"),
            ({"request_id": "r-1"}, "is another change"),
            ({"request_id": "r-1", "grants": [ZOE._replace(expires_us=now_us() + 60_000_000)]}, "is another change"),
        ):
            with pytest.raises(DecisionUnavailable, match=re.escape(told)) as caught:
                client.tenant("acme").change_bindings(**{"grants": [ann], "granter": ALICE} | wrong)  # type: ignore[arg-type]
            assert "ABORTED" == caught.value.code

        fine = client.tenant("acme").change_bindings(
            [ann], granter=ALICE, expected_position=first.position, must_exist=[ZOE], must_not_exist=[ann]
        )
        assert views(client, "user:ann", at_least=fine.position)
        gone = client.tenant("acme").change_bindings(revokes=[ann], granter=ALICE, request_id="r-2")
        with pytest.raises(DecisionUnavailable, match="has the request id `r-2`, and is another change"):
            client.tenant("acme").change_bindings(revokes=[ZOE], granter=ALICE, request_id="r-2")
        assert (
            gone.position == client.tenant("acme").change_bindings([], [ann], granter=ALICE, request_id="r-2").position
        )


@pytest.mark.parametrize("imports", [False, True])
def test_a_change_whose_server_dies_before_the_record_is_recorded_when_it_is_sent_again(
    local: Fleet, tmp_path: Path, imports: bool
) -> None:
    url, store = local

    def change(client: Client) -> str:
        acme = client.tenant("acme")
        send = acme.import_bindings if imports else acme.change_bindings
        return send([ZOE], granter=ALICE, reason="the move", request_id="r-1").position

    server = Server(tmp_path, "--policy-store", url, policies=None, launcher=(sys.executable, str(UNRECORDED)))
    with server, server.client(timeout_s=2.0) as client:
        with pytest.raises(DecisionUnavailable):
            change(client)
        assert -signal.SIGKILL == server.exit_code()
    assert 2 == store.bindings(Tenant("acme"))[0].seq
    with Server(tmp_path, "--policy-store", url, policies=None) as server, server.client() as client:
        position = change(client)
        with server.store() as audit:
            (found,) = audit.lifecycle(type_="BINDINGS_CHANGED")
    rows = {"imported": 1, "removed": 0} if imports else {"granted": ["user:zoe role:viewer a.**"], "revoked": []}
    named = {"caller": "anonymous", "granter": ALICE, "position": position, "reason": "the move", "repeated": True}
    assert named | rows == json.loads(found.detail)


def test_nobody_passes_on_for_longer_what_another_granted_for_a_while(local: Fleet, tmp_path: Path) -> None:
    """Carl may grant and revoke, and views `b.**` alone. Gus may grant and not revoke."""
    url, store = local
    bindings = (
        BINDINGS + b"g, user:carl, role:granter, acme\ng, user:gus, role:adder, acme\ng, user:gus, role:editor, acme\n"
    )
    roles = ROLES + b"p, role:adder, acme, **, BINDING, CREATE, allow\n"
    store.publish(Draft(tree_of(files(bindings=bindings, roles=roles)), "ci"), 1)
    while_us = now_us() + 60_000_000
    with node(tmp_path, url) as server, server.client() as client:

        def refused(rows: list[RuntimeBinding], granter: str) -> str:
            with pytest.raises(DecisionUnavailable) as caught:
                client.tenant("acme").change_bindings(rows, granter=granter)
            assert "PERMISSION_DENIED" == caught.value.code
            return caught.value.message

        client.tenant("acme").change_bindings([ZOE._replace(expires_us=while_us)], granter=ALICE)
        client.tenant("acme").change_bindings([SUSPENDED], granter=ALICE)
        for row in (ZOE, ZOE._replace(scope="a.x"), ZOE._replace(member="user:eve"), ZOE._replace(member="user:alice")):
            assert f"`{row.member}` would gain FLOW VIEW in `{row.scope}`" in refused([row], "user:carl")
        with pytest.raises(DecisionUnavailable, match="would gain FLOW VIEW"):
            client.tenant("acme").import_bindings([ZOE], granter="user:carl")
        assert "`user:gus` may not DELETE BINDING" in refused([ZOE._replace(expires_us=while_us - 1)], "user:gus")
        client.tenant("acme").change_bindings([ZOE], granter="user:gus")


def test_a_dry_run_says_who_would_gain_and_changes_nothing(local: Fleet, tmp_path: Path) -> None:
    url, _ = local
    with node(tmp_path, url) as server, server.client() as client:
        done = remit("grant", "acme", *ZOE[:3], "--by", ALICE, "--dry-run", "--target", server.target)

        assert 0 == done.returncode, done.stderr
        assert "+ user:zoe gains FLOW VIEW in a.**" in done.stdout
        assert [] == list(client.tenant("acme").list_bindings())


def test_a_row_ends_by_itself_and_each_answer_replays(local: Fleet, tmp_path: Path) -> None:
    url, _ = local
    with node(tmp_path, url) as server, server.client() as client:
        ends = now_us() + 3_000_000
        position = client.tenant("acme").change_bindings([ZOE._replace(expires_us=ends)], granter=ALICE).position
        held = client.tenant("acme", at_least=position).check("user:zoe", "VIEW", "FLOW", "a.x")
        assert held.allowed
        soon(lambda: not views(client, "user:zoe"))
        assert now_us() >= ends
        ended = client.tenant("acme").check("user:zoe", "VIEW", "FLOW", "a.x")
        assert held.revision != ended.revision
        assert held.position == ended.position
        assert [] == list(client.tenant("acme").list_bindings())

        for answer, effect in ((held, "allow"), (ended, "deny")):
            past = remit(
                *("audit", "explain", "acme", "user:zoe", "VIEW", "FLOW", "a.x", "--at", answer.revision),
                *("--audit", server.audit, "--json"),
            )
            (found,) = json.loads(past.stdout)["answers"]
            assert effect == found["effect"], past.stdout
            shown = remit("audit", "show", answer.decision_id, "--audit", server.audit, "--json")
            assert effect == json.loads(shown.stdout)["explanation"]["effect"]


def test_rows_outlive_restarts_and_the_store(local: Fleet, tmp_path: Path) -> None:
    url, _ = local
    server = node(tmp_path, url, "one", "--policy-poll-s", "0.2")
    with server:
        with server.client() as client:
            position = client.tenant("acme").change_bindings([ZOE], granter=ALICE).position
            before = client.tenant("acme", at_least=position).check("user:zoe", "VIEW", "FLOW", "a.x")
        server.kill()
        hidden = (tmp_path / "policy.db").rename(tmp_path / "away.db")
        server.start()
        with server.client() as client:
            after = client.tenant("acme", at_least=position).check("user:zoe", "VIEW", "FLOW", "a.x")
            assert (before.allowed, before.revision, before.position) == (after.allowed, after.revision, after.position)
            with (
                server.client(timeout_s=2.0) as hasty,
                pytest.raises(DecisionUnavailable, match="the policy store"),
            ):
                hasty.tenant("acme").change_bindings(revokes=[ZOE], granter=ALICE, request_id="later")
            hidden.rename(tmp_path / "policy.db")
            gone = client.tenant("acme").change_bindings(revokes=[ZOE], granter=ALICE, request_id="later").position
            assert not views(client, "user:zoe", at_least=gone)


def test_rows_that_were_deleted_from_disk_are_pulled_again_and_never_taken_for_none(
    local: Fleet, tmp_path: Path
) -> None:
    """A row may suspend somebody: without it, more would be allowed."""
    url, _ = local
    suspended = RuntimeBinding("user:alice", "group:suspended")
    server = node(tmp_path, url, "one", "--policy-poll-s", "0.2")
    log = server.folder / "var" / "releases" / "bindings" / "acme.jsonl"
    with server:
        with server.client() as client:
            first = client.tenant("acme").change_bindings([suspended], granter=BERT).position
            assert not views(client, ALICE, at_least=first)

            log.unlink()
            second = client.tenant("acme").change_bindings([ZOE], granter=BERT).position
            soon(lambda: views(client, "user:zoe"))
            assert not views(client, ALICE)
            # The line that names the file, that of the rows before, and two changes.
            assert 4 == len(log.read_text().splitlines())
        assert 0 == server.terminate()
        log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:3]))
        server.start()
        with server.client() as client:
            assert [False, True] == [views(client, who, at_least=second) for who in (ALICE, "user:zoe")]
        assert 0 == server.terminate()

        log.unlink()
        (tmp_path / "policy.db").rename(tmp_path / "away.db")
        server.launch()
        assert 0 != server.exit_code()
        assert "there is no policy to serve" in server.log_text()


def test_a_release_adopts_rows_and_is_refused_if_rows_stand_against_it(local: Fleet, tmp_path: Path) -> None:
    url, _ = local
    with node(tmp_path, url) as server, server.client() as client:
        client.tenant("acme").change_bindings([ZOE, ZOE._replace(member="user:ann")], granter=ALICE)
        lines = remit("bindings", "export", "acme", "--target", server.target).stdout.splitlines(keepends=True)
        assert "g, user:zoe, role:viewer, acme/a.**\n" == lines[3]
        exported = "".join(lines[2:])

        shut = write(tmp_path / "shut", files(runtime=RUNTIME.replace(b"role:viewer, ", b"")))
        refused = remit("publish", str(shut), "--to", url)
        assert 1 == refused.returncode
        assert "acme: `user:ann` in `role:viewer` in `a.**`: `role:viewer` is not opened at run time" in refused.stderr

        adopting = write(tmp_path / "adopting", files(bindings=BINDINGS + exported.encode()))
        assert 0 == remit("publish", str(adopting), "--to", url).returncode
        soon(lambda: "bindings.csv" in client.tenant("acme").explain("user:zoe", "VIEW", "FLOW", "a.x").summary)
        assert ["user:ann"] == [each.row.member for each in client.tenant("acme").list_bindings()]
        assert views(client, "user:ann")
        assert views(client, "user:zoe")


def test_a_tenant_without_the_key_takes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'policy.db'}"
    with PolicyStore(url) as store:
        store.migrate()
        store.publish(Draft(tree_of(files(runtime=b"{}\n")), "ci"), 0)
        with node(tmp_path, url) as server, server.client() as client:
            for tenant, told in (("acme", "has no `runtime`"), ("nowhere", "there is no tenant `nowhere`")):
                with pytest.raises(DecisionUnavailable, match=told) as caught:
                    client.tenant(tenant).change_bindings([ZOE], granter=ALICE)
                assert "FAILED_PRECONDITION" == caught.value.code


def test_a_server_of_a_directory_takes_nothing(tmp_path: Path) -> None:
    policies = write(tmp_path / "policies", files())
    with (
        Server(tmp_path / "one", policies=policies) as server,
        server.client() as client,
        pytest.raises(DecisionUnavailable, match="this server has no policy store"),
    ):
        client.tenant("acme").change_bindings([ZOE], granter=ALICE)


def test_changes_at_once_from_two_nodes_are_all_made(fleet: Fleet, tmp_path: Path) -> None:
    url, _ = fleet
    rows = [ZOE._replace(member=f"user:n{number}") for number in range(12)]
    # Each waits until its node serves what the other one changed, on a busy machine too.
    flags = "--policy-poll-s", "0.2", "--revision-wait-s", "30"
    with (
        node(tmp_path, url, "one", *flags) as one,
        node(tmp_path, url, "two", *flags) as two,
        one.client() as first,
        two.client() as second,
        ThreadPoolExecutor(4) as pool,
    ):
        clients = [first, second]
        positions = list(
            pool.map(
                lambda pair: clients[pair[0] % 2].tenant("acme").change_bindings([pair[1]], granter=ALICE).position,
                enumerate(rows),
            )
        )
        # An error is as good as no value, and a pool takes it for one.
        assert all(positions)
        assert len(rows) == len(set(positions))
        last = max(positions, key=lambda each: int(each.split(":")[1]))
        for client in clients:
            assert all(views(client, each.member, at_least=last) for each in rows)
        answers = [client.tenant("acme").check("user:n1", "VIEW", "FLOW", "a.x") for client in clients]
        assert 1 == len({(each.revision, each.position) for each in answers})


def test_workers_serve_rows_of_run_time(local: Fleet, tmp_path: Path) -> None:
    url, _ = local
    with node(tmp_path, url, "one", "--workers", "2") as server:
        with server.client() as client:
            position = client.tenant("acme").change_bindings([ZOE], granter=ALICE).position
        for _ in range(8):
            with server.client() as client:
                assert views(client, "user:zoe", at_least=position)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_change_serves_on_its_own_node_before_the_next_poll(local: Fleet, tmp_path: Path, workers: int) -> None:
    url, _ = local
    # Longer than the test may take.
    poll = "--policy-poll-s", "600"
    with node(tmp_path, url, "one", "--workers", str(workers), *poll) as server, server.client() as client:
        client.tenant("acme").change_bindings([ZOE], granter=ALICE)
        soon(lambda: views(client, "user:zoe"))
        client.tenant("acme").change_bindings(revokes=[ZOE], granter=ALICE)
        soon(lambda: not views(client, "user:zoe"))
        client.tenant("acme").import_bindings([ZOE], granter=ALICE)
        soon(lambda: views(client, "user:zoe"))


def test_commands_name_the_missing_granter_and_the_end_of_the_row(local: Fleet, tmp_path: Path) -> None:
    grant = "grant", "acme", "user:zoe", "role:viewer", "a.**", "--until", "2099-05-01T12:00:00Z", "--target"
    with node(tmp_path, local[0]) as server, server.client() as client:
        nobody = remit(*grant, server.target)
        assert (2, True) == (nobody.returncode, "granter: is missing" in nobody.stderr), nobody.stderr
        assert "`--by`" in nobody.stderr
        with pytest.raises(DecisionUnavailable, match=r"start\.granter: is missing"):
            client.tenant("acme").import_bindings([ZOE])

        tried = remit(*grant, server.target, "--by", ALICE, "--dry-run")
        assert "+ user:zoe gains FLOW VIEW in a.**\n" in tried.stdout
        granted = remit(*grant, server.target, "--by", ALICE)
        assert granted.stdout.startswith("granted until 2099-05-01T12:00:00Z, from position acme:2:"), granted.stdout
        gone = remit("revoke", *grant[1:5], "--by", ALICE, "--dry-run", "--target", server.target)
        assert "- user:zoe loses FLOW VIEW in a.**\n" in gone.stdout


def test_rollback_marks_the_files_that_serve_with_rows_of_run_time(local: Fleet, tmp_path: Path) -> None:
    url, store = local
    command = "rollback", "acme", "--target"
    with node(tmp_path, url) as server, server.client() as client:
        (first,) = [each.revision for each in client.status().tenants]
        granted = client.tenant("acme").change_bindings([ZOE], granter=ALICE)
        assert views(client, "user:zoe", at_least=granted.position)
        store.publish(
            Draft(tree_of(files(bindings=BINDINGS + b"g, user:dora, role:viewer, acme\n")), "ci"),
            1,
            review=lambda *_: Reviewed(),
        )
        soon(lambda: views(client, "user:dora"))

        def serving() -> list[tuple[str, bool]]:
            lines = remit(*command, server.target).stdout.splitlines()[1:]
            return [(line.split()[0], "serving" in line) for line in lines]

        second = next(name for name, _ in serving() if not first.startswith(name))
        assert [(second, True), (first[:12], False)] == serving()
        pinned = remit(*command, server.target, first[:12])
        (status,) = client.status().tenants
        assert f"acme: pinned to {first[:12]} with rows of run time, {status.revision}, before " in pinned.stdout
        assert [(second, False), (first[:12], True)] == serving()
