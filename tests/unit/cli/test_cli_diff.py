"""`remit diff`: what it prints in each format, what it exits with, and where it reads the two versions."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.trees import write
from typer.testing import CliRunner, Result

from remit.cli.main import app

OLD = {
    "vocabulary.yaml": b"""kinds:
  FLOW: {class: namespace, actions: [VIEW, EXECUTE]}
  USER: {class: tenant, actions: [VIEW]}
relations:
  SUBFLOW: {}
  KV: {inherited: true}
""",
    "resources.yaml": b"storage:\n  disk: {tenants: [acme]}\n  s3: {tenants: [acme]}\n",
    "acme/roles.csv": b"""p, role:viewer, acme, **, FLOW, VIEW, allow
p, role:runner, acme, **, FLOW, EXECUTE, allow
p, role:clerk, acme, **, USER, VIEW, allow
""",
    "acme/bindings.csv": b"""g, user:ann, group:devs, acme
g, user:bea, group:devs, acme
g, user:cid, group:devs, acme
g, service:ci, group:devs, acme
g, group:devs, role:viewer, acme
g, user:eve, role:clerk, acme
""",
    "acme/reach.csv": b"p, acme, data.**, finance.**, SUBFLOW, allow\n",
    "acme/tenant.yaml": b"dedicated: {storage: disk}\n",
    "globex/roles.csv": b"",
}
NEW = {
    **OLD,
    "acme/bindings.csv": b"""g, user:ann, group:devs, acme
g, user:bea, group:devs, acme
g, user:cid, group:devs, acme
g, service:ci, group:devs, acme
g, group:devs, role:viewer, acme
g, group:devs, role:runner, acme/finance.**
p, group:devs, acme, finance.payroll.**, FLOW, *, deny
""",
    "acme/reach.csv": b"p, acme, **, data.**, KV, deny\n",
    "acme/tenant.yaml": b"namespaces:\n  data: {dedicated: {storage: s3}}\n",
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write(tmp_path / "old", OLD)


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return write(tmp_path / "new", NEW)


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["diff", *map(str, words)], terminal_width=300)


def test_diff_names_people_and_namespaces(old: Path, new: Path) -> None:
    done = run(old, new)

    assert done.exit_code == 0, done.output
    assert (
        """\
acme: 3 rows added, 2 removed: 3 people and 1 service gain, 4 people and 1 service lose, reach closes, dedicated \
resources change
  + 3 people and 1 service through group:devs gain EXECUTE FLOW in finance.** except finance.payroll.**
    service:ci, user:ann, user:bea, user:cid
  - 3 people and 1 service through group:devs lose VIEW FLOW in finance.payroll.**
    service:ci, user:ann, user:bea, user:cid
  - user:eve through role:clerk loses VIEW USER in the tenant itself
  - work in ** may no longer use by KV what data.** owns, where that is an ancestor
  - work in data.** may no longer use by SUBFLOW what finance.** owns
  = storage of the tenant itself and ** except data.**: disk before, none now
  = storage of data.**: disk before, s3 now
globex: 0 rows added, 0 removed: no decision changes
"""
        == done.stdout
    )


def test_markdown_is_for_a_pull_request(old: Path, new: Path) -> None:
    done = run(old, new, "--format", "markdown")

    assert (
        f"""\
## Decisions that change from `{old}` to `{new}`

### `acme`

3 rows added, 2 removed: 3 people and 1 service gain, 4 people and 1 service lose, reach closes, dedicated \
resources change

**Gains**

- 3 people and 1 service through `group:devs` gain `EXECUTE FLOW` in `finance.**` except `finance.payroll.**`
  <details><summary>who</summary>

  `service:ci`, `user:ann`, `user:bea`, `user:cid`

  </details>

**Losses**

- 3 people and 1 service through `group:devs` lose `VIEW FLOW` in `finance.payroll.**`
  <details><summary>who</summary>

  `service:ci`, `user:ann`, `user:bea`, `user:cid`

  </details>
