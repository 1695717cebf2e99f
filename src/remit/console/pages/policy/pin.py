from collections.abc import Mapping
from typing import Final

from remit.client import DecisionUnavailable
from remit.console.cells import tenant_link
from remit.console.view import View, WebPage
from remit.console.visit import Visit, whole_revision
from remit.v1 import policy_service_pb2 as messages
from remit.v1.status_service_pb2 import TENANT_STATE_PINNED


async def show(visit: Visit) -> View:
    """Asks for the tenant's name before a revision is pinned, or the tenant unpinned."""
    visit.need_recent_login()
    status, wanted = await visit.status(), visit.text("rev")
    if not wanted:
        note = "" if status.state == TENANT_STATE_PINNED else f"{visit.tenant} is not pinned: it serves its files."
        return _view(visit, "", note=note)
    kept = (await visit.client.ask(messages.ListRevisionsRequest(tenant=visit.tenant))).revisions
    known = [each.revision for each in kept]
    revision = whole_revision(wanted, known)
    note = (
        "" if revision in known else f"This node has no revision {wanted} on its disk: the page Revisions lists them."
    )
    return _view(visit, revision, note=note)


async def act(visit: Visit, form: Mapping[str, str]) -> View | str:
    """Pins the revision, or unpins the tenant if the form names none. The server records who did."""
    visit.need_recent_login()
    revision, typed = form.get("rev", "").strip(), form.get("tenant", "").strip()
    if typed != visit.tenant:
        return _view(visit, revision, f"expected `{visit.tenant}`", typed)
    if revision:
        lift = "lift" in form
        try:
            await visit.client.ask(
                messages.PinRevisionRequest(tenant=visit.tenant, revision=revision, lift_suspensions=lift)
            )
        except DecisionUnavailable as error:
            if lift or error.code != "FAILED_PRECONDITION" or "`lift_suspensions`" not in error.message:
                raise
            return _view(visit, revision, error.message.partition(";")[0], typed, lifts=True)
    else:
        await visit.client.ask(messages.UnpinRevisionRequest(tenant=visit.tenant))
    return tenant_link(visit.tenant, "revisions")


def _view(
    visit: Visit, revision: str, error: str = "", typed: str = "", *, note: str = "", lifts: bool = False
) -> View:
    """The form, or in its place why there is nothing to pin or to unpin."""
    title = f"Pin {revision[:12]} in {visit.tenant}" if revision else f"Unpin {visit.tenant}"
    return View(
        title,
        ["rollback", visit.tenant, *([] if note else [revision or "--unpin"])],
        (),
        "pin.html",
        {
            "note": note,
            "revision": revision,
            "error": error,
            "typed": typed,
            "lifts": lifts,
            "button": "Pin" if revision else "Unpin",
        },
        status=400 if error else 200,
    )


PAGE: Final = WebPage("pin", "/t/{tenant}/pin", "", show, act=act)
