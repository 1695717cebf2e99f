"""What a decision of a batch costs, stage by stage, in one thread of one process. See bench/README.md for the method."""

import gc
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final, TypeVar

from bench import example, machine, table
from bench.servers import BENCH, scratch
from remit import wire
from remit.audit.append.rollup import counted
from remit.audit.batch import RecordBatch
from remit.audit.chain.chain import DECISIONS, ChainId, genesis, link_decisions
from remit.audit.ids import DecisionIds
from remit.audit.journal.journal import Journal
from remit.audit.store.store import AuditStore
from remit.core.names import Tenant
from remit.policy.live import LivePolicies, TenantPolicy, TenantState
from remit.policy.load import load_tree
from remit.rpc.query_servicer import results_in
from remit.service.decision_point import AskedQuestion, CallOrigin, CallTerms, DecisionPoint
from remit.service.metrics import Metrics
from remit.v1 import access_service_pb2 as access

_CALLS_A_COMMIT: Final = (1, 4, 32)
_ROUNDS: Final = 60
_NODE: Final = "node-1"
_TENANT: Final = Tenant("acme")
_TERMS: Final = CallTerms(CallOrigin("anonymous"))

_Done = TypeVar("_Done")


class Stages:
    """Microseconds of a core that each stage takes, by decision."""

    def __init__(self) -> None:
        self._taken: defaultdict[str, list[float]] = defaultdict(list)

    def time(self, stage: str, decisions: int, do: Callable[..., _Done], *of: Any) -> _Done:
        began = time.thread_time_ns()
        done = do(*of)
        self._taken[stage].append((time.thread_time_ns() - began) / 1000 / decisions)
        return done

    @property
    def medians(self) -> dict[str, float]:
        return {stage: statistics.median(taken) for stage, taken in self._taken.items()}


def measure(point: DecisionPoint, store: AuditStore, calls: int) -> dict[str, float]:
    """By stage, where that many calls share a commit."""
    stages = Stages()
    chain = genesis(ChainId(DECISIONS, _TENANT, _NODE))
    for _ in range(_ROUNDS):
        records = RecordBatch.joined([_answered(point, stages) for _ in range(calls)])
        number = len(records)
        stages.time("link: the text of each record, and SHA-256", number, link_decisions, records.calls, chain)
        stages.time("count, by hour", number, counted, records)
        stages.time("insert and commit", number, store.append, records)
    found = stages.medians
    # It links and counts them too.
    found["insert and commit"] -= found["link: the text of each record, and SHA-256"] + found["count, by hour"]
    return found


def _answered(point: DecisionPoint, stages: Stages) -> RecordBatch:
    """The records of one call."""
    message, number = example.remit_batch().message, example.BATCH
    request = stages.time("parse the message", number, access.BatchCheckRequest.FromString, message)

    def items() -> list[AskedQuestion]:
        return [wire.question_from(question, request.principal) for question in request.questions]

    asked = stages.time("read the names", number, items)
    held = stages.time("decide, and make the record", number, point.batch, _TENANT, asked, _TERMS)
    answer = access.BatchCheckResponse
    stages.time("write the answer", number, lambda: results_in(answer, held.answer).SerializeToString())
    return held.records


def example_cell() -> LivePolicies:
    live = LivePolicies()
    snapshot = load_tree(BENCH / "example").tenants[_TENANT].snapshot
    live.put(TenantPolicy(_TENANT, TenantState.SERVING, 0, snapshot))
    return live


def main() -> int:
    print(f"machine: {machine.describe()}")
    print(f"{machine.quietness()}\n")
    with scratch("batch") as folder, AuditStore(f"sqlite:///{folder / 'audit.db'}") as store:
        store.migrate()
        journal = Journal(store)
        point = DecisionPoint(_NODE, example_cell(), journal, DecisionIds(), Metrics(), revision_wait_s=1.0)
        gc.collect()
        gc.freeze()
        found = {calls: measure(point, store, calls) for calls in _CALLS_A_COMMIT}
        journal.close()
    rows = [[stage, *(f"{of[stage]:.2f}" for of in found.values())] for stage in found[1]]
    rows.append(["all of these", *(f"{sum(of.values()):.2f}" for of in found.values())])
    rows.append(
        ["decisions a second, if there were nothing else", *(f"{1e6 / sum(of.values()):,.0f}" for of in found.values())]
    )
    table.show(["us of a core a decision", *(f"{calls} calls a commit" for calls in found)], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
