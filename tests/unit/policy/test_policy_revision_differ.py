"""Two stored revisions, compared in a process of their own as here."""

from collections.abc import Iterator

import pytest
from support.trees import snapshot_of, tree_of

from remit.core.names import Tenant
from remit.engine.diff import diff
from remit.engine.inquiry import TooLargeError
from remit.policy.read.limits import Limits
from remit.policy.revisions.archive import Archive, RevisionNotLoadableError, RevisionNotStoredError
from remit.policy.revisions.differ import NAMES_LIMIT, ROWS_LIMIT, RevisionArchive, RevisionDiff, RevisionDiffer
from remit.policy.revisions.explainer import ArchivedPolicy
from remit.process.errors import ChildEndedError

ACME = Tenant("acme")
FILES = {
    "vocabulary.yaml": b"kinds: {FLOW: {class: namespace, actions: [VIEW, DELETE]}}\nrelations: {SUBFLOW: {}}\n",
    "acme/roles.csv": b"p, role:a, acme, **, FLOW, VIEW, allow\n",
    "acme/bindings.csv": b"g, user:ada, role:a, acme/x\n",
}
PATIENCE_S = 60.0


def files(bindings: str) -> dict[str, bytes]:
    return {**FILES, "acme/bindings.csv": bindings.encode()}


def archived(content: dict[str, bytes]) -> RevisionArchive:
    archive = Archive.of(tree_of(content), ACME, 7, "/policies", "")
    return RevisionArchive(archive.about.revision, ArchivedPolicy(archive.content, archive.about.revision))


@pytest.fixture
def differ() -> Iterator[RevisionDiffer]:
    made = RevisionDiffer()
    yield made
    made.stop()


def compared(differ: RevisionDiffer, old: dict[str, bytes], new: dict[str, bytes]) -> RevisionDiff:
    return differ.diff(ACME, archived(old), archived(new), Limits(), PATIENCE_S)


def test_a_process_finds_what_is_found_here(differ: RevisionDiffer) -> None:
    new = files("# a comment\ng, user:ada, role:a, acme/x\ng, user:bob, role:a, acme/y.**\n")
    found = compared(differ, FILES, new)
    assert diff(ACME, snapshot_of(FILES, "acme"), snapshot_of(new, "acme")) == found.found
    assert [("acme/bindings.csv", 3)] == [(row.file, row.line) for row in found.added]
    # A row that moved is no change.
    assert () == found.removed
    back = compared(differ, new, FILES)
    assert (found.added, ()) == (back.removed, back.added)


def test_rows_beyond_the_limit_are_counted_alone(differ: RevisionDiffer) -> None:
    many = "".join(f"g, user:u{number}, group:g, acme\n" for number in range(ROWS_LIMIT + 1))
    found = compared(differ, FILES, files(many))
    assert (ROWS_LIMIT + 1, ()) == (found.found.rows_added, found.added)
    assert 1 == found.found.rows_removed == len(found.removed)


def test_an_answer_beyond_the_limit_is_an_error(differ: RevisionDiffer) -> None:
    many = "".join(f"g, user:u{number}, role:a, acme\n" for number in range(NAMES_LIMIT))
    with pytest.raises(TooLargeError, match=r"would hold 1000\d names: at most 10000"):
        compared(differ, FILES, files(many))


def test_a_revision_that_does_not_load_is_an_error_of_its_own(differ: RevisionDiffer) -> None:
    """As one whose files another version of remit took."""
    with pytest.raises(RevisionNotLoadableError, match="does not load"):
        compared(differ, FILES, files("g, user:ada\n"))


def test_a_damaged_archive_is_an_error(differ: RevisionDiffer) -> None:
    whole = archived(FILES)
    damaged = whole._replace(archive=whole.archive._replace(files=whole.archive.files[:-30]))
    with pytest.raises(RevisionNotStoredError, match="damaged"):
        differ.diff(ACME, whole, damaged, Limits(), PATIENCE_S)


def test_too_long_a_comparison_is_too_large_and_the_next_one_goes_on(differ: RevisionDiffer) -> None:
    with pytest.raises(TooLargeError, match=r"were not compared within 0\.001 s"):
        differ.diff(ACME, archived(FILES), archived(files("")), Limits(), 0.001)
    assert compared(differ, FILES, files("")).found.access


def test_nothing_starts_after_the_stop(differ: RevisionDiffer) -> None:
    differ.stop()
    with pytest.raises(ChildEndedError, match="stopping"):
        compared(differ, FILES, files(""))
