import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any, Final

from remit.audit.ids import format_id
from remit.audit.store.shards import ShardedStore
from remit.audit.verify.store import verify_store
from remit.pytest_plugin.server_process import DEADLINE_S

_LOOK_EVERY_S: Final = 0.005


class BrokenPromiseError(Exception):
    """remit did not keep a promise."""


def until(holds: Callable[[], Any], what: str) -> None:
    """Waits for a condition. Raises BrokenPromiseError if it is still false after `DEADLINE_S`."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        if time.monotonic() > deadline:
            raise BrokenPromiseError(f"not in {DEADLINE_S:g} s: {what}")
        time.sleep(_LOOK_EVERY_S)


def expect(what: str, *, holds: bool) -> None:
    if not holds:
        raise BrokenPromiseError(what)


def expect_kept(audit: str, acknowledged: AbstractSet[bytes]) -> None:
    """Checks that the store holds every acknowledged decision exactly once, and that its chains and counts verify."""
    with ShardedStore(audit).open() as stores:
        found = Counter(record.id for record in stores.all_decisions())
        with stores.snapshots() as snapshots:
            report = verify_store(snapshots, counts=True)
    lost = sorted(acknowledged - found.keys())
    expect(f"{len(lost)} of {len(acknowledged)} acknowledged decisions are lost: {_ids_text(lost)}", holds=not lost)
    twice = sorted(id_ for id_, times in found.items() if times > 1)
    expect(f"{len(twice)} decisions are there twice: {_ids_text(twice)}", holds=not twice)
    findings = [f"{each.kind} {each.text}" for each in report.findings[:3]]
    expect(f"the audit does not verify: {'; '.join(findings)}", holds=not findings)


def _ids_text(ids: list[bytes]) -> str:
    return ", ".join(map(format_id, ids[:3])) + ("..." if len(ids) > 3 else "")
