"""Records put to a candidate."""

from itertools import permutations

import pytest
from support import runtime
from support.trees import snapshot_of

from remit.audit.record import DecisionRecord
from remit.core.names import Subject, Tenant
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.question import parse_question
from remit.core.rows import Effect, Link
from remit.core.runtime import RuntimeRow
from remit.engine.snapshot import Snapshot
from remit.policy.read.limits import Limits
from remit.policy.revisions.archive import RevisionNotStoredError, pack
from remit.policy.revisions.runtime_archive import RuntimeArchive
from remit.service.shadow.past_rows import PastRows
from remit.service.shadow.replay import Replay

ACME = Tenant("acme")

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


class Archives(dict[str, RuntimeArchive]):
    """The archives of revisions. One that is not among them is of files alone; `away` is not stored now."""

    away = ""

    def __call__(self, _: Tenant, revision: str) -> bytes:
        if revision == self.away:
            raise RevisionNotStoredError(revision)
        return self[revision].content if revision in self else pack({"vocabulary.yaml": b""})


def granted(name: str, holds: str = "role:viewer", scope: str = "a.**") -> Link:
    where = NamespacePattern.parse(scope) if scope else EVERYWHERE
    return RuntimeRow(Subject(f"user:{name}"), Subject(holds), where).link(ACME, 2)


ZOE, ANN, OUT = granted("zoe"), granted("ann", "role:editor"), granted("bert", "group:suspended", "")
STORED = Archives(
    first=RuntimeArchive("files", "", (ZOE, OUT), ()),
    second=RuntimeArchive("files", "first", (ANN,), (ZOE,)),
    third=RuntimeArchive("files", "second", (ZOE,), (OUT,)),
    whole=RuntimeArchive("files", "", (ZOE, ANN), ()),
)


@pytest.mark.parametrize(
    ("opens", "closed"),
    [
        (runtime.RUNTIME, set()),
        (runtime.RUNTIME.replace(b"role:viewer, ", b""), {"zoe"}),
        (b"{}", {"zoe", "ann", "bert"}),
    ],
)
def test_rows_of_each_revision_count_that_the_candidate_opens(opens: bytes, closed: set[str]) -> None:
    candidate = snapshot_of(runtime.files(runtime=opens), "acme")
    expected: dict[str, set[str]] = {
        "files": set(),
        "first": {"zoe", "bert"},
        "second": {"ann", "bert"},
        "third": {"zoe", "ann"},
    }
    expected["whole"] = expected["third"]

    def counting(policy: Snapshot | None) -> set[str]:
        assert policy is not None
        asked = ((name, parse_question(f"user:{name}", "VIEW", "FLOW", "a.x")) for name in ("zoe", "ann", "bert"))
        allowed = {name for name, question in asked if policy.decide(question).effect is Effect.ALLOW}
        return allowed ^ {"bert"}

    for order in permutations(expected):
        rows = PastRows(STORED, Limits())
        for revision in order:
            assert expected[revision] - closed == counting(rows.over(candidate, revision))


def test_rows_that_are_not_stored_are_unknown_until_they_are() -> None:
    candidate = snapshot_of(runtime.files(), "acme")
    archives = Archives(STORED)
    rows = PastRows(archives, Limits())
    archives.away = "first"
    assert rows.over(candidate, "second") is None
    assert rows.over(candidate, "whole") is not None

    archives.away = ""
    assert rows.over(candidate, "second") is None
    rows.try_again()
    assert rows.over(candidate, "second") is not None


def test_replay_counts_changes_past_its_limit_together() -> None:
    """Questions that were counted separately before are still counted separately."""
    candidate = Replay({ACME: snapshot_of(FILES, "acme")}, PastRows(Archives(), Limits()), 2)

    candidate.run(record(number, namespace) for number, namespace in enumerate(("a", "a.b", "a.c", "a.b", "b")))

    assert (5, 4) == (candidate.total.decided, candidate.total.differing)
    assert [("a.b", 2), ("a", 1)] == [(each.namespace, each.records) for each in candidate.changes]
