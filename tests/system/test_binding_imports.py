"""Imports, exports and watches of rows of run time, through real servers."""

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import count, islice
from pathlib import Path
from threading import Event

import grpc
import pytest
from sqlalchemy import delete, select, update
from support.runtime import files
from support.server import DEADLINE_S, Server, free_port, remit, until
from support.trees import tree_of

from remit.client import AsyncClient, Client, DecisionUnavailable, RuntimeBinding, TenantClient, WatchedChange
from remit.core.names import Tenant
from remit.core.runtime import parse_runtime_row
from remit.fleet.bindings import BindingChange
from remit.fleet.schema.tables import bindings, changes, heads
from remit.fleet.store import Draft, PolicyStore
from remit.v1 import binding_service_pb2 as messages
from remit.v1 import binding_service_pb2_grpc
from remit.v1.decision_pb2 import Origin

ALICE, BERT, OLGA = "user:alice", "user:bert", "user:olga"
ACME = Tenant("acme")
Fleet = tuple[str, PolicyStore]


@pytest.fixture(params=["sqlite", "postgresql"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    made = (
        request.getfixturevalue("new_postgresql")()
        if request.param == "postgresql"
        else nullcontext(f"sqlite:///{tmp_path / 'policy.db'}")
    )
    with made as url:
        yield from _published(url)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Fleet]:
    yield from _published(f"sqlite:///{tmp_path / 'policy.db'}")


def _published(url: str) -> Iterator[Fleet]:
    with PolicyStore(url) as store:
        store.migrate()
        store.publish(Draft(tree_of(files()), "ci"), 0)
        yield url, store


def node(folder: Path, url: str, *flags: str) -> Server:
    return Server(folder / "one", "--policy-store", url, *flags, policies=None, node="one")


def row(number: int, scope: str = "a.**", holds: str = "role:viewer") -> RuntimeBinding:
    return RuntimeBinding(f"user:n{number:05}", holds, scope)


def rows_of(client: Client) -> set[RuntimeBinding]:
    return {each.row for each in client.tenant("acme").export_bindings()}


def views(client: Client, principal: str, at_least: str = "") -> bool:
    return client.tenant("acme", at_least=at_least).check(principal, "VIEW", "FLOW", "a.x").allowed


def folded(changes_: Iterable[WatchedChange]) -> set[RuntimeBinding]:
    rows: dict[tuple[str, ...], RuntimeBinding] = {}
    for each in changes_:
        for gone in (*each.revoked, *each.ended):
            rows.pop(gone[:3], None)
        rows |= {granted[:3]: granted for granted in each.granted}
    return set(rows.values())


def refused(client: Client, rows: Iterable[RuntimeBinding], **options: object) -> DecisionUnavailable:
    with pytest.raises(DecisionUnavailable) as caught:
        client.tenant("acme").import_bindings(rows, **{"granter": ALICE} | options)  # type: ignore[arg-type]
    return caught.value


def test_an_import_serves_is_exported_and_imported_elsewhere(fleet: Fleet, tmp_path: Path) -> None:
    url, _ = fleet
    ends = RuntimeBinding("user:late", "role:viewer", "a.b", 4_000_000_000_000_000)
    rows = [*map(row, range(3_000)), ends, RuntimeBinding("user:zoe", "group:team", "a.**")]
    with node(tmp_path, url) as server, server.client() as client:
        done = client.tenant("acme").import_bindings(rows, granter=ALICE, reason="the move")
        assert (3_002, 0, 0) == (done.granted, done.revoked, done.already)
        assert views(client, "user:n02999", done.position)
        assert views(client, "user:zoe")
        assert "runtime:change 2" in client.tenant("acme").explain("user:n00007", "VIEW", "FLOW", "a.x").summary

        exported = list(client.tenant("acme").export_bindings())
        assert set(rows) == {each.row for each in exported}
        assert [each.row[:3] for each in exported] == sorted(each.row[:3] for each in exported)
        (about,) = {each[1:2] + each[3:] for each in exported}
        assert (2, "anonymous", ALICE, "the move", done.position) == about
        listed = [each.row.member for each in client.tenant("acme").list_bindings(page_size=700)]
        assert [each.row.member for each in exported] == listed
        assert [3_002] == [len(each.granted) for each in islice(client.tenant("acme").watch_bindings(), 1)]

        client.tenant("acme").change_bindings(revokes=[rows[0]], granter=ALICE)
        again = client.tenant("acme").import_bindings((each.row for each in exported), granter=ALICE)
        assert (1, 0, 3_001) == (again.granted, again.revoked, again.already)
        emptied = client.tenant("acme").import_bindings([], granter=ALICE, replace=True)
        assert (0, 3_002, 0) == (emptied.granted, emptied.revoked, emptied.already)
        assert [] == list(client.tenant("acme").export_bindings())
        assert not views(client, "user:n02999", emptied.position)
        client.tenant("acme").import_bindings((each.row for each in exported), granter=ALICE)
        assert set(rows) == rows_of(client)


def test_a_replacing_import_leaves_just_its_rows(fleet: Fleet, tmp_path: Path) -> None:
    url, store = fleet
    with node(tmp_path, url) as server, server.client() as client:
        client.tenant("acme").import_bindings(map(row, range(10)), granter=ALICE)
        later = row(3)._replace(expires_us=4_000_000_000_000_000)
        done = client.tenant("acme").import_bindings([later, *map(row, range(5, 12))], granter=ALICE, replace=True)
        assert (3, 4, 5) == (done.granted, done.revoked, done.already)
        assert {later, *map(row, range(5, 12))} == rows_of(client)
        assert rows_of(client) == folded(islice(client.tenant("acme").watch_bindings(), 2))
        assert [False, True] == [views(client, row(each).member, done.position) for each in (4, 3)]
        with store.engine.connect() as connection:
            assert {3: 3, 5: 2} == {
                int(member[-5:]): seq
                for member, seq in connection.execute(select(bindings.c.member, bindings.c.seq))
                if member[-5:] in {"00003", "00005"}
            }


@pytest.mark.parametrize(
    ("wrong", "options", "code", "told"),
    [
        (row(1, "c.**"), {}, "PERMISSION_DENIED", "row 2,501 of the import: `user:n00001` in `role:viewer` in `c.**`"),
        (row(1, holds="role:owner"), {}, "PERMISSION_DENIED", "`role:owner` is not opened at run time"),
        (row(9_000)._replace(expires_us=5), {}, "PERMISSION_DENIED", "row 2,501 of the import"),
        (row(1, "a..b"), {}, "INVALID_ARGUMENT", "rows[2500].scope"),
        (row(1)._replace(member="role:viewer"), {}, "INVALID_ARGUMENT", "rows[2500].member"),
        (row(1)._replace(expires_us=-1), {}, "INVALID_ARGUMENT", "rows[2500].expires_us"),
        (row(17), {}, "INVALID_ARGUMENT", "rows[2500]: is the same row as rows[17]"),
        (row(9_000, "b.**"), {"granter": BERT}, "PERMISSION_DENIED", "would gain FLOW VIEW in `b.**`"),
        (row(9_000), {"granter": "user:zoe"}, "PERMISSION_DENIED", "`user:zoe` may not CREATE BINDING"),
        (RuntimeBinding("user:mallory", "role:editor", "b.**"), {}, "PERMISSION_DENIED", "always.yaml:3"),
        (row(9_000), {"granter": "nobody"}, "INVALID_ARGUMENT", "start.granter"),
        (row(9_000), {"expected_position": f"acme:1:{'0' * 16}"}, "ABORTED", "is at position"),
        (row(9_000), {"request_id": "a b"}, "INVALID_ARGUMENT", "start.request_id"),
    ],
)
def test_one_row_that_is_refused_is_named_and_nothing_is_imported(
    local: Fleet, tmp_path: Path, wrong: RuntimeBinding, options: dict[str, object], code: str, told: str
) -> None:
    url, store = local
    head, _ = store.bindings(ACME)
    with node(tmp_path, url) as server, server.client() as client:
        error = refused(client, [*map(row, range(2_500)), wrong], **options)

        assert code == error.code
        assert told in str(error)
    assert (head, []) == store.bindings(ACME)


def test_rows_in_more_ways_than_can_be_compared_need_the_bypass(local: Fleet, tmp_path: Path) -> None:
    url, _ = local
    rows = [row(number, f"a.n{number}") for number in range(5_001)]
    with node(tmp_path, url) as server, server.client() as client:
        error = refused(client, rows)
        assert ("PERMISSION_DENIED", True) == (error.code, "in 5,001 different ways" in str(error))
        assert "a granter who may GRANT_ANY BINDING in the whole tenant" in str(error)

        assert 5_001 == client.tenant("acme").import_bindings(rows, granter=OLGA).granted


def test_a_dry_run_changes_nothing(local: Fleet, tmp_path: Path) -> None:
    url, store = local
    with node(tmp_path, url) as server, server.client() as client:
        done = client.tenant("acme").import_bindings(map(row, range(3)), granter=ALICE, dry_run=True)
        assert 3 == done.granted
    assert [] == store.bindings(ACME)[1]


def test_a_repeated_import_is_made_once(local: Fleet, tmp_path: Path) -> None:
    url, _ = local
    rows = [row(number) for number in range(1_500)]
    with node(tmp_path, url) as server, server.client() as client:
        first = client.tenant("acme").import_bindings(rows, granter=ALICE, request_id="r-1")
        again = client.tenant("acme").import_bindings(rows, granter=ALICE, request_id="r-1")
        assert (first.position, True) == (again.position, again.repeated_request)
        for other, options in (
            (rows[:-1], {}),
            ([rows[0]._replace(expires_us=4_000_000_000_000_000), *rows[1:]], {}),
            (rows, {"granter": OLGA}),
        ):
            assert "is another change" in str(refused(client, other, request_id="r-1", **options))
        assert [first.position] == [each.position for each in islice(client.tenant("acme").watch_bindings(), 1)]


def _start(granter: str = ALICE, **origin: str) -> messages.ImportBindingsRequest:
    start = messages.ImportStart(tenant="acme", granter=granter, origin=Origin(**origin))
    return messages.ImportBindingsRequest(start=start)


def _some(*rows: RuntimeBinding) -> messages.ImportBindingsRequest:
    return messages.ImportBindingsRequest(
        rows=messages.ImportRows(rows=[messages.RuntimeRow(**each._asdict()) for each in rows])
    )


def _end(rows: int) -> messages.ImportBindingsRequest:
    return messages.ImportBindingsRequest(end=messages.ImportEnd(rows=rows))


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ([], "the first one of a stream says what is asked"),
        ([_some(row(1))], "start.tenant"),
        ([_start(on_behalf_of="root")], "start.origin.on_behalf_of: root"),
        ([_start(trace_id="a b")], "start.origin.trace_id: expected at most 64 printable"),
        ([_start()], "end: is missing"),
        ([_start(), _some(row(1))], "end: is missing"),
        ([_start(), _some(row(1)), _end(2)], "end.rows: is 2, and 1 rows came"),
        ([_start(), _some(row(1)), _end(1), _some(row(2))], "end: is not the last message"),
        ([_start(), _start(), _end(0)], "rows: are missing"),
        ([_start(), _some(*[row(1)] * 10_001), _end(10_001)], "rows: are 10,001 in one message"),
    ],
)
def test_a_stream_that_is_not_whole_is_no_import(
    local: Fleet, tmp_path: Path, sent: list[messages.ImportBindingsRequest], told: str
) -> None:
    url, store = local
    with node(tmp_path, url) as server, grpc.insecure_channel(server.target) as channel:
        stub = binding_service_pb2_grpc.BindingServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ImportBindings(iter(sent), timeout=DEADLINE_S)
        assert "INVALID_ARGUMENT" == caught.value.code().name
        assert told in caught.value.details().replace("`", "")
    assert [] == store.bindings(ACME)[1]


