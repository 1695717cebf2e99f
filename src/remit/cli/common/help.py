"""Help of the program and of its commands: plain text in sections, as wide as the terminal. No name in it is cut.

A command is described by plain values: the index of commands holds them too, so help and completion import no command.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from remit.cli.common.values import choices, convert_here

ARGUMENTS: Final = "Arguments"
OPTIONS: Final = "Options"
WHERE: Final = "Where"
OUTPUT: Final = "Output"
_LAST: Final = (OPTIONS, WHERE, OUTPUT)
"""Sections that stand behind all others, in this order."""
_NAMES: Final = 26
"""Columns of the names; a longer one has a line of its own."""
_WIDEST: Final = 100
_HELP: Final = ("-h, --help", "Show this help.")
_EXAMPLE: Final = re.compile(r"\n\s*Example: `([^`]+)`\s*", re.DOTALL)


class Parameter(NamedTuple):
    """An option or argument of a command."""

    name: str
    help: str
    panel: str
    metavar: str = ""
    """Empty for a switch."""
    flags: Sequence[str] = ()
    """Empty for an argument."""
    off: Sequence[str] = ()
    """The flags that switch it off."""
    variable: str = ""
    default: str = ""
    required: bool = False
    many: bool = False
    choices: Sequence[str] = ()


class Description(NamedTuple):
    """What the help of a command shows."""

    help: str
    parameters: list[Parameter]

    @property
    def summary(self) -> str:
        return _first_paragraph(self.help)

    @property
    def text(self) -> str:
        """The help without its example."""
        return _EXAMPLE.sub("\n", self.help)

    def to_json(self) -> dict[str, Any]:
        plain = ({name: value for name, value in each._asdict().items() if value} for each in self.parameters)
        return {"help": self.help, "parameters": list(plain)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Description":
        return cls(document["help"], [Parameter(**{"help": "", **each}) for each in document["parameters"]])

    @property
    def example(self) -> str:
        found = _EXAMPLE.search(self.help)
        return " ".join(found[1].split()) if found else ""


def described(command: Any) -> Description:
    """Describes a command that is made by Typer."""
    parameters = [_parameter(each) for each in command.params if not each.hidden]
    return Description(inspect.cleandoc(command.help or ""), parameters)


def _parameter(param: Any) -> Parameter:
    is_option = param.param_type_name == "option"
    words = choices(param)
    is_switch = is_option and param.is_flag
    metavar = "" if is_switch else param.metavar or (_metavar(param, words) if is_option else param.name.upper())
    default, shown = param.default, param.show_default
    if isinstance(shown, str):
        text = shown
    elif not shown or default in (None, False, (), [], "") or (is_switch and not param.secondary_opts):
        text = ""
    else:
        text = str(getattr(default, "value", default))
    return Parameter(
        name=param.name,
        help=" ".join((param.help or "").split()),
        panel=param.rich_help_panel or (OPTIONS if is_option else ARGUMENTS),
        metavar=metavar,
        flags=list(param.opts) if is_option else [],
        off=list(param.secondary_opts),
        variable=str(param.envvar or ""),
        default=text,
        required=param.required,
        many=param.nargs == -1 or getattr(param, "multiple", False),
        choices=words,
    )


def _metavar(param: Any, words: list[str]) -> str:
    if words:
        return "|".join(words)
    item = str(param.type_descriptor.annotation)
    return "N" if "int" in item or "float" in item else "FILE" if "Path" in item else param.name.upper()


def usage(described: Description) -> list[str]:
    """The command line behind the command's name, as a pattern."""
    options = ["[OPTIONS]"] if any(each.flags for each in described.parameters) else []
    return [*options, *(usage_of(each) for each in described.parameters if not each.flags)]


