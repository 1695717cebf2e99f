"""To Casbin and back: what is exported decides as remit does, and what is imported decides as Casbin did."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import product
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import casbin
import pytest
from casbin.persist import Adapter, load_policy_line
from hypothesis import assume, event, given
from hypothesis import strategies as st
from strategies import VOCABULARY, World, randoms, worlds
from support.trees import rows_in, snapshot_of, write
from worldly import questions, reach_questions, snapshots

import remit.casbin
from remit.core.names import Tenant, is_word, parse_subject, parse_tenant
from remit.core.question import parse_question
from remit.engine.differential.compare import BY_ROWS
from remit.engine.snapshot import Snapshot
from remit.migrate.casbin.enforcer import Enforcer, SourceRow, lines_of
from remit.migrate.casbin.export import REACH_TABLE, Exported, export
from remit.migrate.casbin.reimport import import_export
from remit.migrate.casbin.sql_table import TABLE, RuleTableError, rows_of, write_rows
from remit.migrate.casbin.translate import import_casbin
from remit.migrate.finding import FindingId
from remit.migrate.name_mapping import (
    decode_id,
    decode_segment,
    decode_word,
    encode_id,
    encode_segment,
    encode_word,
)
from remit.migrate.options import CasbinOptions, DomainReading, Imported


class TableAdapter(Adapter):
    """As Casbin's adapters for databases load a table: the values up to the first NULL, as a line; in no order."""

    def __init__(self, database: Path, table: str, random: Random) -> None:
        self._database = database
        self._table = table
        self._random = random

    def load_policy(self, model: Any) -> None:
        with closing(sqlite3.connect(self._database)) as connection:
            rows = connection.execute(f"SELECT * FROM {self._table}").fetchall()
        # Hypothesis may end an example here.
        self._random.shuffle(rows)
        for _, *values in rows:
            load_policy_line(", ".join(value for value in values if value is not None), model)


def assert_decides_alike(snapshot: Snapshot, access: Any, reach: Any, random: Random) -> None:
    remit.casbin.register(access)
    remit.casbin.register(reach)
    for question in questions(snapshot, random):
        decision = snapshot.decide(question)
        principal, action, kind, namespace = question
        if decision.reason in BY_ROWS:
            assert decision.allowed == access.enforce(principal, snapshot.tenant, namespace, kind, action)
    for asked in reach_questions(snapshot, random):
        decision = snapshot.reach.decide(asked)
        if decision.reason in BY_ROWS:
            assert decision.allowed == reach.enforce(snapshot.tenant, *asked)


def exports(world: World) -> Iterator[tuple[Snapshot, Exported]]:
    for snapshot in snapshots(world):
        yield snapshot, export(snapshot.policy, VOCABULARY)


def fits(exported: Exported) -> bool:
    return all(len(field) <= 255 for rows in exported.tables.values() for row in rows for field in row)


@given(worlds, randoms)
def test_unmodified_casbin_decides_the_exported_files_like_remit(world: World, random: Random) -> None:
    """Casbin's own enforcer over the exported files, the functions registered, on both planes."""
    for snapshot, exported in exports(world):
        with TemporaryDirectory() as name:
            folder = write(Path(name), exported.files)
            access = casbin.Enforcer(str(folder / "access.conf"), str(folder / "access.csv"))
            reach = casbin.Enforcer(str(folder / "reach.conf"), str(folder / "reach.csv"))
        assert_decides_alike(snapshot, access, reach, random)


@given(worlds, randoms)
def test_unmodified_casbin_decides_the_exported_tables_like_remit(world: World, random: Random) -> None:
    """The same over `casbin_rule` tables; rows that do not fit their columns are refused, and nothing is written."""
    for snapshot, exported in exports(world):
        with TemporaryDirectory() as name:
            folder = write(Path(name), exported.files)
            database = folder / "rules.db"
            if not fits(exported):
                with pytest.raises(RuleTableError, match="holds 255"):
                    write_rows(f"sqlite:///{database}", exported.tables, force=False)
                assert not database.exists()
                continue
            write_rows(f"sqlite:///{database}", exported.tables, force=False)
            access = casbin.Enforcer(str(folder / "access.conf"), TableAdapter(database, TABLE, random))
            reach = casbin.Enforcer(str(folder / "reach.conf"), TableAdapter(database, REACH_TABLE, random))
        assert_decides_alike(snapshot, access, reach, random)


@given(worlds, randoms, st.booleans())
def test_import_after_export_is_identity(world: World, random: Random, through_tables: bool) -> None:
    """Original and re-imported policy give the same effect and reason for every question with known words."""
    for snapshot, exported in exports(world):
        if through_tables and not fits(exported):
            continue
        imported = again(snapshot.tenant, exported, random, through_tables=through_tables)
        # An export never has access lists and dedicated resources, and says so.
        assert (FindingId.NOT_IN_CASBIN,) == tuple(each.id for each in imported.findings)
        other = snapshot_of({**imported.files}, snapshot.tenant)
        for question in [*questions(snapshot, random), *reach_questions(snapshot, random)]:
            decision = snapshot.answer(question)
            if decision.reason in BY_ROWS:
                again_decided = other.answer(question)
                assert (decision.effect, decision.reason) == (again_decided.effect, again_decided.reason)


