"""Help: nothing in it is cut, each command has an example, and errors of usage say what is expected."""

import re

import pytest
import typer
from typer.testing import CliRunner, Result

from remit.cli.common.help import ARGUMENTS, OPTIONS, commands_of
from remit.cli.main import app
from remit.service.settings import Settings

WIDTH = 80


COMMANDS = dict(commands_of(typer.main.get_command(app)))
GROUPS = ("", "audit", "audit key", "callers", "fleet", "import")


def run(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(app, list(words), env=environment, terminal_width=WIDTH)


@pytest.mark.parametrize("name", [*GROUPS, *COMMANDS])
def test_help_fits_the_terminal_and_cuts_nothing(name: str) -> None:
    done = run(*name.split(), "--help")
    text, _, example = done.output.partition("\nExample:\n")

    assert (0, False) == (done.exit_code, "…" in done.output)
    assert [] == [line for line in text.splitlines() if len(line) > WIDTH]
    assert "\n" not in example.strip()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_each_option_and_its_variable(name: str) -> None:
    shown = run(*name.split(), "--help").output
    for each in COMMANDS[name].loaded().described().parameters:
        for word in (*each.flags, *each.off, each.variable, each.metavar):
            assert word in shown
        assert not re.search(r"[<>]|TEXT|PATH", each.metavar), each


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_of_the_command(name: str) -> None:
    assert COMMANDS[name].described().example.find(f"remit {name}") >= 0


def test_help_of_the_server_shows_every_setting_in_a_section() -> None:
    text = run("serve", "--help").output
    parameters = COMMANDS["serve"].described().parameters

    assert {*Settings.model_fields, "config"} == {each.name for each in parameters}
    assert not {ARGUMENTS, OPTIONS} & {each.panel for each in parameters}
    for name in Settings.model_fields:
        assert re.search(rf"\[REMIT_{name.upper()}[=\]]", text), name


def test_a_setting_that_names_a_directory_says_so() -> None:
    directories = {
        name for name, field in Settings.model_fields.items() if "irectory" in (field.description or "").split(". ")[0]
    }

    assert {"policies", "revisions", "releases", "shadow"} == directories
    assert directories == {each.name for each in COMMANDS["serve"].described().parameters if each.metavar == "DIR"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("audit", "list", "--effect", "allwo"), "`allwo`: expected one of `allow`, `deny`; did you mean `allow`?"),
        (("audit", "count", "--by", "tennant"), "did you mean `tenant`?"),
        (("lint", "--fail-on", "eror"), "did you mean `error`?"),
        (("audit", "list", "--limit", "many"), "`many`: expected a whole number from 1 to 10,000"),
        (("audit", "list", "--limit", "0"), "`0`: expected a whole number from 1 to 10,000"),
        (("verify", "--random", "-1"), "`-1`: expected a whole number from 0"),
        (("check", "a", "b", "c", "d", "--timeout", "nan"), "`nan`: expected a number from 0.001"),
        (("check", "acme"), "Missing argument 'PRINCIPAL'"),
        (("check", "--polcies", "x"), "--policies"),
        (("chekc",), "Did you mean 'check'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_error_of_usage_says_what_is_expected(words: tuple[str, ...], told: str) -> None:
    done = run(*words)

    assert 2 == done.exit_code
    assert told in done.output
    assert "Value error" not in done.output
