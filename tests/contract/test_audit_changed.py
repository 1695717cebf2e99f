"""A store that somebody has set back, or planted something in, over SQLite and PostgreSQL."""

import re
from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, delete, text, update
from support.audit_records import decision, happened

from remit.audit.append.chain_heads import KnownHeads
from remit.audit.chain.chain import DECISIONS, ChainId, Head
from remit.audit.errors import AuditStoreError, StoreChangedError
from remit.audit.schema.tables import chains, decisions
from remit.audit.store.store import AuditStore
from remit.audit.verify.finding import FindingKind
from remit.audit.verify.store import verify_store

IGNORED = "user:mallory"
IGNORE = "SELECT RAISE(IGNORE)"
SET_BACK = "UPDATE chains SET seq = NEW.seq - 1; SELECT RAISE(IGNORE)"
DELETE = "DELETE FROM decisions WHERE id = NEW.id"
NOTHING = "EXECUTE FUNCTION nothing()"

PLANTED = {
    "sqlite": {
        "a trigger that keeps records out": [
            f"CREATE TRIGGER planted BEFORE INSERT ON decisions WHEN NEW.principal = '{IGNORED}' BEGIN {IGNORE}; END"
        ],
        "a trigger that sets the chain back meanwhile": [
            f"CREATE TRIGGER planted BEFORE INSERT ON decisions WHEN NEW.principal = '{IGNORED}' BEGIN {SET_BACK}; END"
        ],
        "a trigger that deletes afterwards": [
            f"CREATE TRIGGER planted AFTER INSERT ON decisions WHEN NEW.principal = '{IGNORED}' BEGIN {DELETE}; END"
        ],
        "a trigger on counts": [
            f"CREATE TRIGGER planted BEFORE INSERT ON counts WHEN NEW.value = '{IGNORED}' BEGIN {IGNORE}; END"
        ],
    },
    "postgresql": {
        "a trigger that keeps records out": [
            "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            f"CREATE TRIGGER planted BEFORE INSERT ON decisions FOR EACH ROW WHEN (NEW.principal = '{IGNORED}') {NOTHING}",
        ],
        "a trigger on counts": [
            "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            f"CREATE TRIGGER planted BEFORE INSERT ON counts FOR EACH ROW WHEN (NEW.value = '{IGNORED}') {NOTHING}",
        ],
    },
}
OTHERS = {
    "sqlite": {
        "view `planted`": ["CREATE VIEW planted AS SELECT * FROM decisions"],
        "table `planted`": ["CREATE TABLE planted (x)"],
        "index `planted` on `decisions`": ["CREATE UNIQUE INDEX planted ON decisions (principal)"],
        "index `decisions_by_principal` on `decisions` is missing": ["DROP INDEX decisions_by_principal"],
        "index `lifecycle_by_type` on `lifecycle` has another definition": [
            "DROP INDEX lifecycle_by_type",
            "CREATE UNIQUE INDEX lifecycle_by_type ON lifecycle (tenant, type, id)",
        ],
        "table `probe` has another definition": [
            "DROP TABLE probe",
            "CREATE TABLE probe (id BLOB NOT NULL ON CONFLICT IGNORE, filler BLOB NOT NULL, PRIMARY KEY (id))",
        ],
    },
    "postgresql": {
        "rule `planted` on `chains`": ["CREATE RULE planted AS ON UPDATE TO chains DO INSTEAD NOTHING"],
        "row security policy `planted` on `decisions`": ["CREATE POLICY planted ON decisions USING (true)"],
    },
}


@pytest.fixture
def alter(url: str) -> Callable[..., None]:
    """What somebody else does to the database."""

    def run(*statements: object) -> None:
        engine = create_engine(url)
        with engine.begin() as connection:
            for each in statements:
                connection.execute(text(each) if isinstance(each, str) else each)  # type: ignore[call-overload]
        engine.dispose()

    return run


def of_each(*kinds: dict[str, dict[str, list[str]]]) -> list[tuple[str, str]]:
    """Backends, and the names of what can be done to them."""
    return [(backend, name) for each in kinds for backend, names in each.items() for name in names]


def backend_of(url: str) -> str:
    return url.partition(":")[0].partition("+")[0]


