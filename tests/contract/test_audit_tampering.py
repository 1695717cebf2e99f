"""Whatever is done to one record, or to what is said of chains, is found and named, over SQLite and PostgreSQL."""

from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import LargeBinary, Table, Text, delete
from support.audit_records import IDS, decision_at
from support.audit_world import MAIN, PLACES, PURGED, TABLES, Fields, World, relinked

from remit.audit.chain.chain import ChainId, Head, genesis
from remit.audit.schema.tables import HOUR_US, MINUTE_US, chains, checkpoints, counts, metadata, tombstones
from remit.audit.store.store import AuditStore
from remit.audit.verify.finding import AuditFinding, FindingKind, VerificationReport
from remit.audit.verify.store import verify_store

often = settings(max_examples=40, deadline=None, database=None, print_blob=True)

# PostgreSQL's text holds neither.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
PLACE = {"tenant", "node", "seq"}


def another(data: st.DataObject, world: World, column: Any, value: Any) -> Any:
    """A value that the column holds and that is not this one."""
    if isinstance(column.type, Text):
        values: Any = TEXTS | st.just(f"{value}\n") | st.just(f" {value}")
    elif isinstance(column.type, LargeBinary):
        values = st.binary(min_size=len(value), max_size=len(value)) | st.just(value[:-1]) | st.just(value[::-1])
    else:
        values = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 20)
    if world.connection.dialect.name == "sqlite":
        # Its columns hold values of other types, by which what they held would not be found.
        values |= st.just(value.hex() if isinstance(value, bytes) else str(value).encode())
    return data.draw(values.filter(lambda drawn: drawn != value), label=column.name)


def chain_and_rows(data: st.DataObject, world: World) -> tuple[ChainId, Table, list[Fields]]:
    chain = data.draw(st.sampled_from(sorted(PLACES)), label="chain")
    return chain, TABLES[chain.table], world.rows[chain]


def names_of(table: Table) -> list[str]:
    return [column.name for column in table.columns]


def one_of(data: st.DataObject, rows: list[Fields]) -> Fields:
    return rows[data.draw(st.integers(0, len(rows) - 1), label="row")]


def first_of(report: VerificationReport, chain: ChainId) -> AuditFinding:
    return next(finding for finding in report.findings if finding.chain == chain)


def test_untouched_store_verifies(world: World) -> None:
    report = world.verify(against=world.heads(), counts=True)

    assert [] == report.findings
    assert sum(PLACES.values()) - PURGED == report.records
    assert PLACES == {each.chain: each.signed_upto for each in report.chains}
    assert (2, len(PLACES), 0) == (sum(each.unchained for each in report.chains), report.against, report.beyond_reach)


@often
@given(data=st.data())
def test_an_altered_field_is_found_in_the_record_that_holds_it(world: World, data: st.DataObject) -> None:
    chain, table, rows = chain_and_rows(data, world)
    row = one_of(data, rows)
    name = data.draw(st.sampled_from([each for each in names_of(table) if each not in PLACE]), label="column")
    value = another(data, world, table.columns[name], row[name])
    with world.tampered():
        world.alter(table, row, **{name: value})
        found = first_of(world.verify(), chain)
    id_ = value if name == "id" else row["id"]
    assert (chain, FindingKind.ALTERED, row["seq"], id_) == found[:4]


@often
@given(data=st.data())
def test_a_record_moved_to_another_place_is_found(world: World, data: st.DataObject) -> None:
    """Its seq alone is altered: it is named, or the place that it left."""
    chain, table, rows = chain_and_rows(data, world)
    row = one_of(data, rows)
    with world.tampered():
        world.alter(table, row, seq=another(data, world, table.c.seq, row["seq"]))
        found = first_of(world.verify(), chain)
    assert found.kind in {FindingKind.REORDERED, FindingKind.INSERTED, FindingKind.REMOVED}
    assert row["id"] == found.id or row["seq"] == found.seq


@often
@given(data=st.data())
def test_record_moved_to_another_chain_is_found_in_both_chains(world: World, data: st.DataObject) -> None:
    chain, table, rows = chain_and_rows(data, world)
    row = one_of(data, rows)
    name = data.draw(st.sampled_from(["tenant", "node"]), label="column")
    value = another(data, world, table.columns[name], row[name])
    with world.tampered():
        world.alter(table, row, **{name: value})
        report = world.verify()
    assert (FindingKind.REMOVED, row["seq"]) == first_of(report, chain)[1:3]
    assert row["id"] in {finding.id for finding in report.findings if finding.chain != chain}


