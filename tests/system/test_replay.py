"""Recorded decisions, decided again by a candidate."""

import json
from pathlib import Path

import pytest
from support.server import Server, remit

from remit.v1 import access_service_pb2 as access
from remit.v1 import reach_service_pb2 as reach
from remit.v1 import search_service_pb2 as search


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
