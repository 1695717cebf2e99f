"""The commands that prove the audit: key, checkpoint, verify, export."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update
from support.audit_records import decision, decision_at, happened
from support.audit_world import relinked
from typer.testing import CliRunner, Result

from remit.audit.chain.chain import DECISIONS, ChainId, genesis
from remit.audit.chain.signing import Checkpoint, SigningKey, public_file, signed
from remit.audit.checkpoint.checkpointer import key_in_use
from remit.audit.ids import format_id
from remit.audit.record import KEY_IN_USE
from remit.audit.schema.tables import chains, decisions
from remit.audit.schema.tables import checkpoints as signatures
from remit.audit.store import checkpoints
from remit.audit.store.shards import worker_url
from remit.audit.store.store import AuditStore
from remit.audit.verify.expectations import format_time
from remit.cli.main import app

Execute = Callable[..., Any]
NOW_US = time.time_ns() // 1_000
HOUR_US = 3_600_000_000


def run(*words: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(app, ["audit", *map(str, words)], env=environment, terminal_width=200)


def one_line(text: str) -> str:
    """Without the frame around the message for a wrong flag."""
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
def used(url: str, key: Path) -> None:
    """Both nodes said that they sign with the key."""
    detail = json.dumps(key_in_use(SigningKey.read(key)))
    with AuditStore(url).open() as store:
        store.append([], [happened(KEY_IN_USE, tenant="", node=f"node-{n}", detail=detail) for n in (1, 2)])


def sign(store: AuditStore, key: SigningKey, chain: ChainId, seq: int) -> None:
    """A record in the midst of a chain."""
    its = (decisions.c.tenant == chain.tenant, decisions.c.node == chain.node, decisions.c.seq == seq)
    with store.reading() as connection:
        hash_ = connection.execute(select(decisions.c.hash).where(*its)).scalar_one()
    checkpoints.keep(store, [signed(Checkpoint(*chain, seq, hash_, *genesis(chain), NOW_US), key)])


@pytest.fixture
def execute(database: Path) -> Iterator[Execute]:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        yield lambda sql, *values: connection.execute(sql, values)


def test_key_is_created_once_and_shown(tmp_path: Path) -> None:
    file = tmp_path / "audit.pem"
    made, shown, again = run("key", "new", file), run("key", "show", file), run("key", "new", file)
    key = SigningKey.read(file).public

    assert (0, 0, 3) == (made.exit_code, shown.exit_code, again.exit_code)
    told = f"key id      {key.id}\npublic key  {key.raw.hex()}\n"
    assert (f"{told}written     {file}, {file}.pub\n", told) == (made.stdout, shown.stdout)
    assert f"`{file}.pub` exists, and remit never overwrites a key" in again.stderr
    assert made.output.startswith(run("key", "show", public_file(file)).output)
    other = tmp_path / "other.pem"
    other.write_bytes(public_file(file).read_bytes())
    assert "holds no private key in PEM: make one" in run("key", "show", other).stderr


def test_heads_are_json_lines_signed_by_a_given_key(url: str, key: Path) -> None:
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


def test_checkpoint_is_added_to_the_store_with_record(url: str, key: Path) -> None:
    assert 2 == run("checkpoint", "--record", "--audit", url).exit_code
    run("checkpoint", "--key", key, "--audit", url)
    assert "0 checkpoints" in run("verify", "--audit", url).stdout
    for _ in range(2):
        assert 0 == run("checkpoint", "--key", key, "--record", "--audit", url).exit_code
    verified = run("verify", "--key", public_file(key), "--audit", url)

    assert (0, True) == (verified.exit_code, "4 checkpoints, 0 tombstones\n0 records come after" in verified.stdout)


def test_whole_store_verifies_and_names_unchecked_parts(url: str, database: Path, key: Path) -> None:
    run("checkpoint", "--key", key, "--record", "--audit", url)
    verified = run("verify", "--audit", url)
    public = SigningKey.read(key).public

    assert 0 == verified.exit_code
    assert [
        f"verified `{database}`",
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
def test_value_of_a_wrong_type_is_reported(url: str, execute: Execute, column: str, value: str) -> None:
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


def test_cut_off_end_is_found_against_anchored_heads(url: str, execute: Execute, tmp_path: Path) -> None:
    file = tmp_path / "heads.jsonl"
    file.write_text(run("checkpoint", "--audit", url).stdout)
    assert (
        "4 heads kept elsewhere were compared with the chains"
        in run("verify", "--against", file, "--audit", url).stdout
    )
    execute("DELETE FROM decisions WHERE node = 'node-2'")
    execute("DELETE FROM chains WHERE node = 'node-2'")
    without, against = run("verify", "--audit", url), run("verify", "--against", file, "--audit", url)

    assert (0, 1) == (without.exit_code, against.exit_code)
    assert "REMOVED: decisions of tenant `acme` by node `node-2`, seq 1: seq 1 is gone" in against.stdout
    assert f"{file}:2 says" in against.stdout


def test_unsigned_end_is_reported_past_the_allowed_age(url: str, key: Path, used: None) -> None:
    public = public_file(key)
    with AuditStore(url).open() as store:
        sign(store, SigningKey.read(key), ChainId(DECISIONS, "acme", "node-1"), seq=1)
    allowed, refused = (run("verify", "--key", public, "--unsigned", span, "--audit", url) for span in ("1h", "0s"))

    assert (0, 1) == (allowed.exit_code, refused.exit_code)
    assert "7 records come after the last signature of their chain" in allowed.stdout
    assert (
        "UNSIGNED: decisions of tenant `acme` by node `node-1`, seq 2: seq 2 to 3 are under no signature of a given key"
        in refused.stdout
    )


def test_tenant_without_records_is_absent_and_not_whole(url: str, tmp_path: Path) -> None:
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
    names = [f"acme.{form}", f"acme.lifecycle.{form}", f"acme.{form}.proof.json"]
    assert ["5 records of tenant acme", *(f"  {tmp_path / name}" for name in names)] == made.stdout.splitlines()
    read, by, *found = verified.stdout.splitlines()
    assert "verified " + ", ".join(f"`{tmp_path / name}`" for name in names) == read
    assert by.startswith(f"by the key `{SigningKey.read(key).public.id}`, ages measured to ")
    assert ["5 records in 3 chains: whole", "3 checkpoints, 0 tombstones"] == found[:2]
    assert "0 records come after the last signature of their chain" == found[2]


def test_findings_of_an_export_are_printed(url: str, tmp_path: Path, execute: Execute) -> None:
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
    assert (tmp_path / "again.jsonl.proof.json").exists()


def test_file_beside_an_export_is_not_verified_by_the_exports_proof(url: str, tmp_path: Path) -> None:
    """A forged one, one that is not there, and files of a second export, which has a proof of its own."""
    out = tmp_path / "acme.jsonl"
    parquet = tmp_path / "acme.parquet"
    run("export", "--tenant", "acme", "--out", out, "--audit", url)
    (tmp_path / "acme.json").write_text(out.read_text().replace('"deny"', '"allow"'))
    parquet.write_text("this is a forged file")
    forged = [run("verify", "--export", tmp_path / name) for name in ("acme.json", "acme.parquet")]
    parquet.unlink()
    missing = run("verify", "--export", parquet)
    both = run("export", "--tenant", "acme", "--format", "parquet", "--out", parquet, "--audit", url)
    names = (f"acme{middle}.{form}" for form in ("jsonl", "parquet") for middle in ("", ".lifecycle"))
    files = [*names, "acme.jsonl.proof.json", "acme.parquet.proof.json"]
    whole = {name: run("verify", "--export", tmp_path / name) for name in files}

    assert [3, 3, 3] == [each.exit_code for each in (*forged, missing)]
    assert f"`{tmp_path / 'acme.json'}` has no proof beside it: expected `acme.json.proof.json`" in forged[0].stderr
    assert f"there is no file `{parquet}`" in missing.stderr
    assert 0 == both.exit_code, both.stderr
    assert {0} == {each.exit_code for each in whole.values()}
    for name, done in whole.items():
        assert str(tmp_path / name) in done.stdout.splitlines()[0]


def test_export_of_an_earlier_version_verifies_by_its_files(url: str, tmp_path: Path) -> None:
    """Its proof is named without the ending of the file; another file of that stem is not one of the export."""
    out = tmp_path / "acme.jsonl"
    run("export", "--tenant", "acme", "--out", out, "--audit", url)
    (tmp_path / "acme.jsonl.proof.json").rename(tmp_path / "acme.proof.json")
    (tmp_path / "acme.parquet").write_text("this is a forged file")
    names = ("acme.jsonl", "acme.lifecycle.jsonl", "acme.proof.json")
    forged = run("verify", "--export", tmp_path / "acme.parquet")

    assert [0, 0, 0] == [run("verify", "--export", tmp_path / name).exit_code for name in names]
    assert (2, "") == (forged.exit_code, forged.stdout)
    told = "is not of the export that its proof describes: the files of `acme.proof.json` are `acme.jsonl`, `acme.lifecycle"
    assert told in forged.stderr


@pytest.mark.parametrize("files", [{"decisions": "acme.jsonl"}, {"decisions": "../a", "lifecycle": "b"}, [], None])
def test_a_proof_that_names_no_files_beside_it_is_refused(url: str, tmp_path: Path, files: object) -> None:
    out = tmp_path / "acme.jsonl"
    run("export", "--tenant", "acme", "--out", out, "--audit", url)
    proof = tmp_path / "acme.jsonl.proof.json"
    proof.write_text(json.dumps({**json.loads(proof.read_text()), "files": files}))
    done = run("verify", "--export", out)

    assert (1, True) == (done.exit_code, "expected the name of a file beside it for each of" in done.stderr)


def rewrite_without_signatures(url: str) -> None:
    """An attacker with the database rewrites acme's decisions by node-1, and removes the checkpoints."""
    chain = ChainId(DECISIONS, "acme", "node-1")
    with AuditStore(url).open() as store, store.transaction() as connection:
        its = (decisions.c.tenant == chain.tenant, decisions.c.node == chain.node)
        found = connection.execute(select(decisions).where(*its).order_by(decisions.c.seq))
        rows = [dict(row._mapping) for row in found]
        rows[0]["effect"] = "deny"
        for row in relinked(chain, rows, genesis(chain)):
            values = {name: row[name] for name in ("effect", "hash")}
            connection.execute(update(decisions).where(decisions.c.id == row["id"]).values(values))
        of_chain = (chains.c.of_table == DECISIONS, chains.c.tenant == chain.tenant, chains.c.node == chain.node)
        connection.execute(update(chains).where(*of_chain).values(hash=row["hash"]))
        of_it = [column == value for column, value in zip(signatures.primary_key, chain, strict=False)]
        connection.execute(delete(signatures).where(*of_it))


