import json
from collections.abc import Mapping
from typing import Final

from remit.console.cells import Cell, Table, code, link_to, number, plain, revision, size, state, tenant_link, time
from remit.console.view import View, WebPage
from remit.console.visit import ROWS_A_PAGE, NotShown, Visit
from remit.v1 import audit_service_pb2, status_service_pb2
from remit.v1 import status_service_pb2 as messages

_HOUR_US: Final = 3_600_000_000
_FIRST: Final = (
    messages.TENANT_STATE_UNAVAILABLE,
    messages.TENANT_STATE_STALE,
    messages.TENANT_STATE_PINNED,
    messages.TENANT_STATE_SERVING,
)


async def show(visit: Visit) -> View:
    """What the server serves, and how it is."""
    status = await visit.client.status()
    not_shown: list[NotShown] = []
    tables = [_tenants(visit, status)]
    if status.workers:
        tables.append(_workers(status))
    if status.HasField("audit"):
        refused = await visit.allowed(
            visit.some(visit.client.list_lifecycle(type="CALL_REFUSED", since_us=visit.now_us - _HOUR_US)),
            "Calls that were refused in the last hour",
            "AUDIT across tenants",
            not_shown,
        )
        if refused is not None:
            tables.append(refused_calls(refused))
    else:
        not_shown.append(NotShown("The audit store, the workers and the policy store", "STATUS across tenants"))
    return View(
        "Overview",
        ("status",),
        tables,
        "overview.html",
        {"facts_of_node": _node(status), "problems": _problems(status)},
        not_shown,
    )


def state_word(number_: int) -> str:
    return status_service_pb2.TenantState.Name(number_).removeprefix("TENANT_STATE_")  # type: ignore[arg-type]


def state_cell(each: messages.TenantStatus, href: str = "") -> Cell:
    return state(state_word(each.state), good=each.state == messages.TENANT_STATE_SERVING, href=href)


def _tenants(visit: Visit, status: messages.GetStatusResponse) -> Table:
    order = {each: place for place, each in enumerate(_FIRST)}
    found = sorted(status.tenants, key=lambda each: (order.get(each.state, 0), each.tenant))
    start = visit.number("from", 0)
    shown = found if visit.whole else found[start : start + ROWS_A_PAGE]
    return Table(
        "tenants",
        "Tenants",
        ("tenant", "state", "since", "rows", "revision", "newest files", "pinned by", "mistakes"),
        [_tenant(each) for each in shown],
        "No tenant that you may see.",
        total=len(found),
        further=link_to("", from_=start + ROWS_A_PAGE) if start + ROWS_A_PAGE < len(found) else "",
        numbers=frozenset({3, 7}),
    )


def _tenant(each: messages.TenantStatus) -> list[Cell]:
    newer = each.files_revision if each.files_revision != each.revision else ""
    return [
        code(each.tenant, tenant_link(each.tenant)),
        state_cell(each),
        time(each.since_us),
        number(each.rows),
        revision(each.revision, tenant_link(each.tenant, "revisions")),
        revision(newer) if newer else plain("as served" if each.files_revision else "cannot be read"),
        code(each.pinned_by),
        number(len(each.diagnostics) + each.hidden_diagnostics, tenant_link(each.tenant) + "#mistakes"),
    ]


def _workers(status: messages.GetStatusResponse) -> Table:
    return Table(
        "workers",
        "Workers",
        ("worker", "state", "since", "restarts", "policies", "records", "note"),
        [
            [
                code(each.node),
                state("SERVING" if each.serving else "NOT SERVING", good=each.serving),
                time(each.started_us),
                number(each.restarts),
                revision(each.policies),
                number(each.committed),
                plain(each.error or ("answered this" if each.node == status.node else "")),
            ]
            for each in status.workers
        ],
        numbers=frozenset({3, 5}),
    )


def refused_calls(
    records: list[audit_service_pb2.LifecycleRecord], caption: str = "Calls refused in the last hour"
) -> Table:
    rows = []
    for each in records:
        detail = detail_of(each)
        rows.append(
            [
                time(each.time_us),
                code(str(detail.get("caller", ""))),
                code(str(detail.get("method", ""))),
                _right(each.tenant, detail),
                code(each.tenant),
                number(int(str(detail.get("calls", 1)))),
                code(each.node),
            ]
        )
    return Table(
        "refused",
        caption,
        ("time", "caller", "method", "right that is missing", "tenant", "times", "node"),
        rows,
        "No call was refused.",
        numbers=frozenset({5}),
    )


def _right(tenant: str, detail: Mapping[str, object]) -> Cell:
    """The right that a refused call takes, which leads to why the caller lacks it."""
    caller, action = str(detail.get("caller", "")), str(detail.get("action", ""))
    asked = {"p": caller, "a": action, "k": "REMIT", "ns": tenant}
    return code(action, tenant_link("_callers", "explain", **asked) if caller and action and tenant else "")


def detail_of(record: audit_service_pb2.LifecycleRecord) -> dict[str, object]:
    try:
        found = json.loads(record.detail or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _node(status: messages.GetStatusResponse) -> list[tuple[str, Cell]]:
    facts = [
        ("worker that answers" if status.workers else "node", code(status.node)),
        ("remit", plain(status.version)),
        ("up since", time(status.started_us)),
        ("policy tree", revision(status.tree_revision)),
    ]
    if status.HasField("audit"):
        audit = status.audit
        facts += [
            ("audit", state(f"healthy, {audit.delivery}" if audit.healthy else "NOT HEALTHY", good=audit.healthy)),
            *records_facts(status),
            ("allows only counted", plain(audit.unrecorded or "")),
            ("audit store", plain(size(audit.store_bytes) if audit.store_bytes else "size unknown")),
            ("free disk", plain(size(audit.free_bytes) if audit.HasField("free_bytes") else "unknown")),
            ("certificate until", time(status.certificate_expires_us)),
        ]
        if audit.HasField("spool"):
            spool = audit.spool
            word = f"SPOOLING, {spool.records} records wait" if spool.spooling else "idle"
            facts.append(("spool", state(word, good=not spool.spooling)))
    if status.HasField("policy_store"):
        store = status.policy_store
        facts.append(("policy store", state(store.mode or "no news", good=not store.error, href="nodes")))
        facts.append(("release", plain(f"{store.release} ({store.hash[:12]})")))
    return facts


def records_facts(status: messages.GetStatusResponse) -> list[tuple[str, Cell]]:
    """How many records there are: of all workers, where there are some."""
    if not status.workers:
        return [
            ("records since the start", plain(status.audit.committed)),
            ("records waiting", plain(status.audit.queued)),
        ]
    return [
        ("records since the start, of all workers", plain(sum(each.committed for each in status.workers))),
        ("records waiting, of this worker", plain(status.audit.queued)),
    ]


def _problems(status: messages.GetStatusResponse) -> list[str]:
    """Sentences about what is wrong with the node."""
    found = []
    if status.identities_error:
        found.append(f"The newest file of identities does not load: {status.identities_error}")
    if status.audit.error:
        found.append(f"The audit store fails: {status.audit.error}")
    if status.audit.spool.error:
        found.append(f"Records stay in the spool: {status.audit.spool.error}")
    if status.policy_store.error:
        found.append(f"The policy store gives no news: {status.policy_store.error}")
    found += status.policy_store.behind
    if len({each.policies for each in status.workers if each.serving}) > 1:
        found.append("The workers serve different policies.")
    return found


PAGE: Final = WebPage("overview", "/", "Overview", show)
