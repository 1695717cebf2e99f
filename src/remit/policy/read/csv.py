from collections.abc import Iterator
from typing import NamedTuple


class Row(NamedTuple):
    """A line of a CSV file that is neither blank nor a comment. The fields have no blanks around them."""

    file: str
    line: int
    text: str
    fields: list[str]


def rows(file: str, text: str) -> Iterator[Row]:
    """Casbin's CSV: fields between commas, blanks around them ignored, no quoting, `#` comments on their own line."""
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip(" ")
        if stripped and not stripped.startswith("#"):
            yield Row(file, number, line, [field.strip(" ") for field in line.split(",")])


def column(text: str, index: int) -> int:
    start = len(",".join(text.split(",")[:index])) + (1 if index else 0)
    field = text[start:]
    return start + len(field) - len(field.lstrip(" ")) + 1
