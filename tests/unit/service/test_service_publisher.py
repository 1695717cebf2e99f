"""A server that publishes its policy directory reads, loads and publishes what has changed."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.runtime import files
from support.trees import Files, write

from remit.core.names import Tenant
from remit.core.runtime import parse_runtime_row
from remit.fleet.bindings import BindingChange
from remit.fleet.journal import ReleaseJournal
from remit.fleet.store import PolicyStore
from remit.service.directory import publisher as module
from remit.service.directory.publisher import DirectoryPublisher
from remit.service.directory.source_state import SourceState
from remit.service.settings import Settings

NAMES = ("acme", "globex", "hooli", "initech")


def of(name: str) -> Files:
    return {path.replace("acme", name): text.replace(b"acme", name.encode()) for path, text in files().items()}


class Place:
    """A policy directory of some tenants, and its store."""

    def __init__(self, folder: Path) -> None:
        self.directory = folder / "policies"
        for name in NAMES:
            write(self.directory, of(name))
        settings = Settings(
            policies=self.directory, policy_store=f"sqlite:///{folder / 'policy.db'}", releases=folder / "releases"
        )
        self.store = PolicyStore(settings.policy_store)
        self.store.migrate()
        self.journal = ReleaseJournal(folder / "releases")
        self.journal.begin()
        self.publisher = DirectoryPublisher(settings, self.store, self.journal)

    def edit(self, path: str, text: str = "# edited\n") -> None:
        with (self.directory / path).open("a") as file:
            file.write(text)

    def released(self) -> tuple[int, set[str]]:
        """The number of the newest release, and its tenants."""
        newest = self.store.newest()
        assert newest is not None
        return newest.release.seq, set(newest.release.tenants)

    def close(self) -> None:
        self.publisher.stop()
        self.journal.end()
        self.store.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def test_an_edit_is_published_although_somebody_grants_in_another_tenant_before_each_attempt(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.publisher.first()
    publish, names = place.store.publish, iter(NAMES)
    attempts = 0

    def granting(*arguments: Any, **more: Any) -> Any:
        nonlocal attempts
        attempts += 1
        row = parse_runtime_row("user:zoe", "role:viewer", "a.**")
        with place.store.changing(Tenant(next(names))) as change:
            change.commit(BindingChange((row,), ()), "ci")
        return publish(*arguments, **more)

    monkeypatch.setattr(place.store, "publish", granting)
    place.edit("vocabulary.yaml")
    place.publisher.step()

    assert (2, {*NAMES}) == place.released()
    assert attempts == 1


def test_an_edit_of_a_tenant_reads_no_other(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TICK_S", 0.0)
    place.publisher.first()
    read: list[object] = []
    read_settled = module.read_settled

    def noted(directory: Path, limits: Any, only: Tenant | None = None) -> Any:
        read.append(only)
        return read_settled(directory, limits, only)

    monkeypatch.setattr(module, "read_settled", noted)
    for seq, (path, tenant) in enumerate((("globex/bindings.csv", "globex"), ("acme/roles.csv", "acme")), start=2):
        place.edit(path)
        place.publisher.step()
        assert (seq, {*NAMES}) == place.released()
        assert read.pop() == tenant

    write(place.directory, of("umbrella"))
    shutil.rmtree(place.directory / "hooli")
    place.publisher.step()
    assert (4, {"acme", "globex", "initech", "umbrella"}) == place.released()

    place.publisher.step()
    place.edit("vocabulary.yaml")
    place.publisher.step()
    assert 5 == place.released()[0]
    assert None in read


def test_a_folder_that_is_removed_just_after_it_came_is_refused_no_more(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "young_folders", lambda *_: frozenset({"new"}))
    place.publisher.first()
    write(place.directory, {"new/bindings.csv": b"g, user:x, role:none, new\n"})
    place.publisher.step()
    assert {"new"} == SourceState.read(place.journal).tenants.keys()

    shutil.rmtree(place.directory / "new")
    place.publisher.step()

    assert {} == SourceState.read(place.journal).tenants
    assert (1, {*NAMES}) == place.released()
