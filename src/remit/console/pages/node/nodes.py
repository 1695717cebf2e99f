from typing import Final

from remit.console.cells import Cell, Table, code, number, plain, revision, state
from remit.console.view import View, WebPage
from remit.console.visit import NotShown, Visit
from remit.v1 import status_service_pb2 as messages

_LIVE_S: Final = 30.0
"""A node that has not reported for so long counts as gone."""


async def show(visit: Visit) -> View:
    """The fleet: what each node serves, as the policy store knows it."""
    status = await visit.client.status()
    if not status.HasField("audit"):
        # A server without a policy store looks the same to whoever may not see the node.
        not_shown = [NotShown("The nodes", "STATUS across tenants")]
        return View("Nodes", ("status",), (), "facts.html", {"facts_shown": [], "notes": []}, not_shown)
    if not status.HasField("policy_store"):
        note = "This server has no policy store: it reads its own files."
        return View("Nodes", ("status",), (), "facts.html", {"facts_shown": [], "notes": [note]})
    store = status.policy_store
    newest = max([store.release, *(each.release for each in store.nodes)])
    rows = [
        [
            code(each.node),
            _state(each, newest),
            number(each.release),
            revision(each.hash),
            plain(f"{each.age_s:.0f} s"),
            plain(each.mode),
            plain(each.version),
            plain("; ".join(each.behind)),
        ]
        for each in store.nodes
    ]
    facts: list[tuple[str, Cell]] = [
        ("release", number(store.release)),
        ("hash", code(store.hash)),
        ("last read", plain(f"{store.age_s:.1f} s ago")),
        ("learns of releases by", state(store.mode or "none", good=not store.error)),
    ]
    notes = [*([store.error] if store.error else []), *store.behind]
    columns = ("node", "state", "release", "hash", "reported", "news by", "remit", "behind")
    table = Table("nodes", "Nodes", columns, rows, "No node has reported.", total=len(rows), numbers=frozenset({2}))
    return View("Nodes", ("status",), [table], "facts.html", {"facts_shown": facts, "notes": notes})


def _state(node: messages.NodeStatus, newest: int) -> Cell:
    """As `remit nodes` says it."""
    if node.stopped:
        return state("STOPPED", good=True)
    if node.age_s >= _LIVE_S:
        return state("SILENT", good=False)
    behind = bool(node.behind) or node.release < newest
    return state("BEHIND" if behind else "SERVING", good=not behind)


PAGE: Final = WebPage("nodes", "/nodes", "Nodes", show)
