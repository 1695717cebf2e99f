"""Differences between kept revisions, from real servers."""

import csv
import io
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support.editing import GRANT, QUICK, append, until_status
from support.runtime import ROLES, RUNTIME, files
from support.server import DEADLINE_S, Server, remit, remit_process, until
from support.trees import tree_of, write

from remit.cli.policy import diff_text
from remit.client import AsyncClient, Client, DecisionUnavailable, RuntimeBinding
from remit.console.app import application
from remit.console.options import ConsoleOptions
from remit.core.names import Tenant
from remit.engine.diff import TenantDiff, diff
from remit.engine.snapshot import Snapshot
from remit.fleet.store import Draft, PolicyStore, Reviewed
from remit.policy.load import load_tree
from remit.v1 import policy_service_pb2 as messages

ACME = Tenant("acme")
SPARE = RUNTIME.replace(b"role:editor", b"role:spare")


@pytest.fixture
def edited(untested: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untested, tmp_path / "policies"))


@pytest.fixture
def server(edited: Path, tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "audit", *QUICK, policies=edited) as started:
        yield started


def edit(server: Server, file: Path, change: Callable[[str], str]) -> str:
    """Returns the revision that serves then."""
    before = until_status(server, lambda each: each.revision).revision
    beside = file.with_name(f".{file.name}.swp")
    beside.write_text(change(file.read_text()))
    beside.replace(file)
    return until_status(server, lambda each: each.revision != before).revision


def snapshot(policies: Path) -> Snapshot:
    found = load_tree(policies).tenants[ACME].snapshot
    assert found is not None
    return found


def sets(message: object) -> list[dict[str, list[str]]]:
    return [{"only": list(each.only), "excluded": list(each.excluded)} for each in message]  # type: ignore[attr-defined]


def permissions(message: Iterable[messages.Permission]) -> list[dict[str, str]]:
    return [{"kind": each.kind, "action": each.action} for each in message]


def as_json(answer: messages.DiffRevisionsResponse) -> dict[str, object]:
    """What `remit diff --json` prints of a tenant."""
    return {
        "access": [
            {
                "direction": direction,
                "principals": list(change.principals),
                "through": change.through or None,
                "permissions": permissions(change.permissions),
                "namespaces": sets(change.namespaces),
                "tenant_itself": change.tenant_itself,
            }
            for direction, changes in (("gain", answer.gains), ("loss", answer.losses))
            for change in changes
        ],
        "reach": [
            {
                "direction": direction,
                "relations": list(change.relations),
                "callers": sets(change.callers),
                "owners": sets(change.owners),
                "pairs": messages.ReachPairs.Name(change.pairs).removeprefix("REACH_PAIRS_").lower().replace("_", " "),
            }
            for direction, reaches in (("gain", answer.reach_gains), ("loss", answer.reach_losses))
            for change in reaches
        ],
        "runtime": [
            {
                "direction": "gain" if each.gain else "loss",
                "key": each.key,
                "values": list(each.values),
                "permissions": permissions(each.permissions),
                "namespaces": sets(each.namespaces),
                "tenant_itself": each.tenant_itself,
            }
            for each in answer.runtime
        ],
        "rows_added": answer.rows_added,
        "rows_removed": answer.rows_removed,
    }


def told(found: TenantDiff) -> dict[str, object]:
    document = diff_text.as_json(found)
    return {name: document[name] for name in ("access", "reach", "runtime", "rows_added", "rows_removed")}


def test_the_answer_is_what_diff_says_of_the_files(server: Server, edited: Path, tmp_path: Path) -> None:
    first = until_status(server, lambda each: each.revision).revision
    old = Path(shutil.copytree(edited, tmp_path / "old"))
    edit(server, edited / "acme" / "bindings.csv", lambda text: text.replace("g, user:otto,", "g, user:olaf,") + GRANT)
    last = edit(server, edited / "acme" / "reach.csv", lambda text: text.replace(", allow", ", deny"))
    expected = diff(ACME, snapshot(old), snapshot(edited))
    with server.client() as client:
        answer = client.tenant("acme").diff_revisions(first, last)
        assert (first, last) == (answer.old, answer.new)
        assert told(expected) == as_json(answer)
        assert expected.access
        assert expected.reach
        assert (answer.rows_added, answer.rows_removed) == (len(answer.added), len(answer.removed))
        assert GRANT.strip() in {row.text for row in answer.added}
        assert "acme/bindings.csv" in {row.file for row in answer.removed}
        # By its first digits, by default the one that serves, and back again.
        assert answer == client.tenant("acme").diff_revisions(first[:12])
        assert answer == client.tenant("acme").diff_revisions(first)
        back = client.tenant("acme").diff_revisions("", first)
        assert [each.principals for each in answer.gains] == [each.principals for each in back.losses]
        assert list(answer.added) == list(back.removed)
        assert client.tenant("acme").diff_revisions().old == last
        assert not client.tenant("acme").diff_revisions().rows_added