def test_a_rewritten_chain_without_any_signature_is_not_whole(url: str, key: Path, used: None) -> None:
    """Its records are a moment apart, and older than allowed at the given time."""
    run("checkpoint", "--key", key, "--record", "--audit", url)
    verify = ("verify", "--key", public_file(key), "--audit", url, "--unsigned")
    later = format_time(NOW_US + HOUR_US)
    before = run(*verify, "1m", "--at", later)
    rewrite_without_signatures(url)
    after, early, young = (
        run(*verify, "1m", "--at", later),
        run(*verify, "1m", "--at", format_time(NOW_US - HOUR_US)),
        run(*verify, "1h"),
    )

    assert (0, 1, 1, 0) == tuple(each.exit_code for each in (before, after, early, young)), after.stdout
    told = (
        "UNSIGNED: decisions of tenant `acme` by node `node-1`, seq 1: seq 1 to 3 are under no signature of a given key"
    )
    assert told in after.stdout
    assert f"ages measured to {later}" in after.stdout
    assert "3 records come after the last signature of their chain" in young.stdout


def test_age_of_an_unsigned_record_is_its_own_age(url: str, key: Path, used: None) -> None:
    """The chain was signed hours before it: what counts is how long the record itself has been without a signature."""
    with AuditStore(url).open() as store:
        store.append([decision_at(NOW_US - 5 * HOUR_US, tenant="initech")])
        chain = ChainId(DECISIONS, "initech", "node-1")
        sign(store, SigningKey.read(key), chain, seq=1)
        store.append([decision(tenant="initech"), decision(tenant="initech")])
    verify = ("verify", "--key", public_file(key), "--tenant", "initech", "--audit", url)
    young, old = run(*verify), run(*verify, "--at", format_time(NOW_US + 2 * HOUR_US))

    assert (0, 1) == (young.exit_code, old.exit_code), young.stdout
    assert "UNSIGNED: decisions of tenant `initech` by node `node-1`, seq 2: seq 2 to 3 are under" in old.stdout


