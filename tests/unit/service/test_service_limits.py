"""Limits hold whatever is asked when: never more than `burst`, and `rate` a second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.service.limits import CallLimit, UsageMeter

RATES = st.floats(0.01, 10_000)
BURSTS = st.floats(1, 1_000)
CALLS = st.lists(st.tuples(st.floats(0, 10), st.integers(1, 300)), min_size=1, max_size=60)
"""Seconds since the call before, and questions."""
TICK_S = 1e-9
"""A clock never stands still."""
SLACK = 1e-3
"""Questions that rounding may give away."""


class Clock:
    def __init__(self, now_s: float = 1e6) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        self.now_s += TICK_S
        return self.now_s


@given(RATES, BURSTS, CALLS)
def test_no_span_of_time_admits_more_than_burst_and_rate(
    rate: float, burst: float, calls: list[tuple[float, int]]
) -> None:
    """But for the call that takes more at once than `burst`, which is admitted after a pause and paid off."""
    clock = Clock()
    meter, limit = UsageMeter(clock), CallLimit(rate, burst)
    admitted: list[tuple[float, int]] = []
    for pause_s, questions in calls:
        clock.now_s += pause_s
        if meter.charge("a", limit, questions) == 0:
            admitted.append((clock.now_s, questions))
    for first, (since_s, _) in enumerate(admitted):
        total = 0.0
        for until_s, questions in admitted[first:]:
            total += questions
            most = max(burst, *(each for _, each in admitted[first:])) + rate * (until_s - since_s)
            assert total <= most + SLACK


@given(RATES, BURSTS, CALLS)
def test_a_refused_call_is_admitted_at_the_time_it_is_told(
    rate: float, burst: float, calls: list[tuple[float, int]]
) -> None:
    clock = Clock(0.0)
    meter, limit = UsageMeter(clock), CallLimit(rate, burst)
    for pause_s, questions in calls:
        clock.now_s += pause_s
        wait_s = meter.charge("a", limit, questions)
        if wait_s:
            # Not before it, as far as a clock can tell.
            clock.now_s += wait_s * 0.9
            assert wait_s * rate < SLACK or meter.charge("a", limit, questions) > 0
            clock.now_s += wait_s * 0.1 + 1e-9
            assert meter.charge("a", limit, questions) == 0


@given(RATES, BURSTS, CALLS)
def test_a_caller_within_its_rate_is_never_refused(rate: float, burst: float, calls: list[tuple[float, int]]) -> None:
    clock = Clock(0.0)
    meter, limit = UsageMeter(clock), CallLimit(rate, burst)
    for pause_s, questions in calls:
        clock.now_s += pause_s
        assert meter.charge("a", limit, questions) == 0
        clock.now_s += questions / rate * (1 + 1e-9) + 1e-9


def test_names_do_not_share_a_limit() -> None:
    meter, limit = UsageMeter(Clock()), CallLimit(1, 1)
    assert [0, 0] == [meter.charge(name, limit, 1) for name in "ab"]
    assert 1 == pytest.approx(meter.charge("a", limit, 1))


def test_a_rate_that_is_raised_counts_at_once() -> None:
    clock = Clock()
    meter = UsageMeter(clock)
    assert 0 == meter.charge("a", CallLimit(1, 1_000), 1_000)
    assert 0.1 == pytest.approx(meter.charge("a", CallLimit(10_000, 1_000), 1_000))


def test_calls_in_flight_are_counted_until_they_end() -> None:
    meter, limit = UsageMeter(Clock()), CallLimit(in_flight=2)
    assert [True, True, False] == [meter.begin("a", limit) for _ in range(3)]
    assert meter.begin("b", limit)
    meter.end("a")
    assert [True, False] == [meter.begin("a", limit) for _ in range(2)]


def test_a_meter_knows_a_bounded_number_of_names_and_forgets_none_in_flight() -> None:
    clock = Clock()
    meter, limit = UsageMeter(clock, names=10), CallLimit(0.001, 1, in_flight=1)
    assert meter.begin("busy", limit)
    for number in range(1_000):
        clock.now_s += 1
        assert 0 == meter.charge(f"n{number}", limit, 1)
        assert len(meter) <= 10
        # The newest is known.
        assert meter.charge(f"n{number}", limit, 1) > 0
    assert not meter.begin("busy", limit)


@pytest.mark.parametrize(
    "wrong", [{"rate": 0}, {"rate": -1}, {"rate": float("nan")}, {"rate": float("inf")}, {"in_flight": 0}, {"burst": 1}]
)
def test_a_limit_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"expected more than 0|needs a `rate`"):
        CallLimit(**wrong)
