"""How much a list may be: all of it, or an error; why one is empty. What it says is the law's (tests/laws/test_search.py)."""

from collections.abc import Iterable

import pytest
from support.trees import snapshot_of

from remit.core.decision import Reason
from remit.core.names import Namespace, Principal, Word
from remit.engine.inquiry import Inquiry, TooLargeError
from remit.engine.minimal_sets import PATTERNS_LIMIT
from remit.engine.queries.search import FilterFor, NamespacesOf
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
        with pytest.raises(TooLargeError, match="more than 10000 patterns"):
            inquiry.answer(longer)


def test_excluded_patterns_count_toward_the_limit() -> None:
    denies = [f"p, {ANN}, acme, n{number}, FLOW, VIEW, deny" for number in range(PATTERNS_LIMIT)]
    with pytest.raises(TooLargeError, match="more than 10000 patterns"):
        NamespacesOf(ANN, VIEW, FLOW).answer(snapshot([f"p, {ANN}, acme, **, FLOW, VIEW, allow", *denies]))


@pytest.mark.timeout(30)
def test_rows_and_scopes_that_multiply_are_an_error_before_they_are_multiplied() -> None:
    """2,000 rows that would say a million places."""
    rows = [f"p, role:r, acme, *.n{number}.**, FLOW, VIEW, allow" for number in range(1_000)]
    scopes = [f"g, {ANN}, role:r, acme/b{number}.**" for number in range(1_000)]
    with pytest.raises(TooLargeError, match="rows of `user:ann` and their scopes multiply"):
        NamespacesOf(ANN, VIEW, FLOW).answer(snapshot([*rows, *scopes]))
    assert () == NamespacesOf(ANN, Word("UPDATE"), FLOW).answer(snapshot([*rows, *scopes])).sets


def test_filter_omits_denies_without_effect() -> None:
    """However many there are on both sides."""
    allows = [f"p, {ANN}, acme, open.n{number}.**, FLOW, VIEW, allow" for number in range(1_200)]
    denies = [f"p, {ANN}, acme, shut.n{number}.**, FLOW, VIEW, deny" for number in range(1_200)]
    found = FilterFor(ANN, VIEW, FLOW).answer(
        snapshot([*allows, *denies, f"p, {ANN}, acme, open.n7.x, FLOW, VIEW, deny"])
    )
    assert (1_200, ["open.n7.x"]) == (len(found.only), [each.text for each in found.excluded])
    assert found.contains(Namespace("open.n7.y"))


UNLISTED = {
    "an unknown kind": (NamespacesOf(ANN, VIEW, Word("FLOWS")), Reason.UNKNOWN_KIND),
    "an unknown kind and no action": (NamespacesOf(ANN, kind=Word("FLOWS")), Reason.UNKNOWN_KIND),
    "an action that the kind has not": (NamespacesOf(ANN, Word("FLY"), FLOW), Reason.UNKNOWN_ACTION),
    "an action that no kind has": (NamespacesOf(ANN, Word("FLY")), Reason.UNKNOWN_ACTION),
    "a filter by an unknown kind": (FilterFor(ANN, VIEW, Word("FLOWS")), Reason.UNKNOWN_KIND),
    "a filter by an unknown action": (FilterFor(ANN, Word("FLY"), FLOW), Reason.UNKNOWN_ACTION),
}


@pytest.mark.parametrize(("inquiry", "expected"), UNLISTED.values(), ids=UNLISTED)
def test_a_list_about_unknown_words_says_why_it_is_empty(inquiry: Inquiry[object], expected: Reason) -> None:
    assert expected is inquiry.refusal(snapshot([f"p, {ANN}, acme, a.**, FLOW, VIEW, allow"]))


@pytest.mark.parametrize("inquiry", [NamespacesOf(ANN, VIEW, FLOW), FilterFor(ANN, VIEW, FLOW)], ids=range(2))
def test_a_list_about_a_kind_of_tenants_is_of_the_wrong_class_in_the_instance(inquiry: Inquiry[object]) -> None:
    files = {
        "vocabulary.yaml": b"kinds: {FLOW: {class: namespace, actions: [VIEW]}, TENANT: {class: instance, actions: [VIEW]}}\n",
        "_instance/bindings.csv": f"p, {ANN}, _instance, **, TENANT, VIEW, allow\n".encode(),
    }
    assert Reason.WRONG_CLASS is inquiry.refusal(snapshot_of(files, "_instance"))


def test_namespaces_are_listed_by_an_action_of_any_kind() -> None:
    """Without a kind: the rows of every kind count, for that action alone."""
    found = snapshot([f"p, {ANN}, acme, a.**, FLOW, VIEW, allow", f"p, {ANN}, acme, b, FLOW, UPDATE, allow"])
    inquiry = NamespacesOf(ANN, VIEW)
    assert inquiry.refusal(found) is None
    assert [["a.**"]] == [[each.text for each in one.only] for one in inquiry.answer(found).sets]


def test_the_record_of_a_filter_counts_the_patterns_that_were_answered() -> None:
    """Those that are allowed and those that are left out."""
    rows = [
        *(f"p, {ANN}, acme, {name}, FLOW, VIEW, allow" for name in ("a.**", "b.**", "c.**")),
        f"p, {ANN}, acme, a.x, FLOW, VIEW, deny",
    ]
    inquiry = FilterFor(ANN, VIEW, FLOW)
    assert {"patterns": 4} == inquiry.detail(inquiry.answer(snapshot(rows)))
