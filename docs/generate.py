"""Writes the generated parts of the reference pages: settings, command line, API and metrics; and the man pages and
JSON schemas.

A page keeps its own text. What stands between `<!-- generated -->` and `<!-- end -->` is replaced.
"""

import ast
import json
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import typer
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

INDEX = Path(__file__).parent.parent / "src" / "remit" / "cli" / "commands.json"
if __name__ == "__main__":
    # The program reads it when it is imported, in whatever state a merge left it.
    INDEX.write_text("{}")

from json_schemas import schemas  # noqa: E402
from man_pages import command_page, program_page  # noqa: E402

from remit.cli.common import lazy  # noqa: E402
from remit.cli.common.help import Description, Parameter, commands_of, usage  # noqa: E402
from remit.cli.main import app  # noqa: E402
from remit.service.settings import Settings, settings_table  # noqa: E402

ROOT: Final = Path(__file__).parent.parent
REFERENCE: Final = ROOT / "docs" / "reference"
MANUAL: Final = ROOT / "docs" / "man"
JSON_SCHEMAS: Final = ROOT / "src" / "remit" / "schemas"
WIDTH: Final = 100
_GENERATED: Final = re.compile(r"(?<=<!-- generated -->\n).*(?=<!-- end -->\n)", re.DOTALL)


def fill(text: str) -> str:
    """Paragraphs wrapped at 100 columns. Indented lines become a block of their own."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        lines = paragraph.splitlines()
        for indented, group in _runs(lines):
            body = "\n".join(group)
            if indented:
                parts.append(f"```text\n{textwrap.dedent(body)}\n```")
            else:
                parts.append(
                    textwrap.fill(" ".join(body.split()), WIDTH, break_long_words=False, break_on_hyphens=False)
                )
    return "\n\n".join(parts)


def _runs(lines: list[str]) -> Iterator[tuple[bool, list[str]]]:
    group: list[str] = []
    for line in lines:
        if group and line.startswith("  ") != group[0].startswith("  "):
            yield group[0].startswith("  "), group
            group = []
        group.append(line)
    if group:
        yield group[0].startswith("  "), group


def cell(text: str) -> str:
    """Text for one cell of a table."""
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;") if "`" not in text else _spans(text)


def _spans(text: str) -> str:
    """As `cell`; code keeps its `<`."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(
        part.replace("|", r"\|") if part.startswith("`") else part.replace("|", r"\|").replace("<", "&lt;")
        for part in parts
    )


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def settings() -> str:
    return settings_table()


def cli() -> str:
    """A section for each command of the program."""
    return "\n\n".join(_command(f"remit {name}", command) for name, command in _commands().items())


def _commands() -> dict[str, Description]:
    return {name: each.loaded().described() for name, each in commands_of(typer.main.get_command(app))}


def _command(name: str, command: Description) -> str:
    parts = [f"## {name}", fill(command.help), f"```text\n{' '.join([name, *usage(command)])}\n```"]
    arguments = [(f"`{each.metavar}`", cell(each.help)) for each in command.parameters if not each.flags]
    if arguments:
        parts.append(table(("argument", "meaning"), arguments))
    # Each setting is a flag of `serve`, and has its own page.
    options = [
        each
        for each in command.parameters
        if each.flags and (name != "remit serve" or each.name not in Settings.model_fields)
    ]
    if options:
        parts.append(table(("option", "default", "meaning"), [_option(each) for each in options]))
    return "\n\n".join(parts)


def _option(option: Parameter) -> tuple[str, str, str]:
    flag = ", ".join(f"`{each}`" for each in (*option.flags, *option.off))
    default = f"`{option.default}`" if option.default else ""
    required = " Required." if option.required else ""
    variable = f" Environment: `{option.variable}`." if option.variable else ""
    return f"{flag} {cell(option.metavar)}".rstrip(), default, cell(option.help) + required + variable