def test_a_store_that_never_had_a_key_is_not_whole_by_a_key(url: str, key: Path, tmp_path: Path) -> None:
    out = tmp_path / "acme.jsonl"
    run("export", "--tenant", "acme", "--out", out, "--audit", url)
    for words in (("--audit", url), ("--export", out)):
        told, as_json = (run("verify", "--key", public_file(key), *words, *more) for more in ((), ("--json",)))
        assert (1, 1) == (told.exit_code, as_json.exit_code)
        assert "NOT SIGNED: no given key signed any of it, and no node was recorded to sign" in told.stdout
        assert "whole\n" not in told.stdout
        report = json.loads(as_json.stdout)
        assert (False, True, []) == (report["whole"], report["never_signed"], report["findings"])
    assert 0 == run("verify", "--audit", url).exit_code


def test_chains_of_a_node_that_never_signed_are_named(url: str, key: Path) -> None:
    """Beside another that signs: nothing of them is proved, however old they are."""
    detail = json.dumps(key_in_use(SigningKey.read(key)))
    with AuditStore(url).open() as store:
        store.append([], [happened(KEY_IN_USE, tenant="", node="node-1", detail=detail)])
        store.append([], [happened(KEY_IN_USE, tenant="", node="node-2", detail=json.dumps(key_in_use(None)))])
    run("checkpoint", "--key", key, "--record", "--audit", url)
    with AuditStore(url).open() as store, store.transaction() as connection:
        connection.execute(delete(signatures).where(signatures.c.node == "node-2"))
    later = format_time(NOW_US + 2 * HOUR_US)
    done = run("verify", "--key", public_file(key), "--at", later, "--audit", url)

    assert 0 == done.exit_code, done.stdout
    assert "2 records come after the last signature of their chain" in done.stdout
    assert "2 of them are by nodes that were never recorded to sign (KEY_IN_USE): `node-2`" in done.stdout


