from typing import Final

from remit.client import DecisionUnavailable, MalformedQuestion
from remit.console.cells import Table, code, number, plain, tenant_link
from remit.console.forms import Input, errors_of, fields
from remit.console.pages.ask.rows import place_cell, source_link, text_cell
from remit.console.view import View, WebPage
from remit.console.visit import ROWS_A_PAGE, Visit
from remit.v1 import policy_service_pb2 as messages

_SHOWN: Final = ("all", "only those that fail")
_INPUTS: Final = (
    Input("cases", "Cases", options=_SHOWN),
    Input("rev", "Revision", "the one that serves", "revision"),
)


async def show(visit: Visit) -> View:
    """The tenant's own test cases, and the rows that none of them exercises."""
    failed_only = visit.choice("cases", _SHOWN) != _SHOWN[0]
    revision = visit.text("rev")
    request = messages.GetTestsRequest(
        tenant=visit.tenant,
        revision=revision,
        failed_only=failed_only,
        page_size=1_000 if visit.whole else ROWS_A_PAGE,
        page_token="" if visit.whole else visit.text("after"),
    )
    try:
        answer: messages.GetTestsResponse = await visit.client.ask(request)
    except MalformedQuestion as refusal:
        return _refused(visit, errors_of(_INPUTS, refusal))
    except DecisionUnavailable as error:
        return _refused(visit, {"rev": await visit.not_stored(error)})
    cases, coverage = [*answer.cases], [*answer.coverage]
    while visit.whole and answer.next_page_token:
        request.page_token = answer.next_page_token
        answer = await visit.client.ask(request)
        cases += answer.cases
    further = ""
    if answer.next_page_token:
        given = {"cases": visit.text("cases"), "rev": revision, "after": answer.next_page_token}
        further = tenant_link(visit.tenant, "tests", **given)
    tables = [
        Table(
            "cases",
            "Cases",
            ("at", "result", "test", "asked", "why not"),
            [
                [
                    code(f"{each.file}:{each.line}", source_link(visit.tenant, each.file, each.line, revision)),
                    plain("FAILS", "state bad") if each.failures else plain("holds", "state good"),
                    plain(each.test),
                    code(each.asked),
                    plain("; ".join(each.failures)),
                ]
                for each in cases
            ],
            "No case fails." if failed_only else "No case.",
            total=answer.failed if failed_only else answer.passed + answer.failed,
            further=further,
        )
    ]
    if coverage:
        tables.append(
            Table(
                "coverage",
                "Rows that cases exercise",
                ("file", "rows", "exercised", "missed"),
                [
                    [
                        code(
                            each.file,
                            tenant_link(visit.tenant, "source", file=each.file, rev=revision, coverage="rows"),
                        ),
                        number(each.rows),
                        number(each.rows - each.missed),
                        number(each.missed),
                    ]
                    for each in coverage
                ],
                numbers=frozenset({1, 2, 3}),
            )
        )
        tables.append(
            Table(
                "missed",
                "Rows that no case exercises",
                ("row", "at"),
                [
                    [text_cell(row), place_cell(row, visit.tenant, revision)]
                    for each in coverage
                    for row in each.missed_rows
                ],
                "Every row is exercised.",
            )
        )
    return View(
        f"Tests of {visit.tenant}",
        [
            "tests",
            visit.tenant,
            *(("--revision", revision) if revision else ()),
            *(("--failed",) if failed_only else ()),
        ],
        tables,
        "tests.html",
        {
            "fields": fields(_INPUTS, visit),
            "button": "Run",
            "sentence": f"{answer.passed} cases hold, {answer.failed} fail.",
            "coverage": coverage,
            "ways": {"Files of this revision": tenant_link(visit.tenant, "source", rev=revision)} if revision else {},
        },
    )


def _refused(visit: Visit, errors: dict[str, str]) -> View:
    form = {"fields": fields(_INPUTS, visit, errors), "button": "Run", "sentence": errors.get("", "")}
    return View(f"Tests of {visit.tenant}", (), (), "form.html", form, status=400)


PAGE: Final = WebPage("tests", "/t/{tenant}/tests", "Tests", show, "Policy")
