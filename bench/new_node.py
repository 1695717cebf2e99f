"""What a new node reads of a tenant whose rows of run time have a long history. See bench/README.md."""

import argparse
import logging
import resource
import shutil
import sys
import time
from contextlib import closing
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from sqlalchemy import func, select

from bench import machine, table
from bench.imports import published
from bench.servers import scratch
from remit.core.names import Tenant
from remit.core.runtime import parse_runtime_row
from remit.fleet.bindings import BindingChange, RowKey
from remit.fleet.change import ChangeKind
from remit.fleet.journal import ReleaseJournal
from remit.fleet.puller import Puller
from remit.fleet.schema.tables import changes
from remit.fleet.store import PolicyStore
from remit.fleet.trust import Trust
from remit.fleet.writes import append_change, apply_change
from tests.tools.faults.postgresql import OwnServer

_ACME: Final = Tenant("acme")
_CHANGES: Final = 100_000
_IN_FORCE: Final = 1_000
_NEWER: Final = 100
_A_TRANSACTION: Final = 1_000
_MOST_BYTES: Final = 2**30


class Pulled(NamedTuple):
    seconds: float
    mib: float
    """Most memory of the process, less what it had before."""


def grow(store: PolicyStore, first: int, count: int) -> None:
    """Adds changes: each grants a row, and takes back the one that was granted _IN_FORCE changes before."""
    for begin in range(first, first + count, _A_TRANSACTION):
        with store.engine.begin() as connection:
            for number in range(begin, min(begin + _A_TRANSACTION, first + count)):
                row = parse_runtime_row(f"user:u{number:07}@example.com", "role:viewer", f"a.n{number % 500}.**")
                old = parse_runtime_row(
                    f"user:u{number - _IN_FORCE:07}@example.com", "role:viewer", f"a.n{(number - _IN_FORCE) % 500}.**"
                )
                gone = (RowKey.of(old),) if number >= _IN_FORCE else ()
                change = BindingChange((row,), gone, granter="user:alice", reason="on call")
                time_us = time.time_ns() // 1000
                head = append_change(
                    connection, _ACME, time_us, ChangeKind.BINDINGS, "service:admin", change.body, f"request-{number}"
                )
                apply_change(connection, _ACME, change, head.seq)


def pull(url: str, folder: Path, answer: Connection) -> None:
    """Runs in a process of its own: what a node does with the store when it starts."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    journal = ReleaseJournal(folder)
    journal.begin()
    with PolicyStore(url, timeout_s=60) as store:
        began = time.perf_counter()
        puller = Puller(
            store, journal, node=folder.name, version="0", trust=Trust(), poll_s=1.0, most_bytes=_MOST_BYTES
        )
        puller.first()
        took = time.perf_counter() - began
    journal.end()
    answer.send(Pulled(took, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def pulled(url: str, folder: Path) -> Pulled:
    context = get_context("spawn")
    answers, answer = context.Pipe(duplex=False)
    process = context.Process(target=pull, args=(url, folder, answer))
    process.start()
    answer.close()
    found: Pulled = answers.recv()
    process.join()
    return found


def stored(store: PolicyStore, after: int) -> tuple[int, int]:
    """The changes after this number, and the bytes of their columns."""
    columns = changes.c
    texts = [columns.tenant, columns.kind, columns.caller, columns.body, columns.request_id, columns.key_id]
    lengths = [func.length(each) for each in (*texts, columns.hash, columns.signature)]
    # Two columns are numbers of eight bytes.
    size = func.coalesce(func.sum(sum(lengths[1:], lengths[0]) + 16), 0)
    with store.reading() as connection:
        count, total = connection.execute(select(func.count(), size).where(columns.seq > after)).one()
        return count, int(total)


def measure(url: str, count: int, folder: Path) -> list[list[str]]:
    published(url)
    rows = []

    def row(what: str, after: int, found: Pulled) -> None:
        number, size = stored(store, after)
        rows.append([what, f"{number:,}", f"{size / 2**20:.1f} MiB", f"{found.seconds:.2f} s", f"{found.mib:.0f} MiB"])

    with PolicyStore(url, timeout_s=60) as store:
        grow(store, 0, count)
        row("a new node", 0, pulled(url, folder / "first"))
        head, _ = store.bindings(_ACME)
        grow(store, count, _NEWER)
        shutil.copytree(folder / "first", folder / "copied", symlinks=True, ignore=copied_not)
        row("a new node with the directory of another", head.seq, pulled(url, folder / "copied"))
    return rows


def copied_not(_folder: str, names: list[str]) -> list[str]:
    """What names the server that the directory is from, and what is no file."""
    return [name for name in names if name in {"instance", "wanted", ".lock"}]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=_CHANGES)
    parser.add_argument("--sqlite", action="store_true", help="in place of PostgreSQL")
    options = parser.parse_args()
    print(f"machine: {machine.describe()}\n{machine.quietness()}\n")
    with scratch("new-node") as made:
        if options.sqlite:
            found = measure(f"sqlite:///{made / 'policy.db'}", options.changes, made)
        else:
            with closing(OwnServer()) as server:
                found = measure(server.url, options.changes, made)
    title = f"{options.changes:,} changes, {min(options.changes, _IN_FORCE):,} rows in force"
    table.show([title, "changes read", "their size", "until the node has them", "memory"], found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
