"""A policy directory as the source of a policy store: one machine, edits of files and grants at run time."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.editing import QUICK, SERVING, STALE, UNAVAILABLE, append, git, statuses, until_status
from support.runtime import BINDINGS, RUNTIME, VOCABULARY, files
from support.server import Server, remit, remit_process, until
from support.trees import write

from remit.client import Client, RuntimeBinding
from remit.v1 import policy_service_pb2 as messages

ALICE = "user:alice"
ZOE = RuntimeBinding("user:zoe", "role:viewer", "a.**")
BETA = b"p, user:dora, beta, **, FLOW, VIEW, allow\n"


class Place:
    """A policy directory with tenants `acme`, which opens rows of run time, and `beta`, and a store beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.policies = folder / "policies"
        self.url = f"sqlite:///{folder / 'policy.db'}"
        write(self.policies, files() | {"beta/bindings.csv": BETA})

    def server(self, name: str = "one", *flags: str, policies: Path | None = None, **options: object) -> Server:
        return Server(
            self.folder / name,
            *QUICK,
            "--policy-store",
            self.url,
            *flags,
            policies=policies or self.policies,
            node=name,
            **options,
        )

    def releases(self) -> list[dict[str, object]]:
        told = remit("releases", "--policy-store", self.url, "--json")
        assert 0 == told.returncode, told.stderr
        return list(json.loads(told.stdout)["releases"])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def views(client: Client, principal: str, namespace: str = "a.x", tenant: str = "acme", **options: str) -> bool:
    return client.tenant(tenant, **options).check(principal, "VIEW", "FLOW", namespace).allowed


def soon(holds: Callable[[], object], server: Server) -> None:
    until(holds, f"as the test expects\n{server.log_text()}")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_edits_and_grants_serve_side_by_side_without_a_publish(place: Place, workers: str) -> None:
    with place.server("one", "--workers", workers) as server, server.client() as client:
        assert not views(client, "user:zoe")
        granted = client.tenant("acme").change_bindings([ZOE], granter=ALICE)
        at_least = client.tenant("acme", at_least=granted.position).check("user:zoe", "VIEW", "FLOW", "a.x")
        assert at_least.allowed
        append(place.policies / "acme" / "bindings.csv", "g, user:nils, role:viewer, acme/b.**\n")
        soon(lambda: views(client, "user:nils", "b.x"), server)
        assert views(client, "user:zoe")
        assert [2, 1] == [each["release"] for each in place.releases()]
        assert {"directory"} == {each["origin"] for each in place.releases()}
        assert {"one"} == {each["publisher"] for each in place.releases()}
        told = remit("revoke", "acme", "user:zoe", "role:viewer", "a.**", "--by", ALICE, "--target", server.target)
        assert 0 == told.returncode, told.stderr
        soon(lambda: not views(client, "user:zoe"), server)
        converged = remit("nodes", "--policy-store", place.url, "--wait", "20")
        assert 0 == converged.returncode, converged.stdout


def test_a_restart_publishes_nothing_new_and_keeps_what_was_granted(place: Place) -> None:
    with place.server() as server, server.client() as client:
        client.tenant("acme").change_bindings([ZOE], granter=ALICE)
    with place.server() as server, server.client() as client:
        assert views(client, "user:zoe")
        assert 1 == len(place.releases())
    append(place.policies / "beta" / "bindings.csv", "p, user:nils, beta, **, FLOW, VIEW, allow\n")
    with place.server() as server, server.client() as client:
        assert views(client, "user:nils", tenant="beta")
        assert 2 == len(place.releases())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_broken_edit_leaves_the_last_good_files_and_touches_nobody_else(place: Place, workers: str) -> None:
    with place.server("one", "--workers", workers) as server, server.client() as client:
        before = statuses(server)
        file = place.policies / "acme" / "bindings.csv"
        append(file, "g, user:nils, role:viewr, acme\n")
        acme = until_status(server, lambda acme: acme.state == STALE)
        (wrong,) = acme.diagnostics
        assert ("acme/bindings.csv", len(file.read_text().splitlines())) == (wrong.file, wrong.line)
        assert "did you mean `role:viewer`" in wrong.message
        assert (before["acme"].revision, before["acme"].position) == (acme.revision, acme.position)
        assert acme.files_revision not in {"", acme.revision}
        logged = server.wait_for("tenant refused")
        assert ("error", "acme") == (logged["level"], logged["tenant"])
        shown = remit("status", "--target", server.target)
        assert 1 == shown.returncode
        assert f"acme/bindings.csv:{wrong.line}" in shown.stdout

        # Meanwhile grants go on, and so do edits of others.
        position = client.tenant("acme").change_bindings([ZOE], granter=ALICE).position
        assert views(client, "user:zoe", at_least=position)
        append(place.policies / "beta" / "bindings.csv", "p, user:nils, beta, **, FLOW, VIEW, allow\n")
        soon(lambda: views(client, "user:nils", tenant="beta"), server)
        assert STALE == statuses(server)["acme"].state
        assert SERVING == statuses(server)["beta"].state

        file.write_text(file.read_text().replace("viewr", "viewer"))
        acme = until_status(server, lambda each: each.state == SERVING and each.revision != acme.revision)
        assert not acme.diagnostics
        soon(lambda: views(client, "user:nils"), server)
        assert views(client, "user:zoe")
        if workers == "1":
            with server.store() as store:
                refused = store.lifecycle(type_="POLICY_REFUSED", tenant="acme")
            assert 1 == len(refused)
            assert "viewr" in refused[0].detail


