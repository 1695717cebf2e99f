from collections.abc import Sequence

import typer

from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, fail, out, styled
from remit.cli.common.server_options import DEFAULT_SERVER, Connection, ServerOption, with_connection
from remit.cli.common.table import Cell, print_table
from remit.client import DecisionUnavailable
from remit.clock import utc_text
from remit.v1 import status_service_pb2 as messages

_STATES = {
    messages.TENANT_STATE_SERVING: "green",
    messages.TENANT_STATE_STALE: "yellow",
    messages.TENANT_STATE_UNAVAILABLE: "red",
    messages.TENANT_STATE_PINNED: "yellow",
}


@with_connection(5.0)
def status(
    target: ServerOption = DEFAULT_SERVER,
    as_json: JsonOption = False,
    *,
    connection: Connection,
) -> None:
    """Show what a running server serves: each tenant's revision and state, and the audit store.

    If there are several workers, one answers and reports the state of all. Exits 1 if a tenant does not serve its
    newest files or the newest release, the newest identities do not load, the policy store fails, the audit store takes
    no records, records wait in the spool, a worker does not serve, or workers serve different policies.

    Example: `remit status --target 127.0.0.1:9090`
    """
    try:
        with connection.client(target) as client:
            response = client.status()
    except DecisionUnavailable as error:
        fail(Exit.UNAVAILABLE, str(error))
    if as_json:
        print_json(response)
    else:
        _print(response)
    well = not response.HasField("audit") or (response.audit.healthy and not response.audit.spool.spooling)
    well = well and all(each.state == messages.TENANT_STATE_SERVING for each in response.tenants)
    well = well and all(each.serving and not each.error for each in response.workers)
    well = well and len({each.policies for each in response.workers}) <= 1
    well = well and not response.identities_error
    well = well and not response.policy_store.error and not response.policy_store.behind
    raise typer.Exit(Exit.OK if well else Exit.NO)


def _print(response: messages.GetStatusResponse) -> None:
    out.print(f"node {response.node}, remit {response.version}, up since {_time(response.started_us)}")
    tenants: list[Sequence[Cell]] = []
    positions = any(each.position for each in response.tenants)
    for each in response.tenants:
        state = messages.TenantState.Name(each.state).removeprefix("TENANT_STATE_")
        colour = _STATES.get(each.state, "red")
        rows = str(each.rows) if each.revision else ""
        cells = (each.tenant, styled((state, colour)), _time(each.since_us), rows, each.revision[:12])
        tenants.append((*cells, each.position) if positions else cells)
    print_table(("tenant", "state", "since", "rows", "revision", *["position"] * positions), tenants)
    for each in response.tenants:
        if each.pinned_by:
            newest = each.files_revision[:12] or "none"
            out.print(f"{each.tenant} is pinned by {each.pinned_by}; its files are at {newest}")
    # A mistake in the root files belongs to every tenant: print it once.
    for place, message in dict.fromkeys(
        _place_and_message(found) for each in response.tenants for found in each.diagnostics
    ):
        out.print(f"{place}: {message}")
    for each in response.tenants:
        if each.hidden_diagnostics:
            out.print(
                f"{each.tenant}: {each.hidden_diagnostics} diagnostics, which the server shows to callers with READ "
                "only",
                markup=False,
            )
    _print_node(response)


def _print_node(response: messages.GetStatusResponse) -> None:
    """What is about no tenant."""
    if response.identities_error:
        out.print("identities: the last good version counts, and the newest does not load:", markup=False)
        out.print(response.identities_error, markup=False)
    if response.HasField("policy_store"):
        _print_policy_store(response.policy_store)
    if not response.HasField("audit"):
        out.print("the audit store is shown to callers with STATUS on REMIT_INSTANCE only", markup=False)
        return
    audit = response.audit
    health = "healthy" if audit.healthy else f"NOT HEALTHY: {audit.error}"
    sampled = f"{audit.unrecorded} allows counted only, " if audit.unrecorded else ""
    free = _size(audit.free_bytes) if audit.HasField("free_bytes") else "unknown"
    out.print(
        f"audit {audit.delivery}, {health}; {audit.committed} records committed since the start, {sampled}{audit.queued} "
        f"waiting; store {_size(audit.store_bytes)}, free {free}",
        markup=False,
    )
    if audit.HasField("spool"):
        spool = audit.spool
        cause = f": {spool.error}" if spool.error else ", forwarding them" if spool.spooling else ""
        state = f"SPOOLING{cause}" if spool.spooling else "idle"
        out.print(f"audit spool {state}; {spool.records} records wait, {_size(spool.bytes)}")
    if response.certificate_expires_us:
        out.print(f"certificate until {_time(response.certificate_expires_us)}")
    if response.workers:
        _print_workers(response)
    if response.limits_hit:
        out.print("calls that a limit refused since the start:")
        rows = [
            (each.caller, each.calls, each.reason, str(each.refused), _time(each.last_us))
            for each in response.limits_hit
        ]
        print_table(("caller", "calls", "limit", "refused", "last"), rows)


def _print_policy_store(store: messages.PolicyStoreStatus) -> None:
    how = f"NO NEWS: {store.error}" if store.error else store.mode or "not looked into yet"
    live = [each for each in store.nodes if not each.stopped]
    same = sum((each.release, each.hash) == (store.release, store.hash) and not each.behind for each in live)
    out.print(
        f"policy store {how}; release {store.release} ({store.hash[:12]}), looked for {store.age_s:.1f} s ago; {same} of "
        f"{len(live)} nodes serve it"
    )
    for each in store.behind:
        out.print(each)


def _print_workers(response: messages.GetStatusResponse) -> None:
    rows: list[Sequence[Cell]] = []
    for each in response.workers:
        state = styled(("SERVING", "green") if each.serving else ("NOT SERVING", "red"))
        since = _time(each.started_us) if each.serving else ""
        mark = "answered this" if each.node == response.node else ""
        cells = (each.node, state, since, str(each.restarts), each.policies[:12], str(each.committed))
        rows.append((*cells, each.error or mark))
    print_table(("worker", "state", "since", "restarts", "policies", "records", "note"), rows)


def _place_and_message(found: messages.Diagnostic) -> tuple[str, str]:
    return ":".join(str(part) for part in (found.file, found.line, found.column) if part), found.message


def _time(microseconds: int) -> str:
    return utc_text(microseconds, separator=" ")


def _size(size: int) -> str:
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:  # noqa: PLR2004 (the unit's own size)
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
