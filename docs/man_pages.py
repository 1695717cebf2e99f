"""Man pages in roff, one a command, from the same descriptions as `--help`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from remit.cli.common.help import ARGUMENTS, Description, Parameter, usage

# A line may break behind the slash of a path or URL.
_ESCAPES: Final = str.maketrans(
    {"\\": "\\e", "-": "\\-", "'": "\\(aq", "^": "\\(ha", "~": "\\(ti", "/": "/\\:", "=": "=\\:"}
)
_EXIT_STATUS: Final = (
    ("0", "Yes: allowed, fine, passed."),
    ("1", "No: denied, refused, failed."),
    ("2", "Wrong usage."),
    ("3", "No answer."),
)


def program_page(help_text: str, summaries: Mapping[str, str]) -> str:
    """The page of the program: what it is, and its commands."""
    commands = [item(f"{name.replace(' ', '-')}(1)", summary) for name, summary in summaries.items()]
    lines = [
        *head("remit", "policy-as-code authorization"),
        ".SH SYNOPSIS",
        f"{bold('remit')} {escaped('[OPTIONS] COMMAND [ARGS]...')}",
        ".SH DESCRIPTION",
        *paragraphs(help_text),
        ".SH COMMANDS",
        *(line for lines in commands for line in lines),
        *exit_status(),
        ".SH SEE ALSO",
        escaped("`remit docs` lists the pages of the documentation and prints them."),
    ]
    return "\n".join(lines) + "\n"


def command_page(name: str, command: Description) -> str:
    """`name` is the whole command: `remit audit list`."""
    lines = [
        *head(name.replace(" ", "-"), command.summary.removesuffix(".")),
        ".SH SYNOPSIS",
        f"{bold(name)} {escaped(' '.join(usage(command)))}".rstrip(),
        ".SH DESCRIPTION",
        *paragraphs(command.text),
    ]
    for panel in dict.fromkeys([ARGUMENTS, *(each.panel for each in command.parameters)]):
        parameters = [each for each in command.parameters if each.panel == panel]
        if parameters:
            lines.append(f".SH {escaped(panel.upper())}")
        for each in parameters:
            lines += item(names(each), meaning(each))
    if command.example:
        lines += [".SH EXAMPLE", ".nf", escaped(command.example), ".fi"]
    lines += [*exit_status(), ".SH SEE ALSO", bold("remit") + "(1)"]
    return "\n".join(lines) + "\n"


def head(name: str, summary: str) -> list[str]:
    return [
        f'.TH {name.upper()} 1 "" "remit" "remit manual"',
        ".nh",
        ".ad l",
        ".SH NAME",
        f"{name} \\- {escaped(summary)}",
    ]


def exit_status() -> Iterator[str]:
    yield ".SH EXIT STATUS"
    for code, text in _EXIT_STATUS:
        yield from item(code, text)


def names(parameter: Parameter) -> str:
    words = [*parameter.flags, *parameter.off] or [parameter.metavar]
    return ", ".join(words) + (f" {parameter.metavar}" if parameter.flags and parameter.metavar else "")


def meaning(parameter: Parameter) -> str:
    parts: list[Any] = [
        parameter.help,
        f"Default: `{parameter.default}`." if parameter.default else "",
        f"Environment: `{parameter.variable}`." if parameter.variable else "",
        "Required." if parameter.required and parameter.flags else "",
    ]
    return " ".join(filter(None, parts))


def item(name: str, text: str) -> list[str]:
    return [".TP", bold(name), escaped(text) or "\\&"]


def paragraphs(text: str) -> Iterator[str]:
    """Indented lines stay as they are."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = paragraph.splitlines()
        yield ".PP"
        if all(line.startswith("  ") for line in lines):
            yield from (".nf", *map(escaped, lines), ".fi")
        else:
            yield escaped(" ".join(paragraph.split()))


def bold(text: str) -> str:
    return f"\\fB{_plain(text)}\\fR"


def escaped(text: str) -> str:
    """Text with code in bold. No line of it is a request to roff."""
    spans = re.split(r"`([^`]*)`", text)
    line = "".join(bold(span) if number % 2 else _plain(span) for number, span in enumerate(spans))
    return f"\\&{line}" if line.startswith((".", "'")) else line


def _plain(text: str) -> str:
    return text.translate(_ESCAPES)
