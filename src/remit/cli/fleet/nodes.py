import time
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import typer

from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, err, fail, out, styled
from remit.cli.common.table import Cell, print_table
from remit.cli.fleet.store_option import StoreOption, opened
from remit.fleet.node_report import KnownNode
from remit.fleet.release import Release
from remit.fleet.store import PolicyStore

_LOOK_S = 0.5
_HASH_SHOWN = 12


def nodes(
    policy_store: StoreOption = None,
    wait: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Wait so long at most until all nodes serve the newest release."),
    ] = 0.0,
    forget: Annotated[
        str | None,
        typer.Option(metavar="NODE", help="Remove a node that is gone for good.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what every node of a fleet serves, how old that is, and whether all serve the newest release.

    Exits 1 unless they do, and if there is none. A node that has not reported for 30 seconds and did not say that it stops counts as one that does
    not; --forget removes it.

    Example: `remit nodes --policy-store sqlite:///var/policy.db --wait 30`
    """
    with opened(policy_store, "--policy-store") as store:
        if forget is not None and not store.forget(forget):
            fail(Exit.NO, f"there is no node `{forget}`")
        fleet = _look(store)
        ends_at = time.monotonic() + wait
        while not fleet.converged and time.monotonic() < ends_at:
            time.sleep(_LOOK_S)
            fleet = _look(store)
    if as_json:
        seq, hash_ = (fleet.newest.seq, fleet.newest.hash) if fleet.newest is not None else (0, "")
        rows = [_plain(each) for each in fleet.nodes]
        print_json({"newest": seq, "hash": hash_, "converged": fleet.converged, "nodes": rows})
    else:
        _print(fleet)
    raise typer.Exit(Exit.OK if fleet.converged else Exit.NO)


class _Fleet(NamedTuple):
    newest: Release | None
    nodes: Sequence[KnownNode]
    behind: Sequence[KnownNode]
    """The nodes that should serve the newest release, and do not."""

    @property
    def running(self) -> int:
        return sum(not each.stopped for each in self.nodes)

    @property
    def converged(self) -> bool:
        return self.running > 0 and not self.behind


def _look(store: PolicyStore) -> _Fleet:
    signed, found = store.newest(), store.nodes()
    if signed is None:
        return _Fleet(None, found, [each for each in found if not each.stopped])
    place = signed.release.seq, signed.release.hash
    return _Fleet(
        signed.release,
        found,
        [each for each in found if not each.stopped and not (each.is_live and each.serves(*place))],
    )


def _plain(node: KnownNode) -> dict[str, Any]:
    fields = node._asdict()
    return {"release": fields.pop("seq"), **fields, "formats": sorted(node.formats), "live": node.is_live}


def _print(fleet: _Fleet) -> None:
    newest = fleet.newest
    if newest is None:
        err.print("nothing was published yet", style="red")
        return
    rows: list[Sequence[Cell]] = []
    for each in fleet.nodes:
        name, colour = _state(each, fleet.behind)
        cells = (each.node, styled((name, colour)), str(each.seq), each.hash[:_HASH_SHOWN], f"{each.age_s:.1f}")
        rows.append((*cells, each.mode, each.version, each.behind))
    print_table(
        ("node", "state", "release", "hash", "age s", "news by", "version", "note"), rows, numbers=("release", "age s")
    )
    text = f"release {newest.seq} ({newest.hash[:_HASH_SHOWN]}) by {newest.publisher}: "
    if fleet.converged:
        out.print(
            f"{text}all {fleet.running} nodes serve it" if fleet.running > 1 else f"{text}the only node serves it"
        )
    else:
        told = f"{len(fleet.behind)} of {fleet.running} nodes do not serve it" if fleet.running else "no node runs"
        err.print(text + told, style="red")


def _state(node: KnownNode, behind: Sequence[KnownNode]) -> tuple[str, str]:
    if node.stopped:
        return "STOPPED", "bright_black"
    if not node.is_live:
        return "SILENT", "red"
    return ("BEHIND", "yellow") if node in behind else ("SERVING", "green")
