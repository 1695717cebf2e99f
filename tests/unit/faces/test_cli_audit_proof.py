"""The commands that prove the audit: key, checkpoint, verify, export."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from contract.audit_records import decision, happened
from typer.testing import CliRunner, Result

from remit.audit.ids import format_id
from remit.audit.many import worker_url
from remit.audit.signing import SigningKey, public_file
from remit.audit.store import AuditStore
from remit.faces.cli.main import app

Execute = Callable[..., Any]


def run(*words: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(app, ["audit", *map(str, words)], env=environment, terminal_width=200)


def one_line(text: str) -> str:
    """Without the frame that a wrong flag is told in."""
    return " ".join(text.replace("│", " ").split())


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "audit.db"
    with AuditStore(f"sqlite:///{path}") as store:
        store.migrate()
        store.open()
        store.append([decision(), decision(), decision(tenant="globex")], [happened()])
        store.append([decision(), decision(node="node-2")])
    return path


@pytest.fixture
def url(database: Path) -> str:
    return f"sqlite:///{database}"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "audit.pem"
    SigningKey.new(path)
    return path


@pytest.fixture
def execute(database: Path) -> Iterator[Execute]:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        yield lambda sql, *values: connection.execute(sql, values)


def test_a_key_is_made_once_and_shown(tmp_path: Path) -> None:
    file = tmp_path / "audit.pem"
    made, shown, again = run("key", "new", file), run("key", "show", file), run("key", "new", file)
    key = SigningKey.read(file).public

    assert (0, 0, 3) == (made.exit_code, shown.exit_code, again.exit_code)
    told = f"key id      {key.id}\npublic key  {key.raw.hex()}\n"
    assert (f"{told}written     {file}, {file}.pub\n", told) == (made.stdout, shown.stdout)
    assert f"`{file}.pub` exists, and a key is never written over" in again.stderr
    assert "holds no private key in PEM: make one" in run("key", "show", public_file(file)).stderr


def test_heads_are_lines_of_json_signed_where_a_key_is_given(url: str, key: Path) -> None:
    bare = run("checkpoint", "--audit", url)
    signed = run("checkpoint", "--tenant", "acme", "--key", key, "--audit", url)
    heads = [json.loads(line) for line in bare.stdout.splitlines()]

    assert (0, 0) == (bare.exit_code, signed.exit_code)
    assert [
        ("decisions", "acme", "node-1", 3),
        ("decisions", "acme", "node-2", 1),
        ("decisions", "globex", "node-1", 1),
    ] == [(head["table"], head["tenant"], head["node"], head["seq"]) for head in heads[:3]]
    assert {("", "")} == {(head["key_id"], head["signature"]) for head in heads}
    signed_by = {json.loads(line)["key_id"] for line in signed.stdout.splitlines()}
    assert (3, {SigningKey.read(key).public.id}) == (len(signed.stdout.splitlines()), signed_by)


def test_a_checkpoint_is_added_to_the_store_where_asked_for(url: str, key: Path) -> None:
    assert 2 == run("checkpoint", "--record", "--audit", url).exit_code
    run("checkpoint", "--key", key, "--audit", url)
    assert "0 checkpoints" in run("verify", "--audit", url).stdout
    for _ in range(2):
        assert 0 == run("checkpoint", "--key", key, "--record", "--audit", url).exit_code
    verified = run("verify", "--key", public_file(key), "--audit", url)

    assert (0, True) == (verified.exit_code, "4 checkpoints, 0 tombstones\n0 records come after" in verified.stdout)


def test_a_whole_store_verifies_and_says_what_was_not_checked(url: str, key: Path) -> None:
    run("checkpoint", "--key", key, "--record", "--audit", url)
    verified = run("verify", "--audit", url)
    public = SigningKey.read(key).public

    assert 0 == verified.exit_code
    assert [
        "6 records in 4 chains: whole",
        f"4 checkpoints, 0 tombstones: no key was given, so nobody checked their signatures (keys `{public.id}`)",
    ] == verified.stdout.splitlines()
    assert 0 == run("verify", "--key", public.raw.hex(), "--counts", "--audit", url).exit_code


def test_an_altered_record_is_named(url: str, execute: Execute) -> None:
    (id_,) = execute("SELECT id FROM decisions WHERE tenant = 'acme' AND node = 'node-1' AND seq = 2").fetchone()
    execute("UPDATE decisions SET effect = 'deny' WHERE id = ?", id_)
    told = run("verify", "--audit", url)
    as_json = run("verify", "--json", "--audit", url)
    other = run("verify", "--tenant", "globex", "--audit", url)

    assert (1, 1, 0) == (told.exit_code, as_json.exit_code, other.exit_code)
    assert (
        f"ALTERED: decisions of tenant `acme` by node `node-1`, seq 2, record {format_id(id_)}: its hash does not"
        in told.stdout
    )
    assert "6 records in 4 chains: something is wrong" in told.stdout
    report = json.loads(as_json.stdout)
    (finding,) = report["findings"]
    assert (False, "ALTERED", 2, format_id(id_)) == (report["whole"], finding["kind"], finding["seq"], finding["id"])
    assert "1 records in 1 chains: whole" in other.stdout


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("tenant", "CAST(tenant AS BLOB)"),
        ("node", "CAST(X'ff' AS TEXT)"),
        ("principal", "CAST(X'ff' AS TEXT)"),
        ("seq", "CAST('2' AS BLOB)"),
        ("id", "'text'"),
    ],
)
def test_what_is_no_text_or_number_any_more_is_told_all_the_same(
    url: str, execute: Execute, column: str, value: str
) -> None:
    execute(f"UPDATE decisions SET {column} = {value} WHERE tenant = 'acme' AND seq = 2")
    told, as_json = run("verify", "--audit", url), run("verify", "--json", "--audit", url)
    findings = [
        each for each in json.loads(as_json.stdout)["findings"] if (each["tenant"], each["node"]) == ("acme", "node-1")
    ]

    assert (1, 1, [2]) == (told.exit_code, as_json.exit_code, [each["seq"] for each in findings])
    assert "decisions of tenant `acme` by node `node-1`, seq 2" in told.stdout


def test_a_checkpoint_of_a_key_that_was_not_given_is_named(url: str, key: Path, tmp_path: Path) -> None:
    other = SigningKey.new(tmp_path / "other").public
    run("checkpoint", "--key", key, "--record", "--audit", url)
    refused = run("verify", "--key", other.raw.hex(), "--audit", url)
    both = run("verify", "--key", other.raw.hex(), "--key", public_file(key), "--audit", url)

    assert (1, 0) == (refused.exit_code, both.exit_code)
    assert f"is signed by the key `{SigningKey.read(key).public.id}`, which was not given" in refused.stdout


def test_an_end_that_was_cut_off_shows_against_heads_kept_elsewhere(url: str, execute: Execute, tmp_path: Path) -> None:
    file = tmp_path / "heads.jsonl"
    file.write_text(run("checkpoint", "--audit", url).stdout)
    assert (
        "4 heads kept elsewhere were held against the chains" in run("verify", "--against", file, "--audit", url).stdout
    )
    execute("DELETE FROM decisions WHERE node = 'node-2'")
    execute("DELETE FROM chains WHERE node = 'node-2'")
    without, against = run("verify", "--audit", url), run("verify", "--against", file, "--audit", url)

    assert (0, 1) == (without.exit_code, against.exit_code)
    assert "REMOVED: decisions of tenant `acme` by node `node-2`, seq 1: seq 1 is gone" in against.stdout
    assert f"{file}:2 says" in against.stdout


def test_an_end_without_a_signature_is_told_past_what_is_allowed(url: str, key: Path) -> None:
    public = public_file(key)
    allowed, refused = (run("verify", "--key", public, "--unsigned", span, "--audit", url) for span in ("1h", "0s"))

    assert (0, 1) == (allowed.exit_code, refused.exit_code)
    assert "6 records come after the last signature of their chain" in allowed.stdout
    assert (
        "UNSIGNED: decisions of tenant `acme` by node `node-1`, seq 1: seq 1 to 3 are under no signature"
        in refused.stdout
    )


def test_a_tenant_that_nobody_ever_asked_about_is_not_whole_but_absent(url: str, tmp_path: Path) -> None:
    verified = run("verify", "--tenant", "ghost", "--audit", url)
    made = run("export", "--tenant", "ghost", "--out", tmp_path / "ghost.jsonl", "--audit", url)
    for done in (verified, made):
        assert (3, "") == (done.exit_code, done.stdout)
        assert "there is nothing of tenant `ghost` in the store" in done.stderr
    assert [] == [*tmp_path.glob("ghost*")]
    none = run("export", "--tenant", "acme", "--until", "2001-01-01", "--out", tmp_path / "none.jsonl", "--audit", url)
    assert (0, True) == (none.exit_code, none.stdout.startswith("0 records of tenant acme"))


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_an_export_verifies_without_the_store(url: str, database: Path, key: Path, tmp_path: Path, form: str) -> None:
    run("checkpoint", "--key", key, "--record", "--audit", url)
    out = tmp_path / f"acme.{form}"
    made = run("export", "--tenant", "acme", "--format", form, "--out", out, "--audit", url)
    database.unlink()
    verified = run("verify", "--export", out, "--key", public_file(key))

    assert (0, 0) == (made.exit_code, verified.exit_code)
    names = [f"acme.{form}", f"acme.lifecycle.{form}", "acme.proof.json"]
    assert ["5 records of tenant acme", *(f"  {tmp_path / name}" for name in names)] == made.stdout.splitlines()
    assert verified.stdout.startswith("5 records in 3 chains: whole\n3 checkpoints, 0 tombstones\n0 records come after")


def test_what_is_wrong_in_an_export_is_named(url: str, tmp_path: Path, execute: Execute) -> None:
    out = tmp_path / "acme.jsonl"
    run("export", "--tenant", "acme", "--out", out, "--audit", url)
    out.write_text(out.read_text().replace('"allow"', '"deny"', 1))
    altered = run("verify", "--export", out)
    out.write_text("nonsense\n")
    broken = run("verify", "--export", out)
    execute("UPDATE decisions SET effect = 'deny' WHERE tenant = 'acme'")
    made = run("export", "--tenant", "acme", "--out", tmp_path / "again.jsonl", "--audit", url)

    assert (1, 1, 1) == (altered.exit_code, broken.exit_code, made.exit_code)
    assert "ALTERED: decisions of tenant `acme` by node `node-1`, seq 1" in altered.stdout
    assert f"{out}:1: " in broken.stderr
    assert "ALTERED: decisions of tenant `acme` by node `node-2`, seq 1" in made.stdout
    assert (tmp_path / "again.proof.json").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("verify", "--key", "nowhere.pub"), (2, "the key file `nowhere.pub` cannot be read: No such file")),
        (("verify", "--against", "nowhere.jsonl"), (2, "`nowhere.jsonl` cannot be read")),
        (("verify", "--unsigned", "soon"), (2, "expected a span of time such as `90m` or `7d`")),
        (("verify", "--export", "x.jsonl", "--tenant", "acme"), (2, "leave out --tenant and --counts")),
        (("verify", "--export", "nowhere.jsonl"), (1, "the proof `nowhere.proof.json` cannot be read: No such file")),
        (("verify", "--audit", "sqlite:///nowhere.db"), (3, "there is no audit store at `sqlite:///nowhere.db`")),
        (("verify", "--audit", "nowhere.db"), (3, "the audit store's URL is malformed: expected `sqlite:///PATH`")),
        (("verify", "--tenant", "Acme"), (2, "`Acme` is not a tenant: expected 1 to 63 of")),
        (("checkpoint", "--tenant", "Acme"), (2, "`Acme` is not a tenant: expected 1 to 63 of")),
        (("export", "--tenant", "Acme", "--out", "x.jsonl"), (2, "`Acme` is not a tenant: expected 1 to 63 of")),
        (("purge", "--tenant", "Acme", "--before", "1d"), (2, "`Acme` is not a tenant: expected 1 to 63 of")),
        (("list", "--tenant", "Acme"), (2, "`Acme` is not a tenant: expected 1 to 63 of")),
        (("count", "--namespace", "a..b"), (2, "`a..b` is not a namespace: expected segments of")),
        (("list", "--revision", "2ad6"), (2, "`2ad6`: expected 64 lower-case hexadecimal digits")),
        (("checkpoint", "--key", "nowhere"), (2, "the key file `nowhere` cannot be read: No such file")),
        (("export", "--tenant", "acme", "--out", "nowhere/acme.jsonl"), (3, "cannot be written: No such file")),
    ],
)
def test_what_is_missing_is_told(
    words: tuple[str, ...], expected: tuple[int, str], url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*words, REMIT_AUDIT=url)

    assert (expected[0], True) == (done.exit_code, expected[1] in one_line(done.stderr)), done.output


@pytest.mark.parametrize("line", ["{}", "nonsense", '{"table":"decisions"}', "[1]"])
def test_a_line_that_is_no_head_is_named(url: str, tmp_path: Path, line: str) -> None:
    file = tmp_path / "heads.jsonl"
    file.write_text(f"{run('checkpoint', '--audit', url).stdout}\n{line}\n")
    done = run("verify", "--against", file, "--audit", url)

    assert (2, True) == (done.exit_code, f"{file}:6: expected a line of `remit audit checkpoint`" in done.stderr)


def test_the_files_of_several_workers_are_proved_as_one(tmp_path: Path, key: Path) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    for number in (1, 2):
        with AuditStore(worker_url(url, number)) as store:
            store.migrate()
            store.open().append([decision(node=f"node-1.w{number}"), decision(node=f"node-1.w{number}")])
    heads = tmp_path / "heads.jsonl"
    heads.write_text(run("checkpoint", "--key", key, "--record", "--audit", url).stdout)
    out = tmp_path / "acme.jsonl"
    proved = ("--key", public_file(key), "--against", heads)
    done = [
        run("verify", *proved, "--counts", "--audit", url),
        run("export", "--tenant", "acme", "--out", out, "--audit", url),
        run("verify", *proved, "--export", out),
    ]

    assert [0, 0, 0] == [each.exit_code for each in done]
    assert "4 records in 2 chains: whole\n2 checkpoints" in done[0].stdout
    assert "4 records of tenant acme" in done[1].stdout
    assert done[0].stdout == done[2].stdout