def api() -> str:
    """A section for each service, with its calls; then one for each message."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image"
        files = sorted(str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos/remit/v1").glob("*.proto"))
        well_known = Path(protoc.__file__).parent / "_proto"
        folders = [f"-I{ROOT / 'protos'}", f"-I{well_known}"]
        if protoc.main(["protoc", *folders, "--include_source_info", f"--descriptor_set_out={image}", *files]) != 0:
            raise SystemExit("the protos do not compile")
        protos = FileDescriptorSet.FromString(image.read_bytes()).file
    services, messages = [], []
    for proto in protos:
        comments = {tuple(each.path): each.leading_comments for each in proto.source_code_info.location}
        services += [_service(each, comments, (6, number)) for number, each in enumerate(proto.service)]
        messages += _messages(proto, comments)
    return "\n\n".join([*services, "## Messages", *messages])


Comments = dict[tuple[int, ...], str]


def _service(service: ServiceDescriptorProto, comments: Comments, path: tuple[int, ...]) -> str:
    parts = [f"## {service.name}", _comment(comments, path)]
    for number, method in enumerate(service.method):
        request, response = (each.rpartition(".")[2] for each in (method.input_type, method.output_type))
        sent = "stream of " if method.client_streaming else ""
        streamed = "stream of " if method.server_streaming else ""
        types = (
            f"Request: {sent}[{request}](#{request.lower()})",
            f"Answer: {streamed}[{response}](#{response.lower()})",
        )
        parts += [f"### {service.name}.{method.name}", "\\\n".join(types), _comment(comments, (*path, 2, number))]
    return "\n\n".join(filter(None, parts))


def _comment(comments: Comments, path: tuple[int, ...]) -> str:
    return fill(textwrap.dedent(comments.get(path, "")))


def _messages(proto: FileDescriptorProto, comments: Comments) -> list[str]:
    found: list[str] = []
    for number, message in enumerate(proto.message_type):
        found += _message(message, comments, (4, number))
    return found + [_enum(each, comments, (5, number)) for number, each in enumerate(proto.enum_type)]


def _message(message: DescriptorProto, comments: Comments, path: tuple[int, ...]) -> list[str]:
    maps = {each.name: each for each in message.nested_type if each.options.map_entry}
    rows = [
        (f"`{field.name}`", _type(field, maps), cell(comments.get((*path, 2, number), "")))
        for number, field in enumerate(message.field)
    ]
    parts = [f"### {message.name}", _comment(comments, path), table(("field", "type", "meaning"), rows) if rows else ""]
    found = ["\n\n".join(filter(None, parts))]
    for number, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            found += _message(nested, comments, (*path, 3, number))
    return found + [_enum(each, comments, (*path, 4, number)) for number, each in enumerate(message.enum_type)]


def _type(field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> str:
    name = field.type_name.rpartition(".")[2]
    if name in maps:
        key, value = maps[name].field
        return f"map of {_type(key, {})} to {_type(value, {})}"
    if not name:
        name = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    elif field.type_name.startswith(".remit."):
        name = f"[{name}](#{name.lower()})"
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    return ("repeated " if repeated else "optional " if field.proto3_optional else "") + name


def _enum(enum: EnumDescriptorProto, comments: Comments, path: tuple[int, ...]) -> str:
    rows = [
        (f"`{value.name}`", str(value.number), cell(comments.get((*path, 2, number), "")))
        for number, value in enumerate(enum.value)
    ]
    parts = [f"### {enum.name}", _comment(comments, path), table(("value", "number", "meaning"), rows)]
    return "\n\n".join(filter(None, parts))


# What the scraped name of a kind of metric ends in.
_KINDS: Final = {
    "Counter": ("counter", "_total"),
    "Gauge": ("gauge", ""),
    "Histogram": ("histogram", ""),
    "GaugeMetricFamily": ("gauge", ""),
    "_gauge": ("gauge", ""),
    "Info": ("gauge", "_info"),
}


def metrics() -> str:
    """A row for each metric. Read from the source: some exist only beside a spool, a candidate or workers."""
    rows = []
    source = "".join(path.read_text() for path in (ROOT / "src/remit/service").glob("metrics*.py"))
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Name(id=kind), args=[ast.Constant(value=str(name)), ast.Constant(value=str(text)), *rest]
            ) if kind in _KINDS:
                labels = rest or [each.value for each in node.keywords if each.arg == "labels"]
                names = ast.literal_eval(labels[0]) if labels and isinstance(labels[0], ast.Tuple) else ()
                type_, suffix = _KINDS[kind]
                rows.append((f"`{name}{suffix}`", type_, ", ".join(f"`{each}`" for each in names), cell(text)))
    return table(("metric", "type", "labels", "meaning"), sorted(rows))


JSON_FILES: Final = ROOT / "tests" / "golden" / "json"
_SHOWN_ITEMS: Final = 2


def json_of_commands() -> str:
    """A section for each command, with what it printed in the tests. Of a list, the first items."""
    parts = []
    for name, _ in commands_of(typer.main.get_command(app)):
        stem = name.replace(" ", "-")
        files = [*JSON_FILES.glob(f"{stem}.json"), *sorted(JSON_FILES.glob(f"{stem}.*.json"))]
        if files:
            parts += [f"## remit {name}", *map(_json_example, files)]
    return "\n\n".join(parts)


def _json_example(file: Path) -> str:
    golden = json.loads(file.read_text())
    prints = golden["prints"]
    if isinstance(prints, dict):
        shown = json.dumps(_first_items(prints), indent=2)
    else:
        # The command prints an object a line.
        shown = "\n".join(map(json.dumps, prints))
    return f"```sh\n{golden['command']}\n```\n\n```json\n{shown}\n```"


def _first_items(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _first_items(each) for name, each in value.items()}
    return [_first_items(each) for each in value[:_SHOWN_ITEMS]] if isinstance(value, list) else value


PAGES: Final[dict[str, Callable[[], str]]] = {
    "settings.md": settings,
    "cli.md": cli,
    "api.md": api,
    "metrics.md": metrics,
    "json.md": json_of_commands,
}


def fresh(page: str) -> str:
    """The page with its generated part made anew."""
    text = (REFERENCE / page).read_text()
    if not _GENERATED.search(text):
        raise SystemExit(f"{page} has no `<!-- generated -->` and `<!-- end -->`")
    return _GENERATED.sub(lambda _: f"\n{PAGES[page]()}\n\n", text)


def index() -> str:
    """What help and completion read, so that they import no command."""
    return lazy.index_text(typer.main.get_command(app))


def manual() -> dict[str, str]:
    """The man page of each command, by its file name."""
    commands = {f"remit {name}": command for name, command in _commands().items()}
    pages = {name.replace(" ", "-"): command_page(name, command) for name, command in commands.items()}
    pages["remit"] = program_page(
        typer.main.get_command(app).help or "", {name: each.summary for name, each in commands.items()}
    )
    return {f"{name}.1": text for name, text in pages.items()}


if __name__ == "__main__":
    INDEX.write_text(index(), encoding="utf-8")
    for path in MANUAL.glob("*.1"):
        path.unlink()
    MANUAL.mkdir(exist_ok=True)
    for name, text in manual().items():
        (MANUAL / name).write_text(text, encoding="utf-8")
    JSON_SCHEMAS.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (JSON_SCHEMAS / name).write_text(text, encoding="utf-8")
    for name in sys.argv[1:] or PAGES:
        (REFERENCE / name).write_text(fresh(name))
