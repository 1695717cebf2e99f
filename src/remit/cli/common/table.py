"""Tables: for a person on a terminal, and for a program in a pipe.

Rows in a pipe do not wait for the import of Rich.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import typer

from remit.cli.common import output

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.text import Text

Cell: TypeAlias = "str | Text | Sequence[str]"
"""A text, or several values of one field."""
_BETWEEN_VALUES: Final = "; "
_WIDE: Final = 100_000


def print_table(names: Sequence[str], rows: Iterable[Sequence[Cell]], *, numbers: Collection[str] = ()) -> None:
    """Prints records with these fields. No value is ever cut or folded.

    On a terminal: a table, or, if that is wider than the terminal, a block of `field  value` lines for each record. In
    a pipe: a line of names and a line for each record, separated by tabs. `numbers` are flush right.
    """
    found = list(rows)
    if not output.out.is_terminal:
        for line in (names, *found):
            typer.echo("\t".join(_BETWEEN_VALUES.join(map(_escaped, _values(cell))) for cell in line))
        return
    from rich.box import SIMPLE  # noqa: PLC0415 (as above)
    from rich.table import Column, Table  # noqa: PLC0415

    table = Table(*(Column(each, justify="right" if each in numbers else "left") for each in names), box=SIMPLE)
    for row in found:
        table.add_row(*map(_in_a_cell, row))
    terminal = output.out.rich
    if terminal.measure(table, options=terminal.options.update(width=_WIDE)).maximum <= terminal.width:
        output.out.print(table)
    else:
        _print_blocks(names, found)


def print_titles(titles: Mapping[str, str]) -> None:
    """Prints names, each with its title behind it."""
    width = max(map(len, titles))
    for name, title in titles.items():
        output.out.print(output.styled((name.ljust(width), "cyan"), f"  {title}"))


def _print_blocks(names: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    from rich.text import Text  # noqa: PLC0415 (as above)

    width = max(map(len, names))
    for row in rows:
        for name, cell in zip(names, row, strict=True):
            lines = _in_a_cell(cell).split("\n")
            for count, line in enumerate(lines if any(lines) else ()):
                output.out.print(Text.assemble(f"{name if count == 0 else '':{width}}  ", line))
        output.out.print()


def _values(cell: Cell) -> Sequence[str]:
    if isinstance(cell, str):
        return [cell]
    return cell if isinstance(cell, Sequence) else [cell.plain]


def _in_a_cell(cell: Cell) -> "Text":
    from rich.text import Text  # noqa: PLC0415 (as above)

    return cell if isinstance(cell, Text) else Text("\n".join(map(_escaped, _values(cell))))


def _escaped(value: str) -> str:
    return output.printable(value).replace("\t", "\\u0009").replace("\n", "\\u000a")


class Whole:
    """Something that is drawn as wide as it is, and not cut where the terminal ends."""

    def __init__(self, drawn: "RenderableType") -> None:
        self._drawn = drawn

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        yield from console.render(self._drawn, options.update(width=_WIDE))
