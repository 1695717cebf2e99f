from itertools import count

from remit.service.limits_hit import MOST_KEYS, HitCount, LimitHit, LimitsHit, together


def test_refused_calls_are_counted_by_caller_class_and_limit() -> None:
    hit = LimitsHit(count(1).__next__)
    for caller, calls, reason in (
        ("service:shop", "calls", "caller rate"),
        ("service:shop", "calls", "caller rate"),
        ("service:shop", "calls", "share"),
        ("service:shop", "queries", "share"),
        ("service:ci", "calls", "share"),
    ):
        hit.add(calls, reason, caller)

    assert hit.counts() == {
        LimitHit("service:shop", "calls", "caller rate"): HitCount(2, 2),
        LimitHit("service:shop", "calls", "share"): HitCount(1, 3),
        LimitHit("service:shop", "queries", "share"): HitCount(1, 4),
        LimitHit("service:ci", "calls", "share"): HitCount(1, 5),
    }


def test_callers_past_the_most_are_counted_as_one() -> None:
    hit = LimitsHit(count(1).__next__)
    for number in range(MOST_KEYS + 5):
        hit.add("calls", "share", f"user:{number}")
    hit.add("calls", "share", "user:0")

    counts = hit.counts()
    assert MOST_KEYS + 1 == len(counts)
    assert HitCount(5, MOST_KEYS + 5) == counts["", "calls", "share"]
    assert HitCount(2, MOST_KEYS + 6) == counts["user:0", "calls", "share"]


def test_counts_of_workers_are_summed_and_the_largest_comes_first() -> None:
    shop, ci = LimitHit("service:shop", "calls", "share"), LimitHit("service:ci", "calls", "share")

    assert together([{shop: HitCount(2, 7)}, {ci: HitCount(4, 3), shop: HitCount(3, 5)}, {}]) == [
        (shop, HitCount(5, 7)),
        (ci, HitCount(4, 3)),
    ]
