import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.audit.ids import DecisionIds, first_id_at, format_id, id_time_ms, last_id_at, parse_id

T0_NS = 1_800_000_000_123_456_789
CLOCKS = st.lists(st.integers(0, 2**48 * 1_000_000 - 1), min_size=1, max_size=40)
TIMES_US = st.integers(0, 2**48 * 1_000 - 1)


def ids_of(readings: list[int], seed: int = 1) -> DecisionIds:
    clock: Iterator[int] = iter(readings)
    return DecisionIds(lambda: next(clock), Random(seed))


class Ones(Random):
    """Every bit asked for is 1: the fastest way to the end of a millisecond's ids."""

    def getrandbits(self, k: int) -> int:
        return (1 << k) - 1


@given(CLOCKS, st.integers())
def test_ids_only_grow_whatever_the_clock_does(readings: list[int], seed: int) -> None:
    ids = ids_of(readings, seed)
    made = [ids.next() for _ in readings]
    assert made == sorted(set(made))


@given(CLOCKS)
def test_next_and_take_share_one_order(readings: list[int]) -> None:
    ids = ids_of(readings)
    made = [id_ for n in range(len(readings)) for id_ in ([ids.next()] if n % 2 else ids.take(n % 5))]
    assert made == sorted(set(made))


@given(st.integers(0, 2**48 * 1_000_000 - 1))
def test_an_id_is_a_uuid_of_version_7_that_carries_its_millisecond(clock_ns: int) -> None:
    made = ids_of([clock_ns]).next()
    parsed = uuid.UUID(bytes=made)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert clock_ns // 1_000_000 == id_time_ms(made) == parsed.int >> 80


def test_ids_keep_their_time_while_the_clock_is_set_back() -> None:
    ids = ids_of([T0_NS, T0_NS - 3_600 * 10**9, T0_NS + 2_000_000])
    made = [ids.next() for _ in range(3)]
    ms = T0_NS // 1_000_000
    assert [ms, ms, ms + 2] == [id_time_ms(id_) for id_ in made]
    assert made == sorted(made)


@given(CLOCKS, st.integers(1, 20))
def test_a_stamp_is_a_time_and_ids_of_its_millisecond(readings: list[int], n: int) -> None:
    ids = ids_of(readings)
    stamps = [ids.stamp(n) for _ in readings]
    times = [time_us for time_us, _ in stamps]
    for time_us, made in stamps:
        assert [time_us // 1_000] * n == [id_time_ms(id_) for id_ in made]
    assert readings[0] // 1_000 == times[0]
    assert [time_us // 1_000 for time_us in times] == sorted(time_us // 1_000 for time_us in times)


def test_the_end_of_a_millisecond_s_ids_borrows_from_the_next() -> None:
    class Full(Ones):
        def getrandbits(self, k: int) -> int:
            # 32 bits at a time would take 2**29 ids: here a step is half the room.
            return (1 << 61) - 1 if k == 32 else super().getrandbits(k)

    ids = DecisionIds(lambda: T0_NS, Full())
    made = [ids.next() for _ in range(20)]
    assert made == sorted(set(made))
    assert id_time_ms(made[0]) < id_time_ms(made[-1])
    assert {7} == {uuid.UUID(bytes=id_).version for id_ in made}


def test_a_large_take_at_the_end_of_a_millisecond_keeps_the_version_bits() -> None:
    class NearTheEnd(Ones):
        def getrandbits(self, k: int) -> int:
            return (1 << 62) - 1 - 2**32 * 5 if k == 61 else super().getrandbits(k)

    ids = DecisionIds(lambda: T0_NS, NearTheEnd())
    made = [ids.next(), *ids.take(3), *ids.take(4), *ids.take(4), ids.next()]
    assert made == sorted(set(made))
    assert {7} == {uuid.UUID(bytes=id_).version for id_ in made}


def test_threads_get_distinct_ids_each_in_order() -> None:
    ids = DecisionIds()

    def make(_: int) -> list[bytes]:
        return [ids.next() for _ in range(2_000)] + ids.take(500)

    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(make, range(8)))
    assert all(run == sorted(run) for run in runs)
    assert len({id_ for run in runs for id_ in run}) == 8 * 2_500


def test_two_processes_with_one_clock_make_different_ids() -> None:
    first, second = DecisionIds(lambda: T0_NS), DecisionIds(lambda: T0_NS)
    assert not set(first.take(1_000)) & set(second.take(1_000))


@given(TIMES_US, TIMES_US)
def test_bounds_hold_exactly_the_ids_of_their_milliseconds(time_us: int, bound_us: int) -> None:
    made = ids_of([time_us * 1_000]).next()
    assert (time_us // 1_000 >= bound_us // 1_000) == (made >= first_id_at(bound_us))
    assert (time_us // 1_000 <= bound_us // 1_000) == (made <= last_id_at(bound_us))


def test_times_outside_the_range_give_the_first_or_last_id() -> None:
    assert bytes(16) == first_id_at(-1)
    assert last_id_at(2**70) == b"\xff" * 16


@given(st.integers(0, 2**48 * 1_000_000 - 1))
def test_text_is_canonical_and_comes_back(clock_ns: int) -> None:
    made = ids_of([clock_ns]).next()
    assert str(uuid.UUID(bytes=made)) == format_id(made)
    assert made == parse_id(format_id(made)) == parse_id(format_id(made).upper())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no id",
        "0190163d8694739baea5966c26f8ad91",
        "0190163d-8694-439b-aea5-966c26f8ad91",
        "0190163d-8694-739b-cea5-966c26f8ad91",
        " 0190163d-8694-739b-aea5-966c26f8ad91",
        "0190163d-8694-739b-aea5-966c26f8ad91\n",
        "{0190163d-8694-739b-aea5-966c26f8ad91}",
        "0190163d-8694-739b-aea5-966c26f8ad9\u0661",
        "0190163d-8694-739b-aea5-966c26f8ad9\uff41",
    ],
)
def test_text_that_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a UUIDv7"):
        parse_id(text)
