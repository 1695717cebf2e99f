"""Reads the requests of the binding service."""

from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from typing import Final

from remit.core.errors import FieldViolation, InvalidNameError, MalformedQuestionError, malformed, named, violation
from remit.core.names import Principal, Subject, Tenant, is_principal, parse_principal, parse_tenant
from remit.core.position import Position, parse_position
from remit.core.runtime import RuntimeRow, parse_runtime_row
from remit.fleet.bindings import RowKey
from remit.rpc.call_context import caller
from remit.rpc.errors import RequestsLateError
from remit.rpc.query_servicer import require_origin, require_trace_id
from remit.service.bindings.imports import IMPORT_LIMIT, BindingImport
from remit.service.callers import ANONYMOUS
from remit.v1 import binding_service_pb2 as messages
from remit.v1.decision_pb2 import Origin

_REASON_LIMIT: Final = 512
_MESSAGE_LIMIT: Final = 10_000
"""Rows of a message of an import."""
_MOST_VIOLATIONS: Final = 20


def require_named(request_id: str, reason: str, field: str = "") -> None:
    """Raises MalformedQuestionError if the name of a request or its reason is none. `field` begins their fields."""
    # A request is named like a trace.
    require_trace_id(f"{field}request_id", request_id)
    if not reason.isprintable() or len(reason) > _REASON_LIMIT:
        raise violation(f"{field}reason", f"expected at most {_REASON_LIMIT} printable characters")


def granter_in(field: str, text: str) -> Principal:
    """The granter: the caller if the text is empty. Raises MalformedQuestionError."""
    if not text and caller.get() == ANONYMOUS:
        raise violation(
            field,
            "is missing: without TLS the caller has no name and no rights; say whose rights the change needs, such as "
            "`user:alice` (`--by` of the commands)",
        )
    return named(field, parse_principal, text or caller.get().principal)


def position_in(field: str, text: str, tenant: Tenant) -> Position | None:
    """None for an empty text. Raises MalformedQuestionError."""
    position = named(field, parse_position, text) if text else None
    if position is not None and position.tenant != tenant:
        raise violation(field, f"is of tenant `{position.tenant}`, and the request is about `{tenant}`")
    return position


def rows_in(field: str, rows: Iterable[messages.RuntimeRow], first: int = 0) -> list[RuntimeRow]:
    """The rows, the first of which has this number. Raises MalformedQuestionError with every field of every row that is
    wrong, or with many of them."""
    found: list[RuntimeRow] = []
    violations: list[FieldViolation] = []
    for number, row in enumerate(rows, first):
        try:
            found.append(parse_runtime_row(row.member, row.holds, row.scope, row.expires_us or None))
        except MalformedQuestionError as error:
            violations += [
                FieldViolation(f"{field}[{number}].{each.field}", each.description) for each in error.violations
            ]
        except InvalidNameError as error:
            violations.append(malformed(f"{field}[{number}]", error))
        if row.expires_us < 0:
            violations.append(FieldViolation(f"{field}[{number}].expires_us", "expected microseconds since 1970, or 0"))
    if violations:
        raise MalformedQuestionError(*violations[:_MOST_VIOLATIONS])
    return found


class ImportUpload:
    """The stream of requests of an import."""

    def __init__(self, requests: Iterator[messages.ImportBindingsRequest], until_s: float) -> None:
        """All of it must come until `until_s`, by the monotonic clock."""
        self._requests = requests
        self._until_s = until_s
        self._rows: dict[RowKey, RuntimeRow] = {}
        self._held: dict[tuple[str, str], RuntimeRow] = {}
        """A row of each group or role and scope that were parsed: the others share its parts."""
        self.origin = Origin()

    def request(self) -> BindingImport:
        """Reads the stream. Raises MalformedQuestionError, RequestsLateError."""
        first = next(self._requests, None)
        if first is None or first.WhichOneof("part") != "start":
            raise violation("start", "is missing: the first message says whose rows come")
        start = first.start
        require_origin("start.origin", start.origin)
        self.origin.CopyFrom(start.origin)
        tenant = named("start.tenant", parse_tenant, start.tenant)
        granter = granter_in("start.granter", start.granter)
        require_named(start.request_id, start.reason, "start.")
        expected = position_in("start.expected_position", start.expected_position, tenant)
        self._read()
        return BindingImport(
            tenant,
            granter,
            self._rows,
            expected=expected,
            request_id=start.request_id,
            reason=start.reason,
            replace=start.replace,
            dry_run=start.dry_run,
        )

    def _read(self) -> None:
        for message in self._requests:
            if monotonic() > self._until_s:
                raise RequestsLateError("the rows of the import took too long to come")
            part = message.WhichOneof("part")
            if part == "rows":
                self._add(message.rows.rows)
                continue
            if part != "end":
                raise violation("rows", "are missing: after the first message come rows, and `end` at last")
            if message.end.rows != len(self._rows):
                raise violation("end.rows", f"is {message.end.rows:,}, and {len(self._rows):,} rows came")
            if next(self._requests, None) is not None:
                raise violation("end", "is not the last message")
            return
        raise violation("end", "is missing: the stream was torn, and nothing is imported")

    def _add(self, rows: Sequence[messages.RuntimeRow]) -> None:
        number = len(self._rows)
        if len(rows) > _MESSAGE_LIMIT:
            raise violation("rows", f"are {len(rows):,} in one message: expected at most {_MESSAGE_LIMIT:,}")
        if number + len(rows) > IMPORT_LIMIT:
            raise violation("rows", f"are more than {IMPORT_LIMIT:,}: an import has at most so many")
        for row in rows:
            like = self._held.get((row.holds, row.scope))
            if like is not None and is_principal(row.member) and row.expires_us >= 0:
                parsed = RuntimeRow(Subject(row.member), like.holds, like.scope, row.expires_us or None)
            else:
                (parsed,) = rows_in("rows", [row], number)
                self._held[row.holds, row.scope] = parsed
            key = RowKey(parsed.member, parsed.holds, parsed.scope.text)
            if key in self._rows:
                first = list(self._rows).index(key)
                raise violation(f"rows[{number}]", f"is the same row as rows[{first}]: name each once")
            self._rows[key] = parsed
            number += 1
