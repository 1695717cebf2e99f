from time import thread_time_ns
from typing import Final

from remit.audit.records import NONE
from remit.faces.cli.faults.promise import until
from remit.faces.rpc.asking import MOMENT_NS, SlowTenants
from remit.service.point import Held, OverBudgetError

QUICK: Final = Held("answer", NONE, {}, 1.0, MOMENT_NS // 100)
WAITED: Final = Held("answer", NONE, {}, 1.0, MOMENT_NS * 100)


def compute() -> Held[str]:
    """Takes two moments of the processor."""
    until_ns = thread_time_ns() + 2 * MOMENT_NS
    while thread_time_ns() < until_ns:
        pass
    return Held("answer", NONE, {}, 1.0, 2 * MOMENT_NS)


def over_budget() -> Held[str]:
    compute()
    raise OverBudgetError


def test_a_tenant_is_slow_when_it_is_found_so_twice() -> None:
    slow = SlowTenants()
    assert "answer" == slow.measure("initech", compute).answer  # type: ignore[union-attr]
    assert "initech" not in slow
    assert "answer" == slow.measure("initech", compute).answer  # type: ignore[union-attr]
    assert "initech" in slow
    assert "acme" not in slow


def test_a_batch_over_its_budget_makes_its_tenant_slow() -> None:
    slow = SlowTenants()
    assert [None, None] == [slow.measure("initech", over_budget) for _ in range(2)]
    assert "initech" in slow


def test_a_question_that_waits_for_the_processor_makes_nobody_slow() -> None:
    """Other threads and other programs take it away, on a busy machine all the time."""
    slow = SlowTenants()
    for _ in range(5):
        assert WAITED is slow.measure("acme", lambda: WAITED)
        assert "acme" not in slow


def test_a_slow_tenant_is_tried_again_and_is_slow_at_once_where_it_still_is() -> None:
    slow = SlowTenants()
    for _ in range(2):
        slow.measure("initech", compute)
    until(lambda: "initech" not in slow, "it is tried again")
    slow.measure("initech", compute)
    assert "initech" in slow
    until(lambda: "initech" not in slow, "it is tried again")
    slow.measure("initech", lambda: QUICK)
    slow.measure("initech", compute)
    assert "initech" not in slow
