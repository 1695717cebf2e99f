from collections.abc import Callable
from time import thread_time_ns
from typing import Final

from tools.faults.promise import until

from remit.audit.batch import EMPTY_BATCH
from remit.rpc.query_servicer import MOMENT_NS, SlowTenants
from remit.service.decision_point import MustWaitError, OverBudgetError, PendingAnswer
from remit.v1.access_service_pb2 import CheckRequest

QUICK: Final = PendingAnswer("answer", EMPTY_BATCH, {}, 1.0, MOMENT_NS // 100)
WAITED: Final = PendingAnswer("answer", EMPTY_BATCH, {}, 1.0, MOMENT_NS * 100)


def compute() -> PendingAnswer[str]:
    """Takes two moments of the processor."""
    until_ns = thread_time_ns() + 2 * MOMENT_NS
    while thread_time_ns() < until_ns:
        pass
    return PendingAnswer("answer", EMPTY_BATCH, {}, 1.0, 2 * MOMENT_NS)


def over_budget() -> PendingAnswer[str]:
    compute()
    raise OverBudgetError


def ask(slow: SlowTenants, tenant: str, answer: Callable[[], PendingAnswer[str]]) -> PendingAnswer[str] | None:
    return slow.answer(CheckRequest(tenant=tenant), answer)


def test_tenant_is_slow_after_two_slow_questions() -> None:
    """Its questions are answered by threads from then on, and those of others are not."""
    slow = SlowTenants()
    for _ in range(2):
        assert "initech" not in slow
        assert compute() == ask(slow, "initech", compute)
    assert "initech" in slow
    assert None is ask(slow, "initech", lambda: QUICK)
    assert QUICK is ask(slow, "acme", lambda: QUICK)


def test_a_batch_over_its_budget_makes_its_tenant_slow() -> None:
    slow = SlowTenants()
    assert [None, None] == [ask(slow, "initech", over_budget) for _ in range(2)]
    assert "initech" in slow


def test_question_that_waits_for_the_processor_does_not_mark_its_tenant_as_slow() -> None:
    """Other threads and other programs take it away, on a busy machine all the time."""
    slow = SlowTenants()
    for _ in range(5):
        assert WAITED is ask(slow, "acme", lambda: WAITED)
        assert "acme" not in slow


def test_slow_tenant_is_retried_and_marked_slow_again_at_once() -> None:
    slow = SlowTenants()
    for _ in range(2):
        ask(slow, "initech", compute)
    until(lambda: "initech" not in slow, "it is tried again")
    ask(slow, "initech", compute)
    assert "initech" in slow
    until(lambda: "initech" not in slow, "it is tried again")
    ask(slow, "initech", lambda: QUICK)
    ask(slow, "initech", compute)
    assert "initech" not in slow


def must_wait() -> PendingAnswer[str]:
    raise MustWaitError


def test_a_question_whose_required_policy_does_not_serve_yet_needs_a_thread() -> None:
    """Its tenant is not slow for that."""
    slow = SlowTenants()
    for _ in range(3):
        assert None is ask(slow, "acme", must_wait)
    assert QUICK is ask(slow, "acme", lambda: QUICK)
