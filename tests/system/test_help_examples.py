"""The example in the help of each command runs: over the example company, a store with records, and a real server."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import typer
from support.server import ROOT, Server, environment, until

from remit.audit.chain.signing import SigningKey
from remit.audit.spool.spool import Spool
from remit.cli.common.help import commands_of
from remit.cli.main import app
from remit.fleet.store import Draft, PolicyStore
from remit.policy.load import DEFAULT_LIMITS
from remit.policy.read.tree import read_tree

BIN: Final = Path(sys.executable).parent
ASKS_THE_SERVER: Final = {
    "status",
    "rollback",
    "shadow",
    "audit follow",
    "grant",
    "revoke",
    "source",
    "tests",
    "console",
    "drift",
    "bindings list",
    "bindings import",
    "bindings export",
}
RUNTIME: Final = "\nruntime: {roles: [role:viewer], scopes: [acme.finance.**]}\n"
CODES: Final = {"explain": 1, "audit explain": 1, "operation": 1, "resolve": 1}
"""What an example exits with, if not with 0."""
ENDLESS: Final = {"serve": "serving", "audit follow": "user:nobody", "console": "the console of"}
"""Commands that go on until a signal, and what they print first."""


@dataclass
class World:
    """A folder with what the examples name."""

    folder: Path
    target: str

    def run(self, line: str, *, asks_server: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment(asks_server=asks_server),
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def environment(self, *, asks_server: bool) -> dict[str, str]:
        more = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "REMIT_LISTEN": "127.0.0.1:0",
            "REMIT_HTTP": "",
            "REMIT_METRICS": "",
            "REMIT_CONSOLE_LISTEN": "127.0.0.1:0",
        }
        return environment({**more, **({"REMIT_TARGET": self.target} if asks_server else {})})


EXAMPLES: Final = {name: each.described().example for name, each in commands_of(typer.main.get_command(app))}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    shutil.copytree(ROOT / "policies", folder / "policies")
    with (folder / "policies/acme/tenant.yaml").open("a") as manifest:
        manifest.write(RUNTIME)
    for untested in ("candidate", "served"):
        # Tests would delay the start of the server.
        shutil.copytree(folder / "policies", folder / untested, ignore=shutil.ignore_patterns("tests"))
    shutil.copytree(ROOT / "docs" / "graphs", folder / "docs" / "graphs")
    for each in (ROOT / "docs" / "kestra").glob("*.json"):
        shutil.copy(each, folder)
    (folder / "namespaces.txt").write_text("acme.finance\nacme.data\n")
    (folder / "redact.key").write_bytes(bytes(range(32)))
    (folder / "redact.key").chmod(0o600)
    (folder / "token.txt").write_text("secret")
    (folder / "grants.csv").write_text("g, user:zoe, role:viewer, acme/acme.finance.**\n")
    (folder / "model.conf").write_text(CASBIN_MODEL)
    (folder / "policy.csv").write_text("p, admin, data1, read\ng, alice, admin\n")
    key = SigningKey.new(folder / "audit.pem")
    assert key.public.id
    (folder / "var").mkdir()
    Spool(folder / "var" / "spool.db", max_bytes=1 << 20).open().close()
    store = f"sqlite:///{folder / 'var' / 'audit.db'}"
    flags = ("--audit", store, "--audit-key", str(folder / "audit.pem"), "--shadow", str(folder / "candidate"))
    policy_store = f"sqlite:///{folder / 'var' / 'policy.db'}"
    with PolicyStore(policy_store) as policies:
        policies.migrate()
        policies.publish(Draft(read_tree(folder / "served", DEFAULT_LIMITS), "ci"), 0)
    with Server(folder / "server", *flags, "--policy-store", policy_store, policies=None) as server:
        made = World(folder, server.target)
        for line in (
            "remit check acme user:carol VIEW FLOW acme.finance",
            "remit audit checkpoint > heads.jsonl",
            "remit fleet backup --to policy-made.db --policy-store sqlite:///var/policy.db",
            "remit audit backup --to made.db && git init -q && git add policies",
            "git -c user.name=a -c user.email=a@b commit -qm one && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m two",
        ):
            done = made.run(line, asks_server=line.startswith("remit check"))
            assert done.returncode == 0, done.stderr
        yield made


CASBIN_MODEL: Final = """\
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
"""
FRESH: Final = {
    "import casbin": ("model.conf", "policy.csv"),
    "import kestra": ("roles.json", "bindings.json"),
    "callers init": ("policies/vocabulary.yaml",),
    "audit key new": (),
}
"""What is there before a command that makes a folder or a file: these, and nothing else."""


def here_and_now(line: str, world: World) -> str:
    """The example with an id, a time and a folder that exist here."""
    if "audit show" in line:
        listed = world.run("remit audit list --json --limit 1").stdout
        line = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", re.findall(r'"id": "([^"]+)"', listed)[0], line)
    if "restore" in line:
        line = line.replace("backup.db", "made.db")
    line = re.sub(r"--at \S+", "--at 0s", line).replace("/mnt/elsewhere/", "").replace("127.0.0.1:9090", world.target)
    return line.replace("--since 2026-11-01 --until 2026-12-01", "--since 1d")


@pytest.mark.parametrize("name", [each for each in EXAMPLES if each not in ENDLESS])
def test_example_in_the_help_of_a_command_runs(name: str, world: World) -> None:
    if name in FRESH:
        folder = world.folder / name.replace(" ", "-")
        for file in FRESH[name]:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(world.folder / file, folder / file)
        folder.mkdir(exist_ok=True)
        world = World(folder, world.target)
    done = world.run(here_and_now(EXAMPLES[name], world), asks_server=name in ASKS_THE_SERVER)

    assert CODES.get(name, 0) == done.returncode, f"{EXAMPLES[name]}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ENDLESS)
def test_example_of_a_command_without_an_end_runs_until_it_is_stopped(name: str, world: World) -> None:
    asked = world.environment(asks_server=name in ASKS_THE_SERVER)
    folder = world.folder if name in ASKS_THE_SERVER else world.folder / name
    if folder != world.folder:
        shutil.copytree(world.folder / "served", folder / "policies")
        (folder / "var").mkdir()
    with subprocess.Popen(
        ["bash", "-c", f"exec {here_and_now(EXAMPLES[name], world)}"],
        cwd=folder,
        env=asked,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        text = b""

        def shown() -> bool:
            nonlocal text
            if name == "audit follow":
                # It prints what is decided from now on.
                world.run("remit check acme user:nobody VIEW FLOW acme.finance", asks_server=True)
            text += process.stdout.read() or b"" if process.stdout is not None else b""
            return ENDLESS[name].encode() in text

        until(shown, "its first line")
        process.send_signal(signal.SIGINT)
        assert 0 == process.wait(60), text.decode()
