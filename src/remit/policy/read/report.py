from remit.core.diagnostics import Diagnostic
from remit.core.hints import did_you_mean as did_you_mean  # noqa: PLC0414 (what the rest of this package asks for)

SHOWN = 1_000
"""Diagnostics kept per folder; a folder with more has the same mistake in every row."""


class Diagnostics:
    """Collects all errors in the files of one folder, to report them together."""

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
