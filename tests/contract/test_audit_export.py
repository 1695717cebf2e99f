"""A tenant's records in files, which prove themselves without the store that they are from."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audit_records import decision_at
from support.audit_world import MAIN, PLACES, Fields, World, sign_heads

from remit.audit.chain.chain import DECISIONS, LIFECYCLE, ChainId
from remit.audit.chain.signing import SigningKey
from remit.audit.export.errors import ExportError
from remit.audit.export.export import Export
from remit.audit.export.formats import JSONL, PARQUET
from remit.audit.export.plan import EVER, Span
from remit.audit.export.proof import Proof, lifecycle_of, proof_of
from remit.audit.export.verify import find_export, verify_export
from remit.audit.ids import format_id
from remit.audit.schema.tables import decisions, lifecycle
from remit.audit.store.store import AuditStore
from remit.audit.verify.finding import FindingKind, VerificationReport

often = settings(max_examples=40, deadline=None, database=None, print_blob=True)
TENANT = "acme"
HOUR_US = 3_600_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For what a test writes and removes again."""
    return tmp_path_factory.mktemp("exports")


def exported(world: World, out: Path, *, format_: str = JSONL, span: Span = EVER) -> VerificationReport:
    for path in (out, lifecycle_of(out), proof_of(out)):
        path.unlink(missing_ok=True)
    return Export(snapshots=[world.connection], tenant=TENANT, out=out, format_=format_, span=span).run()


def lines_of(path: Path) -> list[Fields]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def as_told(row: Fields) -> Fields:
    """A row as a line of JSON tells it."""
    told = {**row, "id": format_id(row["id"]), "hash": row["hash"].hex()}
    return {**told, "call_id": format_id(row["call_id"])} if "call_id" in row else told


@pytest.mark.parametrize("format_", [JSONL, PARQUET])
def test_an_export_holds_a_tenant_s_records_and_proves_itself(world: World, folder: Path, format_: str) -> None:
    out = folder / f"acme.{format_}"
    made = exported(world, out, format_=format_)
    found = verify_export(find_export(out), keys=[world.key.public], against=world.heads())
    expected = {table: [row for row in world.all(table) if row["tenant"] == TENANT] for table in (decisions, lifecycle)}

    assert [] == made.findings + found.findings
    assert {chain: places for chain, places in PLACES.items() if chain.tenant == TENANT} == {
        each.chain: each.signed_upto for each in found.chains
    }
    assert found == verify_export(find_export(lifecycle_of(out)), keys=[world.key.public], against=world.heads())
    for table, path in ((decisions, out), (lifecycle, lifecycle_of(out))):
        if format_ == JSONL:
            assert [as_told(row) for row in expected[table]] == lines_of(path)
        else:
            rows = pq.read_table(path).to_pylist()
            for row in rows:
                row["time_us"] = round(row["time_us"].timestamp() * 1_000_000)
                row.update({name: value.bytes for name, value in row.items() if isinstance(value, UUID)})
                row["hash"] = bytes.fromhex(row["hash"])
            assert expected[table] == rows


@often
@given(data=st.data())
def test_exported_time_span_is_whole_and_signed(world: World, folder: Path, data: st.DataObject) -> None:
    """Whatever the span: all records that were made in it are there, and a few beside it."""
    times = sorted(row["time_us"] for chain, rows in world.rows.items() if chain.tenant == TENANT for row in rows)
    since = data.draw(st.none() | st.sampled_from(times), label="since")
    until = data.draw(st.none() | st.sampled_from(times), label="until")
    out = folder / "part.jsonl"
    made = exported(world, out, span=Span(since, until))
    found = verify_export(find_export(out), keys=[world.key.public], against=world.heads(), unsigned_us=0)
    spanned = {
        format_id(row["id"])
        for chain, rows in world.rows.items()
        if chain.tenant == TENANT
        for row in rows
        if (since is None or since <= row["time_us"]) and (until is None or row["time_us"] < until)
    }

    assert [] == made.findings + found.findings
    assert spanned <= {line["id"] for path in (out, lifecycle_of(out)) for line in lines_of(path)}


