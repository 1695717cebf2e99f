"""Recorded decisions, decided again by a candidate."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from shutil import copy

import pytest
from support import runtime
from support.server import Server, remit, until
from support.trees import tree_of, write

from remit.client import RuntimeBinding
from remit.fleet.store import Draft, PolicyStore, Reviewed
from remit.v1 import access_service_pb2 as access
from remit.v1 import reach_service_pb2 as reach
from remit.v1 import search_service_pb2 as search
from remit.v1 import status_service_pb2 as status


@pytest.fixture(scope="module")
def recorded(untested: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The audit store of a server that answered both planes, a list, an operation, and about a tenant it does not have."""
    with Server(tmp_path_factory.mktemp("recorded"), policies=untested) as server, server.client() as client:
        for _ in range(3):
            client.tenant("acme").check("user:carol", "VIEW", "FLOW", "acme.finance")
        client.tenant("acme").check("user:carol", "UPDATE", "FLOW", "acme.finance")
        client.tenant("acme").explain("user:bob", "UPDATE", "FLOW", "acme.finance")
        client.tenant("initech").check("user:carol", "VIEW", "FLOW", "acme.finance")
        question = reach.ReachQuestion(caller="acme.data", owner="acme.finance", relation="SUBFLOW")
        client.ask(reach.CheckReachRequest(tenant="acme", question=question))
        client.ask(search.ListActionsRequest(tenant="acme", principal="user:carol", namespace="acme.finance"))
        client.ask(
            access.CheckOperationRequest(
                tenant="acme", principal="user:bob", operation="upsert_flows", namespace="acme.finance"
            )
        )
        assert server.terminate() == 0
    return server.audit


def test_the_same_policies_change_nothing(recorded: str, untested: Path) -> None:
    done = remit("replay", "--policies", str(untested), "--audit", recorded)
    assert (0, "") == (done.returncode, done.stdout), done.stderr
    assert "10 decisions decided again, 1 lists left out: 0 would change, 0 questions" in done.stderr


def test_each_effect_that_would_change_is_listed(recorded: str, policies: Path) -> None:
    """By question, with what was and what would be; a changed reason alone is none, and tests that fail are no matter."""
    bindings = policies / "acme" / "bindings.csv"
    bindings.write_text(
        bindings.read_text()
        + "p, user:carol, acme, acme.finance, FLOW, UPDATE, allow\n"
        + "p, user:bob, acme, **, FLOW, UPDATE, deny\n"
    )
    (policies / "acme" / "reach.csv").write_text("p, acme, **, acme.finance.**, *, deny\n")

    done = remit("replay", "--policies", str(policies), "--audit", recorded, "--tenant", "acme", "--json")

    changes = json.loads(done.stdout)["changes"]
    told = [(each["principal"], each["action"], each["was"]["effect"], each["now"]["effect"]) for each in changes]
    assert done.returncode == 1
    assert ("user:carol", "UPDATE", "deny", "allow") == told[0]
    assert {
        ("user:carol", "UPDATE", "deny", "allow"),
        ("user:bob", "UPDATE", "allow", "deny"),
        ("namespace:acme.data", "SUBFLOW", "allow", "deny"),
    } == set(told)
    assert {"user:bob": 2, "user:carol": 1, "namespace:acme.data": 1} == {
        each["principal"]: each["records"] for each in changes
    }
    assert "4 would change, 3 questions" in done.stderr
    shown = remit("replay", "--policies", str(policies), "--audit", recorded)
    assert (1, True) == (shown.returncode, "DENIED_BY_RULE" in shown.stdout)


def test_replay_refuses_a_candidate_that_does_not_load(recorded: str, policies: Path) -> None:
    (policies / "acme" / "bindings.csv").write_text("nonsense\n")
    done = remit("replay", "--policies", str(policies), "--audit", recorded)
    assert (3, "") == (done.returncode, done.stdout)
    assert "acme" in done.stderr


def test_unknown_tenant_is_wrong_usage(recorded: str, untested: Path) -> None:
    """It must not look like a candidate that changes nothing; one that has records alone is asked about all the same."""
    mistyped = remit("replay", "--policies", str(untested), "--audit", recorded, "--tenant", "acmee")
    gone = remit("replay", "--policies", str(untested), "--audit", recorded, "--tenant", "initech")

    assert (2, "no tenant `acmee`") == (mistyped.returncode, mistyped.stderr.partition(" in ")[0])
    assert (0, True) == (gone.returncode, "1 decisions decided again" in gone.stderr)


