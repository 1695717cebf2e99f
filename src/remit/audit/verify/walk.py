from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any

from remit.audit.chain.chain import ChainId, Row
from remit.audit.verify.chain_walk import ChainWalk, Run
from remit.audit.verify.encoding import ENCODINGS, UNENCODABLE, raw_record

Batches = Iterable[Sequence[Row]]
"""Rows with the columns in the order of their table."""

Progress = Callable[[int, int], None]
"""Receives the number of records done and the total."""


class Meter:
    """Counts the records done and reports progress."""

    def __init__(self, expected: int, progress: Progress | None) -> None:
        self._expected = expected
        self._progress = progress
        self._done = 0

    def advance(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, max(self._done, self._expected))


def walk(table: str, batches: Batches, chain_of: Callable[[ChainId], ChainWalk], meter: Meter) -> None:
    """Passes every row of a table to the walk of its chain."""
    encoding = ENCODINGS[table]
    lines, tenant, node = encoding.lines, encoding.tenant, encoding.node
    # The run that each chain extended last. Nearly every record extends it, and then nothing else is read.
    running: dict[tuple[Any, Any], Run] = {}
    for batch in batches:
        for row in batch:
            key = row[tenant], row[node]
            run = running.get(key)
            if run is not None and row[-2] == run.next != run.stop:
                try:
                    hash_ = sha256(f"{run.hex}\n{run.next}\n{lines(row)}".encode()).digest()
                except UNENCODABLE:
                    pass
                else:
                    if hash_ == row[-1]:
                        run.next += 1
                        run.hex = hash_.hex()
                        continue
            running[key] = chain_of(ChainId(table, *key)).take(raw_record(row, encoding))
        meter.advance(len(batch))