@often
@given(data=st.data())
def test_any_altered_line_is_found(world: World, folder: Path, data: st.DataObject) -> None:
    out = folder / "altered.jsonl"
    exported(world, out)
    path = data.draw(st.sampled_from([out, lifecycle_of(out)]), label="file")
    lines = lines_of(path)
    at = data.draw(st.sampled_from([at for at, line in enumerate(lines) if line["seq"]]), label="line")
    name = data.draw(st.sampled_from(sorted(lines[at])), label="field")
    values = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5)
    value = data.draw((values | st.just([lines[at][name]])).filter(lambda drawn: drawn != lines[at][name]))
    seq, id_ = lines[at]["seq"], lines[at]["id"]
    lines[at][name] = value
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    found = verify_export(find_export(out), keys=[world.key.public]).findings

    assert seq in {each.seq for each in found} or id_ in {format_id(each.id) for each in found if each.id}


@often
@given(data=st.data())
def test_removed_or_inserted_line_is_found_in_any_order_of_lines(
    world: World, folder: Path, data: st.DataObject
) -> None:
    out = folder / "lines.jsonl"
    exported(world, out)
    lines = out.read_text().splitlines(keepends=True)
    chained = [at for at, line in enumerate(lines) if json.loads(line)["seq"]]
    at = data.draw(st.sampled_from(chained), label="line")
    seq = json.loads(lines[at])["seq"]

    out.write_text("".join(data.draw(st.permutations(lines), label="order")))
    moved = [each for each in verify_export(find_export(out), keys=[world.key.public]).findings if each.seq]
    out.write_text("".join(lines[:at] + lines[at + 1 :]))
    (removed,) = verify_export(find_export(out), keys=[world.key.public]).findings
    out.write_text("".join([*lines, lines[at]]))
    (doubled,) = verify_export(find_export(out), keys=[world.key.public]).findings

    assert ([], (FindingKind.REMOVED, seq), (FindingKind.INSERTED, seq)) == (moved, removed[1:3], doubled[1:3])


@pytest.mark.parametrize(
    "line", [b"nonsense", b"[]", b'{"id":"x"}', b'{"tenant":"a","tenant":"b"}', b"\xff", b"null", b"{"]
)
def test_a_line_that_is_no_record_is_named(world: World, folder: Path, line: bytes) -> None:
    out = folder / "broken.jsonl"
    exported(world, out)
    out.write_bytes(out.read_bytes() + line + b"\n")
    number = len(out.read_bytes().splitlines())
    with pytest.raises(ExportError, match=rf"broken\.jsonl:{number}: "):
        verify_export(find_export(out))


def test_a_second_value_under_one_name_is_refused(world: World, folder: Path) -> None:
    """Another reader might read the unverified one."""
    out = folder / "twice.jsonl"
    exported(world, out)
    out.write_text(out.read_text().replace('"effect":"allow"', '"effect":"deny","effect":"allow"', 1))
    with pytest.raises(ExportError, match=r"twice\.jsonl:1: expected an object of id, time_us"):
        verify_export(find_export(out))


def test_an_altered_value_in_parquet_is_found(world: World, folder: Path) -> None:
    out = folder / "altered.parquet"
    exported(world, out, format_=PARQUET)
    table = pq.read_table(out)
    at = table.column_names.index("resource_id")
    values = table.column(at).to_pylist()
    values[-1] = "another"
    pq.write_table(table.set_column(at, table.schema.field(at), [values]), out)
    (found,) = verify_export(find_export(out), keys=[world.key.public]).findings

    assert (FindingKind.ALTERED, table.column("seq")[-1].as_py()) == found[1:3]


def test_parquet_shows_ids_as_logs_do(world: World, folder: Path) -> None:
    """A reader searches for the id that a service logged, and for a hash as `audit verify` prints it."""
    out, lines = folder / "ids.parquet", folder / "ids.jsonl"
    exported(world, out, format_=PARQUET)
    exported(world, lines)
    table = pq.read_table(out)
    shown = [json.loads(line) for line in lines.read_text().splitlines()]

    assert [each["id"] for each in shown] == [str(each) for each in table.column("id").to_pylist()]
    assert [each["hash"] for each in shown] == table.column("hash").to_pylist()
    assert "(UUID)" in str(pq.ParquetFile(out).schema)


