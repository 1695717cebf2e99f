"""Where a command asks: by its options, and by variables of the environment."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from support.server import Server
from typer.testing import CliRunner, Result

from remit.cli.common.lazy import LazyCommand
from remit.cli.main import app
from remit.service.settings import Settings
from remit.service.settings_file import CONFIG_VARIABLE, ENV_PREFIX
from remit.service.settings_reader import CLIENT_VARIABLES, read_settings

EXAMPLE = str(Path(__file__).parents[3] / "policies")
QUESTION = ("check", "acme", "user:carol", "VIEW", "FLOW", "acme.finance")
NOBODY = "127.0.0.1:1"
ALLOWED, NO_SERVER = 0, 3


def run(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(app, list(words), env=environment, terminal_width=200)


@pytest.mark.parametrize(
    ("options", "environment", "code"),
    [
        ((), {"REMIT_POLICIES": EXAMPLE}, ALLOWED),
        ((), {"REMIT_TARGET": NOBODY}, NO_SERVER),
        ((), {"REMIT_TARGET": NOBODY, "REMIT_POLICIES": EXAMPLE}, NO_SERVER),
        (("--policies", EXAMPLE), {"REMIT_TARGET": NOBODY}, ALLOWED),
        (("--policies", EXAMPLE), {"REMIT_POLICIES": "nowhere"}, ALLOWED),
        (("--target", NOBODY), {"REMIT_POLICIES": EXAMPLE}, NO_SERVER),
        ((), {"REMIT_TARGET": "", "REMIT_POLICIES": EXAMPLE}, ALLOWED),
    ],
    ids=range(7),
)
def test_option_takes_precedence_over_variables_and_a_server_over_files(
    options: tuple[str, ...], environment: dict[str, str], code: int
) -> None:
    done = run(*QUESTION, *options, "--timeout", "0.1", **environment)

    assert code == done.exit_code, done.output


def test_variable_names_the_directory_of_a_command_over_files() -> None:
    assert run("validate", REMIT_POLICIES=EXAMPLE).exit_code == 0
    assert run("callers", "list", EXAMPLE, REMIT_TARGET=NOBODY).exit_code == 0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, "--policies", EXAMPLE) as running:
        yield running


def test_variable_names_the_server(server: Server, tmp_path: Path) -> None:
    target = f"127.0.0.1:{server.port}"

    assert run("status", REMIT_TARGET=target).exit_code == 0
    assert run(*QUESTION, REMIT_TARGET=target).exit_code == 0
    assert "user:carol" in run("audit", "list", REMIT_TARGET=target).output
    # The store in the command takes precedence over the server of the environment.
    store = run("audit", "list", "--audit", f"sqlite:///{tmp_path}/nowhere.db", REMIT_TARGET=target)
    assert (3, True) == (store.exit_code, "nowhere.db" in store.output)


def test_variables_name_the_files_of_the_credentials(tmp_path: Path) -> None:
    half = run(*QUESTION, REMIT_TARGET=NOBODY, REMIT_TLS_CERT="caller.pem", REMIT_TLS_KEY="caller.key")
    missing = str(tmp_path / "ca.pem")
    unread = run(*QUESTION, REMIT_TARGET=NOBODY, REMIT_TLS_SERVER_CA=missing, REMIT_TOKEN_FILE=missing)

    assert (2, True) == (half.exit_code, "--tls-server-ca" in half.output)
    assert (2, True) == (unread.exit_code, f"`{missing}` cannot be read" in unread.output)


def test_missing_policy_directory_names_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*QUESTION)

    assert done.exit_code == 3
    assert "policy directory `policies` does not exist" in done.output
    assert "--policies DIR (REMIT_POLICIES)" in done.output
    assert "--target HOST:PORT (REMIT_TARGET)" in done.output


def test_server_knows_the_variables_of_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "policies")
    monkeypatch.chdir(tmp_path)
    known = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields}
    known |= {*CLIENT_VARIABLES, CONFIG_VARIABLE}

    assert known >= {*_variables(typer.main.get_command(app))} >= CLIENT_VARIABLES
    for name in CLIENT_VARIABLES:
        monkeypatch.setenv(name, "127.0.0.1:1")
    assert read_settings({}).policies == Path("policies")


def _variables(command: Any) -> Iterator[str]:
    if isinstance(command, LazyCommand):
        command = command.loaded()
    yield from (each.envvar for each in command.params if each.envvar)
    for inner in getattr(command, "commands", {}).values():
        yield from _variables(inner)