def write_help(formatter: Any, path: str, described: Description) -> None:
    formatter.write_usage(path, " ".join(usage(described)))
    write_text(formatter, described.text)
    sections: dict[str, list[tuple[str, str]]] = {}
    for each in described.parameters:
        sections.setdefault(each.panel, []).append((names_of(each), meaning_of(each)))
    sections.setdefault(OPTIONS, []).append(_HELP)
    for panel in sorted(sections, key=lambda each: _LAST.index(each) if each in _LAST else -1):
        write_section(formatter, panel, sections[panel])
    if described.example:
        with formatter.section("Example"):
            # It is there to be copied: it is not wrapped.
            formatter.write(f"  {described.example}\n")


def usage_of(argument: Parameter) -> str:
    name = argument.metavar + ("..." if argument.many else "")
    return name if argument.required else f"[{name}]"


def names_of(parameter: Parameter) -> str:
    if not parameter.flags:
        return parameter.metavar
    flags = " / ".join(", ".join(each) for each in (parameter.flags, parameter.off) if each)
    return f"{flags} {parameter.metavar}".rstrip()


def meaning_of(parameter: Parameter) -> str:
    extra = [parameter.variable, f"default: {parameter.default}" if parameter.default else ""]
    extra.append("required" if parameter.required and parameter.flags else "")
    listed = "; ".join(filter(None, extra))
    return f"{parameter.help} [{listed}]" if listed else parameter.help


def write_section(formatter: Any, title: str, rows: Iterable[tuple[str, str]]) -> None:
    with formatter.section(title):
        formatter.write_dl(list(rows), col_max=_NAMES)


def write_text(formatter: Any, text: str) -> None:
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(text.strip())


class _Plain:
    """Converts the values of its parameters as `remit.cli.common.values` does."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for each in params:
            convert_here(each)
        return params


class PlainCommand(_Plain, TyperCommand):
    def loaded(self) -> "PlainCommand":
        """The command itself, if this one only stands for it."""
        return self

    def described(self) -> Description:
        return described(self)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        del ctx
        return usage(self.described())

    def format_help(self, ctx: Any, formatter: Any) -> None:
        write_help(formatter, ctx.command_path, self.described())


class PlainGroup(_Plain, TyperGroup):
    """Lists its commands by panel."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.context_settings = {**self.context_settings, "max_content_width": _WIDEST}

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write_usage(ctx.command_path, "[OPTIONS] COMMAND ...")
        write_text(formatter, inspect.cleandoc(self.help or ""))
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            panel = getattr(command, "rich_help_panel", None) or "Commands"
            panels.setdefault(panel, []).append((name, _first_paragraph(command.help or "")))
        for title, rows in panels.items():
            write_section(formatter, title, rows)
        rows = [(names_of(each), meaning_of(each)) for each in described(self).parameters]
        write_section(formatter, OPTIONS, [*rows, _HELP])


def commands_of(group: Any, *names: str) -> Iterator[tuple[str, PlainCommand]]:
    """Each command in a group and in the groups below it, with its name: `audit key new`."""
    for name, each in group.commands.items():
        if isinstance(each, PlainCommand):
            yield " ".join((*names, name)), each
        else:
            yield from commands_of(each, *names, name)


def command_from(function: Callable[..., None], name: str | None = None) -> Any:
    """The command that Typer makes from a function."""
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name, cls=PlainCommand)(function)
    return typer.main.get_command(alone)


def _first_paragraph(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())


def as_params(parameters: Iterable[Parameter]) -> list[Any]:
    """Typer's own parameters, for what completes a command line."""

    def nothing(**words: Any) -> None:
        del words

    nothing.__signature__ = inspect.Signature([*map(_signature, parameters)])  # type: ignore[attr-defined]
    return list(command_from(nothing).params)


def _signature(parameter: Parameter) -> inspect.Parameter:
    """Nothing is required: a line that is to be completed is not complete."""
    item: Any = Enum("Choice", [(each, each) for each in parameter.choices]) if parameter.choices else str
    kind = bool if parameter.flags and not parameter.metavar else list[item] if parameter.many else item
    if parameter.flags:
        flags = [*parameter.flags[:-1], "/".join([parameter.flags[-1], *parameter.off])]
        info: Any = typer.Option(*flags, help=parameter.help)
    else:
        info = typer.Argument(help=parameter.help)
    return inspect.Parameter(
        parameter.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, info]
    )
