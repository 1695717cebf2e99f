"""`remit diff`: what a grant at run time gives more, or less, though nobody holds the role or the group in the files."""

import json
import re
from pathlib import Path

import pytest
from support.runtime import ROLES, VOCABULARY, files
from support.trees import Files, write
from typer.testing import CliRunner, Result

from remit.cli.main import app

WILD = b"""\
runtime:
  roles: ["role:*"]
  groups: ["group:team", "group:o*"]
  scopes: [a.**, "*.b"]
  suspend: group:suspended
"""
HELD_BY_NOBODY = b"p, role:spare, acme, **, FLOW, VIEW, allow\n"
OUT = b"p, group:out, acme, **, FLOW, VIEW, deny\n"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["diff", *map(str, words), "--tenant", "acme"], terminal_width=300)


def spare(*more: bytes) -> Files:
    """Files with a role that nobody holds."""
    return files(roles=b"".join((ROLES, HELD_BY_NOBODY, *more)), runtime=WILD)


CASES = [
    pytest.param(
        spare(),
        spare(b"p, role:spare, acme, a.secret.**, FLOW, *, allow\n"),
        "+ whoever is granted role:spare at run time gains UPDATE FLOW in a.secret.**",
        id="a p row",
    ),
    pytest.param(
        spare(),
        spare(b"p, role:spare, acme, c.**, FLOW, *, allow\n"),
        "+ whoever is granted role:spare at run time gains UPDATE FLOW in c.b",
        id="a p row within the scopes",
    ),
    pytest.param(
        spare(),
        spare(b"g, role:spare, role:editor, acme\n"),
        "+ whoever is granted role:spare at run time gains UPDATE FLOW in *.b and a.**",
        id="an inclusion",
    ),
    pytest.param(
        spare(b"p, role:spare, acme, a.secret.**, FLOW, *, deny\n"),
        spare(),
        "+ whoever is granted role:spare at run time gains VIEW FLOW in a.secret.**\n"
        "+ whoever is granted role:spare at run time is no longer denied UPDATE FLOW in a.secret.**",
        id="a deny of what it allows is gone, and of what it does not",
    ),
    pytest.param(
        spare(OUT),
        spare(),
        "+ whoever is granted group:out at run time is no longer denied VIEW FLOW in *.b and a.**",
        id="a deny of what others allow is gone",
    ),
    pytest.param(
        files(),
        files(roles=ROLES.replace(b"p, group:suspended, acme, **,", b"p, group:suspended, acme, a.**,")),
        "+ whoever is granted group:suspended at run time is no longer denied * FLOW in ** except a.**",
        id="the group of suspended people, in all of the tenant",
    ),
    pytest.param(
        spare(),
        files(roles=ROLES, runtime=WILD) | {"roles.csv": b"p, role:new, *, **, FLOW, UPDATE, allow\n"},
        "+ whoever is granted role:new at run time gains UPDATE FLOW in *.b and a.**\n"
        "- whoever is granted role:spare at run time loses VIEW FLOW in *.b and a.**",
        id="a role that comes and one that goes",
    ),
    pytest.param(
        spare(b"p, role:third, acme, **, FLOW, VIEW, allow\n"),
        spare(
            b"p, role:third, acme, **, FLOW, VIEW, allow\n",
            b"p, role:spare, acme, a, FLOW, *, allow\n",
            b"p, role:third, acme, a, FLOW, *, allow\n",
        ),
        "+ whoever is granted role:spare or role:third at run time gains UPDATE FLOW in a",
        id="two roles at once",
    ),
    pytest.param(
        spare(),
        spare() | {"vocabulary.yaml": VOCABULARY.replace(b"[VIEW, UPDATE]", b"[VIEW]")},
        "- whoever is granted role:editor at run time loses UPDATE FLOW in *.b and a.**",
        id="an action that goes, and with it a deny of everything",
    ),
    pytest.param(
        spare() | {"acme/tenant.yaml": b"access: [user:alice, group:team]\n" + WILD},
        spare() | {"acme/tenant.yaml": b"access: [user:alice, group:out, group:team]\n" + WILD},
        "+ whoever is granted group:out at run time now passes the access list",
        id="a group comes on the access list",
    ),
    pytest.param(
        spare(b"p, user:leo, acme, **, FLOW, *, deny\n"),
        spare(),
        "+ user:leo may now be given * FLOW in *.b and a.** at run time",
        id="the deny of somebody who left is gone",
    ),
    pytest.param(
        spare(),
        spare(b"p, group:left, acme, a.**, FLOW, *, deny\n", b"g, user:leo, group:left, acme\n"),
        "- user:leo may no longer be given * FLOW in a.** at run time",
        id="somebody who may do nothing comes into a group with a deny",
    ),
    pytest.param(
        spare(b"p, user:leo, acme, c.**, FLOW, *, deny\n"),
        spare(),
        "+ user:leo may now be given * FLOW in c.b at run time",
        id="a deny that reaches out of the scopes is gone",
    ),
    pytest.param(
        spare() | {"acme/tenant.yaml": b"access: [user:alice]\n" + WILD},
        spare() | {"acme/tenant.yaml": b"access: [user:alice, user:leo]\n" + WILD},
        "+ user:leo may now be given * FLOW in *.b and a.** at run time",
        id="somebody comes on the access list",
    ),
    pytest.param(
        files(),
        files(roles=ROLES + b"p, role:closed, acme, **, FLOW, *, allow\n"),
        "",
        id="a role that is not opened",
    ),
]


