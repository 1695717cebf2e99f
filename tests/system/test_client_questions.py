"""Every RPC through both clients, asked of a real server."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.clients import CONNECTS, Connect, patiently
from support.server import Server, free_port

from remit.client import AccessDenied, Asked, AskedReach, Client, DecisionUnavailable
from remit.core.decision import Reason
from remit.core.names import Namespace
from remit.core.rows import Effect
from remit.v1 import decision_pb2

CAROL = "user:carol"


@pytest.fixture(params=CONNECTS)
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[Client]:
    with patiently(CONNECTS[request.param])(server.target) as connected:
        yield connected


def test_check_reach_answers_either_way(client: Client) -> None:
    allowed = client.tenant("acme").check_reach("acme.finance.payroll", "acme.finance", "KV")
    denied = client.tenant("acme").check_reach("acme.finance", "acme.legal", "SUBFLOW")
    assert (Effect.ALLOW, Reason.INHERITED) == (allowed.effect, allowed.reason)
    assert (Effect.DENY, Reason.DENIED_BY_RULE) == (denied.effect, denied.reason)


def test_guard_reach_raises_if_the_owner_refuses(client: Client) -> None:
    assert client.tenant("acme").guard_reach("acme.data", "acme.finance", "SUBFLOW").allowed
    with pytest.raises(AccessDenied, match="DENIED_BY_RULE"):
        client.tenant("acme").guard_reach("acme.finance", "acme.legal", "SUBFLOW")


def test_a_batch_about_reach_has_one_result_a_question(client: Client) -> None:
    first, second = client.tenant("acme").batch_check_reach(
        [AskedReach("acme.data", "acme.finance", "SUBFLOW"), AskedReach("acme.data", "", "SUBFLOW")]
    )
    assert not isinstance(first, DecisionUnavailable)
    assert first.allowed
    assert isinstance(second, DecisionUnavailable)
    assert ["owner"] == [violation.field for violation in second.violations]


def test_all_owners_must_agree(client: Client) -> None:
    owners = ["acme.data", "acme.legal", "shared.lib", "acme.legal.contracts"]
    answer = client.tenant("acme").check_reach_all("system", owners, "PURGE")
    assert not answer.allowed
    assert ["acme.legal", "acme.legal.contracts"] == [each.owner for each in answer.refused]
    assert {Reason.DENIED_BY_RULE} == {answer.reason, *(each.reason for each in answer.refused)}
    assert client.tenant("acme").guard_reach_all("system", ["acme.data", "shared.lib"], "PURGE").allowed
    with pytest.raises(AccessDenied) as caught:
        client.tenant("acme").guard_reach_all("system", owners, "PURGE")
    assert Reason.DENIED_BY_RULE is caught.value.answer.reason


def test_single_string_is_refused_as_a_list_of_names(client: Client) -> None:
    """Its characters would be names."""
    with pytest.raises(DecisionUnavailable, match="expected a list of names"):
        client.tenant("acme").check_reach_all("system", "a", "PURGE")
    with pytest.raises(DecisionUnavailable, match="expected a list of names"):
        client.tenant("acme").list_namespaces(CAROL, among="a")


def test_an_explanation_of_reach_names_the_row(client: Client) -> None:
    told = client.tenant("acme").explain_reach("acme.finance", "acme.legal", "SUBFLOW")
    assert "acme/reach.csv" == told.rule.row.file
    assert decision_pb2.REASON_DENIED_BY_RULE == told.decision.reason


def test_reachable_namespaces_are_listed_in_both_directions(client: Client) -> None:
    told = client.tenant("acme").list_reachable(
        "acme.data", relations=["SUBFLOW"], among=["acme.finance", "acme.legal"]
    )
    (subflow,) = told.relations
    assert (["acme.finance"], []) == (list(subflow.uses_among), list(subflow.used_by_among))


def test_what_lists_the_actions_that_check_allows(client: Client) -> None:
    told = client.tenant("acme").list_actions(CAROL, "acme.finance", kinds=["FLOW"])
    (flow,) = told.kinds
    questions = [Asked(CAROL, action, "FLOW", "acme.finance") for action in ("EXPORT", "LIST", "UPDATE", "VIEW")]
    allowed = [
        asked.action
        for asked, answer in zip(questions, client.tenant("acme").batch_check(questions), strict=True)
        if not isinstance(answer, DecisionUnavailable) and answer.allowed
    ]
    assert ["EXPORT", "LIST", "VIEW"] == allowed == list(flow.actions)


def test_namespaces_come_as_patterns_and_as_matches_among_the_given(client: Client) -> None:
    told = client.tenant("acme").list_namespaces(CAROL, "VIEW", "FLOW", among=["acme.legal", "acme.finance.ledger"])
    assert ["acme.finance.ledger"] == list(told.among)
    assert "acme.finance.**" in told.sets[0].only


def test_principals_are_listed_over_all_pages(client: Client) -> None:
    asked = ("VIEW", "FLOW", "acme.finance")
    by_one = [each.principal for each in client.tenant("acme").list_principals(*asked, page_size=1)]
    assert by_one == [each.principal for each in client.tenant("acme").list_principals(*asked)]
    assert by_one == sorted(by_one)
    assert CAROL in by_one


@pytest.mark.parametrize("connect", CONNECTS.values(), ids=CONNECTS)
def test_iteration_over_pages_raises_if_the_policy_changes(
    connect: Connect, serve: Callable[..., Server], untested: Path, tmp_path: Path
) -> None:
    policies = Path(shutil.copytree(untested, tmp_path / "policies"))
    server = serve(listen=f"127.0.0.1:{free_port()}", policies=policies)
    with patiently(connect)(server.target) as client:
        walk = client.tenant("acme").list_principals("VIEW", "FLOW", "acme.finance", page_size=1)
        assert next(walk).principal
        server.kill()
        with (policies / "acme" / "bindings.csv").open("a") as bindings:
            bindings.write("# an edit\n")
        server.start()
        with pytest.raises(DecisionUnavailable) as caught:
            list(walk)
    assert "FAILED_PRECONDITION" == caught.value.code


def test_a_filter_is_a_set_of_namespaces(client: Client) -> None:
    plan = client.tenant("acme").plan_filter("user:petra", "VIEW", "FLOW")
    assert plan.namespaces.contains(Namespace("acme.datax.etl"))
    assert not plan.namespaces.contains(Namespace("acme.data"))
    assert client.tenant("acme").check("user:petra", "VIEW", "FLOW", "acme.datax").revision == plan.revision
    assert plan.reason is None


def test_filter_over_an_undeclared_word_is_empty_and_says_why(client: Client) -> None:
    plan = client.tenant("acme").plan_filter("user:petra", "VIEW", "FLOWER")
    assert ((), (), Reason.UNKNOWN_KIND) == (plan.namespaces.only, plan.namespaces.excluded, plan.reason)


def test_operation_is_allowed_if_every_part_is(client: Client) -> None:
    answer = client.tenant("acme").guard_operation("user:jonas", "create_flow_in_new_namespace", "acme.data.new")
    assert [("FLOW", "acme.data.new"), ("NAMESPACE", "acme.data")] == [
        (part.kind, part.namespace) for part in answer.parts
    ]
    assert () == answer.refused


def test_an_operation_is_denied_by_the_first_part_that_is_refused(client: Client) -> None:
    """An admin of acme.data may create flows in it, and not the namespace itself."""
    with pytest.raises(AccessDenied) as caught:
        client.tenant("acme").guard_operation("user:jonas", "create_flow_in_new_namespace", "acme.data")
    answer = client.tenant("acme").check_operation("user:jonas", "create_flow_in_new_namespace", "acme.data")
    assert (Effect.DENY, Effect.DENY) == (answer.effect, caught.value.answer.effect)
    (refused,) = answer.refused
    assert ("NAMESPACE", "acme", answer.reason) == (refused.kind, refused.namespace, refused.answer.reason)
    assert answer.decision_id == refused.answer.decision_id


def test_an_operation_in_an_unknown_tenant_is_denied(client: Client) -> None:
    with pytest.raises(AccessDenied, match="UNKNOWN_TENANT"):
        client.tenant("initech").guard_operation("user:jonas", "create_flow_in_new_namespace", "acme.data")


def test_an_unknown_operation_is_unavailable(client: Client) -> None:
    with pytest.raises(DecisionUnavailable) as caught:
        client.tenant("acme").guard_operation("user:jonas", "destroy_everything", "acme.data")
    assert ("INVALID_ARGUMENT", ["operation"]) == (
        caught.value.code,
        [violation.field for violation in caught.value.violations],
    )


def test_resolve_names_the_resource_and_its_level(client: Client) -> None:
    told = client.tenant("acme").resolve_dedicated("acme.finance.ledger", ["secrets", "worker_group"], "WEBSERVER")
    secrets, worker_group = told.resources
    assert ("finance-sm", "acme.finance", decision_pb2.EFFECT_DENY) == (
        secrets.name,
        secrets.level_namespace,
        secrets.service,
    )
    assert "burst" == worker_group.name


def test_served_is_answered_in_tenant_and_instance(client: Client) -> None:
    served = client.tenant("acme").list_served("secrets", "finance-sm")
    assert ["acme.finance.**"] == [pattern for each in served.namespaces for pattern in each.only]
    assert ["acme", "globex"] == list(client.tenant("_instance").list_served("worker_group", "burst").tenants)
    with pytest.raises(DecisionUnavailable, match="disk"):
        client.tenant("acme").list_served("disk", "finance-sm")


def test_explanation_and_status_are_messages_of_the_api(client: Client) -> None:
    told = client.tenant("acme").explain(CAROL, "UPDATE", "FLOW", "acme.finance")
    assert decision_pb2.EFFECT_DENY == told.decision.effect
    assert ["acme"] == [tenant.tenant for tenant in client.status("acme").tenants]