def test_a_stream_that_breaks_gives_its_place_back_and_imports_nothing(local: Fleet, tmp_path: Path) -> None:
    url, store = local
    broken = Event()

    def until_broken() -> Iterator[messages.ImportBindingsRequest]:
        yield _start()
        yield _some(row(1))
        broken.wait(DEADLINE_S)

    with node(tmp_path, url) as server, server.client() as client:
        with grpc.insecure_channel(server.target) as channel:
            call = binding_service_pb2_grpc.BindingServiceStub(channel).ImportBindings.future(until_broken())
            # An import that asks whether the place is taken would take it.
            until(lambda: server.metric("remit_calls_in_flight", calls="imports") == 1, "the import waits for rows")
            call.cancel()
        broken.set()
        until(lambda: not _is_crowded(client), "the place is free again")
        assert [] == store.bindings(ACME)[1]


def _is_crowded(client: Client) -> bool:
    """Whether another import has the place."""
    try:
        client.tenant("acme").import_bindings([row(1)], granter=ALICE, dry_run=True)
    except DecisionUnavailable as error:
        return error.code == "RESOURCE_EXHAUSTED" and "(imports)" in str(error)
    return False


def test_rows_that_cannot_be_sent_are_named_and_nothing_is_imported(local: Fleet, tmp_path: Path) -> None:
    url, store = local

    def rows() -> Iterator[RuntimeBinding]:
        yield from map(row, range(3_000))
        raise ValueError("line 3,001 is torn")

    with node(tmp_path, url) as server, server.client() as client:
        error = refused(client, rows())
        assert ("INVALID_ARGUMENT", True) == (error.code, "line 3,001 is torn" in str(error))
    assert [] == store.bindings(ACME)[1]


