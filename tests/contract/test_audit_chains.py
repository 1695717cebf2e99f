"""Where records stand in their chains, and what is counted beside them, over SQLite and PostgreSQL."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from contract.audit_records import decision, happened
from sqlalchemy import create_engine, select

from remit.audit.chain import DECISIONS, LIFECYCLE, ChainId, Head, genesis, link_decisions, link_lifecycle
from remit.audit.errors import RecordRefused
from remit.audit.record import DecisionRecord
from remit.audit.store import AuditStore
from remit.audit.tables import chains, counts, decisions, lifecycle


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
        head, rows = link_decisions(its, genesis(chain))
        assert rows == rows_of(url, chain)
        assert head == head_of(url, chain)
    chain = ChainId(LIFECYCLE, "acme", "node-1")
    assert link_lifecycle([event], genesis(chain))[1] == rows_of(url, chain)


def test_what_is_refused_moves_no_chain(store: AuditStore, url: str) -> None:
    store.append([first := decision()])
    with pytest.raises(RecordRefused):
        store.append([decision(), first])
    store.append([second := decision()])
    chain = ChainId(DECISIONS, "acme", "node-1")
    head, rows = link_decisions([first, second], genesis(chain))
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
        assert rows == link_decisions([DecisionRecord._make(row[:-2]) for row in rows], genesis(chain))[1]


def test_counts_are_what_the_records_add_up_to(store: AuditStore, url: str) -> None:
    hour_us = 3_600_000_000
    kept = [
        decision(
            time_us=5 * hour_us + number, principal=f"user:{number % 3}", namespace=f"a.n{number % 2}", effect=effect
        )
        for number, effect in enumerate(("allow", "deny", "allow", "allow", "deny", "allow", "allow"))
    ]
    later = decision(time_us=6 * hour_us)
    sampled = decision(time_us=5 * hour_us, effect="allow")
    store.append(kept[:4])
    store.append([*kept[4:], later], unrecorded=[sampled])
    expected: Counter[tuple[object, ...]] = Counter()
    for each in (*kept, later):
        for dimension, value in (
            ("principal", each.principal), ("namespace", each.namespace), ("revision", each.revision),
        ):  # fmt: skip
            expected[dimension, value, each.time_us // hour_us * hour_us, each.effect] += 1
    engine = create_engine(url)
    with engine.connect() as connection:
        found = connection.execute(select(counts)).all()
    engine.dispose()
    told = {(row.dimension, row.value, row.hour_us, row.effect): row.recorded for row in found if row.recorded}
    assert dict(expected) == told
    assert 1 == sum(row.unrecorded for row in found if row.dimension == "revision")