@pytest.mark.parametrize("content", [b"", b"no parquet", None])
def test_file_that_is_no_parquet_is_reported(world: World, folder: Path, content: bytes | None) -> None:
    out = folder / "broken.parquet"
    exported(world, out, format_=PARQUET)
    if content is None:
        out.write_bytes(lifecycle_of(out).read_bytes())
    else:
        out.write_bytes(content)
    with pytest.raises(ExportError, match=r"broken\.parquet` "):
        verify_export(find_export(out))


@often
@given(data=st.data())
def test_proof_of_other_records_is_refused(world: World, folder: Path, data: st.DataObject) -> None:
    """A number or a hash anywhere in it that is another one."""
    out = folder / "proof.jsonl"
    exported(world, out)
    proof = json.loads(proof_of(out).read_text())
    part = data.draw(st.sampled_from(proof["chains"]), label="chain")
    places: list[tuple[Any, str]] = [
        (part[which], name) for which in ("after", "upto", "head") for name in ("seq", "hash")
    ]
    signed = [*part["checkpoints"], *([part["tombstone"]] if part["tombstone"] else [])]
    places += [(each, name) for each in signed for name in each]
    holder, name = places[data.draw(st.integers(0, len(places) - 1), label="place")]
    if (part["after"]["seq"], holder, name) == (0, part["after"], "hash"):
        return  # what the first record of all follows is nobody's to say
    value = holder[name]
    holder[name] = value + 1 if isinstance(value, int) else f"{int(value[:1] or '0', 36) % 10 ^ 1}{value[1:]}"
    proof_of(out).write_text(json.dumps(proof))
    assert verify_export(find_export(out), keys=[world.key.public]).findings


def test_findings_of_the_store_and_of_exported_files_are_printed(world: World, folder: Path) -> None:
    row = world.rows[MAIN][4]
    out = folder / "wrong.jsonl"
    with world.tampered():
        world.alter(decisions, row, resource_id="another")
        made = exported(world, out)
    found = verify_export(find_export(out), keys=[world.key.public])

    assert [(FindingKind.ALTERED, row["seq"], row["id"])] * 2 == [each[1:4] for each in made.findings + found.findings]


def test_export_overwrites_nothing_and_leaves_no_partial_file(world: World, folder: Path) -> None:
    out = folder / "once.jsonl"
    exported(world, out)
    before = out.read_bytes()
    with pytest.raises(ExportError, match=r"once\.jsonl` exists"):
        Export(snapshots=[world.connection], tenant=TENANT, out=out, format_=JSONL).run()
    with pytest.raises(ExportError, match="cannot be written: No such file"):
        exported(world, folder / "nowhere" / "acme.jsonl")
    with pytest.raises(ExportError, match=r"^`.*x` cannot be written: File name too long$"):
        Export(snapshots=[world.connection], tenant=TENANT, out=folder / ("x" * 300), format_=JSONL).run()
    with pytest.raises(ExportError, match="`csv` is no format of exports"):
        exported(world, folder / "acme.csv", format_="csv")

    assert before == out.read_bytes()
    assert [] == [
        path.name for path in folder.iterdir() if path.name.endswith(".part") or path.name.startswith("acme.csv")
    ]


def test_records_of_a_clock_that_stepped_back_are_found_far_from_their_span(store: AuditStore, tmp_path: Path) -> None:
    """Between two records of the span stand some whose ids are a day older."""
    key = SigningKey.new(tmp_path / "key")
    noon = 500_000 * HOUR_US
    times = [noon, noon + 1, noon - 24 * HOUR_US, noon - 24 * HOUR_US + 1, noon + 2, noon + 3 * HOUR_US]
    for time_us in times:
        store.append([decision_at(time_us)])
    sign_heads(store, key)
    out = tmp_path / "noon.jsonl"
    with store.snapshot() as snapshot:
        span = Span(noon + 1, noon + 3)
        made = Export(snapshots=[snapshot], tenant=TENANT, out=out, format_=JSONL, span=span).run()
    (part,) = Proof.read(proof_of(out)).parts

    assert [] == made.findings + verify_export(find_export(out), keys=[key.public], unsigned_us=0).findings
    assert (ChainId(DECISIONS, TENANT, "node-1"), 1, 6) == (part.chain, part.after.seq, part.upto.seq)
    assert {2, 3, 4, 5, 6} == {line["seq"] for line in lines_of(out)}
    assert {DECISIONS, LIFECYCLE} == {*Proof.read(proof_of(out)).files}
