from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

from remit.core.diagnostics import Diagnostic

SHOWN = 1_000
"""Diagnostics kept for one folder; a folder with more has the same mistake in every row."""

HINTED = 256
"""Names among which a mistyped one is looked for."""
HINTED_LENGTH = 128


class Report:
    """Collects what is wrong in the files of one folder, so that all of it is told at once."""

    def __init__(self) -> None:
        self._found: list[Diagnostic] = []
        self._left_out = 0

    def add(self, file: str, line: int, column: int, message: str) -> None:
        if len(self._found) < SHOWN:
            self._found.append(Diagnostic(file, line, column, message))
        else:
            self._left_out += 1

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """In file order."""
        found = sorted(self._found)
        if self._left_out:
            found.append(Diagnostic(found[-1].file, 0, 0, f"and {self._left_out} more diagnostics, not shown"))
        return tuple(found)


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """`; did you mean ...` where a known name is close, else nothing. Beside very many names none is looked for: each
    comparison costs, and a folder may have as many mistakes as rows."""
    names = sorted(islice(known, HINTED + 1))
    if len(text) > HINTED_LENGTH or len(names) > HINTED:
        return ""
    close = get_close_matches(text, names, n=1, cutoff=0.7)
    return f"; did you mean `{close[0]}`?" if close else ""
