"""Commands that are imported when they run: a short command starts without the libraries of the others."""

import gc
import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pkgutil import get_data, resolve_name
from typing import Any, Final

import typer
from typer import _completion_classes

from remit.cli import missing
from remit.cli.common.config import CONFIG, config_option, takes_settings
from remit.cli.common.help import Description, PlainCommand, as_params, command_from, commands_of
from remit.service.settings_file import CLIENT_SETTINGS

_SERVE: Final = "remit.cli.server.serve:serve"
INDEX: Final = "commands.json"
"""Describes each command, by its place. `docs/generate.py` writes it."""

# Typer takes help for Rich's markup, whose import takes longer than all else that completes a line. Ours is plain text.
_completion_classes._sanitize_help_text = lambda text: text  # noqa: SLF001


class LazyCommand(PlainCommand):
    """A command that is imported when it runs. Its help, and what completes it, come from the index."""

    def loaded(self) -> PlainCommand:
        assert self.callback is not None
        try:
            function = self.callback()
        except ModuleNotFoundError as error:
            sys.exit(missing(error))
        command: PlainCommand = command_from(function, self.name)
        for each in command.params:
            if each.param_type_name == "argument" and each.metavar is None:
                each.metavar = each.name.upper()
        if takes_settings(command.params):
            command.params.append(config_option(_known_settings()))
        return command

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **options: Any) -> Any:
        if options.get("resilient_parsing") or {"-h", "--help"}.intersection(args):
            self.params = as_params(self.described().parameters)
            context = super().make_context(info_name, [*args], parent, **options)
            if options.get("resilient_parsing"):
                return context
        command = self.loaded()
        if not gc.isenabled():
            # `remit.cli.main` switched the garbage collector off. All is imported now.
            gc.freeze()
            gc.enable()
        return command.make_context(info_name, args, parent, **options)

    def described(self) -> Description:
        return index().get(_place(self)) or self.loaded().described()


@cache
def index() -> Mapping[str, Description]:
    """The description of each command, by its place."""
    documents = json.loads(get_data("remit.cli", INDEX) or b"{}")
    return {place: Description.from_json(document) for place, document in documents.items()}


@cache
def _known_settings() -> frozenset[str]:
    """The settings of the server, and those of the commands that ask it."""
    serve = index().get(_SERVE)
    names = {each.name for each in (serve.parameters if serve is not None else ())}
    return CLIENT_SETTINGS | (names - {CONFIG})


def index_text(group: Any) -> str:
    """The index of a program's commands, made anew from the commands themselves."""
    lazy = (each for _, each in commands_of(group) if isinstance(each, LazyCommand))
    places = {_place(each): each.loaded().described().to_json() for each in lazy}
    return json.dumps(places, indent=1, ensure_ascii=False) + "\n"


def _place(command: LazyCommand) -> str:
    return str(getattr(command.callback, "place", ""))


def add(group: typer.Typer, commands: Mapping[str, str], panel: str | None = None) -> None:
    """Adds commands to a group, each by its name and its place, `module:function`."""
    for name, place in commands.items():
        summary = index()[place].summary if place in index() else ""
        group.command(name, cls=LazyCommand, help=summary, rich_help_panel=panel)(_import_of(place))


def _import_of(place: str) -> Callable[[], Any]:
    def imported() -> Any:
        return resolve_name(place)

    imported.place = place  # type: ignore[attr-defined]
    return imported