@pytest.mark.parametrize(("url", "name"), of_each(PLANTED), indirect=["url"])
def test_a_store_writes_nothing_while_a_trigger_keeps_rows_out(
    store: AuditStore, url: str, alter: Callable[..., None], name: str
) -> None:
    """None of the batch, and the probe fails too; once the trigger is gone the store writes again."""
    statements = PLANTED[backend_of(url)][name]
    store.append([first := decision()])
    alter(*statements)
    with pytest.raises(AuditStoreError, match=r"changes or suppresses inserts.*`remit audit verify`"):
        store.append([decision(), decision(principal=IGNORED)], [happened()])
    with pytest.raises(AuditStoreError, match="trigger `planted`"):
        store.probe()
    assert [first] == store.decisions()
    alter(f"DROP TRIGGER planted{'' if backend_of(url) == 'sqlite' else f' ON {_table(statements)}'}")
    store.probe()
    store.append([second := decision(principal=IGNORED)])
    assert [second, first] == store.decisions()
    with store.snapshot() as snapshot:
        assert [] == verify_store([snapshot], counts=True).findings


def _table(statements: list[str]) -> str:
    found = re.search(r"INSERT ON (\w+)", statements[-1])
    assert found is not None
    return found[1]


@pytest.mark.parametrize(("url", "name"), of_each(PLANTED, OTHERS), indirect=["url"])
def test_store_with_another_schema_does_not_open_and_verify_reports_it(
    store: AuditStore, url: str, alter: Callable[..., None], name: str
) -> None:
    backend = backend_of(url)
    statements = {**PLANTED[backend], **OTHERS[backend]}[name]
    alter(*statements)
    told = name if name in OTHERS[backend] else f"trigger `planted` on `{_table(statements)}`"
    with AuditStore(url) as other:
        for step in (other.open, other.migrate):
            with pytest.raises(AuditStoreError, match=f"schema that is not remit's: {re.escape(told)}"):
                step()
        with other.open_as_evidence().snapshot() as snapshot:
            (finding,) = verify_store([snapshot]).findings
    assert (FindingKind.SCHEMA, True) == (finding.kind, told in finding.text)


def test_planner_statistics_are_part_of_the_schema(store: AuditStore, url: str, alter: Callable[..., None]) -> None:
    store.append([decision()])
    alter("ANALYZE")
    with AuditStore(url) as other:
        other.open()


@pytest.mark.parametrize("left", [0, 1])
def test_append_refuses_a_chain_that_was_set_back(
    store: AuditStore, url: str, alter: Callable[..., None], left: int
) -> None:
    """Its newest records deleted, and table `chains` set back to those that are left: nothing is written until a restart."""
    store.append([first := decision()])
    with store.reading() as connection:
        hash_ = connection.execute(chains.select()).one().hash
    store.append([decision(), decision()])
    kept = [first.id][:left]
    head = update(chains).values(seq=1, hash=hash_) if left else delete(chains)
    alter(delete(decisions).where(decisions.c.id.not_in(kept)), head)
    for _ in range(2):
        with pytest.raises(StoreChangedError, match=f"committed record 3, but the database is at {left}"):
            store.append([decision()])
        with pytest.raises(StoreChangedError, match="was set back"):
            store.probe()
    assert kept == [each.id for each in store.decisions()]
    with AuditStore(url) as restarted:
        restarted.open().append([decision()])


def test_append_refuses_a_chain_whose_head_was_replaced(store: AuditStore, alter: Callable[..., None]) -> None:
    store.append([decision()])
    alter(update(chains).values(hash=b"\x00" * 32))
    with pytest.raises(StoreChangedError, match="was set back"):
        store.append([decision()])


def test_a_new_connection_knows_the_heads_that_an_earlier_one_committed(
    store: AuditStore, alter: Callable[..., None]
) -> None:
    store.append([decision()])
    store.close()
    alter(delete(decisions), delete(chains))
    with pytest.raises(StoreChangedError, match="was set back"):
        store.append([decision()])


def test_a_limited_number_of_heads_is_remembered() -> None:
    known = KnownHeads(most=2)
    ids = [ChainId(DECISIONS, name, "node-1") for name in "abc"]
    for seq, each in enumerate((*ids, ids[1], ids[0])):
        known.committed({each: Head(seq, b"")})
    assert [None, 3, 4] == [head and head.seq for head in map(known.get, (ids[2], ids[1], ids[0]))]
