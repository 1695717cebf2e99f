"""`remit docs` and `remit lint --explain`: the pages, for those who have no checkout."""

import re
from pathlib import Path

import pytest
from support.terminals import FakeTerminal
from typer.testing import CliRunner, Result

from remit.cli import docs
from remit.cli.common import pages
from remit.cli.main import app
from remit.policy.lint.finding import RuleId

ROOT = Path(__file__).parents[3]


def run(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(app, [*words], env=environment)


def test_list_has_the_title_of_each_page() -> None:
    done = run("docs")

    assert 0 == done.exit_code
    assert re.search(r"^docs/how-to/install\.md +Install$", done.stdout, re.MULTILINE)
    assert [*pages.pages()] == [line.split()[0] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", ["docs/how-to/install.md", "how-to/install", "install"])
def test_page_is_printed_as_it_is_written(name: str) -> None:
    done = run("docs", name)

    assert (0, (ROOT / "docs/how-to/install.md").read_text()) == (done.exit_code, done.stdout)


def test_terminal_shows_a_page_formatted(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = FakeTerminal(80)
    monkeypatch.setattr(docs, "out", terminal)
    docs.print_markdown("# Install\n\n" + "word " * 20 + "`code`\n")

    shown = terminal.shown.getvalue()
    assert "#" not in shown
    assert "`" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_page_of_the_root_is_named_by_its_name() -> None:
    assert (ROOT / "README.md").read_text() == run("docs", "README").stdout
    assert (ROOT / "policies/README.md").read_text() == run("docs", "policies/README").stdout


def test_unknown_page_is_refused_with_a_hint() -> None:
    done = run("docs", "instal")

    assert (2, "") == (done.exit_code, done.stdout)
    assert "there is no page `instal`; did you mean `install`?" in done.stderr


def test_end_of_several_pages_is_refused_with_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "README.md"
    monkeypatch.setattr(docs, "pages", lambda: {"docs/a/audit.md": page, "docs/b/audit.md": page})
    done = run("docs", "audit")

    assert (2, "") == (done.exit_code, done.stdout)
    assert "`audit` is the end of several pages: docs/a/audit.md, docs/b/audit.md" in done.stderr


def test_pages_of_an_installed_wheel_are_read_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pages/docs").mkdir(parents=True)
    (tmp_path / "pages/docs/index.md").write_text("# Installed\n")
    monkeypatch.setattr(pages, "_PACKAGE", tmp_path)

    assert "docs/index.md  Installed\n" == run("docs").stdout


@pytest.mark.parametrize("rule", [*RuleId])
def test_lint_explains_each_rule(rule: RuleId) -> None:
    done = run("lint", "--explain", rule, "no/such/directory")

    assert 0 == done.exit_code
    assert done.stdout.startswith(f"## {rule}\n\n")
    assert 1 == len(re.findall(r"^## ", done.stdout, re.MULTILINE))


def test_lint_refuses_to_explain_an_unknown_rule() -> None:
    assert 2 == run("lint", "--explain", "no-such-rule").exit_code
