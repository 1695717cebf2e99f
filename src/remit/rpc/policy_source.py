"""The calls of the policy service that read what a revision is made of. Each read has its record."""

from collections.abc import Iterator, Sequence
from typing import Final

import grpc

from remit.audit.record import POLICY_READ
from remit.core.caller_actions import CallerAction
from remit.core.errors import named, violation
from remit.core.names import INSTANCE, parse_tenant, quote
from remit.rpc.call_context import caller
from remit.rpc.errors import NoSuchFileError
from remit.rpc.page_token import PAGE_LIMIT, PAGE_SIZE, paged
from remit.rpc.read_limits import AuditReads
from remit.rpc.record_filter import require_digits
from remit.service.node import ServerNode
from remit.service.revision_texts import PolicySource, SourceFile
from remit.v1 import policy_service_pb2 as messages
from remit.wire import row_to

_LINE_LIMIT: Final = 4_096
"""Characters of a line that are sent."""
_TEXT_LIMIT: Final = 1 << 20
"""Characters in one answer."""
_PATH_LIMIT: Final = 512
_MISSED_LIMIT: Final = 100


class SourceReader:
    """Reads the text of policies for callers who may READ them."""

    def __init__(self, node: ServerNode, reads: AuditReads) -> None:
        self._sources = node.sources
        self._tests = node.tests
        self._rights = node.rights
        self._reads = reads

    def get(self, request: messages.GetSourceRequest, context: grpc.ServicerContext) -> messages.GetSourceResponse:
        timeout_s = self._reads.time_for(context)
        tenant = named("tenant", parse_tenant, request.tenant)
        if request.revision:
            require_digits("revision", request.revision)
        if len(request.file) > _PATH_LIMIT or not request.file.isprintable():
            raise violation("file", f"expected at most {_PATH_LIMIT} printable characters")
        if request.lines > PAGE_LIMIT:
            raise violation("lines", f"is {request.lines}: expected at most {PAGE_LIMIT}")
        size, page = paged(request)
        self._reads.remember("GetSource", request, tenant, timeout_s, behind=page.after, type_=POLICY_READ)
        with self._reads.turn(timeout_s):
            source = self._sources.source(tenant, request.revision)
        if request.file:
            return self._text(source, request)
        page.holds_for(source.revision)
        left = [each for each in source.files if each.path > page.after]
        response = messages.GetSourceResponse(
            revision=source.revision,
            files_revision=source.files_revision,
            files=map(self._file_to, left[:size]),
            total_files=len(source.files),
        )
        if len(left) > size:
            response.next_page_token = page.next(left[size - 1].path, source.revision)
        return response

    def tests(self, request: messages.GetTestsRequest, context: grpc.ServicerContext) -> messages.GetTestsResponse:
        timeout_s = self._reads.time_for(context)
        tenant = named("tenant", parse_tenant, request.tenant)
        if request.revision:
            require_digits("revision", request.revision)
        size, page = paged(request)
        start = page.count
        self._reads.remember("GetTests", request, tenant, timeout_s, behind=page.after, type_=POLICY_READ)
        revision, report = self._tests.report(tenant, request.revision, timeout_s)
        page.holds_for(revision)
        shown = [each for each in report.cases if each.failures or not request.failed_only]
        failed = sum(bool(each.failures) for each in report.cases)
        response = messages.GetTestsResponse(
            revision=revision,
            files_revision=report.files_revision,
            cases=[
                messages.TestedCase(
                    file=each.file, line=each.line, test=each.test, asked=each.asked, failures=each.failures
                )
                for each in shown[start : start + size]
            ],
            passed=len(report.cases) - failed,
            failed=failed,
        )
        if page.is_first:
            for each in report.coverage:
                missed_rows = map(row_to, each.missed[:_MISSED_LIMIT])
                response.coverage.add(file=each.file, rows=each.rows, missed=len(each.missed), missed_rows=missed_rows)
        if start + size < len(shown):
            response.next_page_token = page.next(str(start + size), revision)
        return response

    def _text(self, source: PolicySource, request: messages.GetSourceRequest) -> messages.GetSourceResponse:
        file = next((each for each in source.files if each.path == request.file), None)
        if file is not None and file.shared:
            # It says which resources other tenants have.
            self._rights.require(caller.get(), CallerAction.READ, INSTANCE)
        lines = source.lines(request.file)
        if lines is None:
            raise NoSuchFileError(f"revision `{source.revision}` has no file `{quote(request.file)}`")
        first = request.first_line or 1
        response = messages.GetSourceResponse(
            revision=source.revision,
            files_revision=source.files_revision,
            files=[self._file_to(file)] if file is not None else [],
            total_lines=len(lines),
        )
        response.lines.extend(_bounded(first, lines[first - 1 : first - 1 + (request.lines or PAGE_SIZE)]))
        end = first + len(response.lines)
        if response.lines and end <= len(lines):
            response.next_line = end
        return response

    def _file_to(self, file: SourceFile) -> messages.SourceFile:
        if file.shared and not self._rights.may(caller.get(), CallerAction.READ, INSTANCE):
            # Its size and its digest would confirm a guess.
            return messages.SourceFile(path=file.path, withheld=True)
        return messages.SourceFile(path=file.path, size_bytes=file.size, sha256=file.digest)


def _bounded(first: int, lines: Sequence[str]) -> Iterator[messages.SourceLine]:
    """The first of the lines that fit into an answer, at least one."""
    room = _TEXT_LIMIT
    for number, line in enumerate(lines, first):
        text = line[:_LINE_LIMIT]
        room -= len(text)
        if room < 0:
            return
        yield messages.SourceLine(number=number, text=text, cut=len(text) < len(line))
