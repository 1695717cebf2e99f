import pytest

from remit.engine.kept import Kept


def test_each_is_made_once() -> None:
    numbers = iter(range(10))
    kept: Kept[str, int] = Kept(10, lambda _: next(numbers))
    assert [0, 1, 0] == [kept[key] for key in "aba"]


def test_past_the_limit_all_is_dropped() -> None:
    kept: Kept[int, str] = Kept(3, str)
    for key in range(1_000):
        assert str(key) == kept[key]
        assert 1 <= len(kept) <= 3
    assert {999: "999"} == kept


def test_what_cannot_be_made_is_not_kept() -> None:
    """And drops nothing."""
    kept: Kept[int, int] = Kept(1, lambda key: 1 // key)
    assert 1 == kept[1]
    with pytest.raises(ZeroDivisionError):
        kept[0]
    assert {1: 1} == kept
