"""What the writer of one tenant's folder does there delays no other tenant."""

import os
import resource
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread

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
from support.server import REMIT, Server, remit, until

from remit.client import DecisionUnavailable

ENDLESS = (*QUICK, "--policy-max-seconds", "3600")
CASES = 12_000
USERS = 1_900
DESCRIPTORS = 128


@pytest.fixture
def edited(untested: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untested, tmp_path / "policies"))


def make_slow(policies: Path, tenant: str = "globex") -> None:
    """Tests that Casbin answers too, each in a namespace of its own, which takes it long: for longer than a test waits."""
    rows = "".join(f"g, user:u{number}, role:viewer, {tenant}\n" for number in range(USERS))
    cases = "".join(
        f"  - {{principal: user:u{number % USERS}, action: VIEW, kind: FLOW, namespace: n{number}, expect: allow}}\n"
        for number in range(CASES)
    )
    tests = policies / tenant / "tests"
    tests.mkdir(parents=True, exist_ok=True)
    (tests / "slow.yaml").write_text(f"name: slow\naccess:\n{cases}")
    # An access list or rows of reach would answer in Casbin's place.
    for file in ("tenant.yaml", "roles.csv", "reach.csv"):
        (policies / tenant / file).unlink(missing_ok=True)
    (policies / tenant / "bindings.csv").write_text(rows)


def deny_bob(policies: Path) -> None:
    append(policies / "acme" / "roles.csv", "p, user:bob, acme, **, FLOW, VIEW, deny\n")


BOB = ("acme", "user:bob", "VIEW", "FLOW", "acme.finance")


@pytest.mark.parametrize("stays", [False, True], ids=["gone again", "stays"])
@pytest.mark.parametrize("name", [b".\xff", b"\xff.csv"], ids=["ignored", "unknown"])
@pytest.mark.parametrize("folder", [False, True], ids=["a file", "a folder"])
def test_file_name_outside_utf_8_does_not_stop_the_watch(
    serve: Callable[..., Server], edited: Path, name: bytes, folder: bool, stays: bool
) -> None:
    server = serve(*QUICK, policies=edited)
    assert allows(server, *BOB)
    # An edit that is taken over by the watch: it has begun.
    append(edited / "acme" / "bindings.csv", GRANT)
    until(lambda: allows(server, "acme", *DENIED), "the watch has begun")
    path = edited / "globex" / os.fsdecode(name)
    path.mkdir() if folder else path.touch()
    server.wait_for("the watch of")
    if not stays:
        path.rmdir() if folder else path.unlink()
    deny_bob(edited)
    until(lambda: not allows(server, *BOB), "the deny is in force")
    append(edited / "globex" / "bindings.csv", "# once more\n")
    append(edited / "acme" / "bindings.csv", "g, bad\n")
    until_status(server, lambda acme: acme.state == STALE)


def test_a_slow_folder_delays_no_other_tenants_edit_and_no_pin(serve: Callable[..., Server], edited: Path) -> None:
    server = serve(*ENDLESS, policies=edited)
    before = statuses(server)
    make_slow(edited)
    server.wait_for("tenant is slow to load")
    deny_bob(edited)
    until(lambda: not allows(server, *BOB), "the deny is in force")
    denied = until_status(server, lambda acme: acme.state == SERVING)
    pinned = remit("rollback", "acme", before["acme"].revision, "--target", server.target)
    assert 0 == pinned.returncode, pinned.stderr
    assert PINNED == statuses(server)["acme"].state
    assert allows(server, *BOB)
    unpinned = remit("rollback", "acme", "--unpin", "--target", server.target)
    assert f"acme: unpinned, SERVING {denied.revision}\n" == unpinned.stdout
    # The slow one can be pinned as well, while its files are loaded.
    assert 0 == remit("rollback", "globex", before["globex"].revision, "--target", server.target).returncode
    assert {"acme", "globex", "_instance"} == statuses(server).keys()
    assert before["globex"].revision == statuses(server)["globex"].revision
    loading = server.children()
    assert 2 == len(loading), "it is still being loaded, by a process of its own"
    server.kill()
    until(lambda: not any(Path(f"/proc/{child}").exists() for child in loading), "no process is left")


NOT_YET = "its files have not been loaded yet"


@pytest.mark.long
def test_slow_folder_delays_no_restart(serve: Callable[..., Server], edited: Path) -> None:
    """Its stored revision serves until it loads."""
    server = serve(*ENDLESS, policies=edited)
    before = statuses(server)["globex"]
    server.kill()
    make_slow(edited)
    deny_bob(edited)
    server.start()
    assert not allows(server, *BOB)
    now = statuses(server)
    states = {"acme": SERVING, "_instance": SERVING, "globex": STALE}
    assert states == {name: each.state for name, each in now.items()}
    assert before.revision == now["globex"].revision
    assert [NOT_YET] == [each.message for each in now["globex"].diagnostics]
    assert allows(server, "globex", "user:tom@globex.example", "VIEW", "FLOW", "warehouse.lyon")
    append(edited / "acme" / "bindings.csv", GRANT)
    until(lambda: allows(server, "acme", *DENIED), "an edit serves")
    assert 0 == server.terminate()


