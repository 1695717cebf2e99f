"""Which files of a directory are a policy's, and what a revision is of."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.trees import tree_of, write

from remit.core.diagnostics import PolicyError
from remit.core.names import CALLERS, Tenant
from remit.core.question import parse_question
from remit.policy.load import load_tree
from remit.policy.read import tree as policy_tree
from remit.policy.read.limits import Limits
from remit.policy.read.tree import read_tree

VOCABULARY = b"kinds: {FLOW: {class: namespace, actions: [VIEW]}}\n"
BASE = {"vocabulary.yaml": VOCABULARY, "acme/roles.csv": b"", "globex/roles.csv": b""}
ACME = Tenant("acme")
GLOBEX = Tenant("globex")


def told(directory: Path, tenant: Tenant = ACME) -> list[str]:
    return [str(each) for each in load_tree(directory).tenants[tenant].diagnostics]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "role.csv",
            "acme/role.csv: unknown file `role.csv`: expected one of `roles.csv`, `bindings.csv`, `reach.csv`, ",
        ),
        ("Roles.csv", "did you mean `roles.csv`?"),
        ("roles.csv.disabled", "unknown file `roles.csv.disabled`"),
        ("tenants.yaml", "did you mean `tenant.yaml`?"),
        ("tests/finance.yml", "acme/tests/finance.yml: unknown file `finance.yml`: expected one of `*.yaml`"),
        ("tests/finance.yml", "; did you mean `finance.yaml`?"),
        ("tests/deep/finance.yaml", "acme/tests/deep: unknown file `deep`"),
        ("test/finance.yaml", "acme/test: unknown file `test`"),
        ("tests", "acme/tests: unknown file `tests`"),
        ("roles.csv/roles.csv", "acme/roles.csv: is a folder: expected a file"),
        ("tests/roles.yaml/roles.yaml", "acme/tests/roles.yaml: is a folder: expected a file"),
    ],
)
def test_unknown_files_are_refused(tmp_path: Path, name: str, expected: str) -> None:
    """A mistyped name would lose its denies in silence."""
    files = {"vocabulary.yaml": VOCABULARY, f"acme/{name}": b"", "globex/roles.csv": b""}
    (diagnostic,) = told(write(tmp_path, files))
    assert expected in diagnostic
    assert not told(tmp_path, GLOBEX)


def test_no_role_is_reported_as_missing_if_its_file_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, {**BASE, "acme/bindings.csv": b"g, user:a, role:clerk, acme\n"})
    roles = tmp_path / "acme" / "roles.csv"
    roles.unlink()
    roles.symlink_to(roles)
    (diagnostic,) = told(tmp_path)
    assert diagnostic.startswith("acme/roles.csv: ")

    roles.unlink()
    (roles.parent / "role.csv").write_bytes(b"p, role:clerk, acme, **, FLOW, VIEW, allow\n")
    (diagnostic,) = told(tmp_path)
    assert diagnostic.startswith("acme/role.csv: unknown file")

    # A file of tests defines no role.
    (roles.parent / "role.csv").unlink()
    write(tmp_path, {"acme/tests/a.yml": b""})
    assert ["acme/bindings.csv", "acme/tests/a.yml"] == sorted(each.partition(":")[0] for each in told(tmp_path))


@pytest.mark.parametrize("name", ["reach.csv", "tenant.yaml"])
def test_callers_have_neither_reach_nor_a_manifest(tmp_path: Path, name: str) -> None:
    files = {"vocabulary.yaml": VOCABULARY, "_callers/roles.csv": b"", f"_callers/{name}": b"", "acme/roles.csv": b""}
    (diagnostic,) = told(write(tmp_path, files), CALLERS)
    assert (
        f"_callers/{name}: unknown file `{name}`: expected one of `roles.csv`, `bindings.csv`, `tests/`" in diagnostic
    )


@pytest.mark.parametrize(
    "name", ["rolls.csv", "acme.csv", "tenant.yaml", "Acme/roles.csv", "-x/roles.csv", "a.b/roles.csv"]
)
def test_unknown_files_and_ill_named_folders_of_the_root_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PolicyError, match=name.partition("/")[0]):
        load_tree(write(tmp_path, {**BASE, name: b""}))


def test_copied_folder_names_each_row_of_the_old_tenant(tmp_path: Path) -> None:
    roles = b"p, role:a, acme, **, FLOW, VIEW, allow\np, role:b, acme, **, FLOW, VIEW, allow\n"
    bindings = b"g, user:a, role:a, acme/acme.x\ng, user:b, role:b, acme\n"
    write(tmp_path, {**BASE, "corp/roles.csv": roles, "corp/bindings.csv": bindings})
    places = sorted(each.partition(": ")[0] for each in told(tmp_path, Tenant("corp")))
    assert ["corp/bindings.csv:1:20", "corp/bindings.csv:2:20", "corp/roles.csv:1:12", "corp/roles.csv:2:12"] == places


def test_empty_folder_is_a_tenant_without_rows(tmp_path: Path) -> None:
    write(tmp_path, BASE)
    (tmp_path / "docs").mkdir()
    loaded = load_tree(tmp_path).tenants[Tenant("docs")]
    assert (0, ()) == (loaded.rows, loaded.diagnostics)
    assert loaded.snapshot is not None
    question = parse_question("user:a", "VIEW", "FLOW", "a")
    assert "deny" == loaded.snapshot.decide(question).effect


def test_backups_and_readmes_are_ignored(tmp_path: Path) -> None:
    """What editors, systems and people leave beside the files says nothing and is in no revision."""
    before = load_tree(write(tmp_path, BASE))
    beside = (
        ".DS_Store",
        ".git/config",
        "README.md",
        "README",
        "roles.csv~",
        "#roles.csv#",
        ".roles.csv.swp",
        "roles.csv.bak",
        "x.swo",
    )
    for folder in ("", "acme/", "acme/tests/"):
        write(tmp_path, {f"{folder}{name}": b"p, nonsense\n" for name in beside})
    after = load_tree(tmp_path)
    assert not after.diagnostics
    assert before.tree_revision == after.tree_revision


def test_a_directory_without_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"vocabulary\.yaml: is missing"):
        load_tree(write(tmp_path, {"acme/roles.csv": b""}))


def test_no_row_is_checked_without_a_vocabulary(tmp_path: Path) -> None:
    files = {"roles.csv": b"p, role:x, *, **, FLOW, VIEW, allow\n", "stray.csv": b""}
    with pytest.raises(PolicyError) as caught:
        load_tree(write(tmp_path, files))
    assert ["stray.csv", "vocabulary.yaml"] == [each.file for each in caught.value.diagnostics]


def test_missing_directory_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_tree(tmp_path / "nowhere")


@pytest.mark.parametrize("target", ["outside.csv", "/etc/hostname", "/dev/zero", "../../.."])
@pytest.mark.parametrize("name", ["roles.csv", "tests", "tests/x.yaml"])
def test_links_may_not_leave_the_root(tmp_path: Path, name: str, target: str) -> None:
    """A link to a file or folder outside is refused; nothing of the target is read or printed."""
    (tmp_path / "outside.csv").write_text("secret\n")
    root = write(tmp_path / "policies", {"vocabulary.yaml": VOCABULARY, "globex/roles.csv": b""})
    link = root / "acme" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / target)
    diagnostics = told(root)
    assert diagnostics
    assert any("leaves the policy directory" in each or "unknown file" in each for each in diagnostics)
    assert "secret" not in "\n".join(diagnostics)
    assert not read_tree(root, Limits()).tenants[ACME].files
    assert not told(root, GLOBEX)


def test_a_tenants_folder_may_not_be_a_link_out(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", {"roles.csv": b""})
    root = write(tmp_path / "policies", {"vocabulary.yaml": VOCABULARY})
    (root / "acme").symlink_to(tmp_path / "elsewhere")
    expected = ["acme: is a link that leaves the policy directory"]
    assert expected == told(root)


def test_links_inside_the_root_are_followed(tmp_path: Path) -> None:
    """As configuration mounts make them: names that link to a folder beside, which begins with a dot."""
    row = b"p, role:a, acme, **, FLOW, VIEW, allow\n"
    write(tmp_path, {"vocabulary.yaml": VOCABULARY, "acme/..2026/roles.csv": row})
    (tmp_path / "acme/roles.csv").symlink_to("..2026/roles.csv")
    loaded = load_tree(tmp_path).tenants[ACME]
    assert loaded.snapshot is not None
    assert len(loaded.snapshot.policy.rules) == 1


@pytest.mark.parametrize("name", ["roles.csv", "tests", "tenant.yaml"])
def test_link_to_itself_refuses_only_its_tenant(tmp_path: Path, name: str) -> None:
    root = write(tmp_path, {"vocabulary.yaml": VOCABULARY, "acme/bindings.csv": b"", "globex/roles.csv": b""})
    (root / "acme" / name).symlink_to(name)
    assert told(root)
    assert not told(root, GLOBEX)


def test_dangling_link_refuses_only_its_tenant(tmp_path: Path) -> None:
    root = write(tmp_path, {"vocabulary.yaml": VOCABULARY, "acme/bindings.csv": b"", "globex/roles.csv": b""})
    (root / "acme/roles.csv").symlink_to("nowhere.csv")
    expected = ["acme/roles.csv: is a link to nowhere"]
    assert expected == told(root)
    assert not told(root, GLOBEX)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["roles.csv", "tests/x.yaml"])
def test_pipe_in_a_folder_is_refused_without_opening_it(tmp_path: Path, name: str) -> None:
    """Opening one would wait for its writer: it is refused unopened."""
    root = write(tmp_path, {"vocabulary.yaml": VOCABULARY, "acme/tests/y.yaml": b"name: y\n", "globex/roles.csv": b""})
    os.mkfifo(root / "acme" / name)
    assert [f"acme/{name}: is neither a file nor a folder"] == told(root)
    assert not told(root, GLOBEX)


@pytest.mark.parametrize("name", [b"\xff.yaml", b"a\nb.yaml", "\u202elmay.yaml".encode()])
def test_unprintable_names_are_refused(tmp_path: Path, name: bytes) -> None:
    """A file name with a line break or outside UTF-8 has no place in a diagnostic or a revision."""
    root = write(tmp_path, {"vocabulary.yaml": VOCABULARY, "acme/tests/y.yaml": b"name: y\n", "globex/roles.csv": b""})
    Path(os.fsdecode(os.fsencode(root / "acme/tests") + b"/" + name)).write_bytes(b"name: x\n")
    (diagnostic,) = told(root)
    assert diagnostic.isprintable()
    assert not told(root, GLOBEX)


def test_unprintable_folder_name_is_reported_in_printable_form(tmp_path: Path) -> None:
    root = write(tmp_path, BASE)
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\n")).mkdir()
    with pytest.raises(PolicyError) as caught:
        load_tree(root)
    assert str(caught.value).isprintable()


def revision(files: dict[str, bytes], tenant: Tenant = ACME) -> str:
    return tree_of(files).revision(tenant)


def test_the_revision_is_of_bytes_and_paths(tmp_path: Path) -> None:
    """The same files give the same revision wherever they lie; 64 hexadecimal digits."""
    trees = [read_tree(write(tmp_path / name, BASE), Limits()) for name in ("one", "two")]
    assert trees[0].revision(ACME) == trees[1].revision(ACME)
    assert trees[0].revision(ACME) == revision(BASE)
    assert len(revision(BASE)) == 64
    assert int(revision(BASE), 16)


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({**BASE, "acme/roles.csv": b"# a comment\n"}, id="a comment"),
        pytest.param({**BASE, "acme/bindings.csv": b""}, id="an empty file more"),
        pytest.param({**BASE, "acme/tests/x.yaml": b"name: x\n"}, id="a test"),
        pytest.param({**BASE, "vocabulary.yaml": VOCABULARY + b"\n"}, id="the root"),
        pytest.param({**BASE, "resources.yaml": b"{}\n"}, id="resources"),
        pytest.param({"vocabulary.yaml": VOCABULARY, "acme/bindings.csv": b"", "globex/roles.csv": b""}, id="a rename"),
    ],
)
def test_the_revision_changes_with_any_file_of_the_tenant_and_the_root(files: dict[str, bytes]) -> None:
    assert revision(BASE) != revision(files)


def test_bytes_cannot_move_between_files_unseen() -> None:
    """Lengths are part of it: the same bytes cut elsewhere are another revision."""
    cuts = {revision({**BASE, "acme/bindings.csv": b"ab"[:cut], "acme/roles.csv": b"ab"[cut:]}) for cut in range(3)}
    assert len(cuts) == 3


def test_the_revision_is_silent_about_other_tenants() -> None:
    """Files of another tenant, or a new tenant, change the revision of the tree and of no other tenant."""
    other = {**BASE, "globex/roles.csv": b"# changed\n", "third/roles.csv": b""}
    assert revision(BASE) == revision(other)
    assert revision(BASE, GLOBEX) != revision(other, GLOBEX)
    assert tree_of(BASE).tree_revision != tree_of(other).tree_revision


def test_two_tenants_with_equal_files_differ_in_revision() -> None:
    """The path is part of it, and the tenant's name of the path."""
    assert revision(BASE) != revision(BASE, GLOBEX)


