"""Revisions that loaded are kept: for a restart over broken files, for an operator's way back, for those who watch."""

import json
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.editing import (
    DENIED,
    GRANT,
    PINNED,
    QUICK,
    SERVING,
    STALE,
    UNAVAILABLE,
    allows,
    append,
    statuses,
    until_status,
)
from support.server import DEADLINE_S, Server, remit, remit_process, until

from remit.rpc.admission import REVISION_WATCHERS as WATCHERS
from remit.v1 import policy_service_pb2 as messages
from remit.v1 import policy_service_pb2_grpc


@pytest.fixture
def edited(untested: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untested, tmp_path / "policies"))


@pytest.fixture
def server(edited: Path, tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "audit", *QUICK, policies=edited) as started:
        yield started


def kept(server: Server, tenant: str = "acme") -> Path:
    return server.folder / "var" / "revisions" / tenant


def break_tenant(policies: Path) -> None:
    append(policies / "acme" / "bindings.csv", "g, bad\n")


def break_root(policies: Path) -> None:
    (policies / "vocabulary.yaml").write_text("kinds: [\n")


def take_away(policies: Path) -> None:
    policies.rename(policies.with_name("away"))


@pytest.mark.parametrize("harm", [break_tenant, break_root, take_away])
def test_a_restart_on_broken_files_serves_the_last_good_revision(
    server: Server, edited: Path, harm: Callable[[Path], None]
) -> None:
    first = statuses(server)["acme"].revision
    append(edited / "acme" / "bindings.csv", GRANT)
    last = until_status(server, lambda acme: acme.revision != first).revision
    server.kill()
    harm(edited)
    server.start()
    acme = statuses(server)["acme"]
    assert (STALE, last) == (acme.state, acme.revision)
    assert acme.diagnostics
    assert allows(server, "acme", *DENIED)
    with server.store() as store:
        assert last == store.lifecycle(tenant="acme")[0].revision


@pytest.mark.parametrize("harm", [break_root, take_away])
def test_strict_refuses_to_start_on_broken_root_files(
    server: Server, edited: Path, harm: Callable[[Path], None]
) -> None:
    assert 0 == server.terminate()
    harm(edited)
    strict = remit_process("serve", "--strict", "--policies", str(edited), "--revisions", str(kept(server).parent))
    assert 3 == strict.returncode
    assert "remit does not start" in strict.stderr


def test_strict_serves_no_stored_revision_for_a_broken_folder(serve: Callable[..., Server], edited: Path) -> None:
    server = serve(*QUICK, "--strict", policies=edited)
    server.kill()
    break_tenant(edited)
    server.start()
    assert {"acme": UNAVAILABLE, "globex": SERVING, "_instance": SERVING} == {
        name: each.state for name, each in statuses(server).items()
    }


def test_revisions_of_another_directory_never_serve(serve: Callable[..., Server], edited: Path, tmp_path: Path) -> None:
    serve(*QUICK, policies=edited).kill()
    elsewhere = Path(shutil.copytree(edited, tmp_path / "elsewhere"))
    break_tenant(elsewhere)
    assert UNAVAILABLE == statuses(serve(*QUICK, policies=elsewhere))["acme"].state


def forged(archive: bytes) -> bytes:
    """A sound archive in which acme's bindings have one row more."""
    made = BytesIO()
    with zipfile.ZipFile(BytesIO(archive)) as source, zipfile.ZipFile(made, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content + GRANT.encode() + b"\n" if name == "acme/bindings.csv" else content)
    return made.getvalue()


