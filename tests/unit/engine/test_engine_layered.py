"""Versions of a dict and of rows against a dict and a list that are copied, and what a change costs."""

import pickle
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from remit.engine.layered import LayeredDict, LayeredRows, with_rows, with_values

KEYS = range(40)
LARGE = 10_000
changes_of_values = st.lists(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["", "a", "b"]), max_size=6))
sizes = st.integers(0, 60)


class Row:
    """A row that equals every other: only the object itself tells it from them."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Row)

    def __hash__(self) -> int:
        return 0


@given(sizes, changes_of_values)
def test_each_version_of_a_dict_equals_a_changed_copy(size: int, changes: list[dict[int, str]]) -> None:
    """All versions are compared at the end: none changes an earlier one."""
    copied = dict.fromkeys(range(size), "base")
    versions = [(copied, with_values(copied, {}))]
    for values in changes:
        copied = {key: value for key, value in (copied | values).items() if value}
        versions.append((copied, with_values(versions[-1][1], values)))
    for copied, versioned in versions:
        assert sorted(copied) == sorted(versioned)
        assert [copied.get(key, "none") for key in KEYS] == [versioned.get(key, "none") for key in KEYS]


@given(sizes, st.lists(st.tuples(*[st.integers(0, 3)] * 3), max_size=12), st.randoms(use_true_random=False))
def test_each_version_of_rows_equals_a_changed_list(
    size: int, changes: list[tuple[int, int, int]], random: Random
) -> None:
    """All versions are compared at the end. A removed row may come again, behind the others."""
    copied, gone = [Row() for _ in range(size)], list[Row]()
    versions = [(copied, with_rows(tuple(copied), (), ()))]
    for removing, returning, new in changes:
        removed = random.sample(copied, min(removing, len(copied)))
        left = {id(row) for row in removed}
        added = [*(gone.pop() for _ in range(min(returning, len(gone)))), *(Row() for _ in range(new))]
        gone += removed
        copied = [*(row for row in copied if id(row) not in left), *added]
        versions.append((copied, with_rows(versions[-1][1], added, removed)))
    for copied, versioned in versions:
        assert list(map(id, copied)) == list(map(id, versioned))
        assert len(copied) == len(versioned)


def test_many_changes_share_the_base_and_make_few_layers() -> None:
    values = dict.fromkeys(range(LARGE), "base")
    rows = tuple(map(str, range(LARGE)))
    versioned_values, versioned_rows = with_values(values, {}), with_rows(rows, (), ())
    for number in range(LARGE // 32):
        versioned_values = with_values(versioned_values, {number: "new"})
        versioned_rows = with_rows(versioned_rows, [f"new {number}"], ())
        assert isinstance(versioned_values, LayeredDict)
        assert isinstance(versioned_rows, LayeredRows)
        assert versioned_values.layers[0] is values
        assert versioned_rows.layers[0].rows is rows
        assert max(len(versioned_values.layers), len(versioned_rows.layers)) <= 4


def test_base_takes_in_changes_that_are_many_beside_it() -> None:
    """So that a version is never much larger than what it holds."""
    rows = tuple(map(str, range(100)))
    versioned_values, versioned_rows = with_values(dict.fromkeys(rows, "base"), {}), with_rows(rows, (), ())
    for row in rows:
        versioned_values = with_values(versioned_values, {row: ""})
        versioned_rows = with_rows(versioned_rows, (), [row])
    assert isinstance(versioned_values, dict)
    assert {} == versioned_values
    assert [] == [*versioned_rows]


def test_versions_of_rows_are_indexed_and_sliced_like_a_tuple() -> None:
    texts = tuple(map(str, range(100)))
    rows = with_rows(texts, ["new"], texts[:1])
    assert isinstance(rows, LayeredRows)
    assert ("1", "new", ("1", "2")) == (rows[0], rows[-1], rows[:2])
    assert "0" not in rows
    assert ["new", "99"] == [*reversed(rows)][:2]


def test_another_process_gets_rows_as_a_tuple() -> None:
    """Removed rows are known by their ids, which mean nothing there."""
    texts = tuple(map(str, range(100)))
    rows = with_rows(texts, ["new"], texts[:1])
    assert (*texts[1:], "new") == pickle.loads(pickle.dumps(rows))
