"""An edit is taken over whole, or not at all and said everywhere, and touches nobody else."""

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.editing import (
    DENIED,
    GRANT,
    QUICK,
    SERVING,
    STALE,
    allows,
    append,
    git,
    statuses,
    until_status,
)
from support.server import NOT_SERVING, Health, Server, remit, until


@pytest.fixture
def edited(untested: Path, tmp_path: Path) -> Path:
    """A copy of the example company without its tests, to be edited."""
    return Path(shutil.copytree(untested, tmp_path / "policies"))


@pytest.fixture
def server(edited: Path, tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "audit", *QUICK, policies=edited) as started:
        yield started


def test_an_edit_serves_and_touches_no_other_tenant(server: Server, edited: Path) -> None:
    before = statuses(server)
    assert not allows(server, "acme", *DENIED)
    append(edited / "acme" / "bindings.csv", GRANT)
    after = until_status(server, lambda acme: acme.revision != before["acme"].revision)
    assert SERVING == after.state
    assert after.files_revision == after.revision
    assert allows(server, "acme", *DENIED)
    assert before["globex"] == statuses(server)["globex"]
    with server.store() as store:
        newest = store.lifecycle(type_="POLICY_LOADED", tenant="acme")[0]
    assert after.revision == newest.revision
    assert before["acme"].revision == json.loads(newest.detail)["replaces"]
    assert 2.0 == server.metric("remit_policy_loads_total", tenant="acme", outcome="loaded")


def test_bad_edit_leaves_the_last_good_revision_serving_and_is_reported_everywhere(
    server: Server, edited: Path
) -> None:
    file = edited / "acme" / "bindings.csv"
    good = file.read_text()
    before = statuses(server)
    append(file, GRANT.replace("deployer", "deployr"))
    line = len(file.read_text().splitlines())
    acme = until_status(server, lambda acme: acme.state == STALE)
    assert before["acme"].revision == acme.revision
    assert acme.files_revision not in {"", acme.revision}
    assert acme.since_us > before["acme"].since_us
    (diagnostic,) = acme.diagnostics
    assert ("acme/bindings.csv", line) == (diagnostic.file, diagnostic.line)
    assert "did you mean `role:deployer`" in diagnostic.message
    assert not allows(server, "acme", *DENIED)
    assert before["globex"] == statuses(server)["globex"]

    told = f"{diagnostic.file}:{diagnostic.line}:{diagnostic.column}: {diagnostic.message}"
    logged = server.wait_for("tenant refused")
    assert ("error", "acme", [told]) == (logged["level"], logged["tenant"], logged["diagnostics"])
    assert 1.0 == server.metric("remit_tenant_state", tenant="acme", state="STALE")
    assert 1.0 == server.metric("remit_policy_loads_total", tenant="acme", outcome="refused")
    shown = remit("status", "--target", server.target)
    assert 1 == shown.returncode
    assert "STALE" in shown.stdout
    assert told in shown.stdout
    with server.store() as store:
        (refusal,) = store.lifecycle(type_="POLICY_REFUSED")
    assert ("acme", acme.files_revision) == (refusal.tenant, refusal.revision)
    assert {"diagnostics": [told], "serving": acme.revision} == json.loads(refusal.detail)

    file.write_text(good)
    healed = until_status(server, lambda acme: acme.state == SERVING)
    assert before["acme"].revision == healed.revision
    assert [] == list(healed.diagnostics)


def test_a_tenants_tests_gate_edits_of_its_own_folder(policies: Path, tmp_path: Path) -> None:
    """And a root change that breaks them is applied and reported, so that no tenant holds up the instance."""
    with Server(tmp_path / "audit", *QUICK, policies=policies) as server:
        good = (policies / "acme" / "bindings.csv").read_text()
        append(policies / "acme" / "bindings.csv", GRANT)
        acme = until_status(server, lambda acme: acme.state == STALE)
        assert any("expected deny, got allow" in each.message for each in acme.diagnostics)
        (policies / "acme" / "bindings.csv").write_text(good)
        until_status(server, lambda acme: acme.state == SERVING)

        append(policies / "roles.csv", "p, role:viewer, *, **, FLOW, VIEW, deny\n")
        applied = until_status(server, lambda now: now.revision != acme.revision)
        assert SERVING == applied.state
        assert any("got deny" in each.message for each in applied.diagnostics)
        assert 0 == server.terminate()
        server.start()
        assert (applied.revision, SERVING) == ((now := statuses(server)["acme"]).revision, now.state)


