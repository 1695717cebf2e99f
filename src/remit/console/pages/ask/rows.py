"""Rows of policy files in tables, and answers in words."""

from collections.abc import Iterable
from typing import Final

from remit import wire
from remit.console.cells import Cell, code, tenant_link
from remit.console.visit import unknown_tenant
from remit.core.runtime import RUNTIME_FILE, RUNTIME_PLACE
from remit.v1 import decision_pb2

RULE: Final = ("rule", "at")


def place_of(row: decision_pb2.PolicyRow) -> str:
    return f"{row.file}:{row.line}" if row.line else row.file


def text_cell(row: decision_pb2.PolicyRow) -> Cell:
    return code(row.text)


def place_cell(row: decision_pb2.PolicyRow, tenant: str, revision: str = "") -> Cell:
    """The row's place, which leads to the text of its file."""
    return code(place_of(row), source_link(tenant, row.file, row.line, revision))


def place_text_cell(place: str, tenant: str, revision: str = "") -> Cell:
    """The same for a place as `acme/roles.csv:12`."""
    file, _, line = place.rpartition(":")
    return code(place, source_link(tenant, file, int(line), revision) if file and line.isdigit() else "")


def source_link(tenant: str, file: str, line: int, revision: str = "") -> str:
    if file.startswith(RUNTIME_PLACE):
        # A row that was granted at run time: its change stands in the file that GetSource makes of all of them.
        file, line = RUNTIME_FILE, 0
    link = tenant_link(tenant, "source", file=file, line=line or "", rev=revision)
    return f"{link}#L{line}" if line else link


def chain_cell(rows: Iterable[decision_pb2.PolicyRow]) -> Cell:
    """The g rows from a principal to a rule's subject, each with its place."""
    return code("; ".join(f"{each.text} ({place_of(each)})" for each in rows))


def allowed(effect: int) -> bool:
    return bool(effect == decision_pb2.EFFECT_ALLOW)


def reason_text(reason: int) -> str:
    """A reason's name and its meaning; the number of one that this version does not know.

    Raises DecisionUnavailable with NOT_FOUND for UNKNOWN_TENANT: the page of such a tenant does not exist.
    """
    if reason == decision_pb2.REASON_UNKNOWN_TENANT:
        raise unknown_tenant()
    known = wire.REASON_OF.get(reason)  # type: ignore[call-overload]
    return f"{known}: {known.meaning}" if known else f"reason {reason}"


def reason_name(reason: int) -> str:
    known = wire.REASON_OF.get(reason)  # type: ignore[call-overload]
    return str(known) if known else str(reason)