def again(tenant: Tenant, exported: Exported, random: Random, *, through_tables: bool) -> Imported:
    lines = [lines_of(file, exported.files[file]) for file in ("access.csv", "reach.csv")]
    if through_tables:
        with TemporaryDirectory() as name:
            url = f"sqlite:///{name}/rules.db"
            write_rows(url, exported.tables, force=False)
            lines = [rows_of(url, TABLE), rows_of(url, REACH_TABLE)]
    for each in lines:
        random.shuffle(each)
    enforcer = Enforcer(exported.files["access.conf"].decode())
    return import_export(enforcer, *lines, exported.files["vocabulary.yaml"], CasbinOptions(tenant=tenant, cases=40))


names = st.one_of(
    st.text(min_size=1, max_size=12), st.text("aX_x0/.% ", min_size=1, max_size=8), st.text("X_x5Ff", min_size=1)
)


@given(names, names)
def test_mapped_names_are_valid_and_reversible(one: str, other: str) -> None:
    """Each name has a counterpart in the grammar, no two have the same, and the rule turned round gives the name."""
    assume(len(one.encode()) < 20)
    assert parse_subject(f"user:{encode_id(one)}")
    assert is_word(encode_word(one)) is not None or len(encode_word(one)) > 64
    assert parse_tenant(encode_segment(one)[:63])
    for encode, decode in ((encode_id, decode_id), (encode_word, decode_word), (encode_segment, decode_segment)):
        assert one == decode(encode(one))
        assert (one == other) == (encode(one) == encode(other))


PLAIN = (
    "[request_definition]\nr = {r}\n[policy_definition]\np = {p}\n{g}[policy_effect]\ne = {e}\n[matchers]\nm = {m}\n"
)
ALLOWS = "some(where (p.eft == allow))"
BOTH = f"{ALLOWS} && !some(where (p.eft == deny))"
FLAT = {"r": "sub, obj, act", "p": "sub, obj, act, eft", "g": "[role_definition]\ng = _, _\n"}
DOMAINS = {"r": "sub, dom, obj, act", "p": "sub, dom, obj, act, eft", "g": "[role_definition]\ng = _, _, _\n"}
PEOPLE = ("alice", "bob", "al ice", "user:carol", "role:x")
ROLES = ("admin", "viewer", "group:staff", "role:owner")
OBJECTS = ("data1", "Data1", "data_2", "a/b", "*")
PATHS = ("/a", "/a/b", "/a/*", "/a/:id", "/a/:id/c", "/a/b/*", "/ab", "/a/b/c", "/A")
ACTIONS = ("read", "write", "Read", "*")
FAMILIES = {
    "rbac": (FLAT, "g(r.sub, p.sub) && (r.obj == p.obj || p.obj == '*') && (r.act == p.act || p.act == '*')", OBJECTS),
    "patterns": (FLAT, "g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && (p.act == '*' || r.act == p.act)", PATHS),
    "prefixes": (
        FLAT,
        "g(r.sub, p.sub) && keyMatch(r.obj, p.obj) && r.act == p.act || r.sub == 'root'",
        ("/a/*", "/a/b/*", "/a", "/*", "/a/*/c", "/ab"),
    ),
    "domains": (DOMAINS, "g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj && r.act == p.act", OBJECTS),
    "every domain": (
        DOMAINS,
        "g(r.sub, p.sub, r.dom) && (p.dom == '*' || r.dom == p.dom) && keyMatch(r.obj, p.obj) && r.act == p.act",
        ("/a/*", "/b", "/a"),
    ),
}


@st.composite
def casbin_policies(draw: st.DrawFn) -> tuple[str, str, bool, str]:
    """A model, its rows as a CSV file, whether domains match by keyMatch, and the family."""
    family = draw(st.sampled_from(sorted(FAMILIES)))
    fields, matcher, objects = FAMILIES[family]
    model = PLAIN.format(**fields, e=draw(st.sampled_from((ALLOWS, BOTH))), m=matcher)
    has_domains = fields is DOMAINS
    matching = has_domains and draw(st.booleans())
    domains = ("t1", "t2", "T 3", "*") if family == "every domain" or matching else ("t1", "t2", "T 3")
    row = st.tuples(
        st.sampled_from(PEOPLE + ROLES),
        *([st.sampled_from(domains)] if has_domains else []),
        st.sampled_from(objects),
        st.sampled_from(ACTIONS),
        st.sampled_from(("allow", "allow", "allow", "deny", "Deny")),
    )
    names = PEOPLE + ROLES
    rows = [", ".join(("p", *each)) for each in draw(st.lists(row, min_size=1, max_size=6))]
    for member in draw(st.lists(st.integers(0, len(names) - 2), max_size=6)):
        # Ordered, so that a row only ever points onward: cycles are refused.
        held = draw(st.integers(max(member + 1, len(PEOPLE)), len(names) - 1))
        domain = [draw(st.sampled_from(domains))] if has_domains else []
        rows.append(", ".join(("g", names[member], names[held], *domain)))
    return model, "".join(f"{each}\n" for each in rows), matching, family


