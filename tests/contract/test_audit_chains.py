"""Where records stand in their chains, and what is counted beside them, over SQLite and PostgreSQL."""

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, select
from support.audit_records import decision, happened, linked

from remit.audit.chain.chain import DECISIONS, LIFECYCLE, ChainId, Head, genesis, link_lifecycle
from remit.audit.errors import RecordRefused
from remit.audit.record import DecisionRecord
from remit.audit.schema.tables import chains, counts, decisions, lifecycle
from remit.audit.store.store import AuditStore


def rows_of(url: str, chain: ChainId) -> list[tuple[object, ...]]:
    """A chain's rows in its order."""
    table = {DECISIONS: decisions, LIFECYCLE: lifecycle}[chain.table]
    engine = create_engine(url)
    statement = select(table).where(table.c.tenant == chain.tenant, table.c.node == chain.node).order_by(table.c.seq)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(statement)]
    engine.dispose()
    return found


def head_of(url: str, chain: ChainId) -> Head | None:
    engine = create_engine(url)
    statement = select(chains.c.seq, chains.c.hash).filter_by(
        of_table=chain.table, tenant=chain.tenant, node=chain.node
    )
    with engine.connect() as connection:
        found = connection.execute(statement).one_or_none()
    engine.dispose()
    return None if found is None else Head(found[0], bytes(found[1]))


def test_each_tenant_and_node_has_a_chain_of_its_own(store: AuditStore, url: str) -> None:
    first = [decision(), decision(tenant="globex"), decision(), decision(node="node-2")]
    second = [decision(tenant="globex"), decision()]
    store.append(first)
    store.append(second, [event := happened()])
    for tenant, node in (("acme", "node-1"), ("globex", "node-1"), ("acme", "node-2")):
        chain = ChainId(DECISIONS, tenant, node)
        its = [each for each in (*first, *second) if (each.tenant, each.node) == (tenant, node)]
        head, rows = linked(its, genesis(chain))
        assert rows == rows_of(url, chain)
        assert head == head_of(url, chain)
    chain = ChainId(LIFECYCLE, "acme", "node-1")
    assert link_lifecycle([event], genesis(chain))[1] == rows_of(url, chain)


def test_refused_record_moves_no_chain(store: AuditStore, url: str) -> None:
    store.append([first := decision()])
    with pytest.raises(RecordRefused):
        store.append([decision(), first])
    store.append([second := decision()])
    chain = ChainId(DECISIONS, "acme", "node-1")
    head, rows = linked([first, second], genesis(chain))
    assert rows == rows_of(url, chain)
    assert head == head_of(url, chain)


def test_two_processes_that_share_a_node_s_name_share_its_chains(url: str) -> None:
    """Each finds the chain where the other has moved it, from the first record on."""
    with AuditStore(url) as one, AuditStore(url) as other:
        one.migrate()
        stores = [one.open(), other.open()]

        def write(store: AuditStore) -> list[DecisionRecord]:
            written = []
            for _ in range(40):
                batch = [decision(), decision(tenant="globex")]
                store.append(batch)
                written += batch
            return written

        with ThreadPoolExecutor(2) as pool:
            written = [record for batch in pool.map(write, stores) for record in batch]
    for tenant in ("acme", "globex"):
        chain = ChainId(DECISIONS, tenant, "node-1")
        rows = rows_of(url, chain)
        assert list(range(1, 81)) == [row[-2] for row in rows]
        assert {record.id for record in written if record.tenant == tenant} == {row[0] for row in rows}
        assert rows == linked([DecisionRecord._make(row[:-2]) for row in rows], genesis(chain))[1]


def test_counts_equal_the_sums_of_the_records(store: AuditStore, url: str) -> None:
    """In each dimension by hour, and with the minutes of what is recorded."""
    minute_us, hour_us = 60_000_000, 3_600_000_000
    kept = [
        decision(
            time_us=5 * hour_us + number * 25_000_000,
            principal=f"user:{number % 3}",
            namespace=f"a.n{number % 2}",
            effect=effect,
            caller=f"service-{number % 2}",
            question=("CHECK", "REACH")[number % 2],
        )
        for number, effect in enumerate(("allow", "deny", "allow", "allow", "deny", "allow", "allow"))
    ]
    later = decision(time_us=6 * hour_us)
    sampled = [decision(time_us=5 * hour_us + 59 * minute_us), decision(time_us=5 * hour_us, principal="user:9")]
    store.append(kept[:4])
    store.append([*kept[4:], later], unrecorded=sampled)
    expected: Counter[tuple[object, ...]] = Counter()
    minutes: defaultdict[tuple[object, ...], set[int]] = defaultdict(set)
    for each in (*kept, later):
        for dimension in ("", "principal", "namespace", "revision", "caller", "question"):
            value = getattr(each, dimension) if dimension else ""
            key = (dimension, value, each.time_us // hour_us * hour_us, each.effect)
            expected[key] += 1
            minutes[key].add(each.time_us // minute_us % 60)
    engine = create_engine(url)
    with engine.connect() as connection:
        found = connection.execute(select(counts)).all()
    engine.dispose()
    told = {(row.dimension, row.value, row.hour_us, row.effect): row for row in found if row.recorded}
    assert dict(expected) == {key: row.recorded for key, row in told.items()}
    assert dict(minutes) == {key: {n for n in range(60) if row.minutes >> n & 1} for key, row in told.items()}
    assert 2 == sum(row.unrecorded for row in found if row.dimension == "")
    assert [0] == [row.minutes for row in found if row.value == "user:9"]