@often
@given(data=st.data())
def test_first_removed_record_is_named(world: World, data: st.DataObject) -> None:
    chain, table, rows = chain_and_rows(data, world)
    first = data.draw(st.integers(0, len(rows) - 1), label="first")
    last = data.draw(st.integers(first, len(rows) - 1), label="last")
    with world.tampered():
        world.remove(table, rows[first : last + 1])
        (found,) = world.verify().findings
    assert (chain, FindingKind.REMOVED, rows[first]["seq"]) == found[:3]


@often
@given(data=st.data())
def test_an_inserted_record_is_named(world: World, data: st.DataObject) -> None:
    """A copy under another id: in the place of another record, after the last, or outside the chain."""
    chain, table, rows = chain_and_rows(data, world)
    row = dict(one_of(data, rows))
    ids = [IDS.next(), *(_beside(each["id"]) for each in rows)]
    row["id"] = ids[data.draw(st.integers(0, len(rows)), label="id")]
    row["seq"] = data.draw(st.integers(0, rows[-1]["seq"] + 3), label="seq")
    with world.tampered():
        world.insert(table, row)
        report = world.verify()
    if row["seq"] == 0 and row["id"] < min(each["id"] for each in rows) and rows[0]["seq"] == 1:
        assert [] == report.findings  # as if from before there were chains
    else:
        assert (chain, FindingKind.INSERTED, row["seq"], row["id"]) == first_of(report, chain)[:4]


@often
@given(data=st.data())
def test_inserted_record_with_a_valid_hash_is_named(world: World, data: st.DataObject) -> None:
    """After the record that it claims to follow, with the hash of the documented encoding."""
    chain, table, rows = chain_and_rows(data, world)
    at = data.draw(st.integers(1, len(rows)), label="at")
    late = data.draw(st.booleans(), label="late")
    forged = {**rows[at - 1], "id": IDS.next() if late else _beside(rows[0]["id"])}
    (row,) = relinked(chain, [forged], Head(rows[at - 1]["seq"], rows[at - 1]["hash"]))
    with world.tampered():
        world.insert(table, row)
        found = first_of(world.verify(), chain)
    assert (FindingKind.INSERTED, row["seq"]) == found[1:3]
    assert found.id == row["id"] or (at < len(rows) and found.id == rows[at]["id"])


@often
@given(data=st.data())
def test_two_records_that_changed_places_are_named(world: World, data: st.DataObject) -> None:
    """Their seqs, their seqs and hashes, or all but their ids."""
    chain, table, rows = chain_and_rows(data, world)
    one, other = sorted(data.draw(st.permutations(range(len(rows))), label="order")[:2])
    ways = (("seq",), ("seq", "hash"), tuple(name for name in rows[0] if name != "id"))
    names = data.draw(st.sampled_from(ways), label="way")
    with world.tampered():
        world.alter(table, rows[one], **{name: rows[other][name] for name in names})
        world.alter(table, rows[other], **{name: rows[one][name] for name in names})
        found = first_of(world.verify(), chain)
    assert found.kind in {FindingKind.REORDERED, FindingKind.ALTERED}
    assert (rows[one]["seq"], True) == (found.seq, found.id in {rows[one]["id"], rows[other]["id"]})


@often
@given(data=st.data())
def test_cut_off_tail_is_found_by_a_checkpoint_or_an_anchored_head(world: World, data: st.DataObject) -> None:
    """Table `chains` rewritten too; without any of these nothing shows."""
    chain, table, rows = chain_and_rows(data, world)
    left = data.draw(st.integers(1, len(rows) - 1), label="left")
    heads = world.heads()
    with world.tampered():
        world.remove(table, rows[left:])
        _head(world, chain, rows[left - 1])
        by_checkpoint = first_of(world.verify(), chain)
        world.connection.execute(delete(checkpoints))
        assert [] == world.verify(keys=[]).findings
        by_head = first_of(world.verify(keys=[], against=heads), chain)
    assert [(FindingKind.REMOVED, rows[left]["seq"])] * 2 == [by_checkpoint[1:3], by_head[1:3]]


