"""A command imports what it needs when it runs, and no more."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import generate
import pytest
import typer
from support.server import Server
from typer.testing import CliRunner

from remit.audit.store.store import AuditStore
from remit.cli.common.lazy import LazyCommand
from remit.cli.main import app


def commands(name: str, command: Any) -> Iterator[tuple[str, LazyCommand]]:
    if isinstance(command, LazyCommand):
        yield name, command
    for each, inner in getattr(command, "commands", {}).items():
        yield from commands(f"{name} {each}".lstrip(), inner)


COMMANDS = dict(commands("", typer.main.get_command(app)))


def test_index_of_commands_is_fresh() -> None:
    """`docs/generate.py` writes it."""
    assert generate.index() == generate.INDEX.read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_from_the_index_is_the_help_of_the_command(name: str) -> None:
    words = [*name.split(), "--help"]
    indexed = CliRunner().invoke(app, words, terminal_width=80)
    own = CliRunner().invoke(COMMANDS[name].loaded(), ["--help"], prog_name=f"remit {name}", terminal_width=80)

    assert (0, 0) == (indexed.exit_code, own.exit_code), own.output
    assert indexed.output == own.output


def test_without_the_library_of_a_command_the_program_says_what_to_install() -> None:
    code = "import sys; sys.modules['yaml'] = None; sys.argv[1:] = ['lint']; from remit.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)

    assert (1, "") == (done.returncode, done.stdout)
    assert "`yaml`: install it with `pip install 'remit[server]'`" in done.stderr


LIBRARIES = {
    *("pydantic", "rich", "google.protobuf"),
    *(
        "alembic",
        "casbin",
        "cryptography",
        "grandalf",
        "grpc",
        "opentelemetry",
        "prometheus_client",
        "psycopg",
        "pyarrow",
    ),
    *("pydantic_settings", "pydot", "sqlalchemy", "structlog", "watchfiles", "yaml"),
}
FILES = {"yaml"}
CLIENT = {"grpc"}
SERVICERS = {"casbin", "grpc", "prometheus_client", "structlog", "yaml"}
STORE = {"cryptography", "grpc", "sqlalchemy", "yaml"}
SERVE = SERVICERS - {"casbin"} | STORE | {"pydantic_settings", "watchfiles"}
"""The process that loads policies asks Casbin."""
POLICIES = str(Path(__file__).parents[3] / "policies")
QUESTION = ("acme", "user:carol", "VIEW", "FLOW", "acme.finance")
# Writes the names of all modules in the last line, however the command ends.
LISTED = """
import json, sys
from remit.cli import main
try:
    main()
finally:
    print(json.dumps({"event": "modules", "names": [*sys.modules]}), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (("--help",), set()),
        (("audit", "--help"), set()),
        (("version",), set()),
        (("--version",), set()),
        (("fmt", "--check", POLICIES), FILES),
        (("lint", POLICIES), FILES),
        (("validate", POLICIES), {"casbin", *FILES}),
        (("diff", POLICIES, POLICIES), FILES),
        (("test", POLICIES), {"casbin", *FILES}),
        (("verify", POLICIES, "--random", "3"), {"casbin", *FILES}),
        (("check", *QUESTION, "--policies", POLICIES), SERVICERS),
        (("who", "acme", "VIEW", "FLOW", "acme.finance", "--policies", POLICIES), SERVICERS),
        (("check", *QUESTION, "--target", "127.0.0.1:1", "--timeout", "0.1"), CLIENT),
        (("status", "--target", "127.0.0.1:1", "--timeout", "0.1"), CLIENT),
        (("audit", "list", "--audit", "STORE"), STORE),
    ],
    ids=lambda value: " ".join(value).replace(POLICIES, "policies") if isinstance(value, tuple) else "",
)
def test_command_loads_the_libraries_that_it_needs(words: tuple[str, ...], needed: set[str], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    if "STORE" in words:
        with AuditStore(url) as store:
            store.migrate()
    words = tuple(each.replace("STORE", url) for each in words)
    done = subprocess.run(
        [sys.executable, "-c", LISTED, *words], capture_output=True, text=True, check=False, timeout=60
    )

    assert needed == LIBRARIES & {*json.loads(done.stderr.splitlines()[-1])["names"]}


def test_server_loads_no_alembic(tmp_path: Path) -> None:
    with Server(tmp_path, launcher=(sys.executable, "-c", LISTED)) as server:
        server.terminate()

    assert SERVE == LIBRARIES & {*server.logs[-1]["names"]}
