"""What every command prints with --json, over a fixed world: the files of tests/golden/json.

A file holds a command and what it prints. REMIT_WRITE_GOLDEN=1 writes anew what the commands of the files print; a new
command needs a file with its line. docs/reference/json.md shows them.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from support import runtime
from support.audit_records import decision_at, happened
from support.server import POLICIES, Server, until
from support.trees import tree_of
from typer.testing import CliRunner, Result

from remit.audit.chain.signing import SigningKey
from remit.audit.ids import format_id
from remit.audit.record import AUDIT_READ, ArchivedRevision
from remit.audit.spool.spool import Spool
from remit.audit.store.store import AuditStore
from remit.cli.common.help import commands_of
from remit.cli.main import app
from remit.client import RuntimeBinding
from remit.core.names import Tenant
from remit.fleet.node_report import NodeReport
from remit.fleet.store import Draft, PolicyStore
from remit.policy.load import DEFAULT_LIMITS
from remit.policy.read.tree import read_tree
from remit.policy.revisions.archive import Archive
from remit.v1.status_service_pb2 import GetShadowRequest

GOLDEN: Final = Path(__file__).parents[1] / "golden" / "json"
ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = "docs/graphs", "docs/kestra", "tests/golden/small", "tests/golden/edited"
"""Folders of the repository that commands read, beside its policies."""
PAGE: Final = (ROOT / "docs" / "reference" / "json.md").read_text()
WRITES: Final = bool(os.environ.get("REMIT_WRITE_GOLDEN"))
LINES: Final = {"audit follow", "audit checkpoint"}
"""The commands that print an object a line."""
WITHOUT: Final = {"serve", "console"}
"""They serve, and print no answer."""
T0: Final = 1_789_995_600_000_000
HOUR_US: Final = 3_600_000_000
DECIDED: Final = T0 + HOUR_US

_SAMPLES: Final = {
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z": "2026-09-21T13:00:00.000Z",
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}": "01a0c414-f980-7000-8000-000000000000",
    r"\b[0-9a-f]{128}\b": "0123456789abcdef" * 8,
    r"\b[0-9a-f]{64}\b": "0123456789abcdef" * 4,
    r"\b[0-9a-f]{16}\b": "0123456789abcdef",
    r"(?<!-)\b[0-9a-f]{12}\b": "0123456789ab",
}
"""What differs from run to run, and what stands for it."""
_NUMBERS: Final = {
    "seconds",
    "bytes",
    "store_bytes",
    "free_bytes",
    "acknowledged",
    "time_us",
    "committed",
    "restarts",
    "age_s",
    "answers",
    "slowest_s",
    "published",
    "changed",
}


COMMANDS: Final = {name: each.loaded() for name, each in commands_of(typer.main.get_command(app))}


def command_of(file: Path) -> str:
    """`rollback.pin.json` is another use of `rollback`."""
    name = file.name.split(".")[0]
    return next(each for each in COMMANDS if each.replace(" ", "-") == name)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with policies, a store, a spool, keys and what imports read."""
    folder = tmp_path_factory.mktemp("world")
    shutil.copytree(POLICIES, folder / "policies", ignore=shutil.ignore_patterns("tests"))
    (folder / "grants.csv").write_text("g, user:ben, role:viewer, acme/a.**\n")
    shutil.copytree(folder / "policies", folder / "candidate")
    bindings = folder / "candidate" / "acme" / "bindings.csv"
    bindings.write_text(bindings.read_text() + "g, user:carol, role:deployer, acme/acme.finance\n")
    shutil.copytree(folder / "policies", folder / "ungranted", ignore=shutil.ignore_patterns("_callers"))
    for each in EXAMPLES:
        shutil.copytree(ROOT / each, folder / each)
    (folder / "owners.txt").write_text("acme.data\nacme.legal\n")
    (folder / "model.conf").write_text(
        "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act\n"
        "[role_definition]\ng = _, _\n[policy_effect]\ne = some(where (p.eft == allow))\n"
        "[matchers]\nm = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act\n"
    )
    (folder / "policy.csv").write_text("p, editor, reports, GET\ng, alice, editor\nP, bob, reports, GET\n")
    (folder / "redact.key").write_text("0123456789abcdef" * 4)
    (folder / "redact.key").chmod(0o600)
    _recorded(folder)
    return folder


