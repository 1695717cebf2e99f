"""One contract for the audit store, over SQLite and PostgreSQL."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import pytest
from sqlalchemy import create_engine, select
from support.audit_records import IDS, decision, decision_at, happened

from remit.audit.errors import AuditStoreError, RecordRefused
from remit.audit.query.filter import DecisionFilter
from remit.audit.record import AUDIT_READ, CALL_REFUSED, POLICY_READ, DecisionRecord, LifecycleRecord
from remit.audit.retention.purge import Purged, PurgePacing
from remit.audit.schema.tables import probe
from remit.audit.store.store import AuditStore

NASTY = [
    "",
    " ",
    "'; DROP TABLE decisions; --",
    '"quoted" and \\backslash\\',
    "100%_done",
    "tab\treturn\r",
    "\u202eright to left",
    "e\u0301 is not \u00e9",
    "\U0001f4a9",
    "\x01\x7f\ufffe",
    "%s %(name)s ? :name {0}",
]
T0 = 1_800_000_000_000_000


def ids(records: list[DecisionRecord]) -> list[bytes]:
    return [record.id for record in records]


def test_every_field_comes_back_as_it_was(store: AuditStore) -> None:
    """Each field holds a value no other holds, so no two columns can be swapped."""
    fields = {name: f"text of {name}" for name, kind in DecisionRecord.__annotations__.items() if kind is str}
    numbers = {"time_us": 2**62, "latency_ns": 2**61, "batch_index": 49_999}
    record = decision(**fields, **numbers, id=bytes(range(16)), call_id=bytes(range(240, 256)))
    store.append([record])
    assert [record] == store.decisions()
    assert record == store.decision(record.id)


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_nasty_text_is_stored_unchanged(store: AuditStore, text: str) -> None:
    fields = {name: text for name, kind in DecisionRecord.__annotations__.items() if kind is str}
    record = decision(**fields)
    store.append([record], [event := happened(detail=json.dumps(text), tenant=text)])
    assert [record] == store.decisions()
    assert [record] == store.decisions(DecisionFilter(tenant=text, principal=text, reason=text))
    assert [event] == store.lifecycle(tenant=text)


def test_free_text_may_be_long(store: AuditStore) -> None:
    """Names are short by their grammar; resource ids and details are not."""
    record = decision(**dict.fromkeys(("resource_id", "rule", "detail", "trace_id"), "x" * 100_000))
    store.append([record], [event := happened(detail=json.dumps("x" * 100_000))])
    assert [record] == store.decisions()
    assert [event] == store.lifecycle()


@pytest.mark.parametrize("records", [([decision(resource_id="a\nb")], []), ([], [happened(detail="{\n}")])])
def test_a_line_break_is_refused(
    store: AuditStore, records: tuple[list[DecisionRecord], list[LifecycleRecord]]
) -> None:
    """The chain writes a field a line: two records must never have one text."""
    with pytest.raises(RecordRefused, match="line break"):
        store.append(*records)
    assert ([], []) == (store.decisions(), store.lifecycle())


@pytest.mark.parametrize("count", [1, 3, 4, 15, 16, 63, 64, 65, 150, 1000])
def test_batches_of_any_size_are_written_whole(store: AuditStore, count: int) -> None:
    records = [decision(batch_index=position) for position in range(count)]
    store.append(records)
    assert records == store.decisions(limit=2000, newest_first=False)


@pytest.mark.parametrize("counts", [(1, 7, 8, 9), (128,), (129, 300), (50, 1, 8, 260, 2)])
def test_calls_of_any_size_are_written_field_by_field(store: AuditStore, counts: tuple[int, ...]) -> None:
    """Whatever their records share is written once; several calls, of tenants and nodes in turn, share a transaction."""
    records = []
    for number, count in enumerate(counts):
        time_us, (call_id, *ids) = IDS.stamp(count + 1)
        shared = {
            "time_us": time_us,
            "call_id": call_id,
            "tenant": ("acme", "globex")[number % 2],
            "node": f"node-{number % 3}",
            "caller": f"caller-{number}",
            "on_behalf_of": f"user:{number}",
            "revision": f"{number:064x}",
            "trace_id": f"trace-{number}",
            "question": ("CHECK", "REACH")[number % 2],
            "detail": f'{{"call":{number}}}',
        }
        records += [
            decision(
                **shared,
                id=id_,
                batch_index=at,
                namespace=f"prod.n{at}",
                principal=f"user:p{at}",
                action=f"ACTION{at}",
                kind=f"KIND{at}",
                resource_id=f"resource-{at}",
                effect=("allow", "deny")[at % 2],
                reason=("ALLOWED_BY_RULE", "NOT_GRANTED")[at % 2],
                rule=f"acme/roles.csv:{at}",
                latency_ns=at * 1_000,
            )
            for at, id_ in enumerate(ids)
        ]
    store.append(records)
    assert sorted(records) == store.decisions(limit=2_000, newest_first=False)


def test_an_empty_batch_is_no_error(store: AuditStore) -> None:
    store.append([])
    assert [] == store.decisions()


def test_pages_follow_the_ids_whatever_order_they_were_written_in(store: AuditStore) -> None:
    records = [decision() for _ in range(25)]
    store.append(records[10:])
    store.append(records[:10][::-1])
    for newest_first, expected in ((False, records), (True, records[::-1])):
        pages, after = [], None
        while page := store.decisions(after=after, limit=7, newest_first=newest_first):
            pages.append(page)
            after = page[-1].id
        assert [7, 7, 7, 4] == [len(page) for page in pages]
        assert expected == [record for page in pages for record in page]


def test_records_written_between_two_pages_do_not_move_the_older_ones(store: AuditStore) -> None:
    records = [decision() for _ in range(6)]
    store.append(records)
    first = store.decisions(limit=3)
    store.append([decision() for _ in range(5)])
    assert records[::-1] == first + store.decisions(after=first[-1].id, limit=3)


FIELDS = [
    {"tenant": "acme"},
    {"tenant": "Acme"},
    {"principal": "user:ada"},
    {"principal": "user:ADA"},
    {"effect": "deny"},
    {"reason": "NO_BINDING"},
    {"tenant": "acme", "principal": "user:ada"},
    {"tenant": "acme", "principal": "user:ADA", "effect": "allow", "reason": "ALLOWED_BY_RULE"},
    {"tenant": "acme", "effect": "deny"},
    {"tenant": "ac_e"},
    {"tenant": "ac%"},
    {},
]


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_filter_finds_exactly_the_equal_values(store: AuditStore, fields: dict[str, str]) -> None:
    records = [
        decision(tenant=tenant, principal=principal, effect=effect, reason=reason)
        for tenant in ("acme", "Acme", "acmex", "ac_e")
        for principal in ("user:ada", "user:ADA")
        for effect, reason in (("allow", "ALLOWED_BY_RULE"), ("deny", "NO_BINDING"), ("deny", "DENIED_BY_RULE"))
    ]
    store.append(records)
    expected = [r for r in records if all(getattr(r, name) == value for name, value in fields.items())]
    assert expected == store.decisions(DecisionFilter(**fields), newest_first=False)  # type: ignore[arg-type]


NAMESPACES = [
    "",
    "a",
    "a_b",
    "a_b.c",
    "a-b",
    "axb",
    "axb.c",
    "prod",
    "prod.etl",
    "prod.etl.daily",
    "prod/etl",
    "prod2",
    "prod2.etl",
    "prod-eu",
    "prod-eu.etl",
    "prod_x",
    "Prod.etl",
    "xprod",
    "x.prod",
]


@pytest.mark.parametrize("more", [{}, {"tenant": "acme"}, {"tenant": "acme", "principal": "user:ada"}], ids=str)
def test_a_namespace_means_itself_and_what_is_below(store: AuditStore, more: dict[str, str]) -> None:
    """Siblings such as `prod2`, `prod-eu` and `Prod`, and letters that LIKE would read, stay out."""
    records = [decision(namespace=name) for name in NAMESPACES]
    other = decision(tenant="globex", principal="user:eve", namespace="prod.etl")
    store.append([*records, other])
    for asked in [*NAMESPACES, "nowhere", "pro", "a_"]:
        found = store.decisions(DecisionFilter(namespace=asked, **more), newest_first=False)  # type: ignore[arg-type]
        below = [name for name in NAMESPACES if asked in ("", name) or name.startswith(asked + ".")]
        assert below == [record.namespace for record in found if record.tenant == "acme"]
        assert (not more and "prod.etl" in below) == (other in found)


def test_since_is_inclusive_and_until_exclusive_to_the_microsecond(store: AuditStore) -> None:
    records = [decision_at(T0 + offset) for offset in (-1_000_000, -1, 0, 1, 999, 1_000, 5_000_000)]
    store.append(records)

    def between(since_us: int | None, until_us: int | None) -> list[int]:
        where = DecisionFilter(since_us=since_us, until_us=until_us)
        return sorted(record.time_us - T0 for record in store.decisions(where))

    assert [0, 1, 999, 1_000, 5_000_000] == between(T0, None)
    assert [-1_000_000, -1] == between(None, T0)
    assert [1, 999] == between(T0 + 1, T0 + 1_000)
    assert [] == between(T0, T0)


def test_record_is_found_by_its_time_if_the_id_differs_a_little(store: AuditStore) -> None:
    """The id's clock was looked at up to a second before or after the record's."""
    early = decision_at(T0)._replace(time_us=T0 + 900_000)
    late = decision_at(T0)._replace(time_us=T0 - 900_000)
    store.append([early, late])
    assert [early] == store.decisions(DecisionFilter(since_us=T0 + 900_000))
    assert [late] == store.decisions(DecisionFilter(until_us=T0 - 899_999))


def test_an_id_finds_its_record_and_no_other(store: AuditStore) -> None:
    records = [decision() for _ in range(3)]
    store.append(records)
    assert records[1] == store.decision(records[1].id)
    assert [records[1]] == store.decisions(DecisionFilter(ids=(records[1].id,)))
    assert [] == store.decisions(DecisionFilter(ids=(records[1].id,), tenant="globex"))
    assert store.decision(IDS.next()) is None


def test_store_knows_ids_of_decisions_and_lifecycle_records(store: AuditStore) -> None:
    """Of more than one statement holds."""
    decided, events = [decision() for _ in range(2_500)], [happened() for _ in range(3)]
    store.append(decided, events)
    there = {record.id for record in (*decided, *events)}
    assert there == store.known([*there, *(decision().id for _ in range(1_500))])
    assert set() == store.known([])


def test_duplicate_id_refuses_its_whole_batch(store: AuditStore) -> None:
    first, second = decision(), decision()
    store.append([first])
    with pytest.raises(RecordRefused):
        store.append([second, first._replace(principal="user:eve")], [happened()])
    assert [first] == store.decisions()
    assert [] == store.lifecycle()
    store.append([second])
    assert [second, first] == store.decisions()


@pytest.mark.parametrize("fields", [{"resource_id": "\ud800"}, {"latency_ns": 2**63}], ids=["surrogate", "too large"])
def test_value_that_no_column_can_hold_is_refused_and_the_store_continues(
    store: AuditStore, fields: dict[str, object]
) -> None:
    good = decision()
    with pytest.raises(RecordRefused):
        store.append([good, decision(**fields)])
    store.append([good])
    assert [good] == store.decisions()


def test_lifecycle_records_are_filtered_and_paged(store: AuditStore) -> None:
    started = happened("SERVER_STARTED", tenant="", revision="", time_us=T0)
    loaded = happened("POLICY_LOADED", tenant="acme", time_us=T0 + 1)
    refused = happened("POLICY_REFUSED", tenant="globex", time_us=T0 + 2)
    store.append([], [started, loaded])
    store.append([decision()], [refused])
    assert [refused, loaded, started] == store.lifecycle()
    assert [started, loaded] == store.lifecycle(newest_first=False, limit=2)
    assert [refused] == store.lifecycle(newest_first=False, limit=2, after=loaded.id)
    assert [started] == store.lifecycle(after=loaded.id)
    assert [loaded] == store.lifecycle(type_="POLICY_LOADED")
    assert [refused] == store.lifecycle(tenant="globex")
    reads = [happened(each, tenant="acme", time_us=T0 + 3) for each in (AUDIT_READ, POLICY_READ, CALL_REFUSED)]
    store.append([], reads)
    assert [refused, loaded, started] == store.lifecycle(without_calls=True)
    assert [loaded] == store.lifecycle(tenant="acme", without_calls=True)
    with pytest.raises(RecordRefused):
        store.append([], [started])


def test_lifecycle_since_is_inclusive_and_until_exclusive(store: AuditStore) -> None:
    events = [happened(id=decision_at(T0 + offset).id, time_us=T0 + offset, detail=str(offset)) for offset in (0, 1, 2)]
    store.append([], events)
    assert ["1"] == [event.detail for event in store.lifecycle(since_us=T0 + 1, until_us=T0 + 2)]


def test_purge_deletes_older_records_and_prints_the_number(store: AuditStore) -> None:
    old = [decision_at(T0 + offset) for offset in range(25)]
    kept = [decision_at(T0 + 25), decision_at(T0 + 5_000_000)]
    store.append([*old, *kept])
    seen: list[int] = []
    purged = store.purge(T0 + 25, node="node-7", pacing=PurgePacing(rows=10), progress=seen.append)
    assert Purged(deleted=25) == purged
    assert [10, 20, 25] == seen
    assert kept == store.decisions(newest_first=False)
    started, record = store.lifecycle(newest_first=False)
    assert ("PURGE_STARTED", "node-7", "") == (started.type, started.node, started.tenant)
    assert {"before_us": T0 + 25, "tenant": None} == json.loads(started.detail)
    assert ("PURGED", "node-7", "") == (record.type, record.node, record.tenant)
    assert {"before_us": T0 + 25, "tenant": None, "deleted": 25} == json.loads(record.detail)


def test_purge_of_one_tenant_leaves_the_others(store: AuditStore) -> None:
    acme = [decision_at(T0 + offset, tenant="acme") for offset in range(12)]
    globex = [decision_at(T0 + offset, tenant="globex") for offset in range(12)]
    store.append([*acme, *globex])
    assert 12 == store.purge(T0 + 100, tenant="acme", pacing=PurgePacing(rows=5)).deleted
    assert sorted(globex) == store.decisions(newest_first=False)
    assert ["acme"] == [record.tenant for record in store.lifecycle(type_="PURGED")]


def test_purge_that_deletes_nothing_is_remembered(store: AuditStore) -> None:
    record = decision()
    store.append([record])
    assert 0 == store.purge(T0 - 10_000_000_000_000).deleted
    assert [record] == store.decisions()
    assert [0] == [json.loads(event.detail)["deleted"] for event in store.lifecycle(type_="PURGED")]


def test_interrupted_purge_has_reported_the_deleted_records(store: AuditStore) -> None:
    store.append([decision_at(T0 + offset) for offset in range(30)])

    def stop(deleted: int) -> None:
        if deleted >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.purge(T0 + 100, pacing=PurgePacing(rows=10), progress=stop)
    assert 10 == len(store.decisions())
    assert [20] == [json.loads(event.detail)["deleted"] for event in store.lifecycle(type_="PURGED")]


def test_a_second_program_reads_and_purges_while_one_writes(store: AuditStore, url: str) -> None:
    """Every acknowledged record is seen by a reader that looks afterwards, and readers see whole transactions."""
    old = [decision_at(T0 - 10_000_000_000_000 + offset, tenant="old") for offset in range(100)]
    store.append(old)
    written: list[DecisionRecord] = []

    def write() -> None:
        for _ in range(100):
            batch = [decision() for _ in range(20)]
            store.append(batch)
            written.extend(batch)

    writer = Thread(target=write)
    with AuditStore(url).open() as other:
        writer.start()
        try:
            while writer.is_alive():
                before = len(written)
                found = other.decisions(DecisionFilter(tenant="acme"), limit=5_000, newest_first=False)
                assert before <= len(found)
                assert 0 == len(found) % 20
                other.purge(T0 - 9_000_000_000_000, pacing=PurgePacing(rows=20))
        finally:
            writer.join()
        assert written == other.decisions(limit=5_000, newest_first=False)
        assert 100 == sum(json.loads(event.detail)["deleted"] for event in other.lifecycle(type_="PURGED", limit=1_000))


def test_many_threads_may_share_a_store(store: AuditStore) -> None:
    batches = [[decision() for _ in range(5)] for _ in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store.append, batches))
    assert sorted(record for batch in batches for record in batch) == store.decisions(limit=1000, newest_first=False)


def test_a_probe_leaves_nothing_behind(store: AuditStore, url: str) -> None:
    store.append([record := decision()])
    store.probe()
    store.probe()
    assert [record] == store.decisions()
    assert [] == store.lifecycle()
    engine = create_engine(url)
    with engine.connect() as connection:
        assert [] == list(connection.execute(select(probe)))
    engine.dispose()


def test_size_grows_with_the_records(store: AuditStore) -> None:
    before = store.size_bytes()
    store.append([decision(trace_id=f"{n:04}" * 200) for n in range(500)])
    assert store.size_bytes() > before + 200_000


def test_records_outlive_the_store_object(store: AuditStore, url: str) -> None:
    store.append([record := decision()])
    store.close()
    with AuditStore(url).open() as again:
        assert [record] == again.decisions()


def test_a_closed_store_may_be_used_again(store: AuditStore) -> None:
    store.append([first := decision()])
    store.close()
    store.append([second := decision()])
    assert [second, first] == store.decisions()


@pytest.mark.parametrize(
    "url_",
    ["sqlite://", "sqlite:///:memory:", "mysql://x@localhost/y", "postgresql+psycopg2://localhost/x", "nonsense", ""],
)
def test_unusable_url_is_refused(url_: str) -> None:
    with pytest.raises(AuditStoreError):
        AuditStore(url_)
