"""When a watch says that there may be something to look at."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from remit.policy.build.watch import changes

NEVER_S = math.inf


@pytest.fixture
def stop() -> Iterator[Event]:
    event = Event()
    yield event
    event.set()


def test_watch_polls_without_file_events(tmp_path: Path, stop: Event) -> None:
    """As for file systems that tell of no change."""
    told = changes(tmp_path, 0.05, 0.01, stop)
    for _ in range(4):
        next(told)


def test_changes_that_never_settle_are_reported(tmp_path: Path, stop: Event) -> None:
    told = changes(tmp_path, 0.2, NEVER_S, stop)
    next(told)
    file = tmp_path / "roles.csv"

    def write() -> None:
        while not stop.wait(0.01):
            file.write_text("#\n")

    Thread(target=write, daemon=True).start()
    for _ in range(3):
        next(told)


def test_watch_reports_a_directory_that_vanishes_and_returns(tmp_path: Path, stop: Event) -> None:
    """And so is what happens in the new one of its name."""
    directory = tmp_path / "policies"
    directory.mkdir()
    told = changes(directory, 0.05, NEVER_S, stop)
    next(told)
    shutil.rmtree(directory)
    next(told)
    directory.mkdir()
    next(told)
    heard = Event()

    def hear() -> None:
        # Once when the watch has begun, and once for the file.
        for _ in range(2):
            next(told)
        heard.set()

    Thread(target=hear, daemon=True).start()
    for number in range(600):
        (directory / "roles.csv").write_text(f"# {number}\n")
        if heard.wait(0.1):
            break
    assert heard.is_set()


def test_stop_ends_the_watch(tmp_path: Path, stop: Event) -> None:
    told = changes(tmp_path, 0.05, NEVER_S, stop)
    next(told)
    stop.set()
    assert len(list(told)) <= 1


def test_polling_replaces_a_watch_that_the_system_refuses(
    tmp_path: Path, stop: Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise OSError("inotify watch limit reached")

    monkeypatch.setattr("watchfiles.watch", refuses)
    told = changes(tmp_path, 0.05, 0.01, stop)
    for _ in range(3):
        next(told)
    assert "the directory is read every 0.01 s: inotify watch limit reached" in caplog.text
    assert 1 == len(caplog.records)


def test_a_link_is_not_followed(tmp_path: Path, stop: Event) -> None:
    """To watch the whole file system, where one leads there, would take long or more than the system gives."""
    aside = tmp_path / "aside"
    (tmp_path / "policies" / "acme").mkdir(parents=True)
    aside.mkdir()
    (tmp_path / "policies" / "acme" / ".all").symlink_to(aside)
    told = changes(tmp_path / "policies", 0.05, NEVER_S, stop)
    for _ in range(2):
        next(told)
    (aside / "new").touch()
    write = (tmp_path / "policies" / "acme" / "roles.csv").touch
    Thread(target=lambda: stop.wait(1) or write(), daemon=True).start()
    next(told)
    assert (tmp_path / "policies" / "acme" / "roles.csv").exists()
