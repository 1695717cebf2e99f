"""`remit publish`, `remit releases` and `remit nodes`: what they refuse, what they say, and what they exit with."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.fleet import allows, files
from support.trees import write
from test_cli import run

from remit.audit.chain.signing import SigningKey
from remit.core.names import Tenant
from remit.core.runtime import parse_runtime_row
from remit.fleet.bindings import BindingChange
from remit.fleet.node_report import NodeReport
from remit.fleet.store import PolicyStore
from remit.policy.load import LoadedTenant, load_tenant


@pytest.fixture
def url(tmp_path: Path) -> str:
    made = f"sqlite:///{tmp_path / 'policy.db'}"
    with PolicyStore(made) as store:
        store.migrate()
    return made


def directory(folder: Path, **bindings: str) -> Path:
    return write(folder, files(**bindings))


def git(folder: Path, *words: str) -> str:
    me = ("-c", "user.name=x", "-c", "user.email=x@example.com")
    return subprocess.run(["git", "-C", folder, *me, *words], check=True, capture_output=True, text=True).stdout.strip()


def publish(*words: object) -> tuple[int, str, str]:
    done = run("publish", *map(str, words))
    return done.exit_code, done.stdout, done.stderr


def test_a_release_is_published_once(url: str, tmp_path: Path) -> None:
    policies = directory(tmp_path / "p", acme=allows("ann"))

    assert (0, "1 tenant, all new\nrelease 1 is published, not signed\n", "") == publish(policies, "--to", url)
    assert (0, "release 1 has these files already: nothing to publish\n", "") == publish(policies, "--to", url)

    directory(tmp_path / "p", acme=f"{allows('ann')}\n{allows('bob')}")
    code, out, _ = publish(policies, "--to", url, "--by", "ci", "-m", "bob too")
    assert 0 == code
    assert "+ user:bob gains VIEW FLOW in **" in out
    assert out.endswith("release 2 is published, not signed\n")
    rows = run("releases", "--policy-store", url).stdout.splitlines()
    assert ["2", "ci", "1", "", "", "bob too"] == [rows[1].split("\t")[each] for each in (0, 2, 3, 4, 5, 6)]
    (newest, _) = json.loads(run("releases", "--policy-store", url, "--json").stdout)["releases"]
    assert (2, "ci", "bob too", 0) == (newest["release"], newest["publisher"], newest["message"], newest["repeats"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"acme/bindings.csv": b"p, user:ann, acme\n"}, "acme/bindings.csv:1"),
        ({"vocabulary.yaml": b"kinds: 5\n"}, "the root files of"),
        (
            {
                "acme/tests/x.yaml": b"name: x\naccess:\n  - {principal: user:ann, action: VIEW, kind: FLOW, namespace: a, expect: deny}\n"
            },
            "acme/tests/x.yaml:3",
        ),
        ({"acme/bindings.csv": b"g, user:ann, role:none, acme\n"}, "acme/bindings.csv:1"),
    ],
)
def test_files_that_must_not_serve_are_not_published(
    url: str, tmp_path: Path, change: dict[str, bytes], told: str
) -> None:
    policies = write(directory(tmp_path / "p", acme=allows("ann")), change)

    code, _, err = publish(policies, "--to", url)

    assert (1, True) == (code, told in err), err
    with PolicyStore(url) as store:
        assert store.newest() is None


def test_a_finding_of_lint_stops_a_release(url: str, tmp_path: Path) -> None:
    policies = directory(tmp_path / "p", acme=f"{allows('ann')}\n{allows('ann')}")

    code, _, err = publish(policies, "--to", url, "--lint", "note")

    assert 1 == code
    assert "acme/bindings.csv:2:1: " in err
    assert err.endswith("nothing is published: 1 mistake\n")


def test_a_gain_can_stop_a_release(url: str, tmp_path: Path) -> None:
    publish(directory(tmp_path / "p", acme=allows("ann")), "--to", url)
    directory(tmp_path / "p", acme=f"{allows('ann')}\n{allows('bob')}")

    code, out, err = publish(tmp_path / "p", "--to", url, "--fail-on", "gain")

    assert (1, "nothing is published: --fail-on\n") == (code, err)
    assert "user:bob gains" in out
    assert 0 == publish(tmp_path / "p", "--to", url, "--fail-on", "loss")[0]


def test_a_dry_run_publishes_nothing(url: str, tmp_path: Path) -> None:
    policies = directory(tmp_path / "p", acme=allows("ann"))

    assert (0, "1 tenant, all new\nnothing is published: it would be release 1\n", "") == publish(
        policies, "--to", url, "--dry-run"
    )
    with PolicyStore(url) as store:
        assert store.newest() is None


def test_what_a_release_is_based_on_must_be_the_newest(url: str, tmp_path: Path) -> None:
    publish(directory(tmp_path / "p", acme=allows("ann")), "--to", url, "--by", "ci")
    directory(tmp_path / "p", acme=allows("bob"))

    code, _, err = publish(tmp_path / "p", "--to", url, "--based-on", 0)

    assert 1 == code
    assert err.startswith("the newest release is 1, by ci, and this one is based on 0: take its changes over first")
    assert 0 == publish(tmp_path / "p", "--to", url, "--based-on", 1)[0]


def test_a_commit_must_contain_the_newest_releases(url: str, tmp_path: Path) -> None:
    policies = directory(tmp_path / "p", acme=allows("ann"))
    git(policies, "init", "-q", "-b", "main")
    git(policies, "add", "."), git(policies, "commit", "-qm", "one")
    git(policies, "checkout", "-q", "-b", "side")
    directory(policies, acme=allows("side"))
    git(policies, "commit", "-qam", "side")
    git(policies, "checkout", "-q", "main")
    directory(policies, acme=allows("bob"))
    git(policies, "commit", "-qam", "two")
    assert 0 == publish(policies, "--to", url)[0]
    commit = git(policies, "rev-parse", "HEAD")

    git(policies, "checkout", "-q", "side")
    code, _, err = publish(policies, "--to", url)
    assert 1 == code
    assert f"has commit {commit[:12]}" in err
    assert "does not contain: merge it, or say --based-on 1" in err

    other = directory(tmp_path / "other", acme=allows("eve"))
    git(other, "init", "-q"), git(other, "add", "."), git(other, "commit", "-qm", "eve")
    assert "which this repository does not hold: fetch more of its history" in publish(other, "--to", url)[2]

    git(policies, "merge", "-q", "-X", "ours", "-m", "merged", "main")
    assert 0 == publish(policies, "--to", url)[0]
    (newest, _) = json.loads(run("releases", "--policy-store", url, "--json").stdout)["releases"]
    assert git(policies, "rev-parse", "HEAD") == newest["commit"]


def test_an_earlier_release_can_be_published_again(url: str, tmp_path: Path) -> None:
    for name in ("ann", "bob"):
        publish(directory(tmp_path / "p", acme=allows(name)), "--to", url)

    code, out, _ = publish("--again", 1, "--to", url)

    assert 0 == code
    assert "+ user:ann gains" in out
    assert "- user:bob loses" in out
    assert (3, "there is no release 9 in the policy store: `remit releases` lists them\n") == (
        publish("--again", 9, "--to", url)[0],
        publish("--again", 9, "--to", url)[2],
    )


def test_a_key_signs(url: str, tmp_path: Path) -> None:
    key = SigningKey.new(tmp_path / "key")
    policies = directory(tmp_path / "p", acme=allows("ann"))

    code, out, _ = publish(policies, "--to", url, "--key", tmp_path / "key")

    assert 0 == code
    assert out.endswith(f"release 1 is published, signed by key {key.public.id}\n")
    assert (3, True) == (
        publish(policies, "--to", url, "--key", tmp_path / "none")[0],
        "cannot be read" in publish(policies, "--to", url, "--key", tmp_path / "none")[2],
    )


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("publish",), 2, "say what to publish"),
        (("publish", "p", "--again", "1"), 2, "say what to publish"),
        (("publish", "p"), 2, "no policy store is named: say --to URL, or set REMIT_POLICY_STORE"),
        (("publish", "p", "--to", "sqlite:////nowhere/x.db"), 3, "does not exist: `remit publish` with `--migrate`"),
        (("publish", "p", "--message", "a\nb"), 2, "--message and --by take printable text of one line"),
        (("nodes",), 2, "no policy store is named: say --policy-store URL"),
        (("releases", "--policy-store", "mysql://u:secret@h/x"), 3, "`mysql` is no policy store: expected"),
    ],
)
def test_wrong_use_is_explained(
    words: tuple[str, ...], code: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    directory(tmp_path / "p", acme="")

    done = run(*words)

    assert (code, True) == (done.exit_code, told in done.stderr), done.stderr
    assert "secret" not in done.stderr


def test_nodes_have_converged_or_not(url: str, tmp_path: Path) -> None:
    assert (1, "nothing was published yet\n") == _nodes(url)
    publish(directory(tmp_path / "p", acme=allows("ann")), "--to", url, "--by", "ci")
    assert (1, True) == (_nodes(url)[0], _nodes(url)[1].endswith("by ci: no node runs\n"))
    with PolicyStore(url) as store:
        newest = store.newest()
        assert newest is not None
        place = newest.release.seq, newest.release.hash
        store.beat(NodeReport("one", "x", "0.1", *place))
        assert 0 == run("nodes", "--policy-store", url).exit_code
        store.beat(NodeReport("two", "x", "0.1", *place, behind=("acme serves nothing instead of x: STALE",)))
        done = run("nodes", "--policy-store", url)
        assert (1, True) == (done.exit_code, "1 of 2 nodes do not serve it" in done.stderr)
        assert "two\tBEHIND\t1\t" in done.stdout
        store.beat(NodeReport("two", "x", "0.1", *place, stopped=True))
        done = run("nodes", "--policy-store", url)
        assert (0, True) == (done.exit_code, "the only node serves it" in done.stdout)
        assert 0 == run("nodes", "--policy-store", url, "--forget", "two").exit_code
        gone = run("nodes", "--policy-store", url, "--forget", "two")
        assert (1, "there is no node `two`\n") == (gone.exit_code, gone.stderr)
        document = json.loads(run("nodes", "--policy-store", url, "--json").stdout)
    assert (1, True, ["one"]) == (
        document["newest"],
        document["converged"],
        [each["node"] for each in document["nodes"]],
    )


def _nodes(url: str) -> tuple[int, str]:
    done = run("nodes", "--policy-store", url)
    return done.exit_code, done.stderr


def test_what_is_compared_and_reviewed_is_loaded_once(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []

    def load(*arguments: Any, **options: Any) -> LoadedTenant:
        loads.append(arguments[1])
        return load_tenant(*arguments, **options)

    monkeypatch.setattr("remit.cli.policy.diff_sources.load_tenant", load)
    publish(directory(tmp_path / "p", acme=allows("ann")), "--to", url)
    with PolicyStore(url) as store, store.open().changing(Tenant("acme")) as write:
        write.commit(BindingChange((parse_runtime_row("user:zoe", "role:viewer", "", None),), ()), "service:admin")
    loads.clear()

    code, _, err = publish(directory(tmp_path / "p", acme=allows("bob")), "--to", url)

    assert 1 == code
    assert "acme: `user:zoe` in `role:viewer`" in err
    # The newest release's and the new one's.
    assert ["acme", "acme"] == loads
