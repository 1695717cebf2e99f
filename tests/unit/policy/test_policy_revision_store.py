"""Kept revisions: whole or not there, the last few, and what stands in for what."""

import errno
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from support.trees import tree_of

from remit.core.names import Tenant
from remit.policy.load import load_tree
from remit.policy.read.tree import Tree
from remit.policy.revisions.archive import Archive, RevisionNotStoredError
from remit.policy.revisions.store import Pin, RevisionStore

ACME = Tenant("acme")
FILES = {
    "vocabulary.yaml": b"kinds: {FLOW: {class: namespace, actions: [VIEW]}}\n",
    "acme/roles.csv": b"p, role:a, acme, **, FLOW, VIEW, allow\n",
    "acme/tests/x.yaml": b"name: x\n",
    "globex/roles.csv": b"",
}


@pytest.fixture
def kept(tmp_path: Path) -> RevisionStore:
    return RevisionStore(tmp_path / "revisions", 3, "/policies")


def trees(count: int) -> list[Tree]:
    return [tree_of({**FILES, "acme/bindings.csv": b"#\n" * number}) for number in range(count)]


def test_stored_revision_is_read_back_unchanged(kept: RevisionStore) -> None:
    (tree,) = trees(1)
    kept.keep(Archive.of(tree, ACME, 7, kept.source, "c0ffee"))
    (about,) = kept.revisions(ACME)
    assert (tree.revision(ACME), 7, "/policies", "c0ffee") == (
        about.revision,
        about.kept_us,
        about.source,
        about.commit,
    )
    found = kept.read(ACME, about.revision)
    assert tree.root.files == found.root.files
    assert tree.tenants[ACME].files == found.tenants[ACME].files
    assert [ACME] == list(found.tenants)


def test_unpacked_archive_is_a_policy_directory_of_the_same_revision(kept: RevisionStore, tmp_path: Path) -> None:
    (tree,) = trees(1)
    kept.keep(Archive.of(tree, ACME, 7, kept.source, ""))
    with zipfile.ZipFile(kept.directory / ACME / f"{tree.revision(ACME)}.zip") as archive:
        archive.extractall(tmp_path / "policies")
    loaded = load_tree(tmp_path / "policies").tenants[ACME]
    assert tree.revision(ACME) == loaded.revision
    assert loaded.snapshot is not None


def test_last_revisions_and_the_pinned_one_stay(kept: RevisionStore) -> None:
    made = trees(6)
    for number, tree in enumerate(made):
        kept.keep(Archive.of(tree, ACME, number, kept.source, ""))
        if number == 0:
            kept.pin(ACME, Pin(tree.revision(ACME), "someone", 1))
    expected = [made[number].revision(ACME) for number in (5, 4, 3, 0)]
    assert expected == [each.revision for each in kept.revisions(ACME)]
    kept.unpin(ACME, "someone", 2)
    assert kept.pinned(ACME) is None


def test_a_revision_that_comes_back_is_the_newest_again(kept: RevisionStore) -> None:
    one, other = trees(2)
    for number, tree in enumerate((one, other, one)):
        kept.keep(Archive.of(tree, ACME, number, kept.source, ""))
    newest = kept.newest(ACME)
    assert newest is not None
    assert (one.revision(ACME), 2) == (newest.revision, newest.kept_us)


def test_removed_tenant_and_other_source_have_no_newest_revision(kept: RevisionStore) -> None:
    one, other = trees(2)
    kept.keep(Archive.of(one, ACME, 1, kept.source, ""))
    assert replace(kept, source="/elsewhere").newest(ACME) is None
    kept.remove(ACME)
    assert kept.newest(ACME) is None
    assert [one.revision(ACME)] == [each.revision for each in kept.revisions(ACME)]
    kept.keep(Archive.of(other, ACME, 2, kept.source, ""))
    assert kept.newest(ACME) is not None


def test_each_changed_byte_of_a_stored_revision_is_found(kept: RevisionStore) -> None:
    """A flipped bit anywhere leaves the files as they were, or is noticed."""
    (tree,) = trees(1)
    kept.keep(Archive.of(tree, ACME, 1, kept.source, ""))
    path = kept.directory / ACME / f"{tree.revision(ACME)}.zip"
    whole = path.read_bytes()
    noticed = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            found = kept.read(ACME, tree.revision(ACME))
        except RevisionNotStoredError:
            noticed += 1
        else:
            assert tree.tenants[ACME].files == found.tenants[ACME].files
            assert tree.root.files == found.root.files
    assert noticed > len(whole) / 2


