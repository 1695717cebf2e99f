"""The SQLite files of several workers, read as one: what one file with all of their records would say."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.audit_plans import plan_of_page
from support.audit_records import decision, decision_at, happened

from remit.audit.errors import AuditStoreError, UnmigratedError
from remit.audit.query.filter import DecisionFilter
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.audit.store.shards import ShardedStore, migrate, stores_of, worker_url
from remit.audit.store.store import AuditStore

T0 = 1_800_000_000_000_000
TENANTS = ("acme", "globex")
PRINCIPALS = ("user:ada", "user:eve")
NAMESPACES = ("", "prod", "prod.etl", "prod2")


class Worlds(NamedTuple):
    """The same records, at random in the files of three workers and in one file."""

    many: ShardedStore
    one: AuditStore
    decided: list[DecisionRecord]
    happened: list[LifecycleRecord]


def made(url: str) -> AuditStore:
    store = AuditStore(url)
    store.migrate()
    return store.open()


def spread(folder: Path, seed: int, *, in_order: bool = False) -> Worlds:
    """Files are written in no order of time unless asked, and one of them holds nothing."""
    dice = random.Random(seed)
    url = f"sqlite:///{folder / 'audit.db'}"
    one = made(f"sqlite:///{folder / 'whole.db'}")
    files = [made(each) for each in (url, worker_url(url, 1), worker_url(url, 2))]
    made(worker_url(url, 10)).close()
    decided = [
        decision_at(
            T0 + dice.randrange(20_000),
            tenant=dice.choice(TENANTS),
            principal=dice.choice(PRINCIPALS),
            namespace=dice.choice(NAMESPACES),
            effect=dice.choice(("allow", "deny")),
            node=f"node-{dice.randrange(3)}",
        )
        for _ in range(150)
    ]
    events = [
        happened(
            dice.choice(("POLICY_LOADED", "POLICY_REFUSED")),
            id=decision_at(time_us).id,
            time_us=time_us,
            tenant=dice.choice(TENANTS),
        )
        for time_us in (T0 + dice.randrange(20_000) for _ in range(30))
    ]
    if in_order:
        decided.sort()
    for start in range(0, len(decided), 10):
        some, beside = decided[start : start + 10], events[start // 5 : start // 5 + 2]
        dice.choice(files).append(some, beside)
        one.append(some, beside)
    for each in files:
        each.close()
    return Worlds(ShardedStore(url).open(), one, sorted(decided), sorted(events))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    found = spread(tmp_path_factory.mktemp("many"), seed)
    yield found
    found.many.close()
    found.one.close()


TIMES = st.none() | st.integers(T0 - 10, T0 + 20_010)
FILTERS = st.builds(
    DecisionFilter,
    tenant=st.sampled_from((None, *TENANTS)),
    principal=st.sampled_from((None, *PRINCIPALS)),
    namespace=st.sampled_from((None, *NAMESPACES)),
    effect=st.sampled_from((None, "allow")),
    since_us=TIMES,
    until_us=TIMES,
)
quickly = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quickly
@given(where=FILTERS, limit=st.integers(1, 60), newest_first=st.booleans())
def test_pages_are_those_of_one_file(worlds: Worlds, where: DecisionFilter, limit: int, newest_first: bool) -> None:
    """Page after page to the end: the same records between the same cuts."""
    after: bytes | None = None
    while True:
        page = worlds.many.decisions(where, after=after, limit=limit, newest_first=newest_first)
        assert worlds.one.decisions(where, after=after, limit=limit, newest_first=newest_first) == page
        if len(page) < limit:
            return
        after = page[-1].id


@pytest.mark.parametrize(
    "asked",
    [
        {"principal": "user:ada"},
        {"principal": "user:ada", "namespace": "prod"},
        {"principal": "user:ada", "effect": "deny"},
    ],
)
def test_a_page_of_several_files_is_merged_and_never_read_whole(worlds: Worlds, asked: dict[str, str]) -> None:
    plan = plan_of_page(worlds.many, DecisionFilter(tenant="acme", **asked))  # type: ignore[arg-type]
    assert not [step for step in plan if "SCAN" in step or "TEMP B-TREE" in step or "MATERIALIZE" in step], plan
    assert 4 == sum("decisions_by_principal" in step for step in plan), plan


@quickly
@given(where=FILTERS)
def test_each_decision_comes_once_in_the_order_of_one_file(worlds: Worlds, where: DecisionFilter) -> None:
    assert list(worlds.one.all_decisions(where)) == list(worlds.many.all_decisions(where))


@quickly
@given(
    type_=st.sampled_from((None, "POLICY_LOADED")),
    tenant=st.sampled_from((None, *TENANTS)),
    since_us=TIMES,
    until_us=TIMES,
    after=st.integers(-1, 29),
    limit=st.integers(1, 40),
    newest_first=st.booleans(),
)
def test_lifecycle_pages_are_those_of_one_file(worlds: Worlds, after: int, **asked: object) -> None:
    behind = worlds.happened[after].id if after >= 0 else None
    pages = [each.lifecycle(after=behind, **asked) for each in (worlds.one, worlds.many)]  # type: ignore[arg-type]
    assert pages[0] == pages[1]


def test_decision_is_found_in_any_file(worlds: Worlds) -> None:
    assert worlds.decided == [worlds.many.decision(each.id) for each in worlds.decided]
    assert worlds.many.decision(decision().id) is None


def test_purge_of_several_files_deletes_the_same_records_as_of_one(tmp_path: Path) -> None:
    worlds = spread(tmp_path, seed=7, in_order=True)  # so that what is older is a prefix of its chain
    told: list[int] = []
    with worlds.many as many, worlds.one as one:
        gone = one.purge(T0 + 9_000, tenant="acme").deleted
        assert gone == many.purge(T0 + 9_000, tenant="acme", progress=told.append).deleted > 0
        assert one.decisions(limit=1000) == many.decisions(limit=1000)
        assert len(many.members) == len(many.lifecycle(type_="PURGED"))
    assert gone == told[-1]
    assert sorted(told) == told


def test_records_written_between_two_pages_do_not_move_the_older_ones(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    files = [made(worker_url(url, number)) for number in (1, 2)]
    records = [decision() for _ in range(8)]
    for number, record in enumerate(records):
        files[number % 2].append([record])
    with ShardedStore(url).open() as many:
        first = many.decisions(limit=3)
        for file in files:
            file.append([decision()])
        assert records[::-1] == first + many.decisions(after=first[-1].id, limit=5)
    for file in files:
        file.close()


@pytest.mark.parametrize(
    ("named", "its"),
    [
        ("sqlite:////var/lib/audit.db", "sqlite:////var/lib/audit.w3.db"),
        ("sqlite:///var/audit.db", "sqlite:///var/audit.w3.db"),
        ("sqlite:///audit", "sqlite:///audit.w3"),
        ("sqlite:///a.b/audit.v1.sqlite", "sqlite:///a.b/audit.v1.w3.sqlite"),
        ("postgresql+psycopg://remit:secret@db/audit", "postgresql+psycopg://remit:secret@db/audit"),
    ],
)
def test_store_of_a_worker_is_named_after_the_setting(named: str, its: str) -> None:
    assert its == worker_url(named, 3)


def test_only_a_worker_s_files_belong_to_a_url(tmp_path: Path) -> None:
    """In the order of their numbers; empty ones and the likes of them are left out."""
    for name in ("w2", "w10", "w1"):
        made(f"sqlite:///{tmp_path / f'audit.{name}.db'}").close()
    for name in ("audit.w0.db", "audit.w01.db", "audit.w3.db-wal", "audit.w4.db.bak", "other.w1.db", "auditw5.db"):
        (tmp_path / name).write_text("something else")
    (tmp_path / "audit.w6.db").touch()
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    assert [worker_url(url, number) for number in (1, 2, 10)] == [each.url for each in stores_of(url)]
    made(url).close()
    assert url == stores_of(url)[0].url
    assert [worker_url(url, 2)] == [each.url for each in stores_of(worker_url(url, 2))]


def test_missing_folder_opens_no_store(tmp_path: Path) -> None:
    stores = ShardedStore(f"sqlite:///{tmp_path / 'nowhere' / 'audit.db'}")
    assert stores.is_new()
    with pytest.raises(AuditStoreError, match="does not exist"):
        stores.open()


def test_one_file_of_another_schema_is_refused_by_its_name_until_all_are_migrated(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    with made(worker_url(url, 1)) as store:
        store.append([record := decision()])
    with closing(sqlite3.connect(tmp_path / "audit.w2.db")) as other:
        other.execute("VACUUM")
        other.execute("PRAGMA user_version = 1")
    with ShardedStore(url) as many:
        with pytest.raises(UnmigratedError, match=r"audit\.w2\.db"):
            many.open()
        migrate(url)
        assert [record] == many.open().decisions()
        assert sum(each.size_bytes() for each in many.members) == many.size_bytes() > 0


def test_postgresql_database_belongs_to_all_workers() -> None:
    (store,) = stores_of("postgresql+psycopg://remit:secret@db/audit")
    assert "postgresql+psycopg://remit:***@db/audit" == store.url


@pytest.mark.parametrize("name", ["audit.db", "audit"])
def test_records_of_a_purge_are_in_chains_of_their_file(tmp_path: Path, name: str) -> None:
    url = f"sqlite:///{tmp_path / name}"
    for each in (url, worker_url(url, 1), worker_url(url, 2)):
        made(each).close()
    with ShardedStore(url).open() as many:
        many.purge(T0)
        assert ["", "w1", "w2"] == sorted(record.node for record in many.lifecycle(type_="PURGED"))
