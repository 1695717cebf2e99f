"""Records put to a candidate."""

from support.trees import snapshot_of

from remit.audit.record import DecisionRecord
from remit.core.names import Tenant
from remit.service.shadow.replay import Replay

FILES = {
    "vocabulary.yaml": b"kinds:\n  FLOW: {class: namespace, actions: [VIEW]}\n",
    "acme/roles.csv": b"p, user:bob, acme, a.**, FLOW, VIEW, allow\n",
}


def record(number: int, namespace: str) -> DecisionRecord:
    """A deny of what the candidate allows."""
    columns = {
        "id": bytes([number]),
        "tenant": "acme",
        "principal": "user:bob",
        "action": "VIEW",
        "kind": "FLOW",
        "namespace": namespace,
        "effect": "deny",
        "reason": "NO_BINDING",
        "question": "CHECK",
    }
    other = {name: 0 if name.endswith(("_us", "_ns", "index")) else "" for name in DecisionRecord._fields}
    return DecisionRecord(**{**other, **columns})


def test_replay_counts_changes_past_its_limit_together() -> None:
    """Questions that were counted separately before are still counted separately."""
    candidate = Replay({Tenant("acme"): snapshot_of(FILES, "acme")}, 2)

    candidate.run(record(number, namespace) for number, namespace in enumerate(("a", "a.b", "a.c", "a.b", "b")))

    assert (5, 4) == (candidate.total.decided, candidate.total.differing)
    assert [("a.b", 2), ("a", 1)] == [(each.namespace, each.records) for each in candidate.changes]
