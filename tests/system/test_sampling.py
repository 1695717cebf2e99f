"""A server that records some of its allows counts all of them."""

from collections.abc import Callable
from pathlib import Path

from support.load import Load
from support.questions import check
from support.server import DEADLINE_S, Server, access_of, remit

from remit.audit.query.aggregate import Grouping
from remit.audit.query.filter import DecisionFilter
from remit.v1 import access_service_pb2 as messages


def counted(server: Server) -> dict[str, tuple[int, int]]:
    """Decisions recorded and unrecorded, by effect, as the store's counts have them."""
    with server.store() as store:
        found = store.counts(by=(Grouping.EFFECT,))
    return {str(each.group[0]): (each.recorded, each.unrecorded) for each in found}


def test_sampled_out_allow_is_counted_before_its_answer_and_reported_everywhere(
    serve: Callable[..., Server], untested: Path
) -> None:
    """Also where the server is killed the moment after: its counts are on disk."""
    server = serve("--audit-sample-allows", "0.2", policies=untested)
    with Load(server) as load:
        load.until_acknowledged(3_000)
        load.stop()
        acknowledged = load.acknowledged
    sampled_out = server.metric("remit_audit_unrecorded_total")
    answered = {effect: server.metric("remit_decisions_total", effect=effect) for effect in ("allow", "deny")}
    with server.client() as client:
        assert sampled_out == client.status().audit.unrecorded
    shown = remit("status", "--target", server.target)
    assert f"{sampled_out:g} allows counted only" in shown.stdout
    server.kill()
    with server.store() as store:
        denies = store.decisions(DecisionFilter(effect="deny"), limit=1 << 20)
        allows = store.decisions(DecisionFilter(effect="allow"), limit=1 << 20)
    assert {"allow": (len(allows), sampled_out), "deny": (len(denies), 0)} == counted(server)
    assert answered == {"allow": len(allows) + sampled_out, "deny": len(denies)}
    assert 0.1 < len(allows) / answered["allow"] < 0.3
    recorded = {each.id for each in (*allows, *denies)}
    assert recorded <= acknowledged
    assert sampled_out == len(acknowledged - recorded)


def test_other_questions_and_denies_are_recorded_whatever_the_share(
    serve: Callable[..., Server], untested: Path
) -> None:
    server = serve("--audit-sample-allows", "0.000001", policies=untested)
    with server.channel() as channel:
        access = access_of(channel)
        access.Explain(messages.ExplainRequest(tenant="acme", question=check().question), timeout=DEADLINE_S)
        access.Check(check(tenant="initech"), timeout=DEADLINE_S)
        for _ in range(5):
            assert access.Check(check(), timeout=DEADLINE_S).decision.decision_id
    with server.store() as store:
        recorded = [(each.question, each.effect) for each in store.decisions(newest_first=False)]
    assert [("EXPLAIN", "allow"), ("CHECK", "deny")] == recorded
    assert {"allow": (1, 5), "deny": (1, 0)} == counted(server)