@given(casbin_policies(), st.sampled_from(DomainReading))
def test_imported_policy_decides_like_casbin(source: tuple[str, str, bool, str], domains: DomainReading) -> None:
    """For every person, object and action, those that no row names among them, in the imported policy's words."""
    model, rows, matching, family = source
    options = CasbinOptions(
        tenant=None if "dom" in model and domains is DomainReading.TENANTS else Tenant("acme"),
        domains=domains,
        match_domains={"g": "keyMatch" if matching else "none"} if "dom" in model else {},
        actions_more=("read",),
        objects_more=("/other/thing",) if "keyMatch" in model else ("other",),
        cases=60,
    )
    imported = import_casbin(Enforcer(model), "model.conf", lines_of("policy.csv", rows.encode()), options)
    refused = {each.id for each in imported.findings if each.severity == "refused"}
    event(f"{family}: {', '.join(sorted(refused)) or 'imported'}")
    if imported.refused:
        allowed = {FindingId.UNSUPPORTED_REQUEST, FindingId.MISSING_WORD, FindingId.NAME_COLLISION}
        assert refused <= allowed
        return
    with TemporaryDirectory() as name:
        folder = write(Path(name), {"model.conf": model.encode(), "policy.csv": rows.encode()})
        enforcer = casbin.Enforcer(str(folder / "model.conf"), str(folder / "policy.csv"))
    if matching:
        enforcer.add_named_domain_matching_func("g", casbin.util.key_match_func)
    compared = sum(compare(imported.files, enforcer, domain, domains, model) for domain in ("t1", "t2", "T 3", ""))
    assert compared > 0


def compare(files: Mapping[str, bytes], enforcer: Any, domain: str, domains: DomainReading, model: str) -> int:
    """Asks both about everybody in one domain; the empty one where there are none. Returns how often."""
    if bool(domain) != ("dom" in model):
        return 0
    as_tenant = bool(domain) and domains is DomainReading.TENANTS
    tenant = encode_segment(domain) if as_tenant else "acme"
    if f"{tenant}/roles.csv" not in files:
        return 0
    snapshot = snapshot_of({**files}, tenant)
    things = ("/a", "/a/x", "/a/b/c/d", "/ab", "/a/x/c", "/z", "/A") if "keyMatch" in model else ("data1", "other")
    compared = 0
    for person, thing, action in product((*PEOPLE[:-1], "root", "stranger"), things, ("read", "write")):
        kind, namespace = ("OBJECT", thing[1:].replace("/", ".")) if "keyMatch" in model else (encode_word(thing), "")
        if domain and not as_tenant:
            namespace = ".".join(encode_segment(part) for part in domain.split("."))
        if "A" in namespace:
            namespace = encode_segment(namespace)
        principal = person if person.startswith("user:") else f"user:{encode_id(person)}"
        question = parse_question(principal, encode_word(action), kind, namespace)
        decision = snapshot.decide(question)
        values = (person, domain, thing, action) if domain else (person, thing, action)
        if decision.reason in BY_ROWS:
            compared += 1
            assert decision.allowed == enforcer.enforce(*values), (values, question)
    return compared


def test_prefix_inside_a_segment_is_refused_unless_accepted() -> None:
    """`/prod*` covers `/prod2` in Casbin. Taken narrowly it does not, and a deny is never taken narrowly."""
    model = PLAIN.format(**FLAT, e=BOTH, m="g(r.sub, p.sub) && keyMatch(r.obj, p.obj) && r.act == p.act")
    accepted = CasbinOptions(tenant=Tenant("acme"), accepted=frozenset({FindingId.PREFIX_CROSSES_SEGMENT}))

    def imported(row: str, options: CasbinOptions) -> Imported:
        return import_casbin(Enforcer(model), "model.conf", [SourceRow("policy.csv", 1, row)], options)

    assert imported("p, alice, /prod*, read, allow", CasbinOptions(tenant=Tenant("acme"))).refused
    assert imported("p, alice, /prod*, read, deny", accepted).refused
    file = imported("p, alice, /prod*, read, allow", accepted).files["acme/roles.csv"]
    assert {"p, user:alice, acme, prod.**, OBJECT, read, allow"} == rows_in(file)
