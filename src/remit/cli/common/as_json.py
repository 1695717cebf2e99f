"""The JSON of the command line: one dialect for every command (docs/reference/json.md)."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from remit.cli.common.help import OUTPUT
from remit.cli.common.output import Exit, fail
from remit.clock import utc_text

_Form = TypeVar("_Form")


def _json_option(prints: str) -> Any:
    return typer.Option("--json", help=f"Print {prints}: docs/reference/json.md.", rich_help_panel=OUTPUT)


JsonOption = Annotated[bool, _json_option("one JSON object")]
JsonLinesOption = Annotated[bool, _json_option("a JSON object a line")]
"""For a command that prints without an end."""

_TIME: Final = "_us"
# The fields of these messages count as fields of what holds them.
_INLINED: Final = frozenset({"decision", "receipt", "row", "edge"})
# The documents write these in capitals.
_CAPITALS: Final = frozenset({"Reason", "TenantState"})


def print_json(document: Any) -> None:
    typer.echo(json.dumps(plain(document), indent=2))


def print_json_line(document: Any) -> None:
    typer.echo(json.dumps(plain(document)))


def form_of(form: _Form, as_json: bool, *, text: _Form, json_: _Form) -> _Form:
    """The form to print, where `--json` is the same as `--format json`. Ends the command if the two differ."""
    if not as_json:
        return form
    if form not in {text, json_}:
        fail(Exit.USAGE, f"--json and --format {form} are two forms: name one")
    return json_


def plain(value: Any) -> Any:
    """The value in the dialect. A message of the API becomes an object with all its fields."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return str(value)
        case bytes():
            return value.hex()
        case Path():
            return str(value)
        case Mapping():
            return dict(_field(str(name), each) for name, each in value.items())
        case tuple() if hasattr(value, "_asdict"):
            return plain(value._asdict())
    if is_dataclass(value):
        return plain({each.name: getattr(value, each.name) for each in fields(value)})
    if hasattr(value, "DESCRIPTOR"):
        return _message(value)
    if isinstance(value, Iterable):
        return [plain(each) for each in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _field(name: str, value: Any) -> tuple[str, Any]:
    if name.endswith(_TIME) and (value is None or isinstance(value, int)):
        return name.removesuffix(_TIME), time_text(value)
    return name, plain(value)


def time_text(time_us: int | None) -> str:
    """RFC 3339 in UTC; '' if there is no time."""
    return utc_text(time_us, timespec="milliseconds") if time_us else ""


def _message(message: Any) -> dict[str, Any]:
    if message.DESCRIPTOR.full_name == "google.protobuf.Struct":
        from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 (commands without messages need no protobuf)

        return dict(sorted(MessageToDict(message).items()))
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.name in _INLINED:
            found |= _message(value)
        elif field.is_repeated:
            found[field.name] = [_value(field, each) for each in value]
        elif field.has_presence and not message.HasField(field.name):
            found[field.name] = None
        else:
            name, shown = _field(field.name, _value(field, value))
            found[name] = shown
    return found


def _value(field: Any, value: Any) -> Any:
    return _words(field.enum_type).get(value, str(value)) if field.enum_type is not None else plain(value)


@lru_cache
def _words(enum: Any) -> dict[int, str]:
    """The words of an enum: without its name in front, and '' for the value that says nothing."""
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_"
    words = {number: each.name.removeprefix(prefix) for number, each in enum.values_by_number.items()}
    cased = {number: word if enum.name in _CAPITALS else word.lower() for number, word in words.items()}
    return {**cased, 0: ""}