@pytest.mark.long
def test_slow_folder_that_never_loaded_makes_only_its_tenant_unavailable(
    serve: Callable[..., Server], edited: Path
) -> None:
    """Until it is loaded, or refused, without anybody's doing."""
    make_slow(edited)
    server = serve(*QUICK, "--policy-max-seconds", "6", policies=edited)
    now = statuses(server)
    states = {"acme": SERVING, "_instance": SERVING, "globex": UNAVAILABLE}
    assert states == {name: each.state for name, each in now.items()}
    assert [NOT_YET] == [each.message for each in now["globex"].diagnostics]
    with server.client() as client, pytest.raises(DecisionUnavailable):
        client.tenant("globex").check("user:u1", "VIEW", "FLOW", "n1")
    refused = until_status(server, lambda globex: [NOT_YET] != [each.message for each in globex.diagnostics], "globex")
    assert "takes longer than 6 s of processor time to build" in refused.diagnostics[0].message


@pytest.mark.long
def test_slow_folder_loads_eventually(serve: Callable[..., Server], edited: Path) -> None:
    """By the process for slow ones, with every word that a quick one gets."""
    server = serve(*QUICK, policies=edited)
    before = statuses(server)["globex"]
    # Many rows: Casbin does not answer for them.
    many = "".join(f"g, user:u{number}, group:g{number % 1000}, globex/n{number % 999}\n" for number in range(200_000))
    append(edited / "globex" / "bindings.csv", many)
    server.wait_for("tenant is slow to load")
    after = until_status(server, lambda globex: globex.revision != before.revision, "globex")
    assert SERVING == after.state
    # It is known to be slow now, and what it takes next is no other's time.
    append(edited / "globex" / "bindings.csv", "g, bad\n")
    stale = until_status(server, lambda globex: globex.state == STALE, "globex")
    assert after.revision == stale.revision
    assert 1 == sum(line["event"].startswith("tenant is slow to load") for line in server.logs)


@pytest.fixture
def stop() -> Iterator[Event]:
    event = Event()
    yield event
    event.set()


def test_folder_that_never_settles_delays_no_other(serve: Callable[..., Server], edited: Path, stop: Event) -> None:
    server = serve(*QUICK, policies=edited)

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            (edited / "globex" / ".busy").write_text(str(number))

    Thread(target=churn, daemon=True).start()
    deny_bob(edited)
    until(lambda: not allows(server, *BOB), "the deny is in force")
    stop.set()
    append(edited / "globex" / "bindings.csv", "g, bad\n")
    until_status(server, lambda globex: globex.state == STALE, "globex")


def fill_descriptors(server: Server, stack: ExitStack) -> None:
    """Silent connections until the server can take no more."""
    for _ in range(2 * DESCRIPTORS):
        connection = stack.enter_context(socket.socket())
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", server.port))
    until(lambda: len(list(Path(f"/proc/{server.pid}/fd").iterdir())) >= DESCRIPTORS - 1, "it has no descriptors left")


def limited(soft: int, hard: int) -> tuple[str, ...]:
    """What starts a server with these limits of descriptors."""
    code = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); "
    return sys.executable, "-c", f"{code}os.execv(sys.argv[1], sys.argv[1:])", REMIT


LIMITED = limited(DESCRIPTORS, DESCRIPTORS)


def loads(server: Server, tenant: str) -> int:
    return sum((line["event"], line.get("tenant")) == ("tenant loaded", tenant) for line in server.logs)


def test_edit_is_applied_while_connections_hold_all_descriptors(serve: Callable[..., Server], edited: Path) -> None:
    server = serve(*QUICK, launcher=LIMITED, policies=edited)
    with ExitStack() as stack:
        fill_descriptors(server, stack)
        deny_bob(edited)
        until(lambda: 2 == loads(server, "acme"), "the deny is loaded")
    until(lambda: not allows(server, *BOB), "new connections are answered")
    assert {SERVING} == {each.state for each in statuses(server).values()}


def test_edit_without_descriptors_loads_once_some_are_free(serve: Callable[..., Server], edited: Path) -> None:
    """It is tried again by itself, and no file is blamed."""
    server = serve(*QUICK, launcher=LIMITED, policies=edited)
    (child,) = server.children()
    with ExitStack() as stack:
        os.kill(child, signal.SIGKILL)
        fill_descriptors(server, stack)
        deny_bob(edited)
        until(lambda: any("cannot be started" in line.get("error", "") for line in server.logs), "it has been tried")
    until(lambda: not allows(server, *BOB), "the deny is in force")
    assert {SERVING} == {each.state for each in statuses(server).values()}
    assert not [line for line in server.logs if "refused" in line["event"]]


def test_limit_of_descriptors_is_raised_and_a_low_one_logged(serve: Callable[..., Server], untested: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    server = serve(launcher=limited(256, hard), policies=untested)
    assert (hard, hard) == resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    server.kill()
    low = serve(launcher=LIMITED, policies=untested)
    assert DESCRIPTORS == low.wait_for("few file descriptors")["limit"]