def test_an_edit_that_takes_away_what_rows_of_run_time_need_is_refused_and_named(place: Place) -> None:
    with place.server() as server, server.client() as client:
        granted = client.tenant("acme").change_bindings([ZOE], granter=ALICE).position
        assert views(client, "user:zoe", at_least=granted)
        manifest = place.policies / "acme" / "tenant.yaml"
        manifest.write_bytes(RUNTIME.replace(b"scopes: [a.**, b.**]", b"scopes: [b.**]"))
        append(place.policies / "beta" / "bindings.csv", "p, user:nils, beta, **, FLOW, VIEW, allow\n")
        acme = until_status(server, lambda acme: acme.state == STALE)
        assert (
            "`user:zoe` in `role:viewer` in `a.**`: scope `a.**` is not within `scopes`" in acme.diagnostics[0].message
        )
        assert views(client, "user:zoe")
        soon(lambda: views(client, "user:nils", tenant="beta"), server)
        # The edit serves as soon as the row is gone.
        revoked = client.tenant("acme").change_bindings(revokes=[ZOE], granter=ALICE).position
        assert not views(client, "user:zoe", at_least=revoked)
        until_status(server, lambda each: each.state == SERVING)

        client.tenant("acme").change_bindings([ZOE._replace(scope="b.**")], granter=ALICE)
        shutil.rmtree(place.policies / "acme")
        gone = until_status(server, lambda acme: acme.state == STALE)
        assert "the tenant is gone" in gone.diagnostics[0].message
        soon(lambda: views(client, "user:zoe", "b.x"), server)


def test_the_root_waits_until_no_tenant_stands_against_it(place: Place) -> None:
    with place.server() as server, server.client() as client:
        client.tenant("acme").change_bindings([ZOE], granter=ALICE)
        vocabulary = place.policies / "vocabulary.yaml"
        vocabulary.write_bytes(b"kinds: [")
        stale = until_status(server, lambda beta: beta.state == STALE, "beta")
        assert "vocabulary.yaml" == stale.diagnostics[0].file
        append(place.policies / "beta" / "bindings.csv", "p, user:nils, beta, **, FLOW, VIEW, allow\n")
        soon(lambda: views(client, "user:nils", tenant="beta"), server)

        # Without `BINDING` acme does not load: beta waits with it.
        vocabulary.write_bytes(VOCABULARY.split(b"  BINDING")[0].replace(b"UPDATE", b"UPDATE, RUN"))
        waits = until_status(server, lambda beta: any("wait" in each.message for each in beta.diagnostics), "beta")
        assert "`acme`" in waits.diagnostics[0].message
        soon(lambda: views(client, "user:zoe"), server)
        vocabulary.write_bytes(VOCABULARY.replace(b"UPDATE", b"UPDATE, RUN"))
        until_status(server, lambda each: each.state == SERVING and each.revision != stale.revision, "beta")
        assert SERVING == until_status(server, lambda each: not each.diagnostics).state


def test_a_directory_that_goes_away_and_a_new_tenant_that_does_not_load(place: Place) -> None:
    with place.server() as server, server.client() as client:
        aside = place.policies.rename(place.folder / "aside")
        gone = until_status(server, lambda acme: acme.state == STALE)
        assert "is not there" in gone.diagnostics[0].message
        assert views(client, ALICE)
        aside.rename(place.policies)
        until_status(server, lambda acme: acme.state == SERVING)

        write(place.policies, {"new/bindings.csv": b"g, user:x, role:none, new\n"})
        new = until_status(server, lambda new: new.state == UNAVAILABLE, "new")
        assert "new/bindings.csv" == new.diagnostics[0].file
        shutil.rmtree(place.policies / "new")
        soon(lambda: "new" not in statuses(server), server)
        for each in ("acme", "beta"):
            shutil.rmtree(place.policies / each)
        empty = until_status(server, lambda acme: acme.state == STALE)
        assert "no tenant's folder is there any more" == empty.diagnostics[0].message
        assert views(client, ALICE)


def test_the_commit_of_the_directory_stands_in_the_release(place: Place) -> None:
    git(place.folder, "init", "-q")
    git(place.policies, "add", ".")
    git(place.policies, "commit", "-q", "-m", "first")
    commit = git(place.folder, "rev-parse", "HEAD")
    with place.server() as server:
        append(place.policies / "beta" / "bindings.csv", "p, user:nils, beta, **, FLOW, VIEW, allow\n")
        soon(lambda: 2 == len(place.releases()), server)
    assert [f"{commit}-dirty", commit] == [each["commit"] for each in place.releases()]


