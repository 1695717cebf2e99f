"""A record with its grounds, and answers of the past: what the API and the command line tell alike."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from remit.audit.reading import Reading
from remit.audit.record import DecisionRecord, Place
from remit.audit.serving import Served
from remit.core.errors import MalformedQuestionError, violation
from remit.core.names import Tenant
from remit.core.question import Question, ReachQuestion
from remit.policy.archive import NotKeptError
from remit.policy.past import Why

Explain = Callable[[Tenant, str, Question | ReachQuestion], Why]
"""From a tenant, a revision and a question to the grounds of the answer."""

ANSWERS: Final = 8
"""Revisions at one time that are told of together."""


@dataclass(frozen=True, slots=True)
class PastAnswer:
    revision: str
    """Empty where the tenant did not exist."""
    nodes: tuple[Served, ...]
    """Who served it then; none where it was named."""
    why: Why


@dataclass(frozen=True, slots=True)
class Shown:
    """A record, where it stands, and why it says what it says."""

    record: DecisionRecord
    place: Place
    why: Why | None
    unexplained: str
    """Why there are no grounds."""

    @property
    def agrees(self) -> bool:
        """Whether the files of the recorded revision decide as the record says."""
        record = self.record
        return self.why is not None and self.why.decision.recorded == (record.effect, record.reason, record.rule)


def show(store: Reading, record: DecisionRecord, explain: Explain) -> Shown:
    """Raises AuditStoreError, and what `explain` raises where the grounds are there and not to be had now."""
    place = store.place(record.id) or Place(0, b"", 0)
    try:
        question = record.asked
        if question is None:
            why = "its principal is redacted" if record.nameless else "its answer is more than one decision"
            return Shown(record, place, None, why)
        return Shown(record, place, explain(Tenant(record.asked_tenant), record.revision, question), "")
    except MalformedQuestionError as error:
        return Shown(record, place, None, f"what it says was asked is no question: {error}")
    except NotKeptError as error:
        return Shown(record, place, None, str(error))


def answers_at(
    store: Reading,
    tenant: Tenant,
    question: Question | ReachQuestion,
    time_us: int,
    *,
    node: str,
    explain: Explain,
) -> list[PastAnswer]:
    """By each revision that served at that time, on `node` alone where it is named, the newest first; none where no
    node served the tenant.

    Raises MalformedQuestionError, NotKeptError, and as `show`.
    """
    by_revision: defaultdict[str, list[Served]] = defaultdict(list)
    for served in store.serving(tenant, time_us, node or None):
        by_revision[served.revision].append(served)
    if len(by_revision) > ANSWERS:
        raise violation("node", f"is missing: {len(by_revision)} revisions served at that time")
    return [
        PastAnswer(revision, tuple(nodes), explain(tenant, revision, question))
        for revision, nodes in by_revision.items()
    ]