def test_imports_and_changes_at_once_are_made_one_after_another(fleet: Fleet, tmp_path: Path) -> None:
    url, _ = fleet

    def load(client: Client, part: int) -> str:
        rows = [row(part * 2_000 + number) for number in range(2_000)]
        return str(client.tenant("acme").import_bindings(rows, granter=ALICE).position)

    with (
        Server(tmp_path / "a", "--policy-store", url, policies=None, node="a") as one,
        Server(tmp_path / "b", "--policy-store", url, policies=None, node="b") as two,
        one.client(timeout_s=DEADLINE_S) as first,
        two.client(timeout_s=DEADLINE_S) as second,
        ThreadPoolExecutor(3) as pool,
    ):
        loading = [pool.submit(load, client, part) for part, client in enumerate((first, second))]
        client_change = pool.submit(
            lambda: first.tenant("acme").change_bindings(
                [RuntimeBinding("user:zoe", "role:viewer", "a.**")], granter=ALICE
            )
        )
        positions = [each.result() for each in loading] + [client_change.result().position]
        assert 3 == len(set(positions))
        assert 4_001 == len(rows_of(first))
        watched = list(islice(second.tenant("acme").watch_bindings(), 3))
        assert rows_of(first) == folded(watched)
        assert sorted(positions) == [each.position for each in watched]