- `user:eve` through `role:clerk` loses `VIEW USER` in the tenant itself
- work in `**` may no longer use by `KV` what `data.**` owns, where that is an ancestor
- work in `data.**` may no longer use by `SUBFLOW` what `finance.**` owns

**Dedicated resources**

- storage of the tenant itself and `**` except `data.**`: `disk` before, none now
- storage of `data.**`: `disk` before, `s3` now
"""
        == done.stdout
    )
    assert "Nothing changes." in run(old, old, "--format", "markdown").stdout


def test_json_of_a_diff_holds_every_change(old: Path, new: Path) -> None:
    done = json.loads(run(old, new, "--format", "json", "--tenant", "acme").stdout)

    (acme,) = done["tenants"]
    assert {
        "direction": "gain",
        "principals": ["service:ci", "user:ann", "user:bea", "user:cid"],
        "through": "group:devs",
        "permissions": [{"kind": "FLOW", "action": "EXECUTE"}],
        "namespaces": [{"only": ["finance.**"], "excluded": ["finance.payroll.**"]}],
        "tenant_itself": False,
    } == acme["access"][0]
    assert {
        "direction": "loss",
        "relations": ["KV"],
        "callers": [{"only": ["**"], "excluded": []}],
        "owners": [{"only": ["data.**"], "excluded": []}],
        "pairs": "above",
    } in acme["reach"]
    assert ["disk", "disk"] == [each["before"] for each in acme["dedicated"]]


@pytest.mark.parametrize(
    ("swapped", "fail_on", "code"),
    [(False, "gain", 1), (False, "loss", 1), (False, "any", 1), (True, "gain", 1), (True, "loss", 0), (True, "any", 1)],
)
def test_fail_on_exits_with_1(tmp_path: Path, swapped: bool, fail_on: str, code: int) -> None:
    """Forwards some gain and some lose; in the second pair of versions the only row is new."""
    versions = [write(tmp_path / "a", {**OLD, "acme/bindings.csv": b""}), write(tmp_path / "b", OLD)]
    if not swapped:
        versions = [write(tmp_path / "c", OLD), write(tmp_path / "d", NEW)]

    assert code == run(*versions, "--fail-on", fail_on).exit_code
    assert run(versions[0], versions[0], "--fail-on", fail_on).exit_code == 0


def test_diff_of_one_tenant_prints_only_that_tenant(old: Path, new: Path) -> None:
    assert "acme" not in run(old, new, "--tenant", "globex").stdout
    assert run(old, new, "--tenant", "nowhere").exit_code == 2
    assert run(old, new, "--tenant", "No").exit_code == 2


def test_a_tenant_that_does_not_load_is_not_compared(old: Path, new: Path) -> None:
    """The others are; the exit code says that the answer is not whole."""
    (new / "acme" / "roles.csv").write_text("p, role:viewer, acme, **, FLOWS, VIEW, allow\n")

    done = run(old, new, "--fail-on", "gain")

    assert done.exit_code == 3
    assert f"{new}: acme/roles.csv:1:27: unknown kind `FLOWS`" in done.stderr
    assert "not compared: acme" in done.stderr
    assert "globex: 0 rows" in done.stdout
    markdown = run(old, new, "--format", "markdown").stdout
    assert ("### `acme`\n\n**Not compared**" in markdown, "Nothing changes" in markdown) == (True, False)
    assert ["acme"] == json.loads(run(old, new, "--format", "json").stdout)["not_compared"]


def test_diff_fails_if_root_files_do_not_load(old: Path, new: Path) -> None:
    (old / "vocabulary.yaml").write_text("kinds: none\n")

    done = run(old, new)

    assert (3, "") == (done.exit_code, done.stdout)
    assert "vocabulary.yaml:1" in done.stderr


def test_tenant_folder_is_refused_as_a_version(old: Path, new: Path) -> None:
    done = run(old / "acme", new / "acme")

    assert (2, "") == (done.exit_code, done.stdout)
    assert "is a folder in a policy directory: name that one" in done.stderr


def test_failing_tests_of_a_tenant_do_not_hide_its_diff(old: Path, new: Path) -> None:
    wrong = "name: wrong\naccess:\n  - {principal: user:ann, action: VIEW, kind: FLOW, namespace: a, expect: deny}\n"
    write(new, {"acme/tests/wrong.yaml": wrong.encode()})

    assert "group:devs gain EXECUTE FLOW" in run(old, new).stdout


def git(directory: Path, *words: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    author = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "init.defaultBranch=trunk"]
    subprocess.run(["git", *author, *words], cwd=directory, check=True, capture_output=True, env=environment)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits of `policies`, the old and the new one, and the working directory in it."""
    top = tmp_path / "repository"
    top.mkdir()
    git(top, "init")
    for files in (OLD, NEW):
        write(top / "policies", files)
        git(top, "add", "--all")
        git(top, "commit", "--message", "edit")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(top)
    return top


