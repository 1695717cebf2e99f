"""`remit callers`: the starter, the table of rights, and rows from what the audit recorded."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.audit_records import decision, decision_at, happened
from support.trees import rows_in, write
from typer.testing import CliRunner, Result

from remit.audit.store.store import AuditStore
from remit.cli.main import app
from remit.core.caller_actions import TENANT_KIND, actions_about
from remit.policy.format import format_file
from remit.policy.load import load_tree
from remit.policy.read.report import Diagnostics
from remit.service.callers_starter import STARTER, starter_policy, starter_text

VOCABULARY = b"kinds: {FLOW: {class: namespace, actions: [VIEW]}}\n"
HOUR_US = 3_600_000_000


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"REMIT_AUDIT": ""}, terminal_width=200)


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """Tenants acme and globex, without `_callers`."""
    files = {"vocabulary.yaml": VOCABULARY, "acme/roles.csv": b"", "globex/roles.csv": b""}
    return write(tmp_path / "policies", files)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AuditStore]:
    with AuditStore(f"sqlite:///{tmp_path}/audit.db") as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def bind(policies: Path) -> Callable[..., None]:
    """Writes the starter, with these rows in bindings.csv."""

    def bound(*rows: str) -> None:
        assert 0 == run("callers", "init", str(policies)).exit_code
        with (policies / "_callers" / "bindings.csv").open("a") as file:
            file.writelines(f"{row}\n" for row in rows)

    return bound


def test_init_writes_a_folder_that_loads_passes_its_tests_and_has_no_findings(policies: Path) -> None:
    done = run("callers", "init", str(policies))

    assert (0, [str(policies / path) for path in STARTER]) == (done.exit_code, done.stdout.split())
    assert "nobody may ask anything yet" in done.stderr
    assert ["_callers", "acme", "globex", "vocabulary.yaml"] == sorted(each.name for each in policies.iterdir())
    for command in ("validate", "test", "lint"):
        checked = run(command, str(policies))
        assert checked.exit_code == 0, checked.output
    assert 0 == run("fmt", "--check", str(policies)).exit_code


def test_init_refuses_to_overwrite(policies: Path) -> None:
    mine = policies / "_callers" / "bindings.csv"
    mine.parent.mkdir()
    mine.write_text("# mine\n")

    done = run("callers", "init", str(policies))

    assert (1, "# mine\n") == (done.exit_code, mine.read_text())
    assert "exists already, and stays as it is" in done.stderr


def test_init_needs_a_policy_directory(tmp_path: Path, policies: Path) -> None:
    assert 2 == run("callers", "init", str(tmp_path)).exit_code
    assert 2 == run("callers", "init", str(policies / "acme")).exit_code
    assert not (tmp_path / "_callers").exists()


def test_the_starter_is_in_canonical_form_and_printable() -> None:
    for path, text in STARTER.items():
        assert format_file(path, text.encode(), Diagnostics()) == text.encode()
    assert all(f"--- {path}\n{text}" in starter_text() for path, text in STARTER.items())
    assert 4 == starter_policy().rows


@pytest.mark.parametrize(
    "row", [line[2:] for line in STARTER["_callers/bindings.csv"].splitlines() if "_callers" in line]
)
def test_each_example_of_the_starter_loads(policies: Path, bind: Callable[..., None], row: str) -> None:
    bind(row)

    assert () == load_tree(policies).diagnostics


def test_list_shows_callers_by_tenant_bound_directly_and_by_groups(policies: Path, bind: Callable[..., None]) -> None:
    bind(
        "g, service:orchestrator, role:enforcer, _callers/*",
        "g, user:ada, group:platform, _callers",
        "g, group:platform, role:operator, _callers",
        "p, service:orchestrator, _callers, globex, REMIT, WATCH, deny",
        "p, service:shop, _callers, acme, REMIT, CHECK, allow",
    )
    done = run("callers", "list", str(policies), "--json")
    table = run("callers", "list", str(policies))

    found = json.loads(done.stdout)["callers"]
    operator = {"actions": ["STATUS", "PIN"], "by": ["group:platform > role:operator"]}
    assert [
        {
            "caller": "service:orchestrator",
            "tenant": "acme",
            "actions": ["CHECK", "LIST", "RESOLVE", "WATCH"],
            "by": ["role:enforcer"],
        },
        {
            "caller": "service:orchestrator",
            "tenant": "globex",
            "actions": ["CHECK", "LIST", "RESOLVE"],
            "by": ["role:enforcer"],
        },
        {"caller": "service:shop", "tenant": "acme", "actions": ["CHECK"], "by": ["_callers/bindings.csv:23"]},
        *({"caller": "user:ada", "tenant": tenant, **operator} for tenant in ("_instance", "acme", "globex")),
    ] == found
    assert "CHECK LIST RESOLVE WATCH" in table.stdout


def test_list_without_the_folder_says_how_to_begin(policies: Path) -> None:
    done = run("callers", "list", str(policies))

    assert (2, True) == (done.exit_code, "`remit callers init` writes one" in done.stderr)


def read_of(caller: str, call: str, tenant: str = "", **asked: object) -> str:
    return json.dumps({"caller": caller, "call": call, "asked": {**({"tenant": tenant} if tenant else {}), **asked}})


@pytest.fixture
def recorded(store: AuditStore) -> AuditStore:
    """Some days of an instance: three services, an auditor, an operator, and who has no name."""
    store.append(
        [
            decision(caller="service:shop", tenant="acme"),
            decision(caller="service:shop", tenant="acme"),
            decision(caller="service:shop", tenant="acme", question="ACTIONS"),
            decision(caller="service:board", tenant="globex", question="EXPLAIN"),
            decision(caller="service:board", tenant="globex", question="REACH"),
            decision(caller="service:board", tenant="_instance"),
            decision(caller="service:board", tenant="_callers"),
            decision(caller="service:shop", tenant="", detail='{"tenant":"initech"}'),
            decision(caller="service:shop", tenant="removed"),
            decision(caller="anonymous"),
            decision(caller="reports.acme.example"),
        ],
        [
            happened("AUDIT_READ", tenant="acme", detail=read_of("user:eve", "ListRecords", "acme")),
            happened("AUDIT_READ", tenant="", detail=read_of("user:iris", "CountRecords")),
            happened("AUDIT_READ", tenant="", detail=read_of("user:rex", "GetRecord", id="0" * 36)),
            happened("AUDIT_READ", tenant="", detail=read_of("user:rex", "ListLifecycle", "initech")),
            happened("POLICY_PINNED", tenant="globex", detail='{"caller":"user:ada","replaces":""}'),
            happened("POLICY_UNPINNED", tenant="globex", detail='{"caller":"user:ada"}'),
        ],
    )
    return store


def rows_of(done: Result) -> list[str]:
    assert done.exit_code == 0, done.output
    return [line for line in done.stdout.splitlines() if not line.startswith("#")]


PROPOSED = [
    "p, service:board, _callers, **, REMIT_INSTANCE, CHECK, allow",
    "g, service:board, role:reader, _callers/globex",
    "g, service:shop, role:enforcer, _callers/acme",
    "g, user:ada, role:operator, _callers/globex",
    "g, user:eve, role:auditor, _callers/acme",
    "g, user:iris, role:auditor, _callers",
]
ENFORCED = ["g, service:board, role:enforcer, _callers/globex"]


def test_propose_prints_the_fewest_roles_for_what_was_asked(policies: Path, recorded: AuditStore) -> None:
    done = run("callers", "propose", str(policies), "--audit", recorded.url)

    assert PROPOSED == rows_of(done)
    assert "# asked about acme: CHECK 2, LIST 1; this also gives RESOLVE, WATCH" in done.stdout
    assert "`anonymous` asked without TLS, and has no name (1 time," in done.stderr
    assert "`reports.acme.example` is no principal: the record is from before" in done.stderr
    assert "`service:shop` asked about tenants without a folder (2 times," in done.stderr
    assert "`user:rex` asked about tenants without a folder (1 time," in done.stderr
    assert "6 rows proposed, 0 rights are given already" in done.stderr


def test_what_propose_prints_is_a_file_that_refuses_nothing_recorded(
    policies: Path, recorded: AuditStore, bind: Callable[..., None]
) -> None:
    bind(run("callers", "propose", str(policies), "--audit", recorded.url).stdout)

    replayed = run("callers", "replay", str(policies), "--audit", recorded.url)
    again = run("callers", "propose", str(policies), "--audit", recorded.url)

    assert () == load_tree(policies).diagnostics
    assert (0, "") == (replayed.exit_code, replayed.stdout)
    assert [] == rows_of(again)
    assert "0 rows proposed, 8 rights are given already" in again.stderr


def test_propose_adds_to_what_is_given_and_names_the_deny_that_no_row_lifts(
    policies: Path, recorded: AuditStore, bind: Callable[..., None]
) -> None:
    bind(
        "g, service:shop, role:enforcer, _callers/*",
        "p, service:board, _callers, globex, REMIT, EXPLAIN, deny",
    )
    done = run("callers", "propose", str(policies), "--audit", recorded.url)

    assert ["p, service:board, _callers, **, REMIT_INSTANCE, CHECK, allow", *ENFORCED, *PROPOSED[3:]] == rows_of(done)
    assert (
        "no row allows `service:board` to EXPLAIN in globex: _callers/bindings.csv:20 denies it: "
        "`p, service:board, _callers, globex, REMIT, EXPLAIN, deny`"
    ) in done.stderr


def test_propose_writes_p_rows_where_no_role_gives_it(
    policies: Path, store: AuditStore, bind: Callable[..., None]
) -> None:
    bind()
    (policies / "_callers" / "roles.csv").write_text("p, role:enforcer, _callers, **, REMIT, CHECK, allow\n")
    store.append([decision(caller="service:a", question=question) for question in ("CHECK", "DEDICATED", "PRINCIPALS")])

    done = run("callers", "propose", str(policies), "--audit", store.url)

    assert [
        "g, service:a, role:enforcer, _callers/acme",
        "p, service:a, _callers, acme, REMIT, RESOLVE|WHO, allow",
    ] == rows_of(done)


def test_replay_lists_what_the_rows_refuse(policies: Path, recorded: AuditStore, bind: Callable[..., None]) -> None:
    bind(
        "g, service:shop, role:enforcer, _callers/*",
        "g, service:board, role:enforcer, _callers",
        "g, user:iris, role:auditor, _callers",
        "p, user:iris, _callers, globex, REMIT, *, deny",
    )
    done = run("callers", "replay", str(policies), "--audit", recorded.url, "--json")
    table = run("callers", "replay", str(policies), "--audit", recorded.url)

    refused = json.loads(done.stdout)["refused"]
    assert [
        ("service:board", "globex", "EXPLAIN", 1),
        ("user:ada", "globex", "PIN", 2),
        ("user:eve", "acme", "AUDIT", 1),
        # Who reads the records of all tenants may read those of each.
        ("user:iris", "", "AUDIT", 1),
    ] == [(each["caller"], each["tenant"], each["action"], each["count"]) for each in refused]
    assert all(each["first"] <= each["last"] for each in refused)
    assert (1, 1) == (done.exit_code, table.exit_code)
    assert "5 would be refused" in table.stderr
    assert "all at once" in table.stdout


def test_replay_counts_over_hours_and_from_a_time_on(
    policies: Path, store: AuditStore, bind: Callable[..., None]
) -> None:
    bind()
    begin = 1_700_000_000_000_000
    store.append([decision_at(begin + hour * HOUR_US, caller="service:shop") for hour in (0, 0, 1, 5, 400)])

    whole, later = (
        json.loads(run("callers", "replay", str(policies), "--audit", store.url, "--json", *since).stdout)["refused"][0]
        for since in ((), ("--since", "2023-11-14T23:00:00"))
    )

    assert (5, "2023-11-14T22:13:20.000Z", "2023-12-01T14:13:20.000Z") == (
        whole["count"],
        whole["first"],
        whole["last"],
    )
    assert 3 == later["count"]


def test_nothing_recorded_is_no_answer(policies: Path, store: AuditStore, bind: Callable[..., None]) -> None:
    bind()

    assert 3 == run("callers", "replay", str(policies), "--audit", store.url).exit_code
    assert 3 == run("callers", "propose", str(policies), "--audit", f"{store.url}.no").exit_code
    assert 2 == run("callers", "replay", str(policies / "acme"), "--audit", store.url).exit_code


def test_explain_tells_row_place_and_remedy(policies: Path, bind: Callable[..., None]) -> None:
    bind("g, service:shop, role:enforcer, _callers/*", "p, service:shop, _callers, globex, REMIT, *, deny")
    asked = ("explain", "_callers", "service:shop")

    walled = run(*asked, "CHECK", "REMIT", "globex", "--policies", str(policies))
    lacking = run(*asked, "EXPLAIN", "REMIT", "acme", "--policies", str(policies))
    misspelt = run(*asked, "EXPLAN", "REMIT", "acme", "--policies", str(policies))

    assert "_callers/bindings.csv:20" in walled.stdout
    assert "p, service:shop, _callers, acme, REMIT, EXPLAIN, allow" in lacking.stdout
    assert "role:auditor" in lacking.stdout
    assert "EXPLAIN" in misspelt.stdout


def test_every_command_over_policies_takes_the_folder(
    policies: Path, bind: Callable[..., None], tmp_path: Path
) -> None:
    bind("g, service:shop, role:enforcer, _callers/*", "p, service:shop, _callers, globex, REMIT, *, deny")
    here = ("--policies", str(policies))

    who = run("who", "_callers", "CHECK", "REMIT", "acme", *here)
    where = run("where", "_callers", "service:shop", "CHECK", "REMIT", *here)
    what = run("what", "_callers", "service:shop", "acme", *here)
    verified = run("verify", str(policies), "--tenant", "_callers", "--random", "200")
    exported = run("export", str(policies), "--tenant", "_callers", "--out", str(tmp_path / "casbin"))

    assert "service:shop" in who.stdout
    assert "* except globex" in where.stdout
    assert "CHECK LIST RESOLVE WATCH" in what.stdout
    assert (0, 0) == (verified.exit_code, exported.exit_code), verified.output + exported.output
    model = ("--model", str(tmp_path / "casbin" / "access.conf"), "--policy", str(tmp_path / "casbin" / "access.csv"))
    words = ("--vocabulary", str(tmp_path / "casbin" / "vocabulary.yaml"))
    imported = run("import", "casbin", *model, *words, "--out", str(tmp_path / "imported"), "--cases", "200")
    assert 0 == imported.exit_code, imported.output
    assert ("g, service:shop, role:enforcer, _callers/*") in rows_in(
        (tmp_path / "imported" / "_callers" / "bindings.csv").read_bytes()
    )


def test_diff_tells_who_gains_which_right(policies: Path, bind: Callable[..., None], tmp_path: Path) -> None:
    bind()
    old = policies.rename(tmp_path / "old")
    new = write(
        tmp_path / "new", {str(each.relative_to(old)): each.read_bytes() for each in old.rglob("*.*") if each.is_file()}
    )
    with (new / "_callers" / "bindings.csv").open("a") as file:
        file.write("g, service:shop, role:enforcer, _callers/acme\n")

    done = run("diff", str(old), str(new))

    assert "_callers: " in done.stdout
    assert "service:shop" in done.stdout
    assert "REMIT" in done.stdout


def test_coverage_and_mutants_count_its_rows(policies: Path, bind: Callable[..., None]) -> None:
    bind("g, service:shop, role:auditor, _callers/acme")
    tests = policies / "_callers" / "tests" / "callers.yaml"
    actions = actions_about(TENANT_KIND)
    cells = ", ".join(action.value for action in actions)
    held = [action in {"STATUS", "AUDIT", "EXPLAIN"} for action in actions]
    answers = ", ".join("allow" if each else "deny" for each in held)
    grid = "- {kind: REMIT, namespace: %s, actions: [%s], expect: {service:shop: [%s]}}"
    with tests.open("a") as file:
        file.write("grids:\n" + "  " + grid % ("acme", cells, answers) + "\n")

    covered = run("test", str(policies), "--tenant", "_callers", "--coverage")
    mutated = run("test", str(policies), "--tenant", "_callers", "--mutate", "--fail-under", "0")

    assert "not exercised: _callers/roles.csv" in covered.stdout
    assert "_callers/bindings.csv  100.0 %" in covered.stdout
    assert 0 == mutated.exit_code
    assert "noticed" in mutated.stdout
