"""A command imports what it needs when it runs, and no more."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from remit.cli.common.lazy import LazyCommand
from remit.cli.main import app


def commands(name: str, command: Any) -> Iterator[tuple[str, LazyCommand]]:
    if isinstance(command, LazyCommand):
        yield name, command
    for each, inner in getattr(command, "commands", {}).items():
        yield from commands(f"{name} {each}".lstrip(), inner)


COMMANDS = dict(commands("", typer.main.get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_summary_in_the_help_of_a_group_is_the_commands_own(name: str) -> None:
    command = COMMANDS[name]
    first, _, _ = command.loaded().help.partition("\n\n")

    assert " ".join(first.split()) == command.help


def test_without_the_library_of_a_command_the_program_says_what_to_install() -> None:
    code = "import sys; sys.modules['yaml'] = None; sys.argv[1:] = ['lint']; from remit.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)

    assert (1, "") == (done.returncode, done.stdout)
    assert "`yaml`: install it with `pip install 'remit[server]'`" in done.stderr
