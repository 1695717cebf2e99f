"""`remit audit` over a store: what is listed, followed, counted, shown and explained."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from remit.audit.ids import DecisionIds, format_id
from remit.audit.query.recorded_names import LIFECYCLE_TYPES
from remit.audit.record import ArchivedRevision, DecisionRecord, LifecycleRecord
from remit.audit.store.store import AuditStore
from remit.cli.main import app
from remit.core.names import Tenant
from remit.policy.read.limits import Limits
from remit.policy.read.tree import read_tree
from remit.policy.revisions.archive import Archive

EXAMPLE = Path(__file__).parents[3] / "policies"
ACME = Tenant("acme")
BOB = ("acme", "user:bob", "UPDATE", "FLOW", "acme.data.reporting")
GRANT = "g, user:bob, role:deployer, acme/acme.data.reporting\n"
T0 = 1_789_995_600_000_000
HOUR_US = 3_600_000_000


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["audit", *words], terminal_width=200)


def lines(done: Result) -> list[dict[str, object]]:
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def items(done: Result) -> list[dict[str, object]]:
    """The list of the object that a command prints."""
    assert done.exit_code == 0, done.output
    (found,) = [value for value in json.loads(done.stdout).values() if isinstance(value, list)]
    return found


class Log:
    """A store that is written at made-up times."""

    def __init__(self, folder: Path) -> None:
        self.store = AuditStore(f"sqlite:///{folder / 'audit.db'}")
        self.store.migrate()
        self.url = self.store.url

    def decide(self, hours: int = 0, **changed: str) -> str:
        time_us = T0 + hours * HOUR_US
        decision_id, call_id = DecisionIds(lambda: time_us * 1_000).take(2)
        told = {
            "node": "n", "caller": "web", "on_behalf_of": "", "tenant": "acme", "namespace": "acme.finance",
            "principal": "user:bob", "action": "VIEW", "kind": "FLOW", "resource_id": "", "effect": "allow",
            "reason": "ALLOWED_BY_RULE", "rule": "roles.csv:1", "revision": "0" * 64, **changed,
        }  # fmt: skip
        self.store.append([DecisionRecord(decision_id, time_us, *told.values(), 1, call_id, -1, "")])
        return format_id(decision_id)

    def load(self, policies: Path, hours: int = 0, node: str = "n") -> str:
        archive = Archive.of(read_tree(policies, Limits()), ACME, T0, "policies", "")
        time_us, revision = T0 + hours * HOUR_US, archive.about.revision
        self.store.append([], revisions=[ArchivedRevision(ACME, revision, time_us, archive.content)])
        (record_id,) = DecisionIds(lambda: time_us * 1_000).take(1)
        self.store.append([], [LifecycleRecord(record_id, time_us, node, "POLICY_LOADED", ACME, revision, "{}")])
        return revision


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "policies"))


def at(hours: int) -> str:
    return f"2026-09-21T{13 + hours:02}:00:00Z"


def test_list_knows_callers_nodes_revisions_and_ids(log: Log) -> None:
    made = [log.decide(n, caller=f"c{n % 2}", node=f"n{n % 2}", revision=f"{n % 2}" * 64) for n in range(4)]
    for words in (("--caller", "c1"), ("--node", "n1"), ("--revision", "1" * 64), ("--id", made[3], "--id", made[1])):
        assert [made[3], made[1]] == [each["id"] for each in items(run("list", *words, "--json", "--audit", log.url))]


def test_lifecycle_is_listed_by_type_and_node(log: Log, policies: Path) -> None:
    log.load(policies)
    log.load(policies, 1, "m")
    told = run("list", "--lifecycle", "--type", "POLICY_LOADED", "--node", "m", "--json", "--audit", log.url)
    assert ["m"] == [each["node"] for each in items(told)]
    assert 2 == run("list", "--type", "POLICY_LOADED", "--audit", log.url).exit_code
    told = run("list", "--lifecycle", "--caller", "x", "--id", format_id(DecisionIds().next()), "--audit", log.url)
    assert (2, True) == (told.exit_code, "--caller, --id is for decisions" in told.stderr)


def test_lifecycle_is_listed_without_what_callers_cause(log: Log, policies: Path) -> None:
    log.load(policies)
    read = LifecycleRecord(DecisionIds().next(), T0, "n/reads", "AUDIT_READ", ACME, "", "{}")
    log.store.append([], [read])
    told = run("list", "--lifecycle", "--without-calls", "--json", "--audit", log.url)
    assert ["POLICY_LOADED"] == [each["type"] for each in items(told)]
    refused = run("list", "--without-calls", "--audit", log.url)
    assert (2, True) == (refused.exit_code, "--without-calls is for lifecycle records" in refused.stderr)


@pytest.mark.parametrize("command", ["list", "count", "follow"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--principal", "jim"), "did you mean `user:jim`?"),
        (("--principal", "user:j*"), "one whole name, no pattern"),
        (("--principal", "group:ops"), "expected `user:ID`, `service:ID`, `namespace:NAMESPACE`"),
        (("--principal", "namespace:A"), "is no principal of a record"),
        (("--principal", "hmac:12"), "is no principal of a record"),
        (("--caller", "a\nb"), "is no caller of a record"),
        (("--caller", "x" * 513), "expected 1 to 512 printable characters"),
        (("--node", "node 1"), "is no node of a record"),
    ],
    ids=range(8),
)
def test_a_filter_that_can_match_nothing_is_refused(log: Log, command: str, words: tuple[str, ...], told: str) -> None:
    """An empty answer would mean that this name did nothing."""
    done = run(command, *words, "--audit", log.url)
    assert (2, True) == (done.exit_code, told in " ".join(done.stderr.replace("│", "").split())), done.output


@pytest.mark.parametrize("principal", ["user:jim", "service:x", "namespace:acme.data", f"hmac:{'0' * 32}"])
def test_every_principal_that_a_record_can_hold_is_a_filter(log: Log, principal: str) -> None:
    made = log.decide(principal=principal)
    assert [made] == [each["id"] for each in items(run("list", "--principal", principal, "--json", "--audit", log.url))]


def test_name_that_occurs_nowhere_in_the_audit_is_reported(log: Log) -> None:
    """It may be misspelt; one that is known and has no record of what else is asked for is not named."""
    log.decide()
    names = ("--tenant", "acme", "--principal", "user:bob", "--caller", "wbe", "--node", "m", "--effect", "deny")
    for command in ("list", "count"):
        words = names if command == "list" else (*names[:2], *names[4:])  # nothing is counted by two names
        done = run(command, *words, "--audit", log.url)
        said = [line for line in done.stderr.splitlines() if line.startswith("the audit holds no")]
        assert (0, 2) == (done.exit_code, len(said))
        assert ["caller `wbe` in tenant `acme`", "node `m` in tenant `acme`"] == [
            line.removeprefix("the audit holds no decision of ") for line in said
        ]
    other = run("list", "--tenant", "amce", "--audit", log.url)
    assert "the audit holds no decision of tenant `amce`\n" in other.stderr
    found = run("list", "--tenant", "acme", "--caller", "web", "--effect", "deny", "--audit", log.url)
    assert "no record matches\n" == found.stderr
    lifecycle = run("list", "--lifecycle", "--node", "m", "--audit", log.url)
    assert "no record matches\nthe audit holds no lifecycle record of node `m`\n" == lifecycle.stderr


def test_unknown_type_of_lifecycle_records_is_refused(log: Log) -> None:
    done = run("list", "--lifecycle", "--type", "POLICY_LOADD", "--audit", log.url)
    told = " ".join(done.stderr.replace("│", "").split())
    assert (2, True) == (done.exit_code, "did you mean `POLICY_LOADED`?" in told)
    assert all(type_ in told for type_ in LIFECYCLE_TYPES)


@pytest.mark.parametrize(
    "command", ["list", "follow", "count", "explain", "explain-reach", "purge", "export", "verify"]
)
def test_help_names_the_zone_of_a_time_without_one(command: str) -> None:
    done = run(command, "--help")
    assert "UTC if it names no zone" in " ".join(done.stdout.replace("│", "").split())


def test_follow_begins_with_the_requested_records(log: Log) -> None:
    made = [log.decide(n) for n in range(3)]
    told = run("follow", "--after", made[0], "--limit", "2", "--json", "--audit", log.url)
    assert made[1:] == [each["id"] for each in lines(told)]
    told = run("follow", "--since", at(1), "--limit", "2", "--audit", log.url)
    assert [
        f"user:bob VIEW FLOW in acme.finance of acme allow ALLOWED_BY_RULE roles.csv:1 {each}" for each in made[1:]
    ] == [line.partition(" ")[2] for line in told.stdout.splitlines()]


def test_count_prints_the_groups_it_is_asked_for(log: Log) -> None:
    for hours, effect, principal in ((0, "allow", "a"), (0, "deny", "a"), (1, "allow", "a"), (25, "allow", "b")):
        log.decide(hours, effect=effect, principal=f"user:{principal}")
    told = items(run("count", "--by", "principal", "--by", "effect", "--json", "--audit", log.url))
    assert [("user:a", "allow", 2), ("user:a", "deny", 1), ("user:b", "allow", 1)] == [
        (each["principal"], each["effect"], each["recorded"]) for each in told
    ]
    told = items(run("count", "--by", "day", "--effect", "allow", "--json", "--audit", log.url))
    assert [("2026-09-21T00:00:00.000Z", 2), ("2026-09-22T00:00:00.000Z", 1)] == [
        (each["day"], each["recorded"]) for each in told
    ]
    told = items(run("count", "--by", "hour", "--until", at(0), "--json", "--audit", log.url))
    assert [] == told
    assert "no decision was counted" in run("count", "--by", "hour", "--until", at(0), "--audit", log.url).stderr
    told = items(run("count", "--by", "principal", "--top", "1", "--json", "--audit", log.url))
    assert [("user:a", 3)] == [(each["principal"], each["recorded"]) for each in told]
    shown = run("count", "--by", "tenant", "--audit", log.url)
    assert ["acme", "4", "0"] == shown.stdout.split()[-3:]
    refused = run("count", "--by", "principal", "--namespace", "acme", "--audit", log.url)
    assert (2, True) == (refused.exit_code, "name one of principal, namespace" in refused.stderr)


def test_show_prints_the_place_and_the_reason(log: Log, policies: Path) -> None:
    revision = log.load(policies)
    fields = {
        "action": "UPDATE",
        "namespace": "acme.data.reporting",
        "effect": "deny",
        "reason": "OUT_OF_SCOPE",
        "rule": "",
    }
    decided = log.decide(1, revision=revision, **fields)
    shown = run("show", decided, "--audit", log.url)
    assert 0 == shown.exit_code
    assert "1 of 1 in the chain of acme on n, " in shown.stdout
    assert "user:bob may not UPDATE FLOW in acme.data.reporting of acme: OUT_OF_SCOPE" in shown.stdout
    assert "would allow  g, user:bob, role:deployer, acme/acme.data.reporting" in shown.stdout
    told = json.loads(run("show", decided, "--json", "--audit", log.url).stdout)
    assert (True, "", 1) == (told["agrees"], told["unexplained"], told["place"]["seq"])
    assert "near_misses" in told["explanation"]


def test_show_reports_files_that_decide_differently_or_are_missing(log: Log, policies: Path) -> None:
    revision = log.load(policies)
    altered = log.decide(1, revision=revision, effect="deny", reason="NO_BINDING", rule="")
    shown = run("show", altered, "--audit", log.url)
    assert "give another decision than the record" in shown.stderr
    assert "ALLOWED_BY_RULE" in shown.stdout
    gone = run("show", log.decide(2), "--audit", log.url)
    assert "no explanation: revision `" + "0" * 64 + "` of tenant `acme` is not kept in this audit store" in gone.stdout
    told = json.loads(run("show", altered, "--json", "--audit", log.url).stdout)
    assert told["agrees"] is False


def test_explain_answers_by_the_revision_that_served_then(log: Log, policies: Path) -> None:
    first = log.load(policies)
    bindings = policies / "acme" / "bindings.csv"
    bindings.write_text(bindings.read_text() + GRANT)
    second = log.load(policies, 4)
    before = run("explain", *BOB, "--at", at(3), "--audit", log.url)
    after = run("explain", *BOB, "--at", at(5), "--audit", log.url)
    assert (1, True) == (before.exit_code, f"by revision {first[:12]}, which served on n since" in before.stdout)
    assert (0, True) == (after.exit_code, f"by revision {second[:12]}" in after.stdout)
    assert GRANT.strip() in after.stdout
    assert [1, 0] == [run("explain", *BOB, "--at", each, "--audit", log.url).exit_code for each in (first, second)]
    told = json.loads(run("explain", *BOB, "--at", second, "--json", "--audit", log.url).stdout)
    assert second == told["answers"][0]["revision"]


def test_explain_answers_for_each_revision_that_served(log: Log, policies: Path) -> None:
    log.load(policies)
    bindings = policies / "acme" / "bindings.csv"
    bindings.write_text(bindings.read_text() + GRANT)
    log.load(policies, 1, "m")
    both = run("explain", *BOB, "--at", at(2), "--audit", log.url)
    assert (1, 1, 1) == (both.exit_code, both.stdout.count("bob may not"), both.stdout.count("bob may UPDATE"))
    assert 0 == run("explain", *BOB, "--at", at(2), "--node", "m", "--audit", log.url).exit_code


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("explain", *BOB, "--at", "yesterday"), 2, "expected a time"),
        (("explain", *BOB, "--at", "2020-01-01"), 1, "no node served a policy of tenant `acme` at that time"),
        (("explain", *BOB, "--at", "0" * 64), 1, "is not kept"),
        (("explain", "acme", "bob", "VIEW", "FLOW", "--at", "1h"), 2, "principal: `bob`"),
        (("explain", "acme", "user:bob", "VIEW", "FLOW", "--at", "1h"), 2, "namespace: is missing"),
        (("explain-reach", "acme", "a", "b", "s p", "--at", "1h"), 2, "relation"),
        (("explain", *BOB), 2, "Missing option '--at'"),
    ],
    ids=range(7),
)
def test_show_says_why_a_record_has_no_explanation(
    log: Log, policies: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    log.load(policies)
    done = run(*words, "--audit", log.url)
    assert (code, True) == (done.exit_code, told in done.stderr), done.output


def test_reach_is_explained_too(log: Log, policies: Path) -> None:
    log.load(policies)
    done = run("explain-reach", "acme", "acme.finance", "acme.legal", "SUBFLOW", "--at", at(1), "--audit", log.url)
    assert (1, True) == (done.exit_code, "DENIED_BY_RULE" in done.stdout)
