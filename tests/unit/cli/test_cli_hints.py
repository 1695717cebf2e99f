"""Questions over files with unknown words: what there is, and what may be meant."""

from pathlib import Path

import pytest
from support.server import Server
from typer.testing import CliRunner, Result

from remit.cli.main import app

EXAMPLE = str(Path(__file__).parents[3] / "policies")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), terminal_width=200)


KINDS = ("the vocabulary declares no such kind", "did you mean `FLOW`?", "`EXECUTION`")
ACTIONS = ("the kind has no such action", "did you mean `VIEW`?", "`EXPORT`")
RELATIONS = ("the vocabulary declares no such relation", "did you mean `SUBFLOW`?", "`SECRET`")
TENANTS = ("no tenant of this name is configured", "did you mean `acme`?", "`globex`")


@pytest.mark.parametrize(
    ("words", "hints"),
    [
        (("check", "acme", "user:carol", "VIEWW", "FLOW", "acme.finance"), ACTIONS),
        (("check", "acme", "user:carol", "VIEW", "FLOWW", "acme.finance"), KINDS),
        (("check", "acme", "user:carol", "FLOW", "VIEW", "acme.finance"), ("did you swap action and kind?",)),
        (("check", "acmee", "user:carol", "VIEW", "FLOW", "acme.finance"), TENANTS),
        (("explain", "acme", "user:carol", "VIEWW", "FLOW", "acme.finance"), ACTIONS),
        (("explain", "acmee", "user:carol", "VIEW", "FLOW", "acme.finance"), TENANTS),
        (("who", "acme", "VIEWW", "FLOW", "acme.finance"), ACTIONS),
        (("who", "acme", "VIEW", "FLOWW", "acme.finance"), KINDS),
        (("who", "acmee", "VIEW", "FLOW", "acme.finance"), TENANTS),
        (("where", "acme", "user:carol", "VIEWW"), ("the kind has no such action", "did you mean `VIEW`?", "`KILL`")),
        (("where", "acme", "user:carol", "VIEW", "FLOWW"), KINDS),
        (("where", "acmee", "user:carol"), TENANTS),
        (("what", "acmee", "user:carol", "acme.finance"), TENANTS),
        (("reach", "acme", "acme.data", "acme.finance", "SUBFLOWW"), RELATIONS),
        (("reach", "acme", "acme.data", "--relation", "SUBFLOWW"), RELATIONS),
        (("reach", "acmee", "acme.data", "acme.finance", "SUBFLOW"), TENANTS),
        (("reach-all", "acme", "acme.data", "SUBFLOWW", "NAMES"), RELATIONS),
        (("operation", "acmee", "user:carol", "promote_flow", "acme.finance"), TENANTS),
        (("resolve", "acmee", "acme.finance"), TENANTS),
    ],
    ids=lambda value: " ".join(value[:5]) if "the" not in value[0] else "",
)
def test_question_with_an_unknown_word_names_what_there_is(
    words: tuple[str, ...], hints: tuple[str, ...], tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("acme.finance\n")
    done = run(*(str(names) if word == "NAMES" else word for word in words), "--policies", EXAMPLE)

    assert done.exit_code == 1, done.output
    for hint in hints:
        assert hint in done.output


def test_hint_stands_apart_from_the_answer_and_not_beside_json() -> None:
    question = ("check", "acme", "user:carol", "VIEWW", "FLOW", "acme.finance", "--policies", EXAMPLE)

    assert run(*question).stdout == "deny UNKNOWN_ACTION\n"
    assert run(*question, "--json").stderr == ""


def test_known_words_have_no_hint() -> None:
    assert run("check", "acme", "user:carol", "UPDATE", "FLOW", "acme.finance", "--policies", EXAMPLE).stderr == ""


def test_server_names_words_in_explanations_and_elsewhere_the_command_does_that_lists_them(tmp_path: Path) -> None:
    listed = "`remit explain` and `remit vocabulary` name those that there are"
    with Server(tmp_path, "--policies", EXAMPLE) as server:
        target = ("--target", f"127.0.0.1:{server.port}")
        words = ("acme", "user:carol", "VIEWW", "FLOW", "acme.finance", *target)
        checked, explained = run("check", *words), run("explain", *words)
        elsewhere = run("check", "acmee", *words[1:])
        who = run("who", "acme", "VIEWW", "FLOW", "acme.finance", *target)

    assert ("deny UNKNOWN_ACTION\n", f"the kind has no such action: {listed}\n") == (checked.stdout, checked.stderr)
    assert "did you mean `VIEW`?" in explained.stdout
    assert "" == explained.stderr
    assert "no tenant of this name is configured: `remit status` lists the tenants\n" == elsewhere.stderr
    assert f"UNKNOWN_ACTION: the kind has no such action: {listed}\n" == who.stderr
