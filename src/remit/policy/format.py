"""The canonical form of policy files: changes only layout, never meaning.

Aligns the columns of CSV. Keeps the author's layout of YAML, and normalizes only line ends, blanks at line ends and
runs of blank lines.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from remit.policy.read.report import Diagnostics
from remit.policy.read.text import read_text
from remit.policy.read.yaml import lines_of_long_texts, parse_yaml

WIDEST: Final = 48
"""A longer field does not widen its column, so that one long row does not stretch its whole block."""

_HEADERS: Final = (
    ("p", "subject", "tenant", "namespaces", "kind", "actions", "effect"),
    ("p", "tenant", "caller", "owner", "relation", "effect"),
    ("g", "member", "holds", "scope"),
    ("kind", "id", "namespace"),
)


def format_file(file: str, content: bytes, report: Diagnostics) -> bytes | None:
    """A `.csv` or `.yaml` file in canonical form, with LF line ends; None, with diagnostics, if its bytes are not clean
    or it is not valid policy YAML."""
    text = read_text(file, content, report)
    if text is None:
        return None
    if file.endswith(".csv"):
        return "".join(f"{line}\n" for line in _csv(text.split("\n"))).encode()
    return _yaml(text).encode() if parse_yaml(file, text, report) is not None or not text.strip() else None


def _csv(lines: Iterable[str]) -> Iterator[str]:
    """Rows with aligned fields in each block; a blank line ends a block."""
    first = True
    for filled, block in groupby((line.strip(" ") for line in lines), key=bool):
        if filled:
            if not first:
                yield ""
            first = False
            yield from _aligned(list(block))


def _aligned(block: Sequence[str]) -> Iterator[str]:
    rows = [_fields(line) for line in block]
    widths: dict[tuple[str, int], list[int]] = {}
    for row in rows:
        columns = widths.setdefault(_shape(row), [0] * len(row))
        for index, field in enumerate(row):
            if len(field) <= WIDEST:
                columns[index] = max(columns[index], len(field))
    for row in rows:
        line = ""
        start = 0
        for field, width in zip(row, widths[_shape(row)], strict=True):
            line = f"{line}, ".ljust(start) + field if start else field
            start += width + 2
        yield line.rstrip(" ")


def _fields(line: str) -> list[str]:
    """The fields of a row or of a header comment; any other comment is one field."""
    fields = [field.strip(" ") for field in line.split(",")]
    if not line.startswith("#"):
        return fields
    first = fields[0].removeprefix("#").strip(" ")
    return [f"# {first}", *fields[1:]] if (first, *fields[1:]) in _HEADERS else [line]


def _shape(row: Sequence[str]) -> tuple[str, int]:
    """Rows of one shape share columns. A comment has no columns, and its length does not count."""
    return row[0].removeprefix("# ") if len(row) > 1 else "", len(row)


def _yaml(text: str) -> str:
    # A text over several lines may contain blanks and blank lines that matter.
    kept = lines_of_long_texts(text)
    lines = text.removesuffix("\n").split("\n")
    tidy: list[str] = []
    for number, line in enumerate(lines, start=1):
        shown = line if number in kept else line.rstrip(" ")
        if shown or number in kept or (tidy and tidy[-1]):
            tidy.append(shown)
    while tidy and not tidy[-1] and len(lines) not in kept:
        tidy.pop()
    ending = "" if not tidy or (len(lines) in kept and not text.endswith("\n")) else "\n"
    return "\n".join(tidy) + ending