def test_rows_of_run_time_are_part_of_a_revision(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'policy.db'}"
    with PolicyStore(url) as store:
        store.migrate()
        store.publish(Draft(tree_of(files()), "ci"), 0)
    with (
        Server(tmp_path / "one", "--policy-store", url, "--policy-poll-s", "0.2", policies=None) as server,
        server.client() as client,
    ):
        before = client.tenant("acme").check("user:zoe", "VIEW", "FLOW", "a.x").revision
        granted = client.tenant("acme").change_bindings(
            [RuntimeBinding("user:zoe", "role:viewer", "a.**")], granter="user:alice"
        )
        after = client.tenant("acme", at_least=granted.position).check("user:zoe", "VIEW", "FLOW", "a.x")
        assert after.allowed
        until(lambda: client.status("acme").tenants[0].revision == after.revision, "the change serves")
        answer = client.tenant("acme").diff_revisions(before)
        with PolicyStore(url) as store:
            narrower = files(runtime=RUNTIME.replace(b", role:editor", b""))
            store.publish(Draft(tree_of(narrower), "ci"), 1, review=lambda *_: Reviewed())
        until(lambda: client.status("acme").tenants[0].revision != after.revision, "the release serves")
        (opened,) = client.tenant("acme").diff_revisions(after.revision).runtime
        assert (False, "roles", ["role:editor"]) == (opened.gain, opened.key, list(opened.values))
    assert [["user:zoe"]] == [list(each.principals) for each in answer.gains]
    assert not answer.losses
    (row,) = answer.added
    assert (row.line, row.text) == (0, "g, user:zoe, role:viewer, acme/a.**")
    assert row.file.startswith("runtime:change ")


def test_what_a_grant_gives_is_in_the_answer_in_the_command_and_in_the_console(tmp_path: Path) -> None:
    """Of roles and groups that nobody holds, and though no decision changes."""
    before = files(roles=ROLES + b"p, role:spare, acme, **, FLOW, VIEW, allow\n", runtime=SPARE)
    narrowed = before["acme/roles.csv"].replace(b"p, group:suspended, acme, **,", b"p, group:suspended, acme, a.**,")
    after = narrowed + b"p, role:spare, acme, a.**, FLOW, *, allow\n"
    old, new = write(tmp_path / "old", before), write(tmp_path / "policies", before)
    with Server(tmp_path / "audit", *QUICK, policies=new) as server, server.client() as client:
        first = until_status(server, lambda each: each.revision).revision
        edit(server, new / "acme" / "roles.csv", lambda _: after.decode())
        answer = client.tenant("acme").diff_revisions(first)
        assert told(diff(ACME, snapshot(old), snapshot(new))) == as_json(answer)
        assert [0, 0] == [len(answer.gains), len(answer.losses)]
        assert ["rights", "denies"] == [each.key for each in answer.runtime]
        printed = remit("diff", first, "serving", "--tenant", "acme", "--target", server.target).stdout
        console = ConsoleOptions(lambda: AsyncClient(server.target, timeout_s=DEADLINE_S), server.target)
        with TestClient(application(console), base_url="http://127.0.0.1:9095") as browser:
            page = browser.get(f"/t/acme/diff?old={first}&csv=runtime").text
    assert [
        "  + whoever is granted role:spare at run time gains UPDATE FLOW in a.**",
        "  + whoever is granted group:suspended at run time is no longer denied UPDATE|VIEW FLOW in ** except a.**",
    ] == printed.splitlines()[1:]
    assert [
        ["gain", "gained by whoever is granted", "role:spare", "UPDATE FLOW", "a.**"],
        [
            "gain",
            "no longer denied to whoever is granted",
            "group:suspended",
            "UPDATE FLOW, VIEW FLOW",
            "** except a.**",
        ],
    ] == list(csv.reader(io.StringIO(page)))[1:]


