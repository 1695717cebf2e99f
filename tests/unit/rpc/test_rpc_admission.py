"""Places, turns and threads are shared among callers."""

from collections import Counter
from threading import Barrier, Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.rpc.admission import CallClasses, Limiter, Turns
from remit.rpc.errors import CrowdedError, ShareError
from remit.service.compute_turns import ComputeTurns, waiting

PLACES = 64


def enter(limiter: Limiter, caller: str) -> bool:
    try:
        limiter.enter(caller)
    except CrowdedError:
        return False
    return True


@given(st.lists(st.sampled_from("abcdefgh"), max_size=200))
def test_a_caller_takes_no_more_than_its_share_and_a_newcomer_finds_a_place(callers: list[str]) -> None:
    limiter = Limiter("calls", PLACES, shared=True)
    held: Counter[str] = Counter()
    for caller in callers:
        if enter(limiter, caller):
            held[caller] += 1
    assert max(held.values(), default=0) <= PLACES // 2
    assert limiter.count == held.total() <= PLACES
    if len(held) < PLACES // 8:
        assert enter(limiter, "newcomer")


def test_below_half_of_the_places_anything_goes() -> None:
    limiter = Limiter("calls", PLACES, shared=True)
    assert [True] * 32 == [enter(limiter, "a") for _ in range(32)]
    with pytest.raises(ShareError, match="32 calls of this caller"):
        limiter.enter("a")


def test_a_share_depends_on_who_else_has_calls_in_flight() -> None:
    limiter = Limiter("calls", PLACES, shared=True)
    for _ in range(32):
        limiter.enter("a")
    assert PLACES // 3 == sum(enter(limiter, "b") for _ in range(PLACES))
    for _ in range(PLACES // 3):
        limiter.leave("b")
    for _ in range(32):
        limiter.leave("a")
    assert 32 == sum(enter(limiter, "b") for _ in range(PLACES))


def test_eight_places_are_a_share_however_many_callers_there_are() -> None:
    limiter = Limiter("calls", 256, shared=True)
    for number in range(128):
        limiter.enter(f"other{number}")
    assert 8 == sum(enter(limiter, "a") for _ in range(256))


def test_callers_without_names_have_every_place() -> None:
    limiter = Limiter("calls", PLACES)
    assert PLACES == sum(enter(limiter, "anonymous") for _ in range(2 * PLACES))


def test_a_call_takes_a_place_of_the_class_around_it_or_none() -> None:
    around = Limiter("calls", 4, shared=True)
    within = Limiter("queries", 4, shared=True, within=around)
    for caller in "abcd":
        around.enter(caller)
    assert not enter(within, "e")
    assert 0 == within.count
    around.leave("a")
    assert enter(within, "e")
    within.leave("e")
    assert (3, 0) == (around.count, within.count)


def test_a_caller_has_one_turn_at_a_time_while_others_have_calls_in_flight() -> None:
    places = Limiter("calls", PLACES, shared=True)
    turns = Turns(places)
    places.enter("a")
    assert [True] * 20 == [turns.take("a", 1) for _ in range(20)]
    places.enter("b")
    assert not turns.take("a", 1)
    assert turns.take("b", 500), "one call gets a turn, however long it is"
    assert not turns.take("b", 1)
    for _ in range(13):
        turns.leave("a", 1)
    assert [True, False] == [turns.take("a", 1) for _ in range(2)]
    turns.leave("b", 500)
    assert turns.take("b", 1)


def test_one_thread_at_a_time_computes_for_a_caller() -> None:
    turns = ComputeTurns()
    first_in, go = Event(), Event()
    order: list[str] = []

    def first() -> None:
        with turns.of("a"):
            order.append("first begins")
            first_in.set()
            assert go.wait(10)
            order.append("first ends")

    def second() -> None:
        with turns.of("a"):
            order.append("second")

    threads = [Thread(target=first), Thread(target=second)]
    threads[0].start()
    assert first_in.wait(10)
    threads[1].start()
    with turns.of("b"):
        order.append("another caller")
    go.set()
    for each in threads:
        each.join(10)
    assert ["first begins", "another caller", "first ends", "second"] == order


def test_threads_of_one_caller_wait_side_by_side() -> None:
    turns = ComputeTurns()
    together = Barrier(3, timeout=10)
    done: list[int] = []

    def work() -> None:
        with turns.of("a"):
            with waiting():
                together.wait()
            done.append(1)

    threads = [Thread(target=work) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(10)
    assert 3 == len(done)


def test_a_thread_without_a_turn_just_waits() -> None:
    with waiting():
        pass


def test_status_health_and_pins_share_no_place_with_questions() -> None:
    classes = CallClasses(max_calls=16, threads=4, callers_have_names=True)
    while enter(classes.decisions.places, "a") or enter(classes.decisions.places, "b"):
        pass
    assert enter(classes.operations.places, "a")
    assert enter(classes.health.places, "a")