def test_broken_chains_are_not_counted_as_unsigned(url: str, key: Path, execute: Execute) -> None:
    """A removed end lies before the last signature; it was printed as a negative number."""
    run("checkpoint", "--key", key, "--record", "--audit", url)
    execute("DELETE FROM decisions WHERE tenant = 'acme' AND node = 'node-1' AND seq > 1")
    done = run("verify", "--key", public_file(key), "--audit", url)

    assert 1 == done.exit_code
    told = "0 records come after the last signature of their chain, not counting 1 chains in which something is wrong"
    assert told in done.stdout


def test_rewritten_records_are_named_from_first_to_last(url: str, key: Path) -> None:
    """Table `chains` agrees with the forgery, at the very place that the checkpoint speaks of."""
    run("checkpoint", "--key", key, "--record", "--audit", url)
    with AuditStore(url).open() as store, store.snapshot() as snapshot:
        rows = [dict(row._mapping) for row in snapshot.execute(select(signatures))]
    rewrite_without_signatures(url)
    with AuditStore(url).open() as store, store.transaction() as connection:
        connection.execute(delete(signatures))
        connection.execute(insert(signatures), rows)
    done = run("verify", "--key", public_file(key), "--audit", url)

    assert 1 == done.exit_code
    assert "REWRITTEN: decisions of tenant `acme` by node `node-1`, seq 3, " in done.stdout
    assert "says otherwise: it, or one before it back to seq 1, was rewritten" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("verify", "--key", "nowhere.pub"), (2, "the key file `nowhere.pub` cannot be read: No such file")),
        (("verify", "--against", "nowhere.jsonl"), (2, "`nowhere.jsonl` cannot be read: No such file")),
        (("verify", "--unsigned", "soon"), (2, "expected a span of time such as `90m` or `7d`")),
        (("verify", "--export", "x.jsonl", "--tenant", "acme"), (2, "leave out --tenant and --counts")),
        (("verify", "--export", "nowhere.jsonl"), (3, "there is no file `nowhere.jsonl`")),
        (("verify", "--at", "1d"), (2, "add a --key, or leave it out")),
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
def test_missing_file_or_record_is_reported(
    words: tuple[str, ...], expected: tuple[int, str], url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*words, REMIT_AUDIT=url)

    assert (expected[0], True) == (done.exit_code, expected[1] in one_line(done.stderr)), done.output


@pytest.mark.parametrize("line", ["{}", "nonsense", '{"table":"decisions"}', "[1]"])
def test_line_that_is_no_chain_head_is_named(url: str, tmp_path: Path, line: str) -> None:
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
    read = [each.stdout.splitlines() for each in (done[0], done[2])]
    files = ", ".join(f"`{tmp_path / name}`" for name in ("audit.w1.db", "audit.w2.db"))
    assert f"verified {files}" == read[0][0]
    assert read[0][2:] == read[1][2:]