def test_damaged_stored_revision_is_ignored_and_logged(server: Server, edited: Path) -> None:
    """Cut short, a bit of it flipped, with other files than its name says, emptied, or garbage."""
    server.kill()
    break_tenant(edited)
    (file,) = kept(server).glob("*.zip")
    whole = file.read_bytes()
    content = bytearray(whole)
    place = content.index(b"acme/bindings.csv") + 60
    content[place] ^= 1
    for damaged in (content[: len(content) // 2], content, forged(whole), b"", b"PK" * 100):
        file.write_bytes(damaged)
        server.start()
        assert UNAVAILABLE == statuses(server)["acme"].state
        assert any("damaged" in f"{line['event']}{line.get('error')}" for line in server.logs), server.log_text()
        server.kill()


def test_last_n_revisions_and_the_pinned_one_are_stored(serve: Callable[..., Server], edited: Path) -> None:
    server = serve(*QUICK, "--revisions-kept", "2", policies=edited)
    seen = [statuses(server)["acme"].revision]
    for number in range(4):
        append(edited / "acme" / "bindings.csv", f"# {number}\n")
        seen.append(until_status(server, lambda acme: acme.files_revision not in seen).files_revision)
        if number == 0:
            assert 0 == remit("rollback", "acme", seen[0][:12], "--target", server.target).returncode
    assert {seen[0], *seen[-2:]} == {file.stem for file in kept(server).glob("*.zip")}


def test_a_revision_is_pinned_until_it_is_unpinned(server: Server, edited: Path) -> None:
    """By the caller whom the record names; shown as pinned; edits are checked, reported, and wait; a restart keeps it."""
    first = statuses(server)["acme"].revision
    append(edited / "acme" / "bindings.csv", GRANT)
    second = until_status(server, lambda acme: acme.revision != first).revision
    assert allows(server, "acme", *DENIED)

    told = remit("rollback", "acme", first[:8], "--target", server.target)
    assert (0, f"acme: pinned to {first}, before {second}\n") == (told.returncode, told.stdout)
    assert not allows(server, "acme", *DENIED)
    acme = statuses(server)["acme"]
    assert (PINNED, first, second, "anonymous") == (acme.state, acme.revision, acme.files_revision, acme.pinned_by)
    with server.store() as store:
        (record,) = store.lifecycle(type_="POLICY_PINNED")
    assert ("acme", first) == (record.tenant, record.revision)
    assert {"caller": "anonymous", "replaces": second} == json.loads(record.detail)
    shown = remit("status", "--target", server.target)
    assert 1 == shown.returncode
    assert "PINNED" in shown.stdout
    assert f"acme is pinned by anonymous; its files are at {second[:12]}" in shown.stdout
    assert 1.0 == server.metric("remit_tenant_state", tenant="acme", state="PINNED")

    append(edited / "acme" / "bindings.csv", "g, bad\n")
    acme = until_status(server, lambda acme: acme.diagnostics)
    assert (PINNED, first) == (acme.state, acme.revision)
    server.kill()
    server.start()
    acme = statuses(server)["acme"]
    assert (PINNED, first) == (acme.state, acme.revision)
    assert ["acme/bindings.csv"] == [each.file for each in acme.diagnostics]

    told = remit("rollback", "acme", "--unpin", "--target", server.target)
    assert (0, f"acme: unpinned, STALE {second}\n") == (told.returncode, told.stdout)
    (edited / "acme" / "bindings.csv").write_text((edited / "acme" / "bindings.csv").read_text()[: -len("g, bad\n")])
    assert second == until_status(server, lambda acme: acme.state == SERVING).revision
    with server.store() as store:
        assert ["acme"] == [each.tenant for each in store.lifecycle(type_="POLICY_UNPINNED")]


def test_unpin_serves_the_files_that_were_checked_during_the_pin(server: Server, edited: Path) -> None:
    first = statuses(server)["acme"].revision
    assert 0 == remit("rollback", "acme", first, "--target", server.target).returncode
    append(edited / "acme" / "bindings.csv", GRANT)
    newest = until_status(server, lambda acme: acme.files_revision != first)
    assert (PINNED, first) == (newest.state, newest.revision)
    told = remit("rollback", "acme", "--unpin", "--target", server.target)
    assert f"acme: unpinned, SERVING {newest.files_revision}\n" == told.stdout
    assert allows(server, "acme", *DENIED)


def test_a_pin_whose_revision_is_damaged_makes_its_tenant_unavailable(server: Server, edited: Path) -> None:
    """A revision that an operator replaced must not return by accident; other tenants serve."""
    first = statuses(server)["acme"].revision
    append(edited / "acme" / "bindings.csv", GRANT)
    until_status(server, lambda acme: acme.revision != first)
    assert 0 == remit("rollback", "acme", first, "--target", server.target).returncode
    server.kill()
    (kept(server) / f"{first}.zip").write_bytes(b"")
    server.start()
    acme = statuses(server)["acme"]
    assert UNAVAILABLE == acme.state
    assert "pinned to a revision that cannot be served" in acme.diagnostics[0].message
    assert SERVING == statuses(server)["globex"].state
    assert 0 == remit("rollback", "acme", "--unpin", "--target", server.target).returncode
    assert allows(server, "acme", *DENIED)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("acme", "0" * 64), 1, "no revision is kept of tenant `acme` that begins with `0000"),
        (("acme", "latest"), 2, "revision: expected 8 to 64 lower-case hexadecimal digits"),
        (("initech", "0" * 64), 1, "there is no tenant `initech`"),
        (("acme", "--unpin"), 1, "tenant `acme` is not pinned"),
        (("Acme", "0" * 64), 2, "tenant: `Acme` is not a tenant"),
        (("acme", "0" * 64, "--unpin"), 2, "name one"),
        (("initech",), 1, "no revision of tenant `initech` is kept"),
    ],
)
def test_rollback_reports_why_it_fails(untouched: Server, words: tuple[str, ...], code: int, told: str) -> None:
    done = remit("rollback", *words, "--target", untouched.target)
    assert code == done.returncode
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def policy_of(channel: grpc.Channel) -> policy_service_pb2_grpc.PolicyServiceStub:
    return policy_service_pb2_grpc.PolicyServiceStub(channel)


