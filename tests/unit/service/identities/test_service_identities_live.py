"""The identities of a running server: a change counts, a mistake does not, and both are recorded."""

import os
from pathlib import Path
from typing import Any

import pytest

from remit.audit.errors import JournalUnavailable
from remit.service.errors import StartupError
from remit.service.identities.certificate_names import CertificateName, NameType
from remit.service.identities.identities import Identities
from remit.service.identities.live import LiveIdentities

SHOP = CertificateName(NameType.DNS, "shop.internal")


def write(path: Path, principal: str) -> None:
    path.write_text(f"callers:\n  - {{as: '{principal}', dns: shop.internal}}\n")


class Records:
    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.away = False

    def __call__(self, kind: str, /, *, detail: dict[str, Any]) -> None:
        if self.away:
            raise JournalUnavailable("away")
        self.told.append((kind, detail))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "identities.yaml"
    write(path, "service:shop")
    return path


@pytest.fixture
def live(path: Path) -> LiveIdentities:
    live = LiveIdentities(path)
    live.load()
    return live


def test_without_a_file_nothing_is_mapped() -> None:
    live = LiveIdentities(None)
    live.load()
    live.look()
    live.begin(Records())
    live.stop()
    assert Identities() == live.current


def test_bad_file_prevents_the_start(path: Path) -> None:
    path.write_text("callers: 1\n")
    with pytest.raises(StartupError, match=rf"{path}:1:10: expected `callers` as a list"):
        LiveIdentities(path).load()


def test_change_counts_and_subscribers_hear_of_it(path: Path, live: LiveIdentities) -> None:
    told: list[Identities] = []
    live.subscribe(told.append)
    live.look()
    write(path, "service:store")
    live.look()
    assert [live.current] == told
    assert "service:store" == live.current.of_certificate(SHOP)


@pytest.mark.parametrize("text", ["", "callers:\n  - {as: 'serv", "caller: []\n"])
def test_bad_file_keeps_the_last_good_one(path: Path, live: LiveIdentities, text: str) -> None:
    path.write_text(text)
    live.look()
    assert "service:shop" == live.current.of_certificate(SHOP)
    assert f"{path}:" in live.error
    write(path, "service:shop")
    live.look()
    assert ("service:shop", "") == (live.current.of_certificate(SHOP), live.error)


def test_file_that_is_gone_keeps_the_last_good_one(path: Path, live: LiveIdentities) -> None:
    path.unlink()
    live.look()
    assert "service:shop" == live.current.of_certificate(SHOP)
    assert "cannot be read: No such file" in live.error


def test_file_behind_a_link_is_followed(path: Path, tmp_path: Path) -> None:
    """As Kubernetes mounts them: the link changes, not the file."""
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    live = LiveIdentities(link)
    live.load()
    other = tmp_path / "other.yaml"
    write(other, "service:store")
    (tmp_path / "new").symlink_to(other)
    (tmp_path / "new").replace(link)
    live.look()
    assert "service:store" == live.current.of_certificate(SHOP)


def test_equal_file_changes_nothing(path: Path, live: LiveIdentities) -> None:
    told: list[Identities] = []
    live.subscribe(told.append)
    os.utime(path, (1, 1))
    live.look()
    assert [] == told


def test_each_version_is_recorded_when_the_audit_is_there(path: Path, live: LiveIdentities) -> None:
    records, first = Records(), live.current.revision
    records.away = True
    live.begin(records)
    write(path, "service:store")
    live.look()
    path.write_text("callers: 1\n")
    live.look()
    assert "service:store" == live.current.of_certificate(SHOP)
    live.stop()
    records.away = False
    live.begin(records)
    live.stop()
    assert ["IDENTITIES_LOADED", "IDENTITIES_LOADED", "IDENTITIES_REFUSED"] == [kind for kind, _ in records.told]
    (_, one), (_, two), (_, three) = records.told
    assert (first, 1, 0, []) == (one["revision"], one["callers"], one["refused"], one["issuers"])
    assert (first, live.current.revision) == (two["replaces"], two["revision"])
    assert (live.current.revision, [f"{path}:1:10: expected `callers` as a list"]) == (
        three["serving"],
        three["diagnostics"],
    )
