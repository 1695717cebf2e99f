from typing import Final

from remit.client import DecisionUnavailable
from remit.console.cells import Table, code, number, plain, revision, tenant_link
from remit.console.view import View, WebPage
from remit.console.visit import Visit
from remit.v1 import policy_service_pb2 as messages

_BEFORE: Final = 20
_LINES: Final = 200
_MOST_LINES: Final = 1_000
_LATER: Final = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
"""Codes of an answer that may come when it is asked for again."""


async def show(visit: Visit) -> View:
    """The files of a revision, or lines of one of them with a line marked."""
    file, wanted = visit.text("file"), visit.text("rev")
    line = visit.number("line", 0, most=10_000_000)
    first = visit.number("from", max(1, line - _BEFORE), least=1, most=10_000_000)
    request = messages.GetSourceRequest(
        tenant=visit.tenant, revision=wanted, file=file, first_line=first if file else 0, lines=_LINES if file else 0
    )
    try:
        answer: messages.GetSourceResponse = await visit.client.ask(request)
    except DecisionUnavailable as error:
        note = await visit.not_stored(error)
        return View(f"Files of {visit.tenant}", (), (), "facts.html", {"facts_shown": [], "notes": [note]}, status=404)
    if not file:
        return await _files(visit, request, answer)
    past_end = ""
    if not answer.lines and answer.total_lines:
        past_end = f"There is no line {line or first}: the file has {answer.total_lines} lines."
        first = max(1, answer.total_lines - _BEFORE)
        request.first_line = first
        answer = await visit.client.ask(request)
    visit.need_room(answer.total_lines)
    lines = [*answer.lines]
    while visit.whole and answer.next_line:
        request.first_line, request.lines = answer.next_line, _MOST_LINES
        answer = await visit.client.ask(request)
        lines += answer.lines
    table = Table(
        "lines",
        file,
        ("line", "text"),
        [[number(each.number), code(each.text + ("…" if each.cut else ""))] for each in lines],
        "The file is empty.",
        total=answer.total_lines,
    )
    last = lines[-1].number if lines else 0
    missed = await _missed(visit, file, wanted) if visit.text("coverage") else frozenset[int]()

    def at(start: int) -> str:
        return tenant_link(
            visit.tenant, "source", file=file, rev=wanted, from_=start, line=line or "", coverage=visit.text("coverage")
        )

    return View(
        f"{file} of {visit.tenant}",
        ["source", visit.tenant, file, *(("--revision", wanted) if wanted else ()), "--from", str(first)],
        [table],
        "source.html",
        {
            "lines": lines,
            "line": line,
            "missed": missed or (),
            "coverage": _coverage_text(missed) if visit.text("coverage") else "",
            "total": answer.total_lines,
            "revision": answer.revision[:12],
            "past_end": past_end,
            "ways": _ways(visit, answer.revision),
            "earlier": at(max(1, first - _LINES)) if first > 1 else "",
            "later": at(last + 1) if last and last < answer.total_lines else "",
            "files": tenant_link(visit.tenant, "source", rev=wanted),
        },
    )


def _ways(visit: Visit, revision: str) -> dict[str, str]:
    """Other pages about the same revision."""
    if not visit.text("rev"):
        return {}
    return {
        "Tests of this revision": tenant_link(visit.tenant, "tests", rev=revision),
        "Compare with what serves": tenant_link(visit.tenant, "diff", old=revision),
        "Decisions by it": tenant_link(visit.tenant, "decisions", rev=revision),
        "Pin it": tenant_link(visit.tenant, "pin", rev=revision),
    }


async def _missed(visit: Visit, file: str, wanted: str) -> frozenset[int] | None:
    """Lines of rows that no test case exercises: the first hundred of the file. None while that is not known: the text is
    shown all the same."""
    request = messages.GetTestsRequest(tenant=visit.tenant, revision=wanted, failed_only=True, page_size=1)
    try:
        answer: messages.GetTestsResponse = await visit.client.ask(request)
    except DecisionUnavailable as error:
        if error.code not in _LATER:
            raise
        return None
    return frozenset(row.line for each in answer.coverage if each.file == file for row in each.missed_rows)


def _coverage_text(missed: frozenset[int] | None) -> str:
    if missed is None:
        return "The test cases still run: load this page again to see which rows they exercise."
    if missed:
        return "Rows that no test case exercises are marked, the first hundred of the file."
    return "Test cases exercise every row."


async def _files(visit: Visit, request: messages.GetSourceRequest, answer: messages.GetSourceResponse) -> View:
    files = [*answer.files]
    if not visit.whole and visit.text("after"):
        request.page_token = visit.text("after")
        answer = await visit.client.ask(request)
        files = [*answer.files]
    while visit.whole and answer.next_page_token:
        request.page_token = answer.next_page_token
        answer = await visit.client.ask(request)
        files += answer.files
    wanted = visit.text("rev")
    further = ""
    if answer.next_page_token:
        further = tenant_link(visit.tenant, "source", rev=wanted, after=answer.next_page_token)
    rows = [
        [
            code(each.path, "" if each.withheld else tenant_link(visit.tenant, "source", file=each.path, rev=wanted)),
            plain("you need READ on the instance") if each.withheld else number(each.size_bytes),
            revision(each.sha256),
        ]
        for each in files
    ]
    table = Table("files", "Files", ("file", "bytes", "SHA-256"), rows, total=answer.total_files, further=further)
    command = ["source", visit.tenant, *(("--revision", wanted) if wanted else ())]
    return View(
        f"Files of {visit.tenant} at {answer.revision[:12]}",
        command,
        [table],
        context={"ways": _ways(visit, answer.revision)},
    )


PAGE: Final = WebPage("source", "/t/{tenant}/source", "Files", show, "Policy")