def test_files_that_change_during_a_read_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a tree of which one file is older than the other."""
    root = write(tmp_path, BASE)
    changes = iter(range(3))

    def read_and_change(directory: Path, limits: Limits, only: Tenant | None) -> policy_tree.Tree:
        tree = read_tree(directory, limits, only)
        for number in changes:
            write(
                root, {"acme/roles.csv": b"# later\n" * (number + 1), "acme/bindings.csv": b"# later\n" * (number + 1)}
            )
            break
        return tree

    monkeypatch.setattr(policy_tree, "read_tree", read_and_change)
    tree, unsettled = policy_tree.read_settled(root, Limits())
    assert not unsettled
    assert b"# later\n" * 3 == tree.tenants[ACME].get("roles.csv") == tree.tenants[ACME].get("bindings.csv")


@pytest.mark.parametrize("file", ["vocabulary.yaml", "acme/roles.csv"])
def test_folder_that_does_not_settle_is_not_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """One that all tenants share is waited for; one tenant's is named, and the others are read."""
    root = write(tmp_path, {**BASE, "globex/roles.csv": b""})

    def read_and_change(directory: Path, limits: Limits, only: Tenant | None) -> policy_tree.Tree:
        write(root, {file: (root / file).read_bytes() + b"#\n"})
        return read_tree(directory, limits, only)

    monkeypatch.setattr(policy_tree, "read_tree", read_and_change)
    monkeypatch.setattr(policy_tree, "_FIRST_PAUSE_S", 0.0)
    if file == "vocabulary.yaml":
        with pytest.raises(policy_tree.UnsettledError, match="changed each of 6 times"):
            policy_tree.read_settled(root, Limits())
    else:
        tree, unsettled = policy_tree.read_settled(root, Limits())
        assert {"acme"} == unsettled
        assert {ACME, GLOBEX} == tree.tenants.keys()


