"""The command line: what it prints, and what it exits with."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from remit.audit.ids import DecisionIds, format_id
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.audit.store.store import AuditStore
from remit.cli.audit import app as audit
from remit.cli.main import app
from remit.service.version import VERSION

EXAMPLE = Path(__file__).parents[3] / "policies"


def run(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(app, list(words), env=environment, terminal_width=200)


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLE, tmp_path / "policies")
    return tmp_path / "policies"


def append(path: Path, line: str) -> None:
    path.write_text(f"{path.read_text()}{line}\n")


def test_version_is_that_of_the_package() -> None:
    assert run("version").stdout == f"{VERSION}\n"


@pytest.mark.parametrize(
    ("question", "code", "told"),
    [
        (("acme", "user:carol", "VIEW", "FLOW", "acme.finance"), 0, "allow ALLOWED_BY_RULE"),
        (("acme", "user:carol", "UPDATE", "FLOW", "acme.finance"), 1, "deny OUT_OF_SCOPE"),
        (("nowhere", "user:carol", "VIEW", "FLOW", "acme.finance"), 1, "deny UNKNOWN_TENANT"),
        (("acme", "user:carol", "VIEW", "FLOW"), 2, "namespace: is missing"),
        (("acme", "carol", "VIEW", "FLOW", "acme..finance"), 2, "; did you mean `user:carol`?"),
        (("Acme", "user:carol", "VIEW", "FLOW", "acme"), 2, "tenant: `Acme` is not a tenant"),
    ],
    ids=range(6),
)
def test_check_exits_with_its_answer(question: tuple[str, ...], code: int, told: str) -> None:
    done = run("check", *question, "--policies", str(EXAMPLE))

    assert (code, True) == (done.exit_code, told in done.output)


def test_check_prints_json_for_scripts() -> None:
    done = run("check", "acme", "user:carol", "VIEW", "FLOW", "acme.finance", "--policies", str(EXAMPLE), "--json")

    told = json.loads(done.stdout)
    assert {"effect": "allow", "reason": "ALLOWED_BY_RULE"} == {key: told[key] for key in ("effect", "reason")}
    assert len(told["revision"]) == 64


def test_explain_names_the_rule_the_chain_and_the_remedy() -> None:
    done = run("explain", "acme", "user:bob", "UPDATE", "FLOW", "acme.data", "--policies", str(EXAMPLE), "--json")

    told = json.loads(done.stdout)
    assert done.exit_code == 1
    assert told["near_misses"][0]["failed"] == "scope"
    assert told["remedy"]["rule"] == "p, user:bob, acme, acme.data, FLOW, UPDATE, allow"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (
            ("user:bob", "create_flow_in_new_namespace", "acme.finance.audit"),
            0,
            ["allow", "CREATE FLOW acme.finance.audit allow", "CREATE NAMESPACE acme.finance allow ALLOWED_BY_RULE"],
        ),
        (
            ("user:bob", "create_flow_in_new_namespace", "treasury"),
            1,
            ["deny", "CREATE FLOW treasury deny OUT_OF_SCOPE", "CREATE TENANT_NAMESPACE deny OUT_OF_SCOPE"],
        ),
        (("user:bob", "promote_flow"), 2, ["namespace: is missing"]),
        (("user:bob", "promote_flows", "a"), 2, ["operation: the vocabulary declares no `promote_flows`"]),
        (("bob", "promote_flow", "a"), 2, ["principal: `bob` is not a principal"]),
    ],
    ids=range(5),
)
def test_operation_prints_each_part_with_its_reason(words: tuple[str, ...], code: int, told: list[str]) -> None:
    done = run("operation", "acme", *words, "--policies", str(EXAMPLE))

    assert code == done.exit_code
    assert [part for part in told if part not in " ".join(done.output.split())] == []


def test_operation_prints_json_with_its_parts() -> None:
    done = run("operation", "acme", "user:bob", "promote_flow", "acme.finance", "--policies", str(EXAMPLE), "--json")

    told = json.loads(done.stdout)
    assert {"effect", "parts", "revision", "position"} == {*told}
    assert ["PROMOTE", "VIEW"] == [part["action"] for part in told["parts"]]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (
            ("acme", "acme.finance.payroll"),
            0,
            [
                "storage finance-s3 acme.finance s3",
                "secrets finance-sm acme.finance aws-sm yes WEBSERVER",
                "worker_group payroll acme.finance.payroll fail",
            ],
        ),
        (("acme", "acme.finance", "--service", "WEBSERVER"), 1, ["aws-sm yes WEBSERVER deny"]),
        (("acme", "acme.finance", "--service", "WEBSERVER", "--resource", "storage"), 0, ["finance-s3"]),
        (("acme",), 0, ["storage acme-default tenant", "secrets none"]),
        (("nowhere",), 1, ["UNKNOWN_TENANT"]),
        (("acme", "--service", "WEBSEVER"), 2, ["service: the vocabulary declares no `WEBSEVER`"]),
        (("acme", "Acme"), 2, ["namespace: `Acme` is not a namespace"]),
        (("_instance", "acme"), 2, ["namespace: `acme` is superfluous"]),
    ],
    ids=range(8),
)
def test_resolve_prints_what_serves_and_from_which_level(words: tuple[str, ...], code: int, told: list[str]) -> None:
    done = run("resolve", *words, "--policies", str(EXAMPLE))

    assert code == done.exit_code
    assert [part for part in told if part not in " ".join(done.output.split())] == []


def test_resolve_prints_json_with_the_settings() -> None:
    done = run("resolve", "acme", "acme.data", "--resource", "storage", "--policies", str(EXAMPLE), "--json")

    (told,) = json.loads(done.stdout)["resources"]
    assert ("acme-default", "tenant") == (told["name"], told["level"])
    assert told["config"] == {"bucket": "acme-default", "region": "eu-central-1"}


def test_markup_is_printed_literally(policies: Path) -> None:
    resources = policies / "resources.yaml"
    resources.write_text(resources.read_text().replace("type: aws-sm", "type: '[red]x'"))

    assert "[red]x" in run("resolve", "acme", "acme.finance", "--policies", str(policies)).stdout


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("acme", "storage/acme-default"), 0, "the tenant itself\n** except acme.finance.**\n"),
        (("acme", "secrets/finance-sm"), 0, "acme.finance.**\n"),
        (("globex", "secrets/finance-sm"), 1, "nothing here\n"),
        (("globex", "secrets/nobody"), 1, "nothing here\n"),
        (("_instance", "worker_group/burst"), 0, "open to acme\nopen to globex\n"),
        (("nowhere", "worker_group/burst"), 1, "UNKNOWN_TENANT"),
        (("acme", "finance-sm"), 2, "resource: `finance-sm`: expected one of `storage/NAME`"),
        (("acme", "storage/"), 2, "name: resource's name is missing"),
    ],
    ids=range(8),
)
def test_served_prints_what_a_resource_serves(words: tuple[str, ...], code: int, told: str) -> None:
    done = run("served", *words, "--policies", str(EXAMPLE))

    assert (code, True) == (done.exit_code, told in done.output)


@pytest.mark.parametrize(
    "words",
    [
        ("check", "acme", "user:a", "VIEW", "FLOW", "a"),
        ("operation", "acme", "user:a", "promote_flow", "a"),
        ("resolve", "acme"),
        ("served", "acme", "storage/x"),
        ("reach", "acme", "a", "b", "KV"),
        ("reach", "acme", "a"),
        ("reach-all", "acme", "a", "KV", str(EXAMPLE / "README.md")),
        ("who", "acme", "VIEW", "FLOW", "a"),
        ("where", "acme", "user:a"),
        ("what", "acme", "user:a"),
    ],
    ids=lambda words: words[0],
)
def test_without_a_server_there_is_no_answer(words: tuple[str, ...]) -> None:
    done = run(*words, "--target", "127.0.0.1:1", "--timeout", "0.5")

    assert done.exit_code == 3


@pytest.mark.parametrize(
    "target",
    [
        *("127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:grpc", ":9090", "ftp://127.0.0.1:9090"),
        *("::1:9090", "2001:db8::1", "[::1:9090", "::1]:9090", "[]:9090", "[::1]"),
    ],
)
def test_malformed_target_is_wrong_usage(target: str) -> None:
    done = run("check", "acme", "user:a", "VIEW", "FLOW", "a", "--target", target)

    assert 2 == done.exit_code
    assert f"`--target` is `{target}`: expected `HOST:PORT`, for example `127.0.0.1:9090`" in done.stderr


def test_mistake_is_reported_by_file_line_and_column_and_other_tenants_load(policies: Path) -> None:
    lines = len((policies / "acme" / "roles.csv").read_text().splitlines())
    append(policies / "acme" / "roles.csv", "p, role:x, acme, **, FLOW, VIEW, Allow")

    done = run("validate", str(policies))

    assert done.exit_code == 1
    assert f"acme/roles.csv:{lines + 1}:34: `Allow` is not an effect: expected `allow` or `deny`" in done.stderr
    assert "globex: 100 rows" in done.stdout


def test_mistake_in_a_root_file_is_reported(policies: Path) -> None:
    (policies / "role.csv").write_text("")

    done = run("validate", str(policies))

    assert done.exit_code == 1
    assert "did you mean `roles.csv`?" in done.stderr


@pytest.mark.parametrize("command", ["validate", "test", "lint"])
def test_a_tenants_folder_is_not_taken_for_a_policy_directory(policies: Path, command: str) -> None:
    done = run(command, str(policies / "acme"))

    assert (2, "") == (done.exit_code, done.stdout)
    assert "is a folder in a policy directory: name that one" in done.stderr


def test_failing_test_prints_the_expected_answer_and_why_it_differs(policies: Path) -> None:
    append(policies / "globex" / "bindings.csv", "p, user:zoe, globex, **, FLOW, DELETE, deny")
    (policies / "globex" / "tests" / "zoe.yaml").write_text(
        "name: zoe\naccess:\n  - {principal: user:zoe, action: DELETE, kind: FLOW, namespace: a.b, expect: allow}\n"
    )

    done = run("test", str(policies))

    assert done.exit_code == 1
    assert "FAILED globex/tests/zoe.yaml:3:5" in done.stdout
    assert "expected allow, got deny NO_ACCESS" in done.stdout
    assert done.stdout.splitlines()[-1] == "1217 passed, 1 failed"


def test_tenant_that_does_not_load_fails_only_its_own_tests(policies: Path) -> None:
    append(policies / "acme" / "bindings.csv", "g, user:x")

    done = run("test", str(policies))

    assert done.exit_code == 1
    assert "acme: does not load" in done.stderr
    assert done.stdout.splitlines()[-1] == "819 passed, 0 failed"


def test_verify_compares_random_questions_and_repeats_them_by_seed(policies: Path) -> None:
    first = run("verify", str(policies), "--tenant", "_instance", "--random", "300", "--seed", "7")
    again = run("verify", str(policies), "--tenant", "_instance", "--random", "300", "--seed", "7")

    assert first.exit_code == 0
    assert "seed 7\n_instance: " in first.stdout
    assert first.stdout == again.stdout


def test_verify_takes_questions_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    question = {
        "tenant": "acme",
        "principal": "user:bob",
        "action": "VIEW",
        "kind": "FLOW",
        "namespace": "acme.finance",
    }
    file.write_text(f"{json.dumps(question)}\n\n{json.dumps(question | {'tenant': 'globex'})}\n")

    done = run("verify", str(EXAMPLE), "--tenant", "acme", "--questions", str(file))

    assert done.stdout == "acme: 1 questions answered alike, 0 decided before any row\n"


@pytest.mark.parametrize("line", ["{", "[]", '{"tenant": 1}', '{"tenant": "acme", "principal": "bob"}'])
def test_verify_names_the_line_that_is_no_question(tmp_path: Path, line: str) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(f"\n{line}\n")

    done = run("verify", str(EXAMPLE), "--tenant", "acme", "--questions", str(file))

    assert done.exit_code == 2
    assert f"{file}:2: " in done.stderr


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AuditStore]:
    with AuditStore(f"sqlite:///{tmp_path / 'audit.db'}") as made:
        made.migrate()
        yield made.open()


def record(store: AuditStore, ids: DecisionIds, **changed: str) -> bytes:
    time_us, (decision_id, call_id) = ids.stamp(2)
    told = {
        "node": "n", "caller": "anonymous", "on_behalf_of": "", "tenant": "acme", "namespace": "acme.finance",
        "principal": "user:bob", "action": "VIEW", "kind": "FLOW", "resource_id": "", "effect": "allow",
        "reason": "ALLOWED_BY_RULE", "rule": "roles.csv:1", "revision": "0" * 64, **changed,
    }  # fmt: skip
    question = told.pop("question", "CHECK")
    store.append([DecisionRecord(decision_id, time_us, *told.values(), 1, call_id, -1, "", question)])
    return decision_id


def records(done: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout)["records"]
    return found


def test_audit_list_filters_by_type_of_question(store: AuditStore) -> None:
    ids = DecisionIds()
    record(store, ids)
    listed = record(store, ids, question="NAMESPACES", action="", kind="", effect="", reason="", rule="")

    only = run("audit", "list", "--question", "NAMESPACES", "--json", "--audit", store.url)
    shown = run("audit", "list", "--audit", store.url)

    assert [format_id(listed)] == [each["id"] for each in records(only)]
    assert "NAMESPACES" in shown.stdout
    assert "VIEW FLOW" in shown.stdout


def test_audit_list_filters_and_pages(store: AuditStore) -> None:
    ids = DecisionIds()
    made = [record(store, ids, principal=f"user:{n % 2}", namespace=f"acme.n{n}") for n in range(6)]

    page = run("audit", "list", "--principal", "user:1", "--limit", "2", "--json", "--audit", store.url)
    after = format_id(made[3])
    rest = run("audit", "list", "--principal", "user:1", "--after", after, "--json", "--audit", store.url)

    assert [format_id(made[5]), after] == [each["id"] for each in records(page)]
    assert (after, "") == (json.loads(page.stdout)["next_page"], json.loads(rest.stdout)["next_page"])
    assert [format_id(made[1])] == [each["id"] for each in records(rest)]
    as_text = run("audit", "list", "--principal", "user:1", "--limit", "2", "--audit", store.url)
    assert f"next page: --after {after}\n" == as_text.stderr


def test_audit_list_filters_by_a_namespace_and_its_descendants(store: AuditStore) -> None:
    ids = DecisionIds()
    for namespace in ("prod", "prod.a", "prod2", "prod-x"):
        record(store, ids, namespace=namespace)

    done = run("audit", "list", "--namespace", "prod", "--json", "--oldest-first", REMIT_AUDIT=store.url)

    assert ["prod", "prod.a"] == [each["namespace"] for each in records(done)]


def test_audit_show_prints_every_field(store: AuditStore) -> None:
    shown = format_id(record(store, DecisionIds(), principal="user:ada"))

    done = run("audit", "show", shown, "--json", "--audit", store.url)

    told = {"time", "place", "explanation", "agrees", "unexplained"}
    assert {*DecisionRecord._fields} - {"time_us"} | told == {*json.loads(done.stdout)}
    assert run("audit", "show", format_id(DecisionIds().next()), "--audit", store.url).exit_code == 1


def test_audit_purge_deletes_only_older_records_and_records_itself(store: AuditStore) -> None:
    old = DecisionIds(clock_ns=lambda: 1_600_000_000_000_000_000)
    record(store, old)
    kept = record(store, DecisionIds())

    done = run("audit", "purge", "--before", "1d", "--yes", "--audit", store.url)
    told = run("audit", "list", "--lifecycle", "--json", "--audit", store.url)

    assert "1 decisions of all tenants" in done.stdout
    assert [kept] == [each.id for each in store.decisions()]
    assert ["PURGED", "PURGE_STARTED"] == [each["type"] for each in records(told)]


def test_audit_purge_asks_first(store: AuditStore) -> None:
    record(store, DecisionIds(clock_ns=lambda: 1_600_000_000_000_000_000))

    done = CliRunner().invoke(app, ["audit", "purge", "--before", "1d", "--audit", store.url], input="n\n")

    assert done.exit_code == 1
    assert len(store.decisions()) == 1


def test_lifecycle_records_take_no_decision_filter(store: AuditStore) -> None:
    store.append([], [LifecycleRecord(DecisionIds().next(), 1, "n", "SERVER_STARTED", "", "", "{}")])

    done = run("audit", "list", "--lifecycle", "--effect", "deny", "--audit", store.url)

    assert done.exit_code == 2
    assert "--effect is for decisions" in done.stderr


@pytest.mark.parametrize("when", ["yesterday", "2026-13-01", "90", "-1d"])
def test_malformed_time_is_refused(store: AuditStore, when: str) -> None:
    assert run("audit", "list", "--since", when, "--audit", store.url).exit_code == 2


def test_every_command_has_help() -> None:
    commands = [command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands]
    assert {"serve", "check", "who", "diff", "version"} <= {*commands}
    of_audit = [command.name or command.callback.__name__ for command in audit.registered_commands]
    assert {"list", "show", "follow", "count", "explain", "purge"} <= {*of_audit}
    for words in [[], *([each] for each in commands), *(["audit", each] for each in of_audit)]:
        assert run(*words, "--help").exit_code == 0


def test_program_without_the_server_extra_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; from remit.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 1
    assert "install remit with the extra `server` (docs/how-to/install.md)" in done.stderr