@pytest.fixture(scope="module")
def granted(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """The audit store of a server that answered by rows of run time, and what its candidate, the same files, said: before
    and during a suspension and two grants, of which one was then revoked, and again after an edit of the files."""
    folder = tmp_path_factory.mktemp("granted")
    url = f"sqlite:///{folder / 'policy.db'}"
    candidate = write(folder / "candidate", runtime.files())
    zoe, ann = (RuntimeBinding(f"user:{name}", "role:viewer", "a.**") for name in ("zoe", "ann"))
    with PolicyStore(url) as store:
        store.migrate()
        store.publish(Draft(tree_of(runtime.files()), "ci"), 0)
        flags = "--policy-store", url, "--shadow", str(candidate), "--shadow-share", "1"
        with Server(folder / "node", *flags, policies=None) as server, server.client() as client:
            acme = client.tenant("acme")

            def shadow() -> status.GetShadowResponse:
                found: status.GetShadowResponse = client.ask(status.GetShadowRequest())
                return found

            def views(*names: str, at_least: str = "") -> list[bool]:
                asked = ((f"user:{name}", "VIEW", "FLOW", "a.x") for name in names)
                return [client.tenant("acme", at_least=at_least).check(*each).allowed for each in asked]

            until(lambda: shadow().tree_revision, "the candidate has loaded")
            assert [False, True] == views("zoe", "bert")
            position = acme.change_bindings([zoe, ann], granter="user:alice").position
            assert [True, True] == views("zoe", "ann", at_least=position)
            suspended = RuntimeBinding("user:bert", "group:suspended")
            position = acme.change_bindings([suspended], granter="user:alice").position
            assert [True, False] == views("zoe", "bert", at_least=position)
            position = acme.change_bindings(revokes=[zoe], granter="user:alice").position
            assert [False, True, False] == views("zoe", "ann", "bert", at_least=position)
            edited = runtime.files(bindings=runtime.BINDINGS + b"g, user:dora, role:viewer, acme\n")
            store.publish(Draft(tree_of(edited), "ci"), 1, review=lambda *_: Reviewed((), ()))
            until(lambda: views("dora") == [True], "the edit serves")
            assert [True, False] == views("ann", "bert")
            asked = int(server.metric("remit_decisions_total"))
            until(lambda: shadow().decided + shadow().skipped == asked, "all was put to it")
            found = shadow()
            said = [f"{each.principal} {each.live.effect} {each.candidate.effect}" for each in found.changes]
            assert 0 == found.dropped
            assert server.terminate() == 0
    return server.audit, said


def test_replay_and_shadow_decide_with_the_rows_of_run_time_of_each_decision(
    granted: tuple[str, list[str]], tmp_path: Path
) -> None:
    audit, said = granted
    same = write(tmp_path / "same", runtime.files())

    done = remit("replay", "--policies", str(same), "--audit", audit, "--json")

    changes = json.loads(done.stdout)["changes"]
    assert {"user:dora allow deny"} == {*said}
    assert [("user:dora", "allow", "deny")] == [
        (each["principal"], each["was"]["effect"], each["now"]["effect"]) for each in changes
    ]
    assert 0 == json.loads(done.stdout)["rows_unknown"]


def test_replay_leaves_out_the_rows_of_run_time_that_the_candidate_does_not_open(
    granted: tuple[str, list[str]], tmp_path: Path
) -> None:
    closed = runtime.RUNTIME.replace(b"role:viewer, ", b"")
    edited = write(tmp_path / "closed", runtime.files(runtime=closed))

    done = remit("replay", "--policies", str(edited), "--audit", granted[0], "--tenant", "acme", "--json")

    lost = {each["principal"] for each in json.loads(done.stdout)["changes"]}
    assert (1, {"user:ann", "user:zoe", "user:dora"}) == (done.returncode, lost)


def test_replay_counts_the_decisions_whose_rows_of_run_time_are_not_known(
    granted: tuple[str, list[str]], tmp_path: Path
) -> None:
    database = copy(granted[0].removeprefix("sqlite:///"), tmp_path)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM revisions")
    same = write(tmp_path / "same", runtime.files())

    done = remit("replay", "--policies", str(same), "--audit", f"sqlite:///{database}", "--json")

    assert 0 == done.returncode
    assert 0 == json.loads(done.stdout)["decided"]
    assert json.loads(done.stdout)["rows_unknown"] > 10
    assert "left out whose rows of run time are not known" in done.stderr
