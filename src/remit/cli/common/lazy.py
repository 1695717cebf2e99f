"""Commands that are imported when they run: a short command starts without the libraries of the others."""

import gc
import sys
from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Any

import typer
from typer.core import TyperCommand

from remit.cli import missing


class LazyCommand(TyperCommand):
    """Stands for a command in the help of its group. The command is imported when it runs or shows its own help."""

    def loaded(self) -> Any:
        """The command itself."""
        assert self.callback is not None
        try:
            function = self.callback()
        except ModuleNotFoundError as error:
            sys.exit(missing(error))
        alone = typer.Typer(add_completion=False, rich_markup_mode=self.rich_markup_mode)
        alone.command(self.name)(function)
        return typer.main.get_command(alone)

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        command = self.loaded()
        if not gc.isenabled():
            # `remit.cli.main` switched the garbage collector off. All is imported now.
            gc.freeze()
            gc.enable()
        return command.make_context(*arguments, **options)


def add(group: typer.Typer, commands: Mapping[str, tuple[str, str]], panel: str | None = None) -> None:
    """Adds commands to a group. `commands` gives each name its `module:function` and the first paragraph of its help."""
    for name, (place, summary) in commands.items():
        group.command(name, cls=LazyCommand, help=summary, rich_help_panel=panel)(_import_of(place))


def _import_of(place: str) -> Callable[[], Any]:
    def imported() -> Any:
        return resolve_name(place)

    return imported
