import time
from threading import Lock, Thread

import pytest

from remit.audit.journal.commit_delay import CommitDelay

LONG_S = 60.0


@pytest.fixture
def delay() -> CommitDelay:
    return CommitDelay(Lock())


@pytest.mark.parametrize(("in_flight", "enough"), [(1, 1), (2, 1), (3, 2), (4, 2), (64, 32)])
def test_half_of_the_calls_in_flight_end_the_delay(delay: CommitDelay, in_flight: int, enough: int) -> None:
    delay.begin(in_flight, LONG_S)
    assert all(delay.left_s(waiting) > 0 for waiting in range(1, enough))
    assert delay.left_s(enough) <= 0
    delay.prepare(delaying=True)
    assert not any(delay.wake(waiting) for waiting in range(1, enough))
    assert delay.wake(enough)


def test_commit_delay_is_at_most_two_milliseconds(delay: CommitDelay) -> None:
    delay.begin(64, LONG_S)
    assert 0 < delay.left_s(1) <= 0.002
    delay.begin(64, 0.0)
    assert delay.left_s(1) <= 0


def test_commit_delay_ends_by_many_records_if_no_call_waits(delay: CommitDelay) -> None:
    delay.begin(0, LONG_S)
    assert 0 < delay.left_s(31) <= 0.002
    assert delay.left_s(32) <= 0


def test_one_caller_wakes_the_writer(delay: CommitDelay) -> None:
    """However many come, and whether or not the time is up meanwhile: the next sleep is a whole one."""
    delay.prepare(delaying=False)
    assert [True, False, False] == [delay.wake(1) for _ in range(3)]
    sleeper = Thread(target=delay.sleep, args=(0.0,))
    sleeper.start()
    sleeper.join(LONG_S)
    assert not sleeper.is_alive()
    began = time.monotonic()
    delay.prepare(delaying=False)
    delay.sleep(0.05)
    assert time.monotonic() - began >= 0.05
    assert not delay.wake(1)
