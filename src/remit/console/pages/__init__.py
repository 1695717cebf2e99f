"""The pages of the console, in the order of the navigation. The application and its tests walk this list."""

from collections.abc import Sequence
from typing import Final

from remit.console.pages.ask import explain, explain_reach, graph, matrix, principal, reach, search
from remit.console.pages.decisions import audit, denials, listed, live, record
from remit.console.pages.node import callers, nodes, overview, shadow
from remit.console.pages.policy import bindings, diff, names, namespace, pin, revisions, source, tenant, tests
from remit.console.view import WebPage

PAGES: Final[Sequence[WebPage]] = (
    overview.PAGE,
    callers.PAGE,
    nodes.PAGE,
    audit.PAGE,
    shadow.PAGE,
    tenant.PAGE,
    explain.PAGE,
    *search.PAGES,
    principal.PAGE,
    matrix.PAGE,
    explain_reach.PAGE,
    reach.PAGE,
    graph.PAGE,
    listed.PAGE,
    live.PAGE,
    record.PAGE,
    denials.PAGE,
    names.PAGE,
    namespace.PAGE,
    source.PAGE,
    revisions.PAGE,
    diff.PAGE,
    tests.PAGE,
    pin.PAGE,
    bindings.PAGE,
)