@often
@given(data=st.data())
def test_rewritten_chain_is_found_by_a_checkpoint_or_an_anchored_head(world: World, data: st.DataObject) -> None:
    """From an altered record on, every hash and table `chains`; without any of these nothing shows."""
    chain, table, rows = chain_and_rows(data, world)
    at = data.draw(st.integers(0, len(rows) - 1), label="at")
    signed_seqs = [
        row["seq"] for row in world.all(checkpoints) if (row["of_table"], row["tenant"], row["node"]) == chain
    ]
    heads = world.heads()
    with world.tampered():
        altered = {**rows[at], "detail": "as I would have it"}
        before = _base(world, chain) if at == 0 else Head(rows[at - 1]["seq"], rows[at - 1]["hash"])
        new = relinked(chain, [altered, *rows[at + 1 :]], before)
        for row in new:
            world.alter(table, row, detail=row["detail"], hash=row["hash"])
        _head(world, chain, new[-1])
        by_checkpoint = first_of(world.verify(), chain)
        world.connection.execute(delete(checkpoints))
        assert [] == world.verify(keys=[]).findings
        by_head = first_of(world.verify(keys=[], against=heads), chain)
    first_signed = min(seq for seq in signed_seqs if seq >= rows[at]["seq"])
    assert [(FindingKind.REWRITTEN, first_signed), (FindingKind.REWRITTEN, rows[-1]["seq"])] == [
        by_checkpoint[1:3],
        by_head[1:3],
    ]


@often
@given(data=st.data())
def test_altered_head_checkpoint_or_tombstone_is_found(world: World, data: st.DataObject) -> None:
    """Heads, checkpoints and the tombstone that counts."""
    table = metadata.tables[data.draw(st.sampled_from(["chains", "checkpoints", "tombstones"]), label="table")]
    rows = world.all(table)
    row = one_of(data, rows if table is not tombstones else rows[-1:])
    name = data.draw(st.sampled_from(names_of(table)), label="column")
    value = another(data, world, table.columns[name], row[name])
    if [{**row, name: value}[column.name] for column in table.primary_key] in [
        [each[column.name] for column in table.primary_key] for each in rows if each is not row
    ]:
        return
    with world.tampered():
        world.alter(table, row, **{name: value})
        report = world.verify()
    assert report.findings


@often
@given(data=st.data())
def test_removed_checkpoint_is_found_by_the_next_checkpoint(world: World, data: st.DataObject) -> None:
    rows = world.all(checkpoints)
    followed = [row for row in rows if row["seq"] in {each["previous_seq"] for each in rows if _of(each) == _of(row)}]
    row = one_of(data, [row for row in followed if _of(row) != MAIN or row["seq"] > PURGED])
    with world.tampered():
        world.remove(checkpoints, [row])
        (found,) = world.verify().findings
    assert (_of(row), FindingKind.CHECKPOINT, row["seq"]) == found[:3]


@often
@given(data=st.data())
def test_counts_that_differ_from_the_records_are_found(world: World, data: st.DataObject) -> None:
    """Altered or removed counts, by any dimension; not in hours with purged records."""
    rows = [row for row in world.all(counts) if (row["tenant"], row["node"]) != MAIN[1:]]
    row = one_of(data, rows)
    names = data.draw(st.sampled_from(["removed", *(name for name in names_of(counts) if name != "unrecorded")]))
    with world.tampered():
        if names == "removed":
            world.remove(counts, [row])
        else:
            value = another(data, world, counts.columns[names], row[names])
            # A number that is written as bytes is summed up as the number.
            assume(type(value) is type(row[names]))
            world.alter(counts, row, **{names: value})
        report = world.verify(counts=True)
    assert FindingKind.COUNTS in {each.kind for each in report.findings}


def test_counts_add_up_in_every_minute_of_an_hour(store: AuditStore) -> None:
    hour_us = 500_000 * HOUR_US
    for minute in range(60):
        store.append([decision_at(hour_us + minute * MINUTE_US)])
    with store.snapshot() as snapshot:
        assert [] == verify_store([snapshot], counts=True).findings


def _base(world: World, chain: ChainId) -> Head:
    if chain != MAIN:
        return genesis(chain)
    (*_, tombstone) = world.all(tombstones)
    return Head(tombstone["seq"], tombstone["hash"])


def _head(world: World, chain: ChainId, row: Fields) -> None:
    its = {"of_table": chain.table, "tenant": chain.tenant, "node": chain.node}
    world.alter(chains, its, seq=row["seq"], hash=row["hash"])


def _beside(id_: bytes) -> bytes:
    """An id just before it."""
    return (int.from_bytes(id_) - 1).to_bytes(16)


def _of(row: Fields) -> ChainId:
    return ChainId(row["of_table"], row["tenant"], row["node"])
