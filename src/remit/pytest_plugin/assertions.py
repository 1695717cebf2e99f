"""Assertions about a server's answers, which explain themselves when they fail."""

from typing import Any

from remit.client import Answer, DecisionUnavailable, TenantClient
from remit.core.decision import Reason
from remit.core.hints import instead_of


def assert_allowed(client: TenantClient, *question: str, **options: Any) -> Answer:
    """Asks `client.check` and returns the answer if it is an allow.

    Raises AssertionError with the server's explanation if it is a deny, and DecisionUnavailable if there is no answer.
    """
    __tracebackhide__ = True
    answer = client.check(*question, **options)
    if not answer.allowed:
        raise AssertionError(_failure("an allow", client, answer, *question, **options))
    return answer


def assert_denied(client: TenantClient, *question: str, reason: str = "", **options: Any) -> Answer:
    """Asks `client.check` and returns the answer if it is a deny, with `reason` if there is one.

    Raises AssertionError with the server's explanation if it is another answer, DecisionUnavailable if there is none, and
    ValueError if `reason` is no reason.
    """
    __tracebackhide__ = True
    if reason and reason not in set(Reason):
        raise ValueError(f"there is no reason `{reason}`{instead_of(reason, list(Reason))}")
    answer = client.check(*question, **options)
    if answer.allowed or (reason and answer.reason != reason):
        raise AssertionError(_failure(f"a deny {reason}".rstrip(), client, answer, *question, **options))
    return answer


def _failure(expected: str, client: TenantClient, answer: Answer, *question: str, **options: Any) -> str:
    try:
        why = client.explain(*question, **options).summary
    except DecisionUnavailable as unavailable:
        why = f"there is no explanation: {unavailable}"
    got = f"the answer is {answer.effect} {answer.reason} (decision {answer.decision_id}, revision {answer.revision})"
    return f"expected {expected}, but {got}\n\n{why.rstrip()}"