def test_stamp_changes_with_any_entry_except_those_of_git(tmp_path: Path) -> None:
    root = write(tmp_path, {**BASE, ".git/HEAD": b"one", "..data/acme/reach.csv": b""})
    before = policy_tree.stamp(root)
    write(root, {".git/HEAD": b"other", ".git/index": b""})
    assert before == policy_tree.stamp(root)
    for name in ("acme/roles.csv", "acme/new", "..data/acme/reach.csv"):
        before = policy_tree.stamp(root)
        write(root, {name: b"longer"})
        assert before != policy_tree.stamp(root), name
    assert policy_tree.stamp(tmp_path / "nowhere") is None


def test_stamp_changes_with_the_target_of_a_link(tmp_path: Path) -> None:
    """Also in folders that are not read: in a tenant's folder only `tests` is."""
    root = write(tmp_path, {**BASE, "acme/deep/er/real.csv": b""})
    (root / "acme" / "bindings.csv").symlink_to("deep/er/real.csv")
    before = policy_tree.stamp(root)
    write(root, {"acme/deep/er/other.csv": b"other"})
    assert before == policy_tree.stamp(root)
    write(root, {"acme/deep/er/real.csv": b"longer"})
    assert before != policy_tree.stamp(root)


@pytest.mark.parametrize("folder", ["acme", "acme/tests"])
def test_folder_past_its_limit_of_files_refuses_only_its_tenant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """The ignored ones count: they are listed too. Once there are fewer its stamp tells."""
    monkeypatch.setattr(policy_tree, "_ENTRIES", 5)
    root = write(tmp_path, {**BASE, **{f"{folder}/.{number}": b"" for number in range(6)}, "globex/roles.csv": b""})
    tree = read_tree(root, Limits())
    assert [f"{folder}: has more than 5 files, its limit"] == [
        str(each) for each in tree.tenants[ACME].report.diagnostics
    ]
    assert not tree.tenants[GLOBEX].report.diagnostics
    before = policy_tree.stamp(root)
    (root / folder / ".5").unlink()
    (root / folder / ".4").unlink()
    assert before != policy_tree.stamp(root)
    assert not read_tree(root, Limits()).tenants[ACME].report.diagnostics