def _recorded(folder: Path) -> None:
    SigningKey.new(folder / "audit.pem")
    acme = Tenant("acme")
    archive = Archive.of(read_tree(folder / "policies", DEFAULT_LIMITS), acme, T0, "policies", "")
    revision = read_tree(folder / "policies", DEFAULT_LIMITS).revision(acme)
    asked = {"tenant": "acme", "namespace": "acme.finance", "revision": revision, "resource_id": ""}
    shop = {**asked, "caller": "service:shop", "principal": "user:carol"}
    allowed = decision_at(DECIDED, **shop, action="VIEW", rule="roles.csv:20")
    denied = decision_at(DECIDED + 1_000_000, **shop, action="UPDATE", effect="deny", reason="OUT_OF_SCOPE", rule="")
    nobody = decision_at(DECIDED + 2_000_000, **{**shop, "caller": "anonymous"}, action="VIEW", rule="roles.csv:20")
    read = happened(AUDIT_READ, detail='{"caller":"user:ada","call":"ListRecords","asked":{}}', revision="")
    with AuditStore(f"sqlite:///{folder / 'audit.db'}") as store:
        store.migrate()
        store.append([], revisions=[ArchivedRevision(acme, revision, T0, archive.content)])
        loaded = happened("POLICY_LOADED", time_us=T0, revision=revision)
        store.append([allowed, denied, nobody], [loaded, read])
    with PolicyStore(f"sqlite:///{folder / 'policy.db'}") as policies:
        policies.migrate()
        release = policies.publish(
            Draft(read_tree(folder / "tests/golden/small", DEFAULT_LIMITS), "ci", "the first"), 0
        ).release
        assert release.seq == 1
    spool = Spool(folder / "spool.db", max_bytes=1 << 24).open()
    spool.put([decision_at(DECIDED + 3_000_000, **shop, action="VIEW", rule="roles.csv:20")])
    spool.close()