def test_coverage_does_not_count_rows_that_are_granted_at_run_time(place: Place) -> None:
    words = ("test", str(place.policies), "--tenant", "acme", "--coverage")
    before = remit(*words)
    assert "not exercised: acme/roles.csv:2  p, role:editor" in before.stdout
    with place.server() as server, server.client() as client:
        client.tenant("acme").change_bindings([ZOE._replace(holds="role:editor")], granter=ALICE)
        assert before.stdout == remit(*words).stdout


def test_answers_to_a_pin_carry_the_position(place: Place) -> None:
    with place.server() as server, server.client() as client:
        first = statuses(server)["beta"].revision
        append(place.policies / "beta" / "bindings.csv", "p, user:nils, beta, **, FLOW, VIEW, allow\n")
        newest = until_status(server, lambda beta: beta.revision != first, "beta")
        assert newest.position

        # The first revision is not the one of the newest release.
        pinned = client.ask(messages.PinRevisionRequest(tenant="beta", revision=first))
        assert (first, newest.revision, "") == (pinned.revision, pinned.replaced, pinned.position)
        same = client.ask(messages.PinRevisionRequest(tenant="beta", revision=newest.revision))
        assert (newest.revision, newest.position) == (same.revision, same.position)
        unpinned = client.ask(messages.UnpinRevisionRequest(tenant="beta"))
        assert (newest.revision, newest.position, SERVING) == (unpinned.revision, unpinned.position, unpinned.state)


def test_publish_is_refused_while_the_server_runs(place: Place) -> None:
    other = place.folder / "other"
    write(other, files(bindings=BINDINGS + b"g, user:nils, role:viewer, acme\n"))
    words = ("publish", str(other), "--to", place.url, "--by", "ci")
    with place.server() as server:
        soon(lambda: "SERVING" in remit("nodes", "--policy-store", place.url).stdout, server)
        told = remit(*words)
        assert 1 == told.returncode
        assert "release 1 is from the policy directory of server `one`" in told.stderr
        assert 0 == remit(*words, "--dry-run").returncode
        server.terminate()
    assert 0 == remit(*words).returncode


def test_a_release_of_somebody_else_is_not_undone(place: Place) -> None:
    other = place.folder / "other"
    write(other, files(bindings=BINDINGS + b"g, user:nils, role:viewer, acme\n"))
    with place.server() as server:
        server.terminate()
    assert 0 == remit("publish", str(other), "--to", place.url, "--by", "ci").returncode
    told = serve(place, "one")
    assert "release 2 of" in told
    assert "was published by `ci`" in told
    with place.server("one", policies=other) as server, server.client() as client:
        assert views(client, "user:nils")
    assert [("directory", "one"), ("", "ci")] == [(each["origin"], each["publisher"]) for each in place.releases()[:2]]


def serve(place: Place, node: str, *flags: str) -> str:
    """What a server that must not start says."""
    told = remit_process(
        "serve", "--policies", str(place.policies), "--policy-store", place.url, "--node", node, "--listen", "127.0.0.1:0",
        "--http", "", "--metrics", "", "--audit", f"sqlite:///{place.folder / node / 'audit.db'}", "--releases",
        str(place.folder / node / "var" / "releases"), "--revisions", str(place.folder / node / "var" / "revisions"), *flags,
    )  # fmt: skip
    assert told.returncode not in {0, None}
    return told.stderr


def test_two_servers_with_directories_do_not_share_a_store(place: Place) -> None:
    with place.server() as server:
        soon(lambda: "SERVING" in remit("nodes", "--policy-store", place.url).stdout, server)
        assert "server `one` publishes its policy directory to" in serve(place, "two")
        assert 1 == len(place.releases())
        server.terminate()
    # When the first one is gone for good, the second takes over.
    with place.server("two") as server, server.client() as client:
        assert views(client, ALICE)
    assert "two" == place.releases()[0]["publisher"]


def test_what_cannot_serve_does_not_start(place: Place) -> None:
    append(place.policies / "acme" / "bindings.csv", "g, user:nils, role:viewr, acme\n")
    assert "acme/bindings.csv:" in serve(place, "one", "--strict")
    (place.policies / "vocabulary.yaml").write_bytes(b"kinds: [")
    shutil.rmtree(place.folder / "one", ignore_errors=True)
    (place.folder / "policy.db").unlink(missing_ok=True)
    assert "vocabulary.yaml:" in serve(place, "one")


def test_a_store_that_is_gone_is_not_begun_anew(place: Place) -> None:
    with place.server() as server, server.client() as client:
        client.tenant("acme").change_bindings([ZOE], granter=ALICE)
    for each in place.folder.glob("policy.db*"):
        each.unlink()
    assert "is gone, and this node served releases of it" in serve(place, "one")
