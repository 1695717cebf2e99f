"""A command imports what it needs when it runs, and no more."""

import json
import os
import subprocess
import sys
from pathlib import Path

import generate
import pytest
from support.server import Server

from remit.audit.store.store import AuditStore


def test_index_of_commands_is_fresh() -> None:
    """`docs/generate.py` writes it."""
    assert generate.index() == generate.INDEX.read_text()


def test_without_the_library_of_a_command_the_program_says_what_to_install() -> None:
    code = "import sys; sys.modules['yaml'] = None; sys.argv[1:] = ['lint']; from remit.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)

    assert (1, "") == (done.returncode, done.stdout)
    assert "`yaml`: install remit with the extra `server`" in done.stderr


LIBRARIES = {
    *("pydantic", "rich", "google.protobuf"),
    *(
        "alembic",
        "casbin",
        "cryptography",
        "grandalf",
        "grpc",
        "http.client",
        "opentelemetry",
        "prometheus_client",
        "psycopg",
        "pyarrow",
    ),
    *("pydantic_settings", "pydot", "sqlalchemy", "structlog", "watchfiles", "yaml"),
}
FILES = {"yaml"}
CLIENT = {"google.protobuf", "grpc"}
SERVICERS = CLIENT | FILES
STORE = {"cryptography", "sqlalchemy", *SERVICERS}
SERVE = STORE | {"http.client", "rich", "prometheus_client", "pydantic", "pydantic_settings", "structlog", "watchfiles"}
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
        (("check", "--help"), set()),
        (("audit", "key", "new", "--help"), set()),
        (("version",), set()),
        (("--version",), set()),
        (("fmt", "--check", POLICIES), FILES),
        (("lint", POLICIES), FILES),
        (("validate", POLICIES), {"casbin", "rich", *FILES}),
        (("diff", POLICIES, POLICIES), FILES),
        (("test", POLICIES), {"casbin", "rich", *FILES}),
        (("verify", POLICIES, "--random", "3"), {"casbin", "rich", *FILES}),
        (("check", *QUESTION, "--policies", POLICIES), SERVICERS),
        (("who", "acme", "VIEW", "FLOW", "acme.finance", "--policies", POLICIES), SERVICERS | {"rich", "structlog"}),
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


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_a_command_loads_no_library(shell: str) -> None:
    environment = {
        "_REMIT_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "remit check --tl",
        "COMP_CWORD": "2",
        "_TYPER_COMPLETE_ARGS": "remit check --tl",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(
        [sys.executable, "-c", LISTED],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )

    assert "--tls-cert" in done.stdout
    assert set() == LIBRARIES & {*json.loads(done.stderr.splitlines()[-1])["names"]}


def test_version_loads_no_library_of_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTED, "--version"], capture_output=True, text=True, check=True, timeout=60
    )

    assert set() == {"typer", "remit.cli.main", *LIBRARIES} & {*json.loads(done.stderr.splitlines()[-1])["names"]}


def test_server_loads_no_alembic(tmp_path: Path) -> None:
    with Server(tmp_path, launcher=(sys.executable, "-c", LISTED)) as server:
        server.terminate()

    assert SERVE == LIBRARIES & {*server.logs[-1]["names"]}