def test_full_disk_leaves_stored_revisions_intact(kept: RevisionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = trees(2)
    kept.keep(Archive.of(one, ACME, 1, kept.source, ""))

    def full(*paths: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        kept.keep(Archive.of(other, ACME, 2, kept.source, ""))
    assert [f"{one.revision(ACME)}.zip"] == [path.name for path in (kept.directory / ACME).iterdir()]


def test_a_pinned_revision_survives_a_power_cut(kept: RevisionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree,) = trees(1)
    kept.keep(Archive.of(tree, ACME, 1, kept.source, ""))
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))

    kept.pin(ACME, Pin(tree.revision(ACME), "ci", 1))

    stored = {path.stat().st_ino for path in (kept.directory / ACME, *(kept.directory / ACME).iterdir())}
    assert stored == set(synced)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"revision": "0"}', b'{"revision":1,"caller":2,"time_us":"x"}']
)
def test_a_pin_that_cannot_be_read_is_an_error(kept: RevisionStore, content: bytes) -> None:
    (kept.directory / ACME).mkdir(parents=True)
    (kept.directory / ACME / "pin.json").write_bytes(content)
    with pytest.raises(RevisionNotStoredError, match=r"pin\.json"):
        kept.pinned(ACME)


def test_a_prefix_names_one_revision_or_none(kept: RevisionStore) -> None:
    for number, tree in enumerate(trees(2)):
        kept.keep(Archive.of(tree, ACME, number, kept.source, ""))
    revision = kept.revisions(ACME)[0].revision
    assert revision == kept.find(ACME, revision[:12])
    for prefix in ("", "0" * 64):
        with pytest.raises(RevisionNotStoredError, match="begin"):
            kept.find(ACME, prefix)


def test_last_operator_action_names_who_unpinned(kept: RevisionStore) -> None:
    (tree,) = trees(1)
    kept.keep(Archive.of(tree, ACME, 1, kept.source, ""))
    assert Pin("", "", 0) == kept.last_order(ACME)
    kept.pin(ACME, pin := Pin(tree.revision(ACME), "ann", 2))
    assert pin == kept.last_order(ACME) == kept.pinned(ACME)
    kept.unpin(ACME, "bea", 3)
    assert Pin("", "bea", 3) == kept.last_order(ACME)
    assert kept.pinned(ACME) is None


def test_reverted_pin_leaves_the_previous_pin(kept: RevisionStore) -> None:
    (tree,) = trees(1)
    kept.keep(Archive.of(tree, ACME, 1, kept.source, ""))
    pin = Pin(tree.revision(ACME), "ann", 2)
    path = kept.directory / ACME / "pin.json"
    kept.pin(ACME, pin)()
    assert not path.exists()
    path.write_bytes(b"not to be guessed")
    kept.pin(ACME, pin)()
    assert b"not to be guessed" == path.read_bytes()


def test_pruned_revision_cannot_be_pinned(kept: RevisionStore) -> None:
    kept.directory.mkdir()
    with pytest.raises(RevisionNotStoredError, match="is not kept"):
        kept.pin(ACME, Pin("0" * 64, "ann", 1))
    assert kept.pinned(ACME) is None


def test_revision_pruned_by_one_worker_cannot_be_pinned_by_another(
    kept: RevisionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the pin and the pruning there is no room for a pin: it comes too late, and says so."""
    made = trees(4)
    for number, tree in enumerate(made[:3]):
        kept.keep(Archive.of(tree, ACME, number, kept.source, ""))
    oldest = made[0].revision(ACME)
    pinned: list[bool] = []

    def pin() -> None:
        try:
            kept.pin(ACME, Pin(oldest, "ann", 1))
        except RevisionNotStoredError:
            pinned.append(False)
        else:
            pinned.append(True)

    other = Thread(target=pin)
    look = RevisionStore.pinned

    def looked(kept: RevisionStore, tenant: Tenant) -> Pin | None:
        found = look(kept, tenant)
        other.start()
        other.join(0.2)
        return found

    monkeypatch.setattr(RevisionStore, "pinned", looked)
    kept.keep(Archive.of(made[3], ACME, 3, kept.source, ""))
    other.join()
    assert [False] == pinned
    assert not (kept.directory / ACME / f"{oldest}.zip").exists()
