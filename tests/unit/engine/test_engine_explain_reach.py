from support.trees import snapshot_of

from remit.core.names import Namespace, Word
from remit.core.question import ReachQuestion
from remit.engine.explain.reach import explain_reach, reach_summary

FILES = {
    "vocabulary.yaml": b"kinds: {FLOW: {class: namespace, actions: [VIEW]}}\nrelations: {KV: {inherited: true}}\n",
    "acme/reach.csv": b"p, acme, a, b, KV, allow\np, acme, **, b, KV, deny\n",
}


def test_an_explanation_says_that_the_first_row_decides() -> None:
    """Here an allow comes before a matching deny, which cannot happen on the access plane."""
    told = {
        caller: reach_summary(
            explain_reach(snapshot_of(FILES, "acme"), ReachQuestion(Namespace(caller), Namespace("b"), Word("KV")))
        ).splitlines()[0]
        for caller in ("a", "c", "b.in")
    }
    assert {
        "a": "work in a of acme may use b by KV: ALLOWED_BY_RULE (the first matching row allows)",
        "c": "work in c of acme may not use b by KV: DENIED_BY_RULE (the first matching row denies)",
        "b.in": "work in b.in of acme may not use b by KV: DENIED_BY_RULE (the first matching row denies)",
    } == told