@pytest.mark.parametrize("replaces", [False, True])
def test_an_import_is_made_while_grants_and_revokes_go_on(fleet: Fleet, tmp_path: Path, replaces: bool) -> None:
    url, _ = fleet
    rows = {*map(row, range(10_000)), RuntimeBinding("group:team", "role:viewer", "b.**")}
    over = Event()

    def changes_of(client: TenantClient, part: int) -> int:
        """Grants rows of the import, others of its people and of other people, and revokes the first again."""
        for number in count(part, 2):
            mine = row(number), row(number, "a.other"), row(20_000 + number)
            client.change_bindings(mine, granter=ALICE)
            client.change_bindings(revokes=mine[:1], granter=ALICE)
            if over.is_set():
                break
        return number

    with node(tmp_path, url) as server, server.client(timeout_s=DEADLINE_S) as asking, ThreadPoolExecutor(2) as pool:
        client = asking.tenant("acme")
        client.change_bindings([row(30_000)], granter=ALICE)
        going = [pool.submit(changes_of, client, part) for part in range(2)]
        try:
            done = client.import_bindings(rows, granter=ALICE, replace=replaces, timeout_s=DEADLINE_S)
        finally:
            over.set()
        assert all(each.result() > 1 for each in going)
        last = client.change_bindings(revokes=[row(30_000)], granter=ALICE).position
        heard: list[WatchedChange] = []
        for change in client.watch_bindings():
            heard.append(change)
            if change.position == last:
                break
        assert rows_of(asking) == folded(heard)
        until_import = [each.position for each in heard].index(done.position) + 1
        then = folded(heard[:until_import])
        assert then == rows if replaces else then > rows | {row(30_000)}


