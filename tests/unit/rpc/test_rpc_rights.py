"""Which right each method needs, and that the audit's records are read back as the same rights."""

import re
from pathlib import Path

from remit.core.caller_actions import ACTION_OF_QUESTION, CallerAction, actions_of
from remit.core.question import QuestionType
from remit.rpc.rights import DEMANDS
from remit.service.caller_usage import ACTIONS_OF_CALL, ACTIONS_OF_EVENT

QUESTION_OF_METHOD = {
    "Authorization/Check": QuestionType.CHECK,
    "AccessService/Check": QuestionType.CHECK,
    "AccessService/BatchCheck": QuestionType.CHECK,
    "AccessService/CheckOperation": QuestionType.OPERATION,
    "AccessService/Explain": QuestionType.EXPLAIN,
    "ReachService/CheckReach": QuestionType.REACH,
    "ReachService/BatchCheckReach": QuestionType.REACH,
    "ReachService/CheckReachAll": QuestionType.REACH_ALL,
    "ReachService/ExplainReach": QuestionType.REACH_EXPLAIN,
    "ReachService/ListReachable": QuestionType.REACHABLE,
    "SearchService/ListActions": QuestionType.ACTIONS,
    "SearchService/ListNamespaces": QuestionType.NAMESPACES,
    "SearchService/ListPrincipals": QuestionType.PRINCIPALS,
    "SearchService/ListMatrix": QuestionType.MATRIX,
    "SearchService/ListHeld": QuestionType.HELD,
    "SearchService/PlanFilter": QuestionType.FILTER,
    "VisibilityService/VisibleGraph": QuestionType.GRAPH,
    "ResourceService/ResolveDedicated": QuestionType.DEDICATED,
    "ResourceService/ListServed": QuestionType.SERVED,
}
"""What each method records a decision as."""
EVENT_OF_METHOD = {
    "PolicyService/PinRevision": "POLICY_PINNED",
    "PolicyService/UnpinRevision": "POLICY_UNPINNED",
    "BindingService/ChangeBindings": "BINDINGS_CHANGED",
    "BindingService/ImportBindings": "BINDINGS_CHANGED",
    "StatusService/GetShadow": "AUDIT_READ",
    "PolicyService/GetSource": "POLICY_READ",
    "PolicyService/GetTests": "POLICY_READ",
    "PolicyService/DiffRevisions": "POLICY_READ",
    **{
        f"AuditService/{call}": "AUDIT_READ"
        for call in (
            "ListRecords",
            "FollowRecords",
            "CountRecords",
            "ListLifecycle",
            "ListHeads",
            "ExplainPast",
            "GetRecord",
        )
    },
}
"""What each method records an event as."""
UNRECORDED = {
    "PolicyService/GetVocabulary",
    "PolicyService/ListNames",
    "PolicyService/ListRevisions",
    "PolicyService/WatchRevision",
    "StatusService/GetStatus",
    "BindingService/ListBindings",
    "BindingService/ExportBindings",
    "BindingService/WatchBindings",
}
"""No record tells of them."""


def test_a_recorded_question_needs_the_right_of_its_method() -> None:
    for method, question in QUESTION_OF_METHOD.items():
        demand = DEMANDS[method]
        assert demand is not None
        assert actions_of(question) == demand.actions
    assert set(QuestionType) == ACTION_OF_QUESTION.keys() == {*QUESTION_OF_METHOD.values()}


def test_a_recorded_event_needs_the_rights_of_its_method() -> None:
    for method, event in EVENT_OF_METHOD.items():
        demand, call = DEMANDS[method], method.partition("/")[2]
        # The servicer itself asks for the right to the record that it found.
        actions = (CallerAction.AUDIT,) if call == "GetRecord" else demand and demand.actions
        assert ACTIONS_OF_CALL.get(call, ACTIONS_OF_EVENT[event]) == actions


def test_every_method_of_the_api_is_recorded_or_named_here() -> None:
    open_to_all = {method for method in DEMANDS if method.startswith(("Health/", "ServerReflection/"))}

    assert DEMANDS.keys() - open_to_all == {*QUESTION_OF_METHOD, *EVENT_OF_METHOD, *UNRECORDED}


def test_the_page_on_rights_names_the_action_of_each_method() -> None:
    page = Path(__file__).parents[3] / "docs/how-to/who-may-ask.md"
    table = page.read_text().partition("## What each action discloses")[2].partition("Two kinds")[0]
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", table, flags=re.MULTILINE)
    shown = {
        (method, action)
        for action, calls in rows
        for method in re.findall(r"[A-Z]\w+", re.sub(r"`[^`]*`|\[[^]]*\]\([^)]*\)", "", calls))
    }
    demanded = {
        (method.partition("/")[2], action.value)
        for method, demand in DEMANDS.items()
        if demand and not method.startswith("AuditService/")
        for action in demand.actions
    }
    assert {action for action, _ in rows} == {action.value for action in CallerAction}
    assert shown == demanded | {("AuditService", "AUDIT"), ("ExplainPast", "AUDIT")}


def test_every_call_of_the_audit_needs_audit_and_one_of_them_explain() -> None:
    demands = {method: demand for method, demand in DEMANDS.items() if method.startswith("AuditService/")}

    # GetRecord's servicer asks for AUDIT of the tenant of the record.
    assert {method for method, demand in demands.items() if demand is None} == {"AuditService/GetRecord"}
    assert {method: demand.actions for method, demand in demands.items() if demand} == {
        method: (CallerAction.AUDIT, CallerAction.EXPLAIN) if method.endswith("/ExplainPast") else (CallerAction.AUDIT,)
        for method, demand in demands.items()
        if demand
    }
