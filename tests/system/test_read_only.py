"""Evidence that nobody can write to: it is read and proved all the same, and stays as it is."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.audit_records import decision, happened
from support.server import DEADLINE_S, environment, remit

from remit.audit.store.backup import back_up
from remit.audit.store.shards import worker_url
from remit.audit.store.store import AuditStore

WAL, ROLLBACK = b"\x02\x02", b"\x01\x01"
"""What the header of a SQLite file says of its journal."""
# The superuser writes everywhere, but for one who has given up that right.
WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()


def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """As one whom the modes of files bind."""
    return subprocess.run(
        [*WITHOUT_RIGHTS, *words],
        input=stdin,
        env=environment({}),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


COMMANDS = """
import json, sys
from typer.testing import CliRunner
from remit.cli.main import app
done = [CliRunner().invoke(app, ["audit", *words], catch_exceptions=False) for words in json.load(sys.stdin)]
print(json.dumps([(each.exit_code, each.stdout, each.stderr) for each in done]))
"""


def audit(*commands: tuple[str, ...]) -> list[tuple[int, str, str]]:
    """The exit code and what was printed by each, all run in one process, as most of their time is what Python takes."""
    done = run(sys.executable, "-c", COMMANDS, stdin=json.dumps(commands))
    assert 0 == done.returncode, done.stderr
    return [(code, out, err) for code, out, err in json.loads(done.stdout)]


def filled(file: Path, *nodes: str) -> str:
    """The URL of a store of three decisions a node; of several, each in a file of a worker."""
    url = f"sqlite:///{file}"
    for number, node in enumerate(nodes, 1):
        with AuditStore(worker_url(url, number) if len(nodes) > 1 else url) as store:
            store.migrate()
            store.open().append([decision(node=node) for _ in range(3)], [happened(node=node)])
    return url


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nothing can be written, once it is sealed."""
    folder = tmp_path / "evidence"
    folder.mkdir()
    yield folder
    folder.chmod(0o755)


def seal(folder: Path) -> None:
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)
    assert 0 != run("touch", str(folder / "new")).returncode
    for file in folder.iterdir():
        assert 0 != run("sh", "-c", f"echo >> {file}").returncode


@pytest.mark.parametrize("nodes", [("n",), ("n.w1", "n.w2")], ids=("one file", "files of workers"))
@pytest.mark.parametrize("copied", ["backup", "copy of the files"])
def test_a_read_only_copy_is_read_and_verified(
    tmp_path: Path, sealed: Path, copied: str, nodes: tuple[str, ...]
) -> None:
    """Files of `audit backup`, and files of a store that no process has open."""
    filled(tmp_path / "audit.db", *nodes)
    if copied == "backup":
        back_up(tmp_path / "audit.db", sealed / "audit.db")
    else:
        for file in tmp_path.glob("audit*.db"):
            shutil.copyfile(file, sealed / file.name)
    files = sorted(sealed.iterdir())
    before = [file.read_bytes() for file in files]
    assert {ROLLBACK if copied == "backup" else WAL} == {content[18:20] for content in before}
    seal(sealed)
    url = f"sqlite:///{sealed / 'audit.db'}"

    done = audit(
        ("verify", "--counts", "--audit", url),
        ("list", "--json", "--audit", url),
        ("export", "--tenant", "acme", "--out", str(tmp_path / "acme.jsonl"), "--audit", url),
        ("backup", "--to", str(tmp_path / "again.db"), "--audit", url),
        ("checkpoint", "--audit", url),
    )

    assert [(0, "")] * 5 == [(code, err) for code, _, err in done]
    assert f"{4 * len(nodes)} records in {2 * len(nodes)} chains: whole" in done[0][1]
    assert {*nodes} == {each["node"] for each in json.loads(done[1][1])["records"]}
    assert (files, before) == (sorted(sealed.iterdir()), [file.read_bytes() for file in files])


def test_copy_with_records_in_its_log_says_what_to_do(tmp_path: Path, sealed: Path) -> None:
    """Its newest records are in the log alone: without it the answer would be another one."""
    with AuditStore(filled(tmp_path / "audit.db", "n")).open() as store:
        store.append([decision()])
        for name in ("audit.db", "audit.db-wal"):
            shutil.copyfile(tmp_path / name, sealed / name)
    seal(sealed)
    ((code, out, err),) = audit(("verify", "--audit", f"sqlite:///{sealed / 'audit.db'}"))

    assert (3, "") == (code, out)
    assert f"`{sealed / 'audit.db-wal'}` holds records" in err
    assert "and its log to a folder that can be written" in err


def test_reading_a_backup_leaves_it_as_it_is(tmp_path: Path) -> None:
    """To the byte, and with no file beside it, though both could be written."""
    filled(tmp_path / "audit.db", "n")
    folder = tmp_path / "kept"
    folder.mkdir()
    back_up(tmp_path / "audit.db", folder / "audit.db")
    before = (folder / "audit.db").read_bytes()
    for words in (("verify",), ("list",), ("count",), ("checkpoint",)):
        assert 0 == remit("audit", *words, "--audit", f"sqlite:///{folder / 'audit.db'}").returncode

    assert (["audit.db"], before) == ([file.name for file in folder.iterdir()], (folder / "audit.db").read_bytes())


def test_commands_that_would_write_to_evidence_are_refused(tmp_path: Path, sealed: Path) -> None:
    filled(tmp_path / "audit.db", "n")
    back_up(tmp_path / "audit.db", sealed / "audit.db")
    seal(sealed)
    ((code, _, err),) = audit(("purge", "--before", "0s", "--yes", "--audit", f"sqlite:///{sealed / 'audit.db'}"))

    assert (3, True) == (code, "readonly database" in err), err
