"""How a thread that loads makes way for calls."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from remit.policy.build import throttle
from remit.policy.build.throttle import GLANCE_S, PAUSE_S, WORK_S, throttled


class Clock:
    """Of a thread that works for a tenth of WORK_S on each item, beside threads that work in its pauses."""

    def __init__(self, others_s: Callable[["Clock"], float]) -> None:
        self._others_s = others_s
        self.own_s = self.all_s = self.now_s = 0.0
        self.pauses: list[float] = []

    def sleep(self, pause_s: float) -> None:
        self.pauses.append(pause_s)
        self.now_s += pause_s
        self.all_s += self._others_s(self)

    def work(self) -> None:
        for name in ("own_s", "all_s", "now_s"):
            setattr(self, name, getattr(self, name) + WORK_S / 10)

    def thread_time(self) -> float:
        return self.own_s

    def process_time(self) -> float:
        return self.all_s

    def monotonic(self) -> float:
        return self.now_s


def pauses(monkeypatch: pytest.MonkeyPatch, others_s: Callable[[Clock], float], items: int = 20_000) -> list[float]:
    clock = Clock(others_s)
    monkeypatch.setattr(throttle, "time", clock)
    for _ in throttled(range(items)):
        clock.work()
    return clock.pauses


def test_it_makes_way_for_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {PAUSE_S} == {*pauses(monkeypatch, lambda _: WORK_S / 2)}


def test_it_hurries_while_nothing_else_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    found = pauses(monkeypatch, lambda _: WORK_S / 100)
    # At first it does not know.
    assert PAUSE_S == found[0]
    assert {GLANCE_S} == {*found[len(found) // 10 :]}


def test_it_makes_way_for_a_call_that_comes_later_and_hurries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = pauses(monkeypatch, lambda clock: WORK_S if 1.0 < clock.now_s < 1.01 else 0.0)
    turns = [(before, after) for before, after in pairwise(found) if before != after]
    assert [(PAUSE_S, GLANCE_S), (GLANCE_S, PAUSE_S), (PAUSE_S, GLANCE_S)] == turns
