"""The wheel in fresh environments, as its users install it, at the versions that pyproject.toml promises.

    python tests/installs.py

The client alone, on the oldest Python with the lowest versions and on the newest with the newest, asks a server questions.
A server with the lowest versions answers them. Exits 1 where one fails, and where a Python is missing. Needs the registry
that `make setup` needs.
"""

import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Final

import pythons
from support.server import DEADLINE_S, POLICIES, REMIT, ROOT, Server

OLDEST_CLIENT: Final = (3, 10)
EXTRAS: Final = ("server", "http", "console", "otlp", "parquet", "postgres")
"""Installed together with the lowest versions."""
QUESTIONS: Final = ROOT / "tests" / "support" / "installed_client.py"
UV: Final = Path(sys.executable).with_name("uv")


def build_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    run(0, *command)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(folder: Path, wheel: Path, python: Path, resolution: str, *extras: str) -> Path:
    """A new environment with the wheel. Returns its `bin`."""
    folder.mkdir(parents=True)
    pinned = folder / "requirements.txt"
    wanted = [option for extra in extras for option in ("--extra", extra)]
    resolved = ["--resolution", resolution, "--python", python, "--no-header", "--no-annotate", "-o", pinned]
    uv("pip", "compile", ROOT / "pyproject.toml", *wanted, *resolved)
    uv("venv", "--python", python, folder / "venv")
    uv("pip", "install", "--python", folder / "venv/bin/python", "-r", pinned, wheel)
    return folder / "venv/bin"


def uv(*words: str | Path) -> None:
    run(0, UV, *words, "--quiet")


def ask(binaries: Path, server: Server, python: Path, *extras: str) -> None:
    """The client of the environment asks the server. A warning is an error."""
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout
    subprocess.run(
        [binaries / "python", "-I", "-W", "error", QUESTIONS, server.target, version.split()[1], *extras], check=True
    )


def client_works(folder: Path, wheel: Path, python: Path, resolution: str) -> None:
    binaries = install(folder / "alone", wheel, python, resolution)
    with Server(folder / "server") as server:
        ask(binaries, server, python)
        ask(install(folder / "sqlalchemy", wheel, python, resolution, "sqlalchemy"), server, python, "sqlalchemy")
    refused = run(1, binaries / "remit", "check")
    expected = "Python 3.11 or newer" if python == pythons.interpreters()[OLDEST_CLIENT] else "the extra `server`"
    assert expected in refused, refused
    assert "Traceback" not in refused


def server_is_refused(python: Path) -> None:
    """Nobody installs half a server there: the installer refuses the extra, and says which Python it needs."""
    refused = run(1, UV, "pip", "compile", ROOT / "pyproject.toml", "--extra", "server", "--python", python)
    assert "Python>=3.11" in refused, refused


def server_works(folder: Path, wheel: Path, python: Path) -> None:
    binaries = install(folder, wheel, python, "lowest-direct", *EXTRAS)
    remit = str(binaries / "remit")
    for words in (
        ["docs"],
        ["docs", "install"],
        ["lint", "--explain", "unused-role"],
        ["--help"],
        ["serve", "--help"],
        ["console", "--help"],
        ["validate", POLICIES],
        ["lint", POLICIES],
        ["test", POLICIES],
    ):
        run(0, remit, *words)
    assert (folder / "venv/share/man/man1/remit-audit-list.1").is_file()
    run(2, remit, "audit", "export", "--out", folder / "nothing")
    with Server(folder / "server", launcher=(remit,), http="127.0.0.1:0") as server:
        ask(binaries, server, python)
        ask_over_http(server)
        look_at_the_console(remit, server)
        server.terminate()
    store = ["--audit", server.audit]
    run(0, remit, "audit", "verify", *store)
    run(0, REMIT, "audit", "verify", *store)
    run(
        0, remit, "audit", "export", *store, "--tenant", "acme", "--format", "parquet", "--out", folder / "acme.parquet"
    )


def ask_over_http(server: Server) -> None:
    question = {"principal": "user:carol", "action": "VIEW", "kind": "FLOW", "namespace": "acme.finance"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.http_port}/remit.v1.AccessService/Check",
        json.dumps({"tenant": "acme", "question": question}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:
        answer = json.load(response)
    assert answer["decision"]["effect"] == "EFFECT_ALLOW", answer


def look_at_the_console(remit: str, server: Server) -> None:
    command = [remit, "console", "--target", server.target, "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as console:
        try:
            assert console.stdout is not None
            line = console.stdout.readline()
            with urllib.request.urlopen(line.split()[-1], timeout=DEADLINE_S) as response:
                page = response.read().decode()
            assert "acme" in page, (line, page)
        finally:
            console.terminate()


def run(code: int, *command: str | Path) -> str:
    """What it prints on standard error. Exits if the command does not exit with this code."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != code:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stderr


def main() -> None:
    found = pythons.interpreters()
    for version in (OLDEST_CLIENT, pythons.OLDEST):
        if version not in found:
            sys.exit("found no Python {}.{}: install one, the lowest versions are tried on it".format(*version))
    oldest, oldest_of_server, newest = found[OLDEST_CLIENT], found[pythons.OLDEST], found[max(found)]
    with tempfile.TemporaryDirectory(prefix="remit-installs-") as name:
        folder = Path(name)
        wheel = build_wheel(folder / "dist")
        print("the client alone, oldest Python, lowest versions", flush=True)
        client_works(folder / "1", wheel, oldest, "lowest-direct")
        print("the client alone, newest Python, newest versions", flush=True)
        client_works(folder / "2", wheel, newest, "highest")
        print("the server on the client's oldest Python", flush=True)
        server_is_refused(oldest)
        print("the server, lowest versions", flush=True)
        server_works(folder / "3", wheel, oldest_of_server)


if __name__ == "__main__":
    main()
