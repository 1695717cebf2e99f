"""`remit serve` with a mistake, to show that the checker of a fleet's histories finds it. The first argument names it."""

import sys
import time
from pathlib import Path
from typing import Any

from remit.audit.chain.chain import Head
from remit.cli.main import main
from remit.core.position import Position
from remit.core.runtime import RuntimeRow
from remit.fleet import history
from remit.fleet.binding_log import BindingLog, NewChanges
from remit.fleet.hints import Hints
from remit.fleet.writes import TenantWrite
from remit.policy.live import LivePolicies
from remit.service.reload.overlays import Overlays
from remit.service.reload.swap import PolicySwap

sys.path.append(str(Path(__file__).parents[1]))
from tools.faults.launcher import Orders


def never_polls() -> None:
    """Waits for a notification, and does not look without one."""
    wait = Hints.wait
    Hints.wait = lambda hints, _: wait(hints, 3600.0)  # type: ignore[method-assign]


def ignores_forks() -> None:
    """Takes what the store has for what follows its own history."""
    history._fork = lambda *_: ""


def orders_by_number() -> None:
    """Takes a position for its number: what is of another history is as good."""
    LivePolicies._reaches = lambda _, position, wanted: position is not None and position.seq >= wanted.seq


def looked_lately() -> None:
    """Takes a look into the store within the last second for proof of any position."""
    reaches = LivePolicies._reaches

    def debounced(live: LivePolicies, position: Position | None, wanted: Position) -> bool:
        looked_s = time.time() - Path("var/releases/checked").stat().st_mtime
        return looked_s < 1 or reaches(live, position, wanted)

    LivePolicies._reaches = debounced


def places_too_soon() -> None:
    """Gives a new position to the policy that served before."""

    def placed(swap: PolicySwap, tenant: Any, snapshot: Any) -> Any:
        _, position = swap._positions.get(tenant, ("", None))
        return snapshot if snapshot is None else snapshot.at(position)

    PolicySwap._placed = placed


def never_ends() -> None:
    """Rows of run time count for ever."""
    RuntimeRow.counts = lambda *_: True  # type: ignore[method-assign]
    Overlays.ended = lambda _: []  # type: ignore[method-assign]


def repeats_requests() -> None:
    """Takes a request that was sent again for a new one."""
    commit = TenantWrite.commit
    TenantWrite.made_by = lambda *_: None  # type: ignore[method-assign]
    TenantWrite.commit = lambda write, change, caller, _: commit(write, change, caller)  # type: ignore[method-assign, misc]


def forgets_lost_rows() -> None:
    """Takes rows of run time that were lost on its disk for none."""
    read = BindingLog.read

    def found(log: BindingLog, last: Head) -> NewChanges:
        try:
            return read(log, last)
        except ValueError:
            return NewChanges([], anew=True)

    BindingLog.read = found  # type: ignore[method-assign]


def mixes_releases() -> None:
    """Serves new rows of run time over the files of an older release."""
    PolicySwap._is_ready = lambda *_: True


MUTANTS = {
    each.__name__: each
    for each in (
        never_polls,
        ignores_forks,
        orders_by_number,
        looked_lately,
        places_too_soon,
        never_ends,
        repeats_requests,
        forgets_lost_rows,
        mixes_releases,
    )
}

if __name__ == "__main__":
    MUTANTS[sys.argv.pop(1)]()
    Orders()
    main()
