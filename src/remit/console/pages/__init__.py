"""The pages of the console, in the order of the navigation. The application and its tests walk this list."""

from collections.abc import Sequence
from typing import Final

from remit.console.pages.decisions import denials, listed, record
from remit.console.pages.node import overview
from remit.console.pages.policy import explain, explain_reach, revisions, search, tenant
from remit.console.view import WebPage

PAGES: Final[Sequence[WebPage]] = (
    overview.PAGE,
    tenant.PAGE,
    *search.PAGES,
    explain.PAGE,
    explain_reach.PAGE,
    listed.PAGE,
    record.PAGE,
    denials.PAGE,
    revisions.PAGE,
)