def test_a_watch_hears_every_change_once_and_in_order(fleet: Fleet, tmp_path: Path) -> None:
    url, _ = fleet
    with node(tmp_path, url, "--policy-poll-s", "0.2") as server, server.client() as client:
        client.tenant("acme").change_bindings([row(1)], granter=ALICE)
        middle = client.tenant("acme").import_bindings(map(row, range(2, 1_600)), granter=ALICE).position
        watch = client.tenant("acme").watch_bindings()
        heard = list(islice(watch, 2))
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(next, watch)
            revoked = client.tenant("acme").change_bindings(revokes=[row(1)], granter=BERT, reason="left")
            heard.append(waiting.result(DEADLINE_S))
        assert [2, 3, 4] == [each.change for each in heard]
        assert (revoked.position, "left", BERT, (row(1),)) == (
            *(heard[2].position, heard[2].reason, heard[2].granter, heard[2].revoked),
        )
        assert rows_of(client) == folded(heard)
        assert [4] == [each.change for each in islice(client.tenant("acme").watch_bindings(middle), 1)]


def test_a_watch_goes_on_over_a_restart(local: Fleet, tmp_path: Path) -> None:
    url, _ = local
    flags = "--policy-store", url
    server = Server(tmp_path / "one", *flags, policies=None, node="one", listen=f"127.0.0.1:{free_port()}")
    with server, server.client(timeout_s=DEADLINE_S) as client:
        client.tenant("acme").change_bindings([row(1)], granter=ALICE)
        watch = client.tenant("acme").watch_bindings()
        assert 2 == next(watch).change
        server.kill()
        server.start()
        client.tenant("acme").change_bindings([row(2)], granter=ALICE)
        assert 3 == next(watch).change


def test_a_watch_of_another_history_ends_and_says_so(local: Fleet, tmp_path: Path) -> None:
    url, store = local
    with node(tmp_path, url, "--policy-poll-s", "0.2") as server, server.client() as client:
        position = client.tenant("acme").change_bindings([row(1)], granter=ALICE).position
        for wrong in (f"acme:2:{'0' * 16}", f"acme:9:{position[-16:]}"):
            with pytest.raises(DecisionUnavailable, match="is not in the history of tenant `acme`") as caught:
                next(client.tenant("acme").watch_bindings(wrong))
            assert "ABORTED" == caught.value.code
        with pytest.raises(DecisionUnavailable, match="is of tenant `globex`"):
            next(client.tenant("acme").watch_bindings(position.replace("acme", "globex")))

        views(client, "user:1", at_least=position)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(_end_of, client.tenant("acme").watch_bindings(position))
            _forget_the_last_change(store)
            code, text = waiting.result(DEADLINE_S)
        assert ("ABORTED", True) == (code, "is not in the history of tenant `acme`" in text)


def test_a_watch_ends_with_a_history_that_its_node_never_had(local: Fleet, tmp_path: Path) -> None:
    url, store = local
    with node(tmp_path, url, "--policy-poll-s", "600") as server, server.client() as client:
        with store.changing(Tenant("acme")) as write:
            write.commit(BindingChange((parse_runtime_row("user:1", "role:viewer", "a.**"),), ()), "alice", "")
        watch = client.tenant("acme").watch_bindings()
        assert 2 == next(watch).change
        _forget_the_last_change(store)
        code, _ = _end_of(watch)
        assert "ABORTED" == code


def _forget_the_last_change(store: PolicyStore) -> None:
    with store.engine.begin() as connection:
        # SQLite refuses the write of a transaction that began to read before another one wrote.
        connection.execute(delete(changes).where(changes.c.seq == 2))
        connection.execute(delete(bindings))
        (first,) = connection.execute(select(changes).where(changes.c.seq == 1)).all()
        connection.execute(update(heads).values(seq=1, hash=first.hash))


def _end_of(watch: Iterator[WatchedChange]) -> tuple[str, str]:
    with pytest.raises(DecisionUnavailable) as caught:
        next(watch)
    return caught.value.code, str(caught.value)


