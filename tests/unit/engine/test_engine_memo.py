import pytest

from remit.engine.memo import BoundedMemo, by_items


def test_memo_makes_each_value_once() -> None:
    numbers = iter(range(10))
    kept: BoundedMemo[str, int] = BoundedMemo(10, lambda _: next(numbers))
    assert [0, 1, 0] == [kept[key] for key in "aba"]


def test_memo_drops_everything_past_the_limit() -> None:
    kept: BoundedMemo[int, str] = BoundedMemo(3, str)
    for key in range(1_000):
        assert str(key) == kept[key]
        assert 1 <= len(kept) <= 3
    assert {999: "999"} == kept


def test_memo_keeps_no_value_that_raises() -> None:
    """And drops nothing."""
    kept: BoundedMemo[int, int] = BoundedMemo(1, lambda key: 1 // key)
    assert 1 == kept[1]
    with pytest.raises(ZeroDivisionError):
        kept[0]
    assert {1: 1} == kept


def test_large_values_take_more_of_the_limit() -> None:
    kept: BoundedMemo[int, range] = BoundedMemo(10, range, by_items)
    for key in (0, 15, 31, 32):
        kept[key]
    assert {0, 15, 31, 32} == kept.keys()
    # 1 + 1 + 2 + 3 are taken.
    kept[1], kept[2], kept[3]
    assert 7 == len(kept)
    kept[4]
    assert {4} == kept.keys()


def test_memo_keeps_one_value_that_exceeds_the_limit() -> None:
    kept: BoundedMemo[int, range] = BoundedMemo(2, range, by_items)
    for key in (1, 1_000, 2):
        assert range(key) == kept[key]
        assert {key} == kept.keys()
