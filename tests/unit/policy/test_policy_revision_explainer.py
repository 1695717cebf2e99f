"""Revisions in one piece, and answers by them: here and in a process of their own alike."""

import io
import zipfile
from collections.abc import Iterator

import pytest
from support.trees import snapshot_of as loaded
from support.trees import tree_of

from remit.core.errors import MalformedQuestionError
from remit.core.names import Subject, Tenant
from remit.core.patterns import EVERYWHERE
from remit.core.question import parse_question, parse_reach_question
from remit.core.rows import Link
from remit.core.runtime import RuntimeRow
from remit.policy.read.limits import Limits
from remit.policy.revisions.archive import Archive, RevisionNotStoredError, read_archive
from remit.policy.revisions.explainer import ArchivedPolicy, RevisionExplainer, snapshot_of, why
from remit.policy.revisions.runtime_archive import RuntimeArchive
from remit.process.errors import ChildEndedError

ACME = Tenant("acme")
FILES = {
    "vocabulary.yaml": b"kinds: {FLOW: {class: namespace, actions: [VIEW, DELETE]}}\nrelations: {SUBFLOW: {}}\n",
    "acme/roles.csv": b"p, role:a, acme, **, FLOW, VIEW, allow\n",
    "acme/bindings.csv": b"g, user:ada, role:a, acme/x\n",
    "globex/roles.csv": b"",
}
ADA_VIEWS = parse_question("user:ada", "VIEW", "FLOW", "x")
REACHES = parse_reach_question("x", "y", "SUBFLOW")
PATIENCE_S = 60.0


def archived(archive: Archive) -> ArchivedPolicy:
    return ArchivedPolicy(archive.content, archive.about.revision)


def archive_of(number: int = 0, tenant: Tenant = ACME) -> Archive:
    tree = tree_of({**FILES, "acme/bindings.csv": FILES["acme/bindings.csv"] + b"#\n" * number})
    return Archive.of(tree, tenant, 7, "/policies", "")


@pytest.fixture(scope="module")
def historian() -> Iterator[RevisionExplainer]:
    made = RevisionExplainer(Limits())
    yield made
    made.stop()


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def test_past_revision_explains_as_when_it_served(historian: RevisionExplainer) -> None:
    snapshot = loaded(FILES, "acme")
    archive = archive_of()
    assert snapshot.revision == archive.about.revision
    here = snapshot_of(archived(archive), ACME, snapshot.revision, Limits())
    for question in (ADA_VIEWS, parse_question("user:eve", "DELETE", "FLOW", "x"), REACHES):
        expected = why(snapshot, question)
        assert expected == why(here, question)
        told = historian.why(ACME, snapshot.revision, question, lambda: archived(archive), PATIENCE_S)
        assert expected == told
        assert expected.decision.recorded == told.decision.recorded


def test_the_archive_is_asked_for_once(historian: RevisionExplainer) -> None:
    """Until others came after it."""
    asked: list[int] = []

    def explain(number: int) -> None:
        archive = archive_of(10 + number)

        def content() -> ArchivedPolicy:
            asked.append(number)
            return archived(archive)

        historian.why(ACME, archive.about.revision, ADA_VIEWS, content, PATIENCE_S)

    for number in (0, 0, 1, 0, 1, 2, 0):
        explain(number)
    assert [0, 1, 2, 0] == asked


def test_a_revision_of_another_tenant_is_not_there(historian: RevisionExplainer) -> None:
    """Though the process has loaded it, and the caller knows all of its digits."""
    archive = archive_of(50)
    revision = archive.about.revision
    historian.why(ACME, revision, ADA_VIEWS, lambda: archived(archive), PATIENCE_S)

    def missing() -> ArchivedPolicy:
        raise RevisionNotStoredError("gone")

    with pytest.raises(RevisionNotStoredError, match="gone"):
        historian.why(Tenant("globex"), revision, ADA_VIEWS, missing, PATIENCE_S)


def test_question_outside_the_old_vocabulary_is_malformed(historian: RevisionExplainer) -> None:
    """There as here: with the field that is off."""
    archive = archive_of(20)
    question = parse_question("user:ada", "VIEW", "FLOW", "")
    with pytest.raises(MalformedQuestionError) as caught:
        historian.why(ACME, archive.about.revision, question, lambda: archived(archive), PATIENCE_S)
    assert ["namespace"] == [each.field for each in caught.value.violations]


