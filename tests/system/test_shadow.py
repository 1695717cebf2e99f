"""A candidate beside the live policy."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from support.server import Server, remit, until

from remit.client import Asked
from remit.v1 import search_service_pb2 as search
from remit.v1 import status_service_pb2 as status

CAROL_UPDATES = ("user:carol", "UPDATE", "FLOW", "acme.finance")
BOB_VIEWS = ("user:bob", "VIEW", "FLOW", "acme.finance")


def append(file: Path, *rows: str) -> None:
    file.write_text(file.read_text() + "".join(f"{row}\n" for row in rows))


def test_shadow_reports_changed_decisions_and_never_answers_them(
    serve: Callable[..., Server], untested: Path, policies: Path
) -> None:
    bindings = policies / "acme" / "bindings.csv"
    before = bindings.read_text()
    append(
        bindings, "p, user:carol, acme, acme.finance, FLOW, UPDATE, allow", "p, user:bob, acme, **, FLOW, VIEW, deny"
    )
    server = serve("--shadow", str(policies), "--shadow-share", "1", policies=untested)
    with server.client() as client:

        def report() -> status.GetShadowResponse:
            told: status.GetShadowResponse = client.ask(status.GetShadowRequest())
            return told

        until(lambda: report().tree_revision, "the candidate has loaded")
        assert report().tree_revision == server.wait_for("candidate loaded")["revision"]
        for _ in range(3):
            assert not client.tenant("acme").check(*CAROL_UPDATES)
        assert client.tenant("acme").check(*BOB_VIEWS)
        client.ask(search.ListActionsRequest(tenant="acme", principal="user:bob", namespace="acme.finance"))
        until(lambda: report().decided + report().skipped == 5, "all was put to it")
        told = report()
        assert (4, 4, 1, 0) == (told.decided, told.differing, told.skipped, told.dropped)
        gain, loss = told.changes
        assert ("user:carol", "deny", "allow", 3) == (
            gain.principal,
            gain.live.effect,
            gain.candidate.effect,
            gain.decisions,
        )
        assert ("user:bob", "allow", "deny", "DENIED_BY_RULE") == (
            loss.principal,
            loss.live.effect,
            loss.candidate.effect,
            loss.candidate.reason,
        )
        assert loss.candidate.rule.startswith("acme/bindings.csv:")
        assert 4.0 == server.metric("remit_shadow_differing")
        assert 1.0 == server.metric("remit_shadow_loaded")
        shown = remit("shadow", "--target", server.target, "--json")
        assert (1, ["user:carol", "user:bob"]) == (
            shown.returncode,
            [each["principal"] for each in json.loads(shown.stdout)["changes"]],
        )

        # An edit of the candidate begins its counts anew.
        bindings.write_text(before)
        client.tenant("acme").check(*BOB_VIEWS)
        until(lambda: report().tree_revision != told.tree_revision, "the edited candidate has loaded")
        client.tenant("acme").check(*BOB_VIEWS)
        until(lambda: report().decided >= 1, "a decision was put to it")
        assert 0 == report().differing
        unchanged = remit("shadow", "--target", server.target)
        assert 0 == unchanged.returncode
        assert f"candidate in `{policies}` " in unchanged.stdout

        # One that does not load is said, and what loaded last goes on deciding.
        append(bindings, "nonsense")
        until(lambda: report().errors, "the mistake is told")
        assert list(report().errors) == server.wait_for("candidate refused")["diagnostics"]
        assert 3 == remit("shadow", "--target", server.target).returncode
        assert client.tenant("acme").check(*BOB_VIEWS)


def test_candidate_past_its_budget_delays_no_answer(serve: Callable[..., Server], untested: Path) -> None:
    """Decisions past its budget are dropped and counted; its process may die, and the server answers on."""
    server = serve("--shadow", str(untested), "--shadow-share", "0.001", policies=untested)
    with server.client() as client:
        until(lambda: client.ask(status.GetShadowRequest()).tree_revision, "the candidate has loaded")
        deadline = time.monotonic() + 60

        batch = [Asked(*BOB_VIEWS)] * 100
        while not client.ask(status.GetShadowRequest()).dropped and time.monotonic() < deadline:
            assert all(client.tenant("acme").batch_check(batch))
        assert client.ask(status.GetShadowRequest()).dropped > 0
    assert server.terminate() == 0


def test_a_server_without_a_candidate_says_so(server: Server) -> None:
    told = remit("shadow", "--target", server.target)
    assert (3, "") == (told.returncode, told.stdout)
    assert "setting `shadow` names one" in told.stderr