def test_policy_lint_gates_edits_of_a_folder(serve: Callable[..., Server], edited: Path) -> None:
    """As its tests do: what is suppressed with a reason does not refuse, nor does a change of the root."""
    server = serve(*QUICK, "--policy-lint", "warning", policies=edited)
    good = statuses(server)["acme"]
    assert SERVING == good.state
    wild = "p, user:eve, acme, **, *, *, allow\n"
    append(edited / "acme" / "bindings.csv", wild)
    acme = until_status(server, lambda acme: acme.state == STALE)
    assert good.revision == acme.revision
    assert [True] == ["warning whole-tenant-wildcard: `user:eve` gets" in each.message for each in acme.diagnostics]
    file = edited / "acme" / "bindings.csv"
    reason = "# remit: ignore whole-tenant-wildcard: she runs the place\n"
    file.write_text(file.read_text().replace(wild, reason + wild))
    suppressed = until_status(server, lambda acme: acme.state == SERVING)
    assert good.revision != suppressed.revision
    append(edited / "roles.csv", "p, role:viewer, *, **, *, VIEW, allow\n")
    assert SERVING == until_status(server, lambda acme: acme.revision != suppressed.revision).state


def test_bad_root_files_leave_the_last_good_ones_in_use(server: Server, edited: Path) -> None:
    """All tenants are STALE; each still takes over good edits of its own, under the last good root."""
    good = (edited / "vocabulary.yaml").read_text()
    (edited / "vocabulary.yaml").write_text("kinds: [\n")
    before = {name: until_status(server, lambda each: each.state == STALE, name) for name in ("acme", "globex")}
    assert {"vocabulary.yaml"} == {found.file for each in before.values() for found in each.diagnostics}
    append(edited / "acme" / "bindings.csv", GRANT)
    acme = until_status(server, lambda acme: acme.revision != before["acme"].revision)
    assert STALE == acme.state
    assert allows(server, "acme", *DENIED)
    assert before["globex"] == statuses(server)["globex"]
    (edited / "vocabulary.yaml").write_text(good)
    assert acme.revision == until_status(server, lambda acme: acme.state == SERVING).revision
    with server.store() as store:
        of_root = [each.type for each in store.lifecycle() if each.type.startswith("POLICY_") and not each.tenant]
    assert ["POLICY_LOADED", "POLICY_REFUSED"] == of_root
    assert 1.0 == server.metric("remit_policy_loads_total", tenant="", outcome="loaded")


def test_removed_folder_removes_its_tenant(server: Server, edited: Path) -> None:
    shutil.rmtree(edited / "globex")
    until(lambda: "globex" not in statuses(server), "globex is gone")
    with server.channel() as channel:
        until(lambda: NOT_SERVING == Health(channel).of("tenant/globex"), "its health")
    with server.client() as client, server.store() as store:
        answer = client.tenant("globex").check("user:tom@globex.example", "VIEW", "FLOW", "warehouse.lyon")
        assert "UNKNOWN_TENANT" == answer.reason
        assert ["globex"] == [each.tenant for each in store.lifecycle(type_="POLICY_REMOVED")]
    assert 0 == server.terminate()
    (edited / "vocabulary.yaml").write_text("kinds: [\n")
    server.start()
    assert {"acme", "_instance"} == set(statuses(server))