def test_missing_archive_does_not_end_the_explainer_process(historian: RevisionExplainer) -> None:
    archive = archive_of(30)

    def missing() -> ArchivedPolicy:
        raise RevisionNotStoredError("gone")

    with pytest.raises(RevisionNotStoredError, match="gone"):
        historian.why(ACME, "0" * 64, ADA_VIEWS, missing, PATIENCE_S)
    assert historian.why(ACME, archive.about.revision, ADA_VIEWS, lambda: archived(archive), PATIENCE_S)


def test_slow_explanation_is_abandoned_and_the_next_is_answered(historian: RevisionExplainer) -> None:
    rows = b"".join(b"g, user:u%d, role:a, acme\n" % number for number in range(60_000))
    tree = tree_of({**FILES, "acme/bindings.csv": rows})
    large = Archive.of(tree, ACME, 7, "/policies", "")
    with pytest.raises(ChildEndedError, match="in time"):
        historian.why(ACME, large.about.revision, ADA_VIEWS, lambda: archived(large), 0.05)
    archive = archive_of(40)
    assert historian.why(ACME, archive.about.revision, ADA_VIEWS, lambda: archived(archive), PATIENCE_S)


def test_stopped_explainer_refuses_questions() -> None:
    stopped = RevisionExplainer(Limits())
    stopped.stop()
    with pytest.raises(ChildEndedError, match="stopping"):
        stopped.why(ACME, "0" * 64, ADA_VIEWS, lambda: ArchivedPolicy(b"", "0" * 64), PATIENCE_S)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "damaged"),
        (b"PK" * 50, "damaged"),
        (zipped({"vocabulary.yaml": b"kinds: {}\n"}), "do not have the hash"),
        (archive_of(1).content, "do not have the hash"),
        (archive_of(tenant=Tenant("globex")).content, "files of another tenant"),
        (zipped({**FILES}), "files of another tenant"),
    ],
    ids=range(6),
)
def test_an_archive_that_is_not_the_revision_is_refused(content: bytes, told: str) -> None:
    revision = archive_of().about.revision
    with pytest.raises(RevisionNotStoredError, match=told):
        read_archive("revision", content, ACME, revision)


def test_archive_of_another_tenant_is_refused() -> None:
    """Though all its files together have that hash."""
    globex = archive_of(tenant=Tenant("globex"))
    assert read_archive("revision", globex.content, Tenant("globex"), globex.about.revision)
    with pytest.raises(RevisionNotStoredError, match="another tenant"):
        read_archive("revision", globex.content, ACME, globex.about.revision)


def test_rows_of_run_time_are_archived() -> None:
    row = RuntimeRow(Subject("user:ada"), Subject("role:a")).link(ACME, 7)
    archive = RuntimeArchive("0" * 64, "", (row,), ())
    assert archive == RuntimeArchive.read("revision", archive.content, ACME, 1_000)


@pytest.mark.parametrize("file", ["runtime:change", "roles.csv"])
def test_a_row_that_no_change_granted_is_damage(file: str) -> None:
    row = Link(Subject("user:ada"), Subject("role:a"), ACME, EVERYWHERE, file, 0)
    content = RuntimeArchive("0" * 64, "", (row,), ()).content
    with pytest.raises(RevisionNotStoredError, match="damaged"):
        RuntimeArchive.read("revision", content, ACME, 1_000)


def test_archive_that_unpacks_past_its_limit_is_refused() -> None:
    """Neither by its own account nor by a false one."""
    bomb = bytearray(zipped({"vocabulary.yaml": bytes(50_000_000)}))
    assert len(bomb) < 100_000
    with pytest.raises(RevisionNotStoredError, match="at most 1000000"):
        read_archive("revision", bytes(bomb), ACME, "0" * 64, 1_000_000)
    size = (50_000_000).to_bytes(4, "little")
    while size in bomb:
        place = bomb.index(size)
        bomb[place : place + 4] = (5_000).to_bytes(4, "little")
    with pytest.raises(RevisionNotStoredError, match="damaged"):
        read_archive("revision", bytes(bomb), ACME, "0" * 64, 1_000_000)
