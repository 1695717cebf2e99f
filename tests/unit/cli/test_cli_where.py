"""Where a command asks: by its options, and by variables of the environment."""

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.certificates import Authority
from support.server import Server
from test_cli_help import COMMANDS
from typer.testing import CliRunner, Result

from remit.cli.common.help import PlainCommand
from remit.cli.main import app
from remit.service.settings import Settings
from remit.service.settings_file import CLIENT_SETTINGS, CONFIG_VARIABLE, ENV_PREFIX, PATH_SETTINGS
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


@pytest.mark.parametrize("missing", ["ca.pem", "caller.pem", "caller.key"])
def test_missing_credential_file_is_named(missing: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path, trustme.CA())
    cert, key = authority.signed("caller", "caller.example")
    files = {"ca.pem": authority.certificate, "caller.pem": cert, "caller.key": key}
    names = {name: str(tmp_path / "gone" if name == missing else path) for name, path in files.items()}
    flags = ("--tls-server-ca", names["ca.pem"], "--tls-cert", names["caller.pem"], "--tls-key", names["caller.key"])
    done = run("status", "--target", NOBODY, *flags)

    assert (2, f"`{tmp_path / 'gone'}` cannot be read: No such file or directory\n") == (done.exit_code, done.stderr)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"\xff", "cannot be read: 'utf-8' codec"), (b"", "expected one line"), (b"a\nb", "expected one line")],
)
def test_wrong_token_file_is_named(content: bytes, told: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_bytes(content)
    done = run("status", "--target", NOBODY, "--tls-server-ca", __file__, "--token-file", str(token))

    assert (2, True) == (done.exit_code, f"--token-file: `{token}`" in done.output), done.output
    assert told in done.output


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

    variables = {each.envvar for command in COMMANDS.values() for each in command.loaded().params if each.envvar}
    assert known >= variables >= CLIENT_VARIABLES
    for name in CLIENT_VARIABLES:
        monkeypatch.setenv(name, "127.0.0.1:1")
    assert read_settings({}).policies == Path("policies")


SOURCES = ("command line", "environment", "settings file", "default")
VALUES = {
    "REMIT_POLICIES": ("line", "environment", "file"),
    "REMIT_AUDIT": ("sqlite:////line/a.db", "sqlite:////environment/a.db", "sqlite:////file/a.db"),
    "REMIT_TARGET": ("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"),
    "REMIT_AUDIT_RETENTION": ("1d", "2d", "3d"),
}
"""What the command line, the environment and the file say. Other variables name files."""


def _placed() -> Iterator[tuple[str, PlainCommand, str]]:
    for name, command in COMMANDS.items():
        if name != "serve":
            yield from ((name, command, each.variable) for each in command.described().parameters if each.variable)


PLACED = [each for each in _placed() if each[2] not in {CONFIG_VARIABLE, "REMIT_AUDIT_REDACT_KEY"}]


@pytest.mark.parametrize(("name", "lazy", "variable"), PLACED, ids=[f"{each[0]} {each[2]}" for each in PLACED])
def test_command_line_counts_before_environment_before_settings_file_before_default(
    name: str, lazy: PlainCommand, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The law of docs/reference/settings.md, over every command and everything that tells it where to ask."""
    command = lazy.loaded()
    param = next(each for each in command.params if each.envvar == variable)
    line, environment, file = VALUES.get(variable, ("/line.pem", "/environment.pem", "/file.pem"))
    config = tmp_path / "remit.toml"
    config.write_text(f'{variable.removeprefix("REMIT_").lower()} = "{file}"\n')
    required = [word for each in command.params for word in _required(each) if each is not param]

    def found(*words: str) -> Any:
        with command.make_context(name, [*required, *words]) as context:
            return context.params[param.name]

    default = None if param.required else found()
    in_file = found("--config", str(config))
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    assert found() == in_file
    monkeypatch.setenv(variable, environment)
    in_environment = found()
    on_line = found(param.opts[0], line)

    expected = [str(tmp_path / file) if variable == "REMIT_POLICIES" else file]
    assert [*expected, environment, line] == [_text(each) for each in (in_file, in_environment, on_line)]
    assert _text(default) not in {line, environment, file}


def _required(param: Any) -> Iterator[str]:
    """Words that satisfy a parameter that the command line must have."""
    if param.required:
        value = REQUIRED.get(param.name, "word")
        yield from ([value] if param.param_type_name == "argument" else [param.opts[0], value])


REQUIRED = {
    "before": "1d",
    "retention": "1d",
    "at": "1d",
    "tenant": "acme",
    "edition": "1",
    "owners": __file__,
    "decision_id": "01a20ab6-2458-7f26-90da-4fb3fbb0d492",
}
"""A value for parameters that take not any word."""


def _text(value: Any) -> str:
    return ["1d", "2d", "3d"][value.others // 86_400 - 1] if hasattr(value, "others") else str(value)


def test_relative_path_in_the_settings_file_is_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "etc" / "policies")
    file = tmp_path / "etc" / "remit.toml"
    file.write_text('policies = "policies"\naudit = "sqlite:///var/audit.db"\naudit_key = "audit.pem"\n')
    monkeypatch.chdir(tmp_path)

    assert run("validate", "--config", "etc/remit.toml").exit_code == 0
    assert run("validate", REMIT_CONFIG=str(file)).exit_code == 0
    assert "`sqlite:///etc/var/audit.db`" in run("audit", "list", "--config", "etc/remit.toml").output
    settings = read_settings({}, Path("etc/remit.toml"))
    assert (Path("etc/policies"), "sqlite:///etc/var/audit.db") == (settings.policies, settings.audit)
    assert Path("etc/audit.pem") == settings.audit_key


def test_every_setting_that_is_a_path_is_relative_to_the_file() -> None:
    paths = {name for name, field in Settings.model_fields.items() if "Path" in str(field.annotation)}

    assert PATH_SETTINGS - CLIENT_SETTINGS == paths | {"revisions"}


def test_settings_of_a_server_name_it_to_a_command_that_only_a_server_answers(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "remit.toml"
    file.write_text(f'policies = "{EXAMPLE}"\nlisten = "0.0.0.0:{server.port}"\n')

    assert run("status", "--config", str(file)).exit_code == 0
    # The files answer what files can.
    file.write_text(f'policies = "{EXAMPLE}"\nlisten = "{NOBODY}"\n')
    assert run(*QUESTION, "--config", str(file)).exit_code == ALLOWED
    file.write_text(f'policies = "{EXAMPLE}"\ntarget = "{NOBODY}"\n')
    assert run(*QUESTION, "--timeout", "0.1", "--config", str(file)).exit_code == NO_SERVER
    assert run(*QUESTION, "--config", str(file), REMIT_POLICIES=EXAMPLE).exit_code == ALLOWED


def test_file_with_settings_of_a_client_starts_a_server(tmp_path: Path) -> None:
    file = tmp_path / "remit.toml"
    file.write_text('target = "127.0.0.1:1"\ntls_server_ca = "ca.pem"\nthreads = 8\n')

    assert read_settings({}, file).threads == 8


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ('config = "x"\n', 2, "unknown setting `config` in `FILE`"),
        ('polices = "x"\n', 2, "unknown setting `polices` in `FILE`; did you mean `policies`?"),
        ("policies = 8\n", 2, "setting `policies` in `FILE` is `8`: expected text"),
        ("policies\n", 3, "the settings file `FILE` is not TOML"),
        (None, 3, "the settings file `FILE` cannot be read: No such file or directory"),
    ],
)
def test_wrong_settings_file_ends_the_command(text: str | None, code: int, told: str, tmp_path: Path) -> None:
    file = tmp_path / "remit.toml"
    if text is not None:
        file.write_text(text)
    done = run(*QUESTION, "--config", str(file))

    assert (code, True) == (done.exit_code, told.replace("FILE", str(file)) in done.output), done.output


WITH_DIRECTORY = [
    name
    for name, command in COMMANDS.items()
    if {"directory", "policies"} <= {each.name for each in command.described().parameters}
]


@pytest.mark.parametrize("name", WITH_DIRECTORY)
def test_argument_and_option_name_the_same_directory(name: str, tmp_path: Path) -> None:
    """An option says it in every command, and an argument where that is shorter; both at once are an error."""
    words = [word for each in COMMANDS[name].loaded().params for word in _required(each)]
    words = [word.replace("word", str(tmp_path / "out")) for word in words]
    nowhere = str(tmp_path / "nowhere")
    argument, option = (run(*name.split(), *each, *words) for each in ([nowhere], ["--policies", nowhere]))
    both = run(*name.split(), nowhere, "--policies", EXAMPLE, *words)

    assert nowhere in argument.output
    assert (argument.exit_code, argument.output) == (option.exit_code, option.output)
    assert (2, True) == (both.exit_code, "both name the policy directory: leave one out" in both.output)


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo terminals")
def test_terminal_shows_who_is_asked(server: Server) -> None:
    target = f"127.0.0.1:{server.port}"
    remit = str(Path(sys.executable).parent / "remit")

    assert f"asking the files in `{EXAMPLE}`" in on_terminal(remit, *QUESTION, "--policies", EXAMPLE)
    assert f"asking {target}" in on_terminal(remit, *QUESTION, "--target", target)
    assert f"asking {target}" in on_terminal(remit, "status", "--target", target)
    assert "asking" not in run(*QUESTION, "--policies", EXAMPLE).output


def on_terminal(*command: str) -> str:
    """What the command prints on standard error, which is a terminal."""
    main, terminal = pty.openpty()
    try:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=terminal, check=True, timeout=60)
        return os.read(main, 65_536).decode()
    finally:
        os.close(terminal)
        os.close(main)