@pytest.mark.parametrize(
    "versions",
    [
        ("HEAD~1", "policies/"),
        ("HEAD~1", "./policies"),
        ("HEAD~1", "HEAD"),
        ("HEAD~1:policies", "trunk:policies"),
        ("HEAD~1", "trunk", "--policies", "policies"),
    ],
)
def test_a_version_may_be_a_git_revision(repository: Path, old: Path, new: Path, versions: tuple[str, ...]) -> None:
    """The answer is that of the two directories, and the working tree is as it was."""
    expected = run(old, new).stdout

    assert expected == run(*versions).stdout
    git(repository, "diff", "--exit-code")


def test_revision_is_read_without_the_working_tree(repository: Path) -> None:
    shutil.rmtree(repository / "policies")

    assert "group:devs gain EXECUTE FLOW" in run("HEAD~1", "HEAD").stdout


def test_a_name_of_both_a_directory_and_a_revision_is_refused(repository: Path) -> None:
    git(repository, "branch", "policies", "HEAD~1")

    done = run("HEAD", "policies")

    assert done.exit_code == 2
    assert "write `./policies` for the directory, `policies:policies` for the revision" in done.stderr
    assert "group:devs gain EXECUTE FLOW" in run("policies:policies", "./policies").stdout


@pytest.mark.parametrize(
    ("versions", "told"),
    [
        (("HEAD~7", "policies"), "`HEAD~7` is neither a directory nor a git revision of the repository"),
        (("nowhere/else", "policies"), "`nowhere/else` is neither a directory nor a git revision"),
        (("HEAD:other", "policies"), "has no directory `other`"),
        (("HEAD:policies/acme/roles.csv", "policies"), "has no directory `policies/acme/roles.csv`"),
    ],
)
def test_missing_git_revision_is_reported(repository: Path, versions: tuple[str, str], told: str) -> None:
    done = run(*versions)

    assert (3, True) == (done.exit_code, told in done.stderr), done.stderr


