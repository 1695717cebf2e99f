"""`remit import` and `remit export`: what they write, what they leave alone, and what they exit with."""

from pathlib import Path

import pytest
from test_cli import EXAMPLE, run

from remit.migrate.output_folder import FolderError, write_folder

MODEL = """\
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
"""
POLICY = "p, admin, data1, read\ng, alice, admin\n"


@pytest.fixture
def casbin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.conf").write_text(MODEL)
    (tmp_path / "policy.csv").write_text(POLICY)
    return tmp_path


IMPORT = ("import", "casbin", "--model", "model.conf", "--policy", "policy.csv", "--tenant", "acme", "--out", "out")


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_imported_policy_passes_its_own_tests(casbin: Path) -> None:
    done = run(*IMPORT)
    tested = run("test", "out")

    assert (0, 0) == (done.exit_code, tested.exit_code), done.output
    assert 0 == run("fmt", "--check", "out").exit_code
    assert "policy.csv" in (casbin / "out" / "README.md").read_text()
    assert "acme: 1 of 1 cases hold (remit and Casbin)" in tested.stdout


def test_refused_import_writes_nothing(casbin: Path) -> None:
    (casbin / "policy.csv").write_text(f"{POLICY}p, admin, data1\n")
    before = tree(casbin)
    done = run(*IMPORT)

    assert 1 == done.exit_code
    assert "policy.csv:3: refused wrong-arity" in done.stdout
    assert "1 refused: nothing was written" in done.stderr
    assert before == tree(casbin)


def test_folder_with_files_is_replaced_only_by_force(casbin: Path) -> None:
    """With force the old folder is renamed; a second time it is refused, so no file is lost."""
    (casbin / "out").mkdir()
    (casbin / "out" / "mine.txt").write_text("mine")
    refused, forced, again = run(*IMPORT), run(*IMPORT, "--force"), run(*IMPORT, "--force")

    assert (2, 0, 2) == (refused.exit_code, forced.exit_code, again.exit_code)
    assert "mine" == (casbin / "out~" / "mine.txt").read_text()
    assert not (casbin / "out" / "mine.txt").exists()
    assert (casbin / "out" / "vocabulary.yaml").exists()


def test_an_empty_folder_is_written_to(casbin: Path) -> None:
    (casbin / "out").mkdir()

    assert 0 == run(*IMPORT).exit_code
    assert not (casbin / "out~").exists()


def test_folder_is_written_whole_or_not_at_all(casbin: Path) -> None:
    with pytest.raises(OSError, match="a"):
        write_folder(casbin / "out", {"a": b"", "a/b": b""}, force=False)
    with pytest.raises(FolderError, match="is a file"):
        write_folder(casbin / "model.conf", {}, force=False)

    assert {"model.conf", "policy.csv"} == {path.name for path in casbin.iterdir()}


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--match", "g=keymatch"), 2, "--match `g=keymatch`: expected a role definition"),
        (("--match-domains", "g3=keyMatch"), 2, "expected a role definition"),
        (("--accept", "quotes"), 2, "`quotes` cannot be accepted"),
        (("--kind", "a b"), 2, "`a b` is not a kind"),
        (("--vocabulary", "model.conf"), 2, "are for what `remit export` wrote"),
        (("--policy", "gone.csv"), 3, "`gone.csv` cannot be read"),
        (("--policy", "sqlite:///gone.db"), 3, "there is no database file"),
        (("--policy", "latin.csv"), 1, "not UTF-8"),
        (("--model", "policy.csv"), 1, "model-unreadable"),
        (("--model", "latin.csv"), 1, "model-unreadable"),
        (("--out", "gone/out"), 2, "`gone` is no folder"),
    ],
    ids=range(11),
)
def test_wrong_usage_is_reported(casbin: Path, words: tuple[str, ...], code: int, told: str) -> None:
    (casbin / "latin.csv").write_bytes(b"p, \xe9, data1, read\n")
    done = run(*IMPORT, *words)

    assert (code, True) == (done.exit_code, told in " ".join(done.output.replace("│", "").split())), done.output
    assert not (casbin / "out").exists()


def test_export_and_import_again(casbin: Path) -> None:
    """Through files and through a database: the tenant's rows, and Casbin's answers as tests that hold."""
    exported = run("export", str(EXAMPLE), "--tenant", "globex", "--out", "casbin", "--sql", "sqlite:///rules.db")
    again = (
        "import",
        "casbin",
        "--model",
        "casbin/access.conf",
        "--vocabulary",
        "casbin/vocabulary.yaml",
        "--cases",
        "300",
    )
    from_files = run(*again, "--policy", "casbin/access.csv", "--reach", "casbin/reach.csv", "--out", "one")
    from_tables = run(*again, "--policy", "sqlite:///rules.db", "--reach", "sqlite:///rules.db", "--out", "two")

    assert (0, 0, 0) == (exported.exit_code, from_files.exit_code, from_tables.exit_code), from_tables.output
    one, two = tree(casbin / "one"), tree(casbin / "two")
    assert {**one, "README.md": ""} == {**two, "README.md": ""}
    assert "globex/reach.csv" in one
    assert "note not-in-casbin: access lists and dedicated resources" in " ".join(from_files.output.split())
    assert run("test", "one").exit_code == 0


def test_export_lists_what_casbin_does_not_know(casbin: Path) -> None:
    run("export", str(EXAMPLE), "--tenant", "globex", "--out", "casbin")
    readme = (casbin / "casbin" / "README.md").read_text()

    assert "are evaluated at all: `" in readme
    assert "| `BLUEPRINT` | tenant | `CREATE`, `DELETE`, `LIST`, `UPDATE`, `VIEW` |" in readme
    assert "all else is denied: `KV`, `SECRET`" in readme


def test_an_export_that_is_refused_writes_neither_files_nor_rows(casbin: Path) -> None:
    words = ("export", str(EXAMPLE), "--tenant", "globex", "--sql", "sqlite:///rules.db")
    first, second = run(*words, "--out", "one"), run(*words, "--out", "two")
    nobody = run("export", str(EXAMPLE), "--tenant", "nobody", "--out", "three")

    assert (0, 1, 2) == (first.exit_code, second.exit_code, nobody.exit_code)
    assert "is not empty" in second.stderr
    assert not (casbin / "two").exists()
    assert not (casbin / "three").exists()


def test_remits_own_model_needs_its_vocabulary(casbin: Path) -> None:
    run("export", str(EXAMPLE), "--tenant", "globex", "--out", "casbin")
    done = run("import", "casbin", "--model", "casbin/access.conf", "--policy", "casbin/access.csv", "--out", "out")

    assert 2 == done.exit_code
    assert "rows do not say where a kind lives" in done.stderr


def test_kestra_is_imported_and_refused(casbin: Path) -> None:
    example = EXAMPLE.parent / "docs" / "kestra"
    words = ("import", "kestra", "--bindings", str(example / "bindings.json"), "--edition", "2", "--tenant", "acme")
    done = run(*words, "--roles", str(example / "roles.json"), "--out", "out")
    refused = run(*words, "--roles", str(example / "users.json"), "--out", "other")

    assert (0, 1) == (done.exit_code, refused.exit_code), done.output
    assert 0 == run("test", "out").exit_code
    assert not (casbin / "other").exists()
