"""How fast the audit is verified, and exported, on one core. See bench/README.md for the method."""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench import machine, table
from bench.servers import scratch
from remit.audit.chain.signing import Checkpoint, PublicKey, SigningKey, public_file, signed
from remit.audit.export.export import Export
from remit.audit.export.formats import JSONL, PARQUET
from remit.audit.export.proof import lifecycle_of, proof_of
from remit.audit.export.verify import find_export, verify_export
from remit.audit.ids import DecisionIds
from remit.audit.record import DecisionRecord
from remit.audit.store import checkpoints
from remit.audit.store.store import AuditStore
from remit.audit.verify.store import verify_store

AIM = 100_000
"""Records a second."""
_TENANTS = ("acme", "globex", "initech", "umbrella")
_NODES = ("node-1", "node-2")
_COMMIT = 4_000
_IN_FLIGHT = 16
_SIGNED_EVERY = 15


def fill(path: Path, count: int, key: SigningKey) -> None:
    """Decisions as two nodes would write them: calls of one and of ten, some of those in flight at one time out of order."""
    rng = random.Random(1)
    now_ns = [1_790_000_000_000_000_000]
    ids = DecisionIds(lambda: now_ns[0], rng)
    with AuditStore(f"sqlite:///{path}") as store:
        store.migrate()
        store.open()
        for commit in range(-(-count // _COMMIT)):
            records: list[DecisionRecord] = []
            while len(records) < min(_COMMIT, count - commit * _COMMIT):
                now_ns[0] += 1_000_000
                records += call(rng, ids, rng.choice((1, 1, 1, 10)))
            records = records[: min(_COMMIT, count - commit * _COMMIT)]
            # A server of one process hardly ever commits out of order: this is more than it does.
            for start in range(0, len(records), 10 * _IN_FLIGHT):
                some = records[start : start + _IN_FLIGHT]
                rng.shuffle(some)
                records[start : start + _IN_FLIGHT] = some
            store.append(records)
            if commit % _SIGNED_EVERY == 0:
                sign(store, key, now_ns[0] // 1000)
        sign(store, key, now_ns[0] // 1000)


def call(rng: random.Random, ids: DecisionIds, questions: int) -> Iterator[DecisionRecord]:
    time_us, (call_id, *decision_ids) = ids.stamp(questions + 1)
    tenant, node = rng.choice(_TENANTS), rng.choice(_NODES)
    for position, id_ in enumerate(decision_ids):
        yield DecisionRecord(
            id=id_,
            time_us=time_us,
            node=node,
            caller="orchestrator",
            on_behalf_of="",
            tenant=tenant,
            namespace=rng.choice((f"{tenant}.finance.payroll", f"{tenant}.data.etl", f"{tenant}.people")),
            principal=f"user:{rng.randrange(2_000)}",
            action="VIEW",
            kind="FLOW",
            resource_id=f"flow-{rng.randrange(1_000)}",
            effect="allow",
            reason="ALLOWED_BY_RULE",
            rule=f"{tenant}/roles.csv:14",
            revision="5e" * 32,
            latency_ns=rng.randrange(1_000, 9_000),
            call_id=call_id,
            batch_index=position if questions > 1 else -1,
            trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        )


def sign(store: AuditStore, key: SigningKey, now_us: int) -> None:
    made = [
        signed(Checkpoint(*chain, *head, *before, now_us), key)
        for chain, head in checkpoints.heads(store)
        if head != (before := checkpoints.newest(store, chain))
    ]
    checkpoints.keep(store, made)


def verify(folder: Path) -> int:
    return _verify(folder, counts=False)


def verify_counts(folder: Path) -> int:
    return _verify(folder, counts=True)


def _verify(folder: Path, *, counts: bool) -> int:
    with AuditStore(f"sqlite:///{folder / 'audit.db'}").open() as store, store.snapshot() as snapshot:
        report = verify_store([snapshot], keys=[_public(folder)], counts=counts)
    assert not report.findings, report.findings
    return report.records


def _export(folder: Path, format_: str) -> int:
    out = folder / f"acme.{format_}"
    for path in (out, lifecycle_of(out), proof_of(out)):
        path.unlink(missing_ok=True)
    with AuditStore(f"sqlite:///{folder / 'audit.db'}").open() as store, store.snapshot() as snapshot:
        report = Export(snapshots=[snapshot], tenant=_TENANTS[0], out=out, format_=format_).run()
    assert not report.findings, report.findings
    return report.records


def _verify_export(folder: Path, format_: str) -> int:
    report = verify_export(find_export(folder / f"acme.{format_}"), keys=[_public(folder)])
    assert not report.findings, report.findings
    return report.records


def _public(folder: Path) -> PublicKey:
    return PublicKey.read(public_file(folder / "audit.pem"))


MEASURED: dict[str, Callable[[Path], int]] = {
    "verify a store": verify,
    "verify a store, its counts too": verify_counts,
    "export of a tenant, JSON lines": partial(_export, format_=JSONL),
    "verify it": partial(_verify_export, format_=JSONL),
    "export of a tenant, Parquet": partial(_export, format_=PARQUET),
    "verify that": partial(_verify_export, format_=PARQUET),
}


def measure(what: str, folder: Path) -> None:
    """In a process of its own, on one core: prints records, seconds, seconds of the core and the peak of memory in MiB."""
    os.sched_setaffinity(0, {machine.cores()[0]})
    began, worked = time.perf_counter(), time.process_time()
    records = MEASURED[what](folder)
    seconds, core = time.perf_counter() - began, time.process_time() - worked
    print(json.dumps([records, seconds, core, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def show(folder: Path, rounds: int) -> None:
    rows = []
    for what in MEASURED:
        command = [sys.executable, "-m", "bench.audit_verify", "--measure", what, str(folder)]
        runs = [json.loads(subprocess.check_output(command)) for _ in range(rounds)]
        rate = statistics.median(records / core for records, _, core, _ in runs)
        wall = statistics.median(records / seconds for records, seconds, _, _ in runs)
        aim = [f">= {AIM:,}", table.target(rate >= AIM)] if what == "verify a store" else ["", ""]
        peak = max(peak for *_, peak in runs)
        rows.append([what, f"{runs[0][0]:,}", aim[0], f"{rate:,.0f}", f"{wall:,.0f}", f"{peak:.0f}", aim[1]])
    headings = ["", "records", "target", "a second of a core", "a second", "peak MiB", ""]
    table.show(headings, rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure[0], Path(arguments.measure[1]))
        return 0
    print(f"machine: {machine.describe()}")
    print(f"{machine.quietness()}\n")
    with scratch("audit-verify") as folder:
        began = time.perf_counter()
        fill(folder / "audit.db", arguments.records, SigningKey.new(folder / "audit.pem"))
        size = (folder / "audit.db").stat().st_size / arguments.records
        print(f"{arguments.records:,} records of {size:.0f} bytes, made in {time.perf_counter() - began:.0f} s\n")
        show(folder, arguments.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
