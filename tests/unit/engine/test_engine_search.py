"""How much a list may be: all of it, or an error. What it says is the law's (tests/laws/test_search.py)."""

from collections.abc import Iterable

import pytest
from trees import snapshot_of

from remit.core.names import Namespace, Principal, Word
from remit.engine.inquiry import TooLargeError
from remit.engine.namespace_sets import PATTERNS_LIMIT
from remit.engine.search import FilterFor, NamespacesOf
from remit.engine.snapshot import Snapshot

ANN = Principal("user:ann")
VIEW, FLOW = Word("VIEW"), Word("FLOW")


def snapshot(rows: Iterable[str]) -> Snapshot:
    return snapshot_of(
        {
            "vocabulary.yaml": b"kinds: {FLOW: {class: namespace, actions: [VIEW, UPDATE]}}\n",
            "acme/bindings.csv": "".join(f"{row}\n" for row in rows).encode(),
        },
        "acme",
    )


def test_the_longest_list_is_given_whole_and_a_longer_one_is_an_error() -> None:
    rows = [f"p, {ANN}, acme, n{number}, FLOW, VIEW, allow" for number in range(PATTERNS_LIMIT)]
    longest = snapshot(rows)
    assert PATTERNS_LIMIT == len(FilterFor(ANN, VIEW, FLOW).answer(longest).only)
    assert PATTERNS_LIMIT == sum(len(each.only) for each in NamespacesOf(ANN).answer(longest).sets)
    longer = snapshot([*rows, f"p, {ANN}, acme, one.more, FLOW, VIEW, allow"])
    for inquiry in (FilterFor(ANN, VIEW, FLOW), NamespacesOf(ANN), NamespacesOf(ANN, VIEW, FLOW)):
        with pytest.raises(TooLargeError, match="of more than 10000 patterns"):
            inquiry.answer(longer)


def test_what_is_left_out_counts_too() -> None:
    denies = [f"p, {ANN}, acme, n{number}, FLOW, VIEW, deny" for number in range(PATTERNS_LIMIT)]
    with pytest.raises(TooLargeError, match="of more than 10000 patterns"):
        NamespacesOf(ANN, VIEW, FLOW).answer(snapshot([f"p, {ANN}, acme, **, FLOW, VIEW, allow", *denies]))


@pytest.mark.timeout(30)
def test_rows_and_scopes_that_multiply_are_an_error_before_they_are_multiplied() -> None:
    """2,000 rows that would say a million places."""
    rows = [f"p, role:r, acme, *.n{number}.**, FLOW, VIEW, allow" for number in range(1_000)]
    scopes = [f"g, {ANN}, role:r, acme/b{number}.**" for number in range(1_000)]
    with pytest.raises(TooLargeError, match="rows of `user:ann` and their scopes multiply"):
        NamespacesOf(ANN, VIEW, FLOW).answer(snapshot([*rows, *scopes]))
    assert () == NamespacesOf(ANN, Word("UPDATE"), FLOW).answer(snapshot([*rows, *scopes])).sets


def test_many_denies_that_take_nothing_away_are_not_told() -> None:
    """However many there are on both sides."""
    allows = [f"p, {ANN}, acme, open.n{number}.**, FLOW, VIEW, allow" for number in range(1_200)]
    denies = [f"p, {ANN}, acme, shut.n{number}.**, FLOW, VIEW, deny" for number in range(1_200)]
    found = FilterFor(ANN, VIEW, FLOW).answer(
        snapshot([*allows, *denies, f"p, {ANN}, acme, open.n7.x, FLOW, VIEW, deny"])
    )
    assert (1_200, ["open.n7.x"]) == (len(found.only), [each.text for each in found.excluded])
    assert found.contains(Namespace("open.n7.y"))
