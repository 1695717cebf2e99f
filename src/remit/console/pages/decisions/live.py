from typing import Final

from remit.console.cells import Table, tenant_link
from remit.console.pages.decisions.tables import COLUMNS, record_rows
from remit.console.view import View, WebPage
from remit.console.visit import ROWS_A_PAGE, Visit

_EFFECTS: Final = ("", "allow", "deny")


async def show(visit: Visit) -> View:
    """The newest decisions. The page asks again while it is looked at; without script, by a link."""
    effect = visit.choice("effect", _EFFECTS)
    refresh = visit.number("refresh", 0, most=3600)
    records = await visit.feed.newest(visit.tenant)
    rows = record_rows(visit.tenant, [each for each in records if effect in {"", each.effect}][:ROWS_A_PAGE])
    empty = "" if rows else await visit.unknown("Nothing was decided yet.")
    return View(
        f"Live decisions of {visit.tenant}",
        ["audit", "follow", "--tenant", visit.tenant, *(("--effect", effect) if effect else ())],
        [Table("records", "Newest first", COLUMNS, rows, empty)],
        "live.html",
        {
            "refresh_s": refresh,
            "choices": {each or "all": tenant_link(visit.tenant, "live", effect=each) for each in _EFFECTS},
            "chosen": effect or "all",
            "every": tenant_link(visit.tenant, "live", effect=effect, refresh=5),
        },
    )


PAGE: Final = WebPage("live", "/t/{tenant}/live", "Live", show, "Audit")
