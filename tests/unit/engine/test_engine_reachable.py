"""How much a list of what is reachable may be, and what is recorded. What it says is the law's (tests/laws)."""

from collections.abc import Iterable

import pytest
from support.trees import snapshot_of

from remit.core.names import Namespace, Word
from remit.engine.inquiry import TooLargeError
from remit.engine.minimal_sets import PATTERNS_LIMIT
from remit.engine.queries.reachable import OWNERS_RECORDED, ReachableFrom, ReachesAll
from remit.engine.snapshot import Snapshot

HERE, KV = Namespace("here"), Word("KV")


def snapshot(rows: Iterable[str]) -> Snapshot:
    return snapshot_of(
        {
            "vocabulary.yaml": b"kinds: {FLOW: {class: namespace, actions: [VIEW]}}\nrelations: {KV: {}, FILES: {}}\n",
            "acme/reach.csv": "".join(f"{row}\n" for row in rows).encode(),
        },
        "acme",
    )


def uses(rows: Iterable[str]) -> list[str]:
    (found,) = ReachableFrom(HERE, (KV,)).answer(snapshot(rows))
    return list(map(str, found.uses))


def test_the_longest_list_is_given_whole_and_a_longer_one_is_an_error() -> None:
    """`here` itself is in both directions a pattern of its own."""
    rows = [f"p, acme, here, n{number}, KV, allow" for number in range(PATTERNS_LIMIT - 2)]
    (found,) = ReachableFrom(HERE, (KV,)).answer(snapshot(rows))
    assert PATTERNS_LIMIT == sum(len(each.only) for each in (*found.uses, *found.used_by))
    with pytest.raises(TooLargeError, match="more than 10000 patterns"):
        ReachableFrom(HERE, (KV,)).answer(snapshot([*rows, "p, acme, here, one.more, KV, allow"]))
    # All relations together.
    with pytest.raises(TooLargeError, match="more than 10000 patterns"):
        ReachableFrom(HERE).answer(snapshot(rows))


@pytest.mark.timeout(30)
def test_rows_that_multiply_are_an_error_before_they_are_multiplied() -> None:
    """A thousand allows overlap all denies above them."""
    rows = [
        row
        for number in range(1_000)
        for row in (f"p, acme, **, *.n{number}.**, *, deny", f"p, acme, **, b{number}.**, *, allow")
    ]
    with pytest.raises(TooLargeError, match="multiply beyond the limit of a list"):
        ReachableFrom(HERE).answer(snapshot(rows))


@pytest.mark.timeout(30)
def test_many_unrelated_rows_are_listed() -> None:
    allows = [f"p, acme, **, open.n{number}.**, KV, allow" for number in range(2_000)]
    denies = [f"p, acme, **, shut.n{number}.**, KV, deny" for number in range(2_000)]
    told = uses([*denies, "p, acme, **, open.n7.x, KV, deny", *allows])
    assert 2 == len(told)
    assert "open.n7.** except open.n7.x" in told


def test_reachable_lists_no_set_that_an_earlier_row_decides() -> None:
    rows = ["p, acme, **, a.b.**, KV, deny", "p, acme, **, a.**, KV, allow"]
    behind = ["p, acme, here, a.b.c, KV, allow", "p, acme, here, a.d, KV, deny", "p, acme, here, a.e, KV, allow"]
    # The loader refuses rows that an earlier one covers; these it covers for `here` alone.
    narrow = [row.replace("**,", "*,", 1) for row in rows]
    assert ["a.** except a.b.**", "here"] == sorted(uses([*narrow, *(row.replace("here,", "**,") for row in behind)]))


def test_a_record_names_some_owners_that_refuse_and_counts_the_others() -> None:
    """However many there are, the record stays small."""
    owners = tuple(Namespace(f"n{number}") for number in range(OWNERS_RECORDED + 7))
    inquiry = ReachesAll(HERE, KV, owners)
    detail = inquiry.detail(inquiry.answer(snapshot([])))
    assert {"owners": len(owners), "refused": list(owners[:OWNERS_RECORDED]), "other_refused": 7} == detail