def watch(channel: grpc.Channel, tenant: str = "") -> Any:
    return policy_of(channel).WatchRevision(messages.WatchRevisionRequest(tenant=tenant), timeout=DEADLINE_S)


def test_watcher_gets_the_present_state_and_each_change(server: Server, edited: Path) -> None:
    before = statuses(server)
    with server.channel() as channel:
        everyone, acme, nobody = watch(channel), watch(channel, "acme"), watch(channel, "initech")
        told = {each.tenant: each for each in (next(everyone) for _ in before)}
        assert {(name, each.revision, SERVING) for name, each in before.items()} == {
            (name, each.revision, each.state) for name, each in told.items()
        }
        assert before["acme"].revision == next(acme).revision
        assert messages.WatchRevisionResponse(tenant="initech", removed=True) == next(nobody)

        append(edited / "globex" / "bindings.csv", "# other\n")
        assert "globex" == next(everyone).tenant
        append(edited / "acme" / "bindings.csv", GRANT)
        changed = next(acme)
        assert changed == next(everyone)
        assert changed.revision != before["acme"].revision
        append(edited / "acme" / "bindings.csv", "g, bad\n")
        stale = next(acme)
        assert (STALE, changed.revision) == (stale.state, stale.revision)
        shutil.rmtree(edited / "globex")
        gone = next(each for each in everyone if each.tenant == "globex")
        assert messages.WatchRevisionResponse(tenant="globex", removed=True) == gone
        (edited / "initech").mkdir()
        assert (SERVING, "initech") == ((now := next(nobody)).state, now.tenant)


def test_watchers_are_bounded_and_make_room_when_they_leave(server: Server) -> None:
    with server.channel() as channel:
        watchers = [watch(channel, "acme") for _ in range(WATCHERS)]
        for each in watchers:
            next(each)
        with pytest.raises(grpc.RpcError) as caught:
            next(watch(channel))
        assert grpc.StatusCode.RESOURCE_EXHAUSTED is caught.value.code()
        assert allows(server, "acme", "user:bob", "VIEW", "FLOW", "acme.finance")
        watchers.pop().cancel()

        def room() -> bool:
            try:
                return bool(next(watch(channel, "acme")).revision)
            except grpc.RpcError:
                return False

        until(room, "room for one more")


def test_watchers_do_not_delay_a_stop(serve: Callable[..., Server], untested: Path) -> None:
    """They hear UNAVAILABLE, as they do when the server is away, long before the grace of calls in flight is over."""
    server = serve("--grace-s", "600", policies=untested)
    with server.channel() as channel:
        watchers = [watch(channel), watch(channel, "acme")]
        for each in watchers:
            next(each)
        assert 0 == server.terminate()
        for each in watchers:
            with pytest.raises(grpc.RpcError) as caught:
                list(each)
            assert grpc.StatusCode.UNAVAILABLE is caught.value.code()


def test_a_watch_of_an_ill_named_tenant_is_a_violation(untouched: Server) -> None:
    with untouched.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        next(watch(channel, "Acme"))
    assert grpc.StatusCode.INVALID_ARGUMENT is caught.value.code()


def test_kill_in_the_middle_of_reloads_leaves_only_whole_revisions(server: Server, edited: Path) -> None:
    """Each restart serves the files, or a whole stored revision."""
    for number in range(4):
        for step in range(number):
            append(edited / "acme" / "bindings.csv", f"# {number} {step}\n")
        until(server.children, "a process that loads") if number else None
        server.signal(signal.SIGKILL)
        server.exit_code()
        break_tenant(edited)
        server.start()
        acme = statuses(server)["acme"]
        assert STALE == acme.state
        assert not [line for line in server.logs if "damaged" in str(line)]
        text = (edited / "acme" / "bindings.csv").read_text()
        (edited / "acme" / "bindings.csv").write_text(text.replace("g, bad\n", ""))
        until_status(server, lambda acme: acme.state == SERVING)