def test_new_folder_is_watched(server: Server, edited: Path) -> None:
    """Also one that takes the place of another, and the tests in it."""
    folder = edited / "initech"
    row, case = "p, user:eve, initech, **, FLOW, VIEW, {}\n", "{{principal: user:eve, action: VIEW, kind: FLOW, {}}}"
    question = ("initech", "user:eve", "VIEW", "FLOW", "a")
    for _ in range(2):
        folder.mkdir()
        (folder / "roles.csv").write_text(row.format("allow"))
        until_status(server, lambda initech: initech.state == SERVING, "initech")
        until(lambda: allows(server, *question), "its first edit")
        (folder / "roles.csv").write_text(row.format("deny"))
        until(lambda: not allows(server, *question), "an edit in it")
        (folder / "tests").mkdir()
        tests = folder / "tests" / "a.yaml"
        tests.write_text(f"name: a\naccess: [{case.format('namespace: a, expect: allow')}]\n")
        until_status(server, lambda initech: initech.state == STALE, "initech")
        tests.write_text(f"name: a\naccess: [{case.format('namespace: a, expect: deny')}]\n")
        until_status(server, lambda initech: initech.state == SERVING, "initech")
        shutil.rmtree(folder)
        until(lambda: "initech" not in statuses(server), "initech is gone")


@pytest.mark.parametrize("gone", ["the directory", "all that is in it", "all tenants"])
def test_vanished_directory_removes_no_tenant(server: Server, edited: Path, gone: str) -> None:
    """As a volume that is not mounted; and once it is back, it is watched as before."""
    before = statuses(server)
    away = edited.with_name("away")
    shutil.move(edited, away)
    if gone != "the directory":
        edited.mkdir()
    if gone == "all tenants":
        for file in away.glob("*.*"):
            shutil.copy(file, edited)
    for name in before:
        stale = until_status(server, lambda each: each.state == STALE, name)
        assert before[name].revision == stale.revision
        assert stale.diagnostics
    shutil.rmtree(edited, ignore_errors=True)
    shutil.move(away, edited)
    for name in before:
        assert before[name].revision == until_status(server, lambda each: each.state == SERVING, name).revision
    append(edited / "acme" / "bindings.csv", GRANT)
    until(lambda: allows(server, "acme", *DENIED), "an edit after it came back")


