"""What an explanation says of words that the vocabulary does not declare."""

import pytest
from support.trees import snapshot_of

from remit.core.names import Namespace, Word
from remit.core.question import ReachQuestion, parse_question
from remit.engine.explain.access import explain
from remit.engine.explain.reach import explain_reach

VOCABULARY = b"""\
kinds:
  PAYMENT: {class: namespace, actions: [VIEW, CREATE, APPROVE]}
  USER: {class: tenant, actions: [VIEW]}
  TENANT: {class: instance, actions: [VIEW]}
relations: {FEED: {}, KV: {inherited: true}}
"""
SNAPSHOT = snapshot_of({"vocabulary.yaml": VOCABULARY, "retail/roles.csv": b""}, "retail")
NO_ROW = "no row helps: "


@pytest.mark.parametrize(
    ("action", "kind", "expected"),
    [
        (
            "CREAT",
            "PAYMENT",
            "the kind has no such action; did you mean `CREATE`? there are `APPROVE`, `CREATE`, `VIEW`",
        ),
        (
            "create",
            "PAYMENT",
            "the kind has no such action; did you mean `CREATE`? there are `APPROVE`, `CREATE`, `VIEW`",
        ),
        ("BURN", "PAYMENT", "the kind has no such action; there are `APPROVE`, `CREATE`, `VIEW`"),
        ("EDIT", "USER", "the kind has no such action; there is `VIEW`"),
        (
            "VIEW",
            "PAYMNET",
            "the vocabulary declares no such kind; did you mean `PAYMENT`? there are `PAYMENT`, `USER`",
        ),
        (
            "PAYMENT",
            "CREATE",
            "the vocabulary declares no such kind; `PAYMENT` is a kind: did you swap action and kind?",
        ),
    ],
    ids=range(6),
)
def test_unknown_word_is_reported_with_similar_ones(action: str, kind: str, expected: str) -> None:
    """And with what there is on this side of the instance wall."""
    remedy = explain(SNAPSHOT, parse_question("user:ann", action, kind, "retail.loans")).remedy
    assert remedy is not None
    assert NO_ROW + expected == remedy.instead


def test_unknown_relation_is_reported_with_similar_ones() -> None:
    remedy = explain_reach(SNAPSHOT, ReachQuestion(Namespace("a"), Namespace("b"), Word("FEDE"))).remedy
    assert remedy is not None
    assert (
        f"{NO_ROW}the vocabulary declares no such relation; did you mean `FEED`? there are `FEED`, `KV`"
        == remedy.instead
    )
