from collections.abc import Iterable
from typing import Final

from remit.console.cells import Cell, Table, code, number, plain, revision, size, state, tenant_link, time
from remit.console.pages.node.overview import records_facts
from remit.console.pages.policy.revisions import EVENTS, event_rows
from remit.console.view import View, WebPage
from remit.console.visit import ROWS_A_PAGE, Visit
from remit.v1 import audit_service_pb2 as messages

_TYPES: Final = (
    ("KEY_IN_USE", "Keys that servers sign with"),
    ("PURGED", "Purges"),
    ("AUDIT_READ", "Last reads of the audit"),
    ("POLICY_READ", "Last reads of policies"),
    ("SERVER_STARTED", "Last starts of servers"),
)


async def show(visit: Visit) -> View:
    """The audit itself: whether it takes records, what servers sign with, what was purged, and who read."""
    status = await visit.client.status()
    tables = []
    for kind, caption in _TYPES:
        records = await visit.some(
            visit.client.list_lifecycle(type=kind, page_size=20), ROWS_A_PAGE if visit.whole else 20
        )
        tables.append(Table(kind.lower().replace("_", "-"), caption, EVENTS, event_rows(records), "None."))
    heads = await visit.rows(visit.client.list_heads(page_size=ROWS_A_PAGE))
    tables.insert(0, _heads(heads if visit.whole else heads[:ROWS_A_PAGE]))
    answer: messages.ListHeadsResponse = await visit.client.ask(messages.ListHeadsRequest(page_size=1))
    audit = status.audit
    facts: list[tuple[str, Cell]] = [
        ("delivery", plain(audit.delivery)),
        ("health", state("healthy" if audit.healthy else "NOT HEALTHY", good=audit.healthy)),
        *records_facts(status),
        ("store", plain(size(audit.store_bytes) if audit.store_bytes else "size unknown")),
        ("free disk", plain(size(audit.free_bytes) if audit.HasField("free_bytes") else "unknown")),
    ]
    if answer.HasField("verification"):
        found = answer.verification
        word = "all whole" if found.whole else "SOMETHING IS WRONG: see the chains"
        facts += [
            ("last verification", state(word, good=found.whole)),
            ("verified at", time(found.time_us)),
            ("of tenant", code(found.tenant)),
            ("by the keys", code(" ".join(found.key_ids) or "none: no signature was checked")),
        ]
    else:
        facts.append(("last verification", state("none left a record", good=False)))
    notes = [
        "A server cannot verify its own audit: `remit audit verify --record` does, and leaves the record that this page shows."
    ]
    return View("Audit", ("audit", "heads"), tables, "facts.html", {"facts_shown": facts, "notes": notes})


def _heads(heads: Iterable[messages.ChainHead]) -> Table:
    rows = [
        [
            code(each.tenant or "no tenant", _records_of(each)),
            code(each.node),
            plain(each.table),
            number(each.seq),
            number(each.signed_seq),
            time(each.signed_us),
            number(each.verified_seq),
            _finding(each),
            revision(each.hash),
        ]
        for each in heads
    ]
    columns = ("tenant", "node", "records", "newest", "signed to", "signed at", "verified to", "found wrong", "hash")
    return Table("heads", "Chains", columns, rows, "No chain.", numbers=frozenset({3, 4, 6}))


def _records_of(head: messages.ChainHead) -> str:
    if not head.tenant:
        return ""
    events = head.table == "lifecycle"
    return f"{tenant_link(head.tenant, 'revisions')}#events" if events else tenant_link(head.tenant, "decisions")


def _finding(head: messages.ChainHead) -> Cell:
    if head.finding:
        return state(head.finding, good=False)
    return plain("nothing" if head.verified_seq else "not verified")


PAGE: Final = WebPage("audit", "/audit", "Audit", show)