def test_a_half_written_file_is_refused_until_it_is_whole(server: Server, edited: Path) -> None:
    before = statuses(server)["acme"].revision
    file = edited / "acme" / "bindings.csv"
    whole = file.read_bytes() + GRANT.encode()
    file.write_bytes(whole[: -len(GRANT) // 2])
    assert before == until_status(server, lambda acme: acme.state == STALE).revision
    file.write_bytes(whole)
    until_status(server, lambda acme: acme.state == SERVING)
    assert allows(server, "acme", *DENIED)


def test_unreadable_file_refuses_only_its_tenant(server: Server, edited: Path) -> None:
    before = statuses(server)
    (edited / "acme" / "bindings.csv").unlink()
    (edited / "acme" / "bindings.csv").symlink_to("/etc/hostname")
    acme = until_status(server, lambda acme: acme.state == STALE)
    assert before["acme"].revision == acme.revision
    assert any("leaves the policy directory" in each.message for each in acme.diagnostics)
    assert before["globex"] == statuses(server)["globex"]


def test_a_git_checkout_of_many_files_is_one_change(serve: Callable[..., Server], edited: Path) -> None:
    """No revision between the two commits serves. The commit is stored with the revision, also as edited."""
    git(edited, "init")
    git(edited, "add", ".")
    git(edited, "commit", "-m", "one")
    for file in (*edited.glob("*/*.csv"), edited / "roles.csv"):
        append(file, "# other\n")
    append(edited / "acme" / "bindings.csv", GRANT)
    git(edited, "checkout", "-b", "other")
    git(edited, "commit", "-am", "two")
    git(edited, "checkout", "main")
    server = serve(*QUICK, policies=edited)
    before = statuses(server)
    git(edited, "checkout", "other")
    for name, status in before.items():
        until_status(server, lambda each, old=status.revision: each.revision != old, name)  # type: ignore[misc]
    assert allows(server, "acme", *DENIED)
    with server.store() as store:
        assert [] == store.lifecycle(type_="POLICY_REFUSED")
        assert 2 * len(before) == len(store.lifecycle(type_="POLICY_LOADED"))
    now = statuses(server)["acme"].revision
    append(edited / "acme" / "bindings.csv", "# by hand\n")
    until_status(server, lambda acme: acme.revision != now)
    shown = remit("rollback", "acme", "--target", server.target).stdout
    other, main = (git(edited, "rev-parse", name)[:12] for name in ("other", "main"))
    assert [f"{other}-dirty", other, main] == re.findall(r"[0-9a-f]{12}(?:-dirty)?(?=\s+/)", shown)


def test_a_kubernetes_volume_is_switched_whole(serve: Callable[..., Server], untested: Path, tmp_path: Path) -> None:
    """Its names link into `..data`, which is a link that is replaced."""
    volume = tmp_path / "volume"
    shutil.copytree(untested, volume / "..one")
    (volume / "..data").symlink_to("..one")
    for entry in (volume / "..one").iterdir():
        (volume / entry.name).symlink_to(f"..data/{entry.name}")
    server = serve(*QUICK, policies=volume)
    for old, new in (("..one", "..two"), ("..two", "..three")):
        before = statuses(server)["acme"].revision
        shutil.copytree(volume / old, volume / new, symlinks=True)
        append(volume / new / "acme" / "bindings.csv", f"# {new}\n" if new == "..two" else GRANT)
        (volume / "..data_tmp").symlink_to(new)
        (volume / "..data_tmp").replace(volume / "..data")
        shutil.rmtree(volume / old)
        assert SERVING == until_status(server, lambda acme, old=before: acme.revision != old).state  # type: ignore[misc]
    assert allows(server, "acme", *DENIED)


def test_a_directory_that_is_a_link_is_switched(serve: Callable[..., Server], untested: Path, tmp_path: Path) -> None:
    """As tools that check out each commit beside the last one do."""
    shutil.copytree(untested, tmp_path / "one")
    shutil.copytree(untested, tmp_path / "two")
    append(tmp_path / "two" / "acme" / "bindings.csv", GRANT)
    (tmp_path / "current").symlink_to("one")
    server = serve(*QUICK, policies=tmp_path / "current")
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "current")
    until(lambda: allows(server, "acme", *DENIED), "the other side serves")
    append(tmp_path / "two" / "acme" / "bindings.csv", "p, bad\n")
    until_status(server, lambda acme: acme.state == STALE)


def test_without_watch_nothing_is_reloaded(serve: Callable[..., Server], edited: Path) -> None:
    server = serve(*QUICK, "--no-watch", policies=edited)
    before = statuses(server)
    append(edited / "acme" / "bindings.csv", GRANT)
    assert 0 == server.terminate()
    assert before == {name: each for name, each in before.items() if each.state == SERVING}
    with server.store() as store:
        assert len(before) == len(store.lifecycle(type_="POLICY_LOADED"))


def test_build_process_that_dies_changes_no_tenant(server: Server, edited: Path) -> None:
    """The next edit gets a new one."""
    append(edited / "acme" / "bindings.csv", "# one\n")
    before = until_status(server, lambda acme: acme.revision == acme.files_revision and server.children())
    (child,) = server.children()
    os.kill(child, signal.SIGKILL)
    append(edited / "acme" / "bindings.csv", GRANT)
    until(lambda: allows(server, "acme", *DENIED), "the edit serves")
    assert before.revision != statuses(server)["acme"].revision
    assert 0 == server.terminate()


@pytest.mark.parametrize("stop", ["kill", "terminate"])
def test_a_server_that_ends_leaves_no_process_behind(server: Server, edited: Path, stop: str) -> None:
    append(edited / "acme" / "bindings.csv", "# one\n")
    until(server.children, "a process that loads")
    (child,) = server.children()
    getattr(server, stop)()
    until(lambda: not Path(f"/proc/{child}").exists(), "it has ended")