def test_the_client_for_asyncio_does_the_same(local: Fleet, tmp_path: Path) -> None:
    url, _ = local

    async def all_of(target: str) -> None:
        async with AsyncClient(target) as asking:
            client = asking.tenant("acme")
            done = await client.import_bindings(map(row, range(5)), granter=ALICE)
            assert list(map(row, range(5))) == [each.row async for each in client.export_bindings()]
            async for each in client.watch_bindings():
                assert done.position == each.position
                break
            with pytest.raises(DecisionUnavailable, match="torn"):
                await client.import_bindings(_torn(), granter=ALICE)

    with node(tmp_path, url) as server:
        asyncio.run(all_of(server.target))


def _torn() -> Iterator[RuntimeBinding]:
    yield row(9)
    raise ValueError("torn")


def test_the_commands_list_import_export_and_tell_drift(local: Fleet, tmp_path: Path) -> None:
    url, _ = local
    with node(tmp_path, url) as server, server.client() as client:
        assert 0 == remit("drift", "acme", "--target", server.target).returncode
        file = tmp_path / "grants.csv"
        file.write_text("# two\ng, user:zoe, role:viewer, acme/a.**\ng, user:zoe, group:team, acme/a.**\n")
        done = remit(
            "bindings", "import", "acme", str(file), "--by", ALICE, "--reason", "new", "--target", server.target
        )
        assert "2 granted, 0 revoked, 0 so already, from position acme:2:" in done.stdout, done.stderr
        client.tenant("acme").change_bindings([row(1)._replace(expires_us=4_000_000_000_000_000)], granter=ALICE)

        listed = remit("bindings", "list", "acme", "--target", server.target)
        assert ["user:n00001", "user:zoe", "user:zoe"] == [line.split()[0] for line in listed.stdout.splitlines()[1:]]
        lines = remit("bindings", "export", "acme", "--target", server.target).stdout.splitlines()
        assert ["# g, user:n00001, role:viewer, acme/a.** ends 2096-10-02T07:06:40Z"] == lines[1:2]
        assert ["g, user:zoe, group:team, acme/a.**", "g, user:zoe, role:viewer, acme/a.**"] == lines[3::2]
        assert all(line.startswith("# granted by change ") for line in lines[::2])
        assert lines[2].endswith("anonymous for user:alice: new")

        for text, told in (
            ("g, user:zoe, role:viewer, globex\n", "grants.csv:1: `globex`: expected tenant `acme`"),
            ("\np, role:x, acme, **, FLOW, *, allow\n", "grants.csv:2: expected `g, MEMBER, HOLDS, TENANT`"),
            ("g, user:zoe, role:viewer, acme/a..b\n", "grants.csv:1: "),
        ):
            file.write_text(text)
            wrong = remit("bindings", "import", "acme", str(file), "--target", server.target)
            assert (2, True) == (wrong.returncode, told in wrong.stderr), wrong.stderr

        assert views(client, "user:zoe")
        drifted = remit("drift", "--all", "--usage", "--target", server.target)
        assert 1 == drifted.returncode
        usage = {tuple(line.split()[1:3]): line.split()[-1] for line in drifted.stdout.splitlines()[1:]}
        assert "unused" == usage["user:n00001", "role:viewer"]
        assert {"used", "unused"} == {usage["user:zoe", holds] for holds in ("role:viewer", "group:team")}
        assert 0 == remit("drift", "acme", "--older-than", "1d", "--target", server.target).returncode


def test_drift_calls_a_row_that_denied_used(local: Fleet, tmp_path: Path) -> None:
    url, _ = local
    with node(tmp_path, url) as server, server.client() as client:
        held, suspended = row(1), row(1, scope="", holds="group:suspended")
        granted = client.tenant("acme").change_bindings([held], granter=ALICE).position
        assert views(client, "user:n00001", at_least=granted)
        position = client.tenant("acme").change_bindings([suspended], granter=ALICE).position

        def usage() -> dict[str, str]:
            told = remit("drift", "acme", "--usage", "--target", server.target).stdout.splitlines()[1:]
            return {line.split()[2]: line.split()[-1] for line in told}

        assert {"role:viewer": "used", "group:suspended": "unused"} == usage()
        assert not views(client, "user:n00001", at_least=position)
        assert {"role:viewer": "used", "group:suspended": "used"} == usage()