def test_lack_of_descriptors_blames_no_file(tmp_path: Path) -> None:
    """It is an error of the whole reading, to be tried again."""
    root = write(tmp_path, BASE)
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom remit.policy.read import tree\n"
        "from remit.policy.read.limits import Limits\n"
        "opened = []\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "try:\n    while True: opened.append(open('/dev/null'))\nexcept OSError: pass\n"
        "for read in (tree.stamp, lambda root: tree.read_tree(root, Limits())):\n"
        "    for spare in range(3):\n"
        "        try: read(Path(sys.argv[1]))\n"
        "        except OSError as error: print(spare, error.strerror)\n"
        "        else: print(spare, 'read')\n"
        "        opened.pop()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, check=True)
    lack = "Too many open files"
    assert [f"0 {lack}", "1 read", "2 read", "0 read", "1 read", "2 read"] == done.stdout.splitlines()


def test_stamp_names_the_tenants_of_a_change(tmp_path: Path) -> None:
    """What is in no tenant's folder is all tenants', whatever its name."""
    files = ("acme/tests/a.yaml", "..data/acme/tests/a.yaml", ".shared/b.yaml", "globex/roles.csv")
    root = write(tmp_path, {**BASE, **dict.fromkeys(files, b"")})
    (root / "globex" / "tests").symlink_to("../.shared")
    for path, whose in {
        "acme/roles.csv": {"acme"},
        "acme/tests/a.yaml": {"acme"},
        "globex/new": {"globex"},
        "initech/new": {"initech"},
        "vocabulary.yaml": {""},
        "..data/acme/tests/a.yaml": {""},
        "..data/acme/new": {""},
        ".shared/b.yaml": {"", "globex"},
    }.items():
        before = policy_tree.stamp(root)
        write(root, {path: b"# changed"})
        after = policy_tree.stamp(root)
        assert before is not None
        assert after is not None
        assert whose == {name for name in after if before.get(name) != after[name]}, path