@pytest.fixture(scope="module")
def target(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over those policies with a candidate, which decided two questions."""
    folder = tmp_path_factory.mktemp("server")
    with Server(folder, "--shadow", str(world / "candidate"), policies=world / "ungranted") as server:
        with server.client() as client:
            shadow = GetShadowRequest()
            until(lambda: client.ask(shadow).tree_revision != "", "the candidate has loaded")
            for action in ("VIEW", "UPDATE"):
                client.tenant("acme").check("user:carol", action, "FLOW", "acme.finance")
            until(lambda: client.ask(shadow).decided == 2, "the candidate has decided them too")
        yield server.target


@pytest.fixture
def unpinned(target: str) -> Iterator[str]:
    """That server, for a command that pins."""
    yield target
    run(["rollback", "acme", "--unpin", "--target", target])


@pytest.fixture
def granting(tmp_path: Path) -> Iterator[str]:
    """A server with a policy store, where one row was granted."""
    url = f"sqlite:///{tmp_path / 'granting.db'}"
    with PolicyStore(url) as store:
        store.migrate()
        store.publish(Draft(tree_of(runtime.files()), "ci"), 0)
    with Server(tmp_path / "granting", "--policy-store", url, policies=None) as server:
        with server.client() as client:
            ann = RuntimeBinding("user:ann", "role:viewer", "a.**", 4_000_000_000_000_000)
            client.tenant("acme").change_bindings([ann], granter="user:alice")
        yield server.target


@pytest.fixture
def copy(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The world, for one command: it may write."""
    folder = tmp_path / "world"
    shutil.copytree(world, folder)
    monkeypatch.chdir(folder)
    for name in list(os.environ):
        if name.startswith("REMIT_"):
            monkeypatch.delenv(name)
    return folder


def run(words: list[str]) -> Result:
    return CliRunner().invoke(app, words, catch_exceptions=False)


def normal(value: Any, folder: Path, name: str = "") -> Any:
    """The value with a sample in place of what differs from run to run."""
    match value:
        case dict():
            return {
                name: 0 if name in _NUMBERS and isinstance(each, int | float) else normal(each, folder, name)
                for name, each in value.items()
            }
        case str() if name == "markdown":
            # A page's text is its own golden file.
            return value.split("\n")[0]
        case list():
            return [normal(each, folder) for each in value]
        case str():
            text = value.replace(str(folder), "/srv")
            for pattern, sample in _SAMPLES.items():
                text = re.sub(pattern, sample, text)
            return text
    return value


def test_commands_read_folders_of_the_repository(world: Path) -> None:
    words = {word for file in GOLDEN.glob("*.json") for word in json.loads(file.read_text())["command"].split()}
    read = {word for word in words if (world / word).exists() and ((world / word).is_dir() or "/" in word)}

    assert {"policies", "tests/golden/small", "tests/golden/edited", "docs/graphs/close.json"} <= read
    assert {word for word in read if not (ROOT / word).exists()} == set()


def test_every_command_has_json_and_a_golden_file() -> None:
    with_json = {name for name, command in COMMANDS.items() if any("--json" in each.opts for each in command.params)}

    assert {*COMMANDS} - WITHOUT == with_json
    assert (
        f"Every command but {' and '.join(f'`{each}`' for each in sorted(WITHOUT, reverse=True))} prints JSON" in PAGE
    )
    assert with_json == {command_of(file) for file in GOLDEN.glob("*.json")}


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.json")), ids=lambda file: file.stem)
def test_json_of_a_command(file: Path, copy: Path, world: Path, request: pytest.FixtureRequest) -> None:
    golden = json.loads(file.read_text())
    line = golden["command"]
    assert line.startswith(f"remit {command_of(file)} ") or line == f"remit {command_of(file)} --json"
    if "127.0.0.1:9090" in line:
        server = "unpinned" if line.startswith("remit rollback") else "target"
        if command_of(file) in {"grant", "revoke", "drift"} or command_of(file).startswith("bindings "):
            server = "granting"
        line = line.replace("127.0.0.1:9090", request.getfixturevalue(server))
    if command_of(file) == "nodes":
        with PolicyStore(f"sqlite:///{copy / 'policy.db'}") as store:
            newest = store.newest()
            assert newest is not None
            store.beat(NodeReport("node-1", "", "0.1.0", newest.release.seq, newest.release.hash, (), "listening"))
    for name, found in (("ID", _denied), ("REV", _revision)):
        if f" {name} " in line:
            line = line.replace(f" {name} ", f" {found(copy)} ")
    if "--unpin" in line:
        run(line.removeprefix("remit ").replace("--unpin", _revision(copy)).split())

    done = run(line.removeprefix("remit ").split())
    printed = (
        [json.loads(each) for each in done.stdout.splitlines()]
        if command_of(file) in LINES
        else json.loads(done.stdout)
    )
    shown = {"command": golden["command"], "exit": int(done.exit_code), "prints": normal(normal(printed, copy), world)}

    assert isinstance(printed, list if command_of(file) in LINES else dict)
    if WRITES:
        file.write_text(json.dumps(shown, indent=2) + "\n")
        golden = shown
    assert golden == shown, done.stderr


def _denied(folder: Path) -> str:
    with AuditStore(f"sqlite:///{folder / 'audit.db'}") as store:
        return next(format_id(each.id) for each in store.decisions() if each.effect == "deny")


def _revision(folder: Path) -> str:
    return read_tree(folder / "policies", DEFAULT_LIMITS).revision(Tenant("acme"))


WORDS: Final = re.compile("EFFECT_|REASON_|TENANT_STATE_|RESOURCE_|CLAUSE_")


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.json")), ids=lambda file: file.stem)
def test_json_is_of_one_dialect(file: Path) -> None:
    """snake_case fields, the plain words, times of RFC 3339 and no number in a text."""
    prints = json.loads(file.read_text())["prints"]

    def walk(value: Any, name: str = "") -> None:
        if isinstance(value, dict):
            for field, inner in value.items():
                if name != "config":
                    assert re.fullmatch("[a-z][a-z0-9_]*", field), field
                    assert not field.endswith("_us") or command_of(file) == "audit checkpoint"
                walk(inner, field)
        elif isinstance(value, list):
            for inner in value:
                walk(inner, name)
        elif isinstance(value, str):
            assert not WORDS.search(value)
            assert name != "effect" or value in {"allow", "deny", ""}

    walk(prints)


@pytest.mark.parametrize(
    "line",
    [
        "check acme user:carol VIEW FLOW --policies nowhere --json",
        "check acme carol VIEW FLOW acme.finance --json",
        "audit list --audit sqlite:///nowhere.db --json",
        "status --target 127.0.0.1:1 --json",
        "lint policies --format sarif --json",
        "replay --policies nowhere --json",
        "audit show 01a0c414-f980-7000-8000-000000000000 --audit sqlite:///audit.db --json",
        "audit count --by nothing --json",
    ],
)
def test_an_error_prints_no_json(copy: Path, line: str) -> None:
    """Standard output has an answer or nothing; the exit code and standard error say why there is none."""
    done = run(line.split())

    assert done.exit_code in {1, 2, 3}
    assert "" == done.stdout
    assert done.stderr