@pytest.mark.parametrize(("before", "after", "expected"), CASES)
def test_diff_says_what_a_grant_gives_and_did_not(tmp_path: Path, before: Files, after: Files, expected: str) -> None:
    old, new = write(tmp_path / "old", before), write(tmp_path / "new", after)
    for one, other, lines in ((old, new, expected), (new, old, turned(expected))):
        done = run(one, other)
        assert done.exit_code == 0, done.output
        assert set(lines.splitlines()) == {
            each.strip() for each in done.stdout.splitlines() if each.startswith("  ") and "run time" in each
        }


def turned(sentences: str) -> str:
    """What the diff the other way round says."""
    pairs = [
        ("+ ", "- "),
        (" gains ", " loses "),
        ("no longer denied", "now denied"),
        ("now passes", "no longer passes"),
        ("may now be given", "may no longer be given"),
    ]
    other = {one: two for pair in pairs for one, two in (pair, pair[::-1])}
    return re.sub("|".join(map(re.escape, other)), lambda found: other[found[0]], sentences)


def test_what_a_grant_gives_counts_for_fail_on_and_is_in_every_format(tmp_path: Path) -> None:
    old = write(tmp_path / "old", spare())
    new = write(tmp_path / "new", spare(b"p, role:spare, acme, a.secret.**, FLOW, *, allow\n"))

    assert "acme: 1 row added, 0 removed: grants at run time give more" in run(old, new).stdout.splitlines()
    assert "grants at run time give less" in run(new, old).stdout
    exits = {
        (way, each): run(*pair, "--fail-on", each).exit_code
        for way, pair in (("more", (old, new)), ("less", (new, old)))
        for each in ("gain", "loss", "any")
    }
    assert {
        ("more", "gain"): 1,
        ("more", "loss"): 0,
        ("more", "any"): 1,
        ("less", "gain"): 0,
        ("less", "loss"): 1,
        ("less", "any"): 1,
    } == exits
    assert (
        "- whoever is granted `role:spare` at run time gains `UPDATE FLOW` in `a.secret.**`"
        in run(old, new, "--format", "markdown").stdout.splitlines()
    )
    (tenant,) = json.loads(run(old, new, "--json").stdout)["tenants"]
    assert [
        {
            "direction": "gain",
            "key": "rights",
            "values": ["role:spare"],
            "permissions": [{"kind": "FLOW", "action": "UPDATE"}],
            "namespaces": [{"only": ["a.secret.**"], "excluded": []}],
            "tenant_itself": False,
        }
    ] == tenant["runtime"]


def test_the_deny_of_somebody_who_left_counts_for_fail_on(tmp_path: Path) -> None:
    """Nobody gains anything until a role is granted that both versions open."""
    old = write(tmp_path / "old", spare(b"p, user:leo, acme, a.**, FLOW, UPDATE, deny\n"))
    new = write(tmp_path / "new", spare())

    done = run(old, new, "--fail-on", "gain", "--format", "markdown")

    assert (1, True) == (
        done.exit_code,
        "- `user:leo` may now be given `UPDATE FLOW` in `a.**` at run time" in done.stdout.splitlines(),
    ), done.output
    assert (0, 1) == tuple(run(new, old, "--fail-on", each).exit_code for each in ("gain", "loss"))
    (tenant,) = json.loads(run(old, new, "--json").stdout)["tenants"]
    assert [("people", ["user:leo"])] == [(each["key"], each["values"]) for each in tenant["runtime"]]