@pytest.mark.parametrize(
    ("old", "code", "text"),
    [
        ("0" * 64, "NOT_FOUND", "is not kept"),
        ("00000000", "NOT_FOUND", "no revision of tenant `acme`"),
        ("xyz", "INVALID_ARGUMENT", "8 to 64 lower-case hexadecimal digits"),
    ],
)
def test_a_revision_that_is_not_kept_is_an_error(untouched: Server, old: str, code: str, text: str) -> None:
    with untouched.client() as client:
        for words in ((old, ""), ("", old)):
            with pytest.raises(DecisionUnavailable, match=text) as caught:
                client.tenant("acme").diff_revisions(*words)
            assert code == caught.value.code


def test_a_tenant_without_a_policy_has_no_default(untouched: Server) -> None:
    with untouched.client() as client, pytest.raises(DecisionUnavailable, match="no revision of tenant") as caught:
        client.tenant("nowhere").diff_revisions()
    assert caught.value.code == "NOT_FOUND"


def test_a_purged_revision_is_no_longer_compared(server: Server, edited: Path) -> None:
    """Neither the audit store nor the node keeps it."""
    first = until_status(server, lambda each: each.revision).revision
    edit(server, edited / "acme" / "bindings.csv", lambda text: text + GRANT)
    (server.folder / "var" / "revisions" / "acme" / f"{first}.zip").unlink()
    with server.client() as client:
        assert client.tenant("acme").diff_revisions(first).gains
    for database in server.folder.rglob("*.db"):
        with sqlite3.connect(database) as opened:
            if opened.execute("SELECT 1 FROM sqlite_master WHERE name = 'revisions'").fetchone():
                opened.execute("DELETE FROM revisions WHERE revision = ?", (first,))
    with server.client() as client, pytest.raises(DecisionUnavailable, match="is not kept") as caught:
        client.tenant("acme").diff_revisions("", first)
    assert caught.value.code == "NOT_FOUND"


def test_equal_calls_at_once_get_one_answer(server: Server, edited: Path) -> None:
    first = until_status(server, lambda each: each.revision).revision
    edit(server, edited / "acme" / "bindings.csv", lambda text: text + GRANT)
    with Client(server.target, timeout_s=DEADLINE_S) as client, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: client.tenant("acme").diff_revisions(first), range(8)))
    assert answers[0].gains
    assert all(each == answers[0] for each in answers)


def test_decisions_do_not_wait_for_a_comparison(server: Server, edited: Path) -> None:
    first = until_status(server, lambda each: each.revision).revision
    append(edited / "acme" / "bindings.csv", GRANT)
    with Client(server.target, timeout_s=DEADLINE_S) as client, ThreadPoolExecutor(1) as threads:
        until_status(server, lambda each: each.revision != first)
        comparing = threads.submit(client.tenant("acme").diff_revisions, first)
        answered = 0
        while not comparing.done():
            assert client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance").allowed
            answered += 1
        assert comparing.result().gains
    assert answered


def test_the_command_compares_revisions_of_a_server(server: Server, edited: Path, tmp_path: Path) -> None:
    """And tells of them what it tells of their files."""
    first = until_status(server, lambda each: each.revision).revision
    old = Path(shutil.copytree(edited, tmp_path / "old"))
    last = edit(server, edited / "acme" / "bindings.csv", lambda text: text + GRANT)
    asked = ("diff", first[:12], "serving", "--tenant", "acme", "--target", server.target)
    of_files = ("diff", str(old), str(edited), "--tenant", "acme")

    done = remit(*asked, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (first, last) == (document["old"], document["new"])
    assert json.loads(remit(*of_files, "--json").stdout)["tenants"] == document["tenants"]
    assert remit(*of_files).stdout == remit(*asked).stdout
    assert remit(*asked, "--fail-on", "gain").returncode == 1
    assert remit(*asked, "--fail-on", "loss").returncode == 0
    unknown = remit("diff", "00000000", "serving", "--tenant", "acme", "--target", server.target)
    assert (3, "") == (unknown.returncode, unknown.stdout)
    assert "no revision of tenant `acme`" in unknown.stderr
    untold = remit("diff", first, "serving", "--target", server.target)
    assert (2, True) == (untold.returncode, "--target needs --tenant" in untold.stderr)


def test_a_target_of_the_environment_leaves_files_compared(edited: Path) -> None:
    done = remit_process("diff", str(edited), str(edited), "--tenant", "acme", REMIT_TARGET="127.0.0.1:1")
    assert (0, "acme: 0 rows added, 0 removed: no decision changes\n") == (done.returncode, done.stdout)
