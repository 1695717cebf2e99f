"""What nobody else may read or write: folders, locks and keys."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from support.certificates import Authority
from support.server import REMIT, Server, remit
from system.test_refuse_to_start import serve as refused

from remit.audit.chain.signing import SigningKey

WITHOUT_UMASK = ("sh", "-c", 'umask 000; exec "$0" "$@"', REMIT)


def open_to_others(folder: Path) -> list[str]:
    found = [folder, *folder.rglob("*")]
    return sorted(f"{each}: {mode:o}" for each in found if (mode := stat.S_IMODE(each.stat().st_mode)) & 0o077)


def test_folders_and_files_are_private_with_any_umask(
    serve: Callable[..., Server], untested: Path, tmp_path: Path
) -> None:
    audit = tmp_path / "made" / "here" / "audit.db"
    server = serve(
        *("--audit-spool", "spool/spool.db"), audit=f"sqlite:///{audit}", policies=untested, launcher=WITHOUT_UMASK
    )
    with server.client() as client:
        assert client.tenant("acme").check("user:bob", "VIEW", "FLOW", "acme.finance").allowed
        revision = client.status("acme").tenants[0].revision
    assert 0 == remit("rollback", "acme", revision, "--target", server.target).returncode
    folders = [tmp_path / "made", server.folder / "var", server.folder / "spool"]
    assert {"audit.db", "audit.db-wal", "spool.db", ".lock", ".audits", ".audits.lock", "pin.json"} <= {
        each.name for folder in folders for each in folder.rglob("*")
    }
    assert [[]] * 3 == [open_to_others(folder) for folder in folders]
    assert 0 == server.terminate()


@pytest.mark.parametrize("name", [".", "acme", "acme/pin.json", ".lock"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_revisions_that_others_may_write_are_refused(tmp_path: Path, untested: Path, name: str, mode: int) -> None:
    revisions = tmp_path / "revisions"
    (revisions / "acme").mkdir(parents=True)
    (revisions / "acme" / "pin.json").touch()
    (revisions / ".lock").touch()
    open_ = revisions / name
    open_.chmod(open_.stat().st_mode | mode)
    told = refused(tmp_path, untested)
    assert f"setting `revisions`: others than its owner may write to `{open_}`, and so decide what this node" in told
    assert f"`chmod -R go-w {revisions}`" in told


@pytest.mark.parametrize("setting", ["audit_key", "tls_key", "audit_redact_key"])
@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660])
def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path, untested: Path, setting: str, mode: int) -> None:
    file = tmp_path / "secret"
    flags = [f"--{setting.replace('_', '-')}", str(file)]
    if setting == "audit_key":
        SigningKey.new(file)
    elif setting == "audit_redact_key":
        file.write_text("0" * 64)
        flags += ["--audit-redact", "principal=hash"]
    else:
        authority = Authority(tmp_path, trustme.CA())
        cert, key = authority.signed("server", "localhost")
        key.rename(file)
        flags += ["--tls-cert", str(cert), "--tls-client-ca", str(authority.certificate)]
    file.chmod(mode)
    told = refused(tmp_path, untested, *flags)
    assert f"setting `{setting}`: `{file}` holds a secret and " in told
    assert f"(mode {mode:04o}): expected 0600 or less, or 0640 or less for a file that root owns; run `chmod " in told
    assert not (tmp_path / "audit.db").exists()
