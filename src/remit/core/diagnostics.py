from dataclasses import dataclass

from remit.core.errors import RemitError


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """An error in a policy file.

    `file` is relative to the policy directory. `line` and `column` are 1-based; 0 means the whole file or line.
    `message` quotes the wrong text in backticks and says what was expected.
    """

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = self.file
        if self.line:
            place += f":{self.line}"
            if self.column:
                place += f":{self.column}"
        return f"{place}: {self.message}"


class PolicyError(RemitError):
    """The files do not load; carries every diagnostic."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__("\n".join(map(str, diagnostics)))
        self.diagnostics = diagnostics