def test_missing_repository_or_git_is_reported(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    done = run("HEAD", old)
    assert done.exit_code == 3
    assert "not a git repository" in done.stderr

    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("HEAD", old)
    assert done.exit_code == 3
    assert "needs the `git` program, which is not on the PATH" in done.stderr
    assert run(old, old).exit_code == 0


def test_links_in_a_revision_stay_inside_it(repository: Path) -> None:
    """The target of a link is read from the same revision; a link that leaves is refused as in a directory."""
    policies = repository / "policies"
    (policies / "acme" / "roles.csv").rename(policies / ".roles")
    (policies / "acme" / "roles.csv").symlink_to("../.roles")
    git(repository, "add", "--all")
    git(repository, "commit", "--message", "a link")
    assert "acme: 0 rows added, 0 removed" in run("HEAD~1", "HEAD").stdout

    (policies / "globex" / "roles.csv").unlink()
    (policies / "globex" / "roles.csv").symlink_to("/etc/hostname")
    git(repository, "add", "--all")
    git(repository, "commit", "--message", "a link out")
    done = run("HEAD~1", "HEAD")
    assert done.exit_code == 3
    assert "globex/roles.csv: is a link that leaves the policy directory" in done.stderr


def test_patterns_too_complex_to_compare_name_the_principal(tmp_path: Path) -> None:
    """Eight groups one in the other, five scopes each: 390,625 patterns to say where. The other tenant is compared."""
    members = ["user:a", *(f"group:g{level}" for level in range(7)), "role:viewer"]
    rows = [
        f"g, {members[level]}, {members[level + 1]}, acme/{'*.' * level}{literal}.**"
        for level in range(8)
        for literal in "abcde"
    ]
    old, new = (
        write(tmp_path / name, {**OLD, "acme/bindings.csv": "".join(f"{row}\n" for row in some).encode()})
        for name, some in (("old", rows[:-5]), ("new", rows))
    )

    done = run(old, new)

    assert done.exit_code == 3
    assert "acme: user:a, VIEW FLOW: it takes more than 100000 patterns to say where" in done.stderr
    assert "globex: 0 rows" in done.stdout


BINDING = b"  BINDING: {class: tenant, actions: [CREATE, DELETE]}\n"


@pytest.mark.parametrize(
    ("before", "after", "told", "summary"),
    [
        (
            b"",
            b"runtime: {roles: [role:viewer], scopes: [finance.**]}",
            [
                "+ role:viewer may now be granted at run time",
                "+ rows of run time may now have scopes within finance.**",
            ],
            "more",
        ),
        (
            b'runtime: {roles: ["role:*"], groups: [group:devs], scopes: ["**"], max_ttl: 30d}',
            b"runtime: {roles: [role:viewer], groups: [group:devs], scopes: [finance.**, data.**], max_ttl: 36h}",
            [
                "- role:* may no longer be granted at run time",
                "- rows of run time may no longer have scopes within **",
                "- rows of run time must now end within 1d12h",
            ],
            "less",
        ),
        (
            b"runtime: {roles: [role:viewer], scopes: [finance.**], max_ttl: 1h}",
            b"runtime: {roles: [role:viewer], scopes: [finance.a.**, finance.**], max_ttl: 2h}",
            ["+ rows of run time may now last up to 2h"],
            "more",
        ),
        (
            b"runtime: {roles: [role:viewer], scopes: [finance.**], max_ttl: 1h}",
            b"runtime: {roles: [role:viewer], scopes: [finance.**], suspend: group:out}",
            ["+ anybody may now be put into group:out at run time", "+ rows of run time may now have no end"],
            "more",
        ),
    ],
)
def test_a_change_of_what_may_be_granted_at_run_time_is_shown_and_counts(
    tmp_path: Path, before: bytes, after: bytes, told: list[str], summary: str
) -> None:
    common = OLD | {"vocabulary.yaml": OLD["vocabulary.yaml"].replace(b"relations", BINDING + b"relations")}
    common["acme/bindings.csv"] += b"p, group:out, acme, **, *, *, deny\n"
    old = write(tmp_path / "old", {**common, "acme/tenant.yaml": before or b"access: [group:devs]\n"})
    new = write(
        tmp_path / "new", {**common, "acme/tenant.yaml": after + (b"" if before else b"\naccess: [group:devs]\n")}
    )

    shown = run(old, new, "--tenant", "acme")
    assert [f"acme: 0 rows added, 0 removed: {summary} may be granted at run time", *told] == [
        each.strip() for each in shown.stdout.splitlines()
    ]
    fails, passes = ("gain", "loss") if summary == "more" else ("loss", "gain")
    assert [1, 0, 1] == [
        run(old, new, "--tenant", "acme", "--fail-on", each).exit_code for each in (fails, passes, "any")
    ]
    document = json.loads(run(old, new, "--tenant", "acme", "--json").stdout)["tenants"][0]["runtime"]
    assert len(told) == len(document)
    assert {fails} == {each["direction"] for each in document}
    markdown = run(old, new, "--tenant", "acme", "--format", "markdown").stdout
    assert all(f"- {each[2:].replace(name, f'`{name}`')}" in markdown for each in told for name in _names(each))
    assert [] == json.loads(run(old, old, "--tenant", "acme", "--json").stdout)["tenants"][0]["runtime"]


def _names(sentence: str) -> list[str]:
    return [word for word in sentence.split() if ":" in word or "*" in word][:1]
