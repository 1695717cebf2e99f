"""Whose signatures a node asks for, before it takes anything over from a policy store."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text, update
from support.fleet import allows, files, publish
from support.trees import tree_of

from remit.audit.chain.signing import SigningKey
from remit.core.names import Tenant
from remit.core.runtime import parse_runtime_row
from remit.fleet.bindings import BindingChange, RowKey
from remit.fleet.errors import ForgedReleaseError
from remit.fleet.history import Known, Pulled
from remit.fleet.schema.tables import releases
from remit.fleet.store import Draft, PolicyStore, Reviewed
from remit.fleet.trust import Trust


@pytest.fixture
def store(url: str) -> Iterator[PolicyStore]:
    with PolicyStore(url) as made:
        made.migrate()
        yield made.open()


def taken(pulled: Pulled | None) -> Known:
    assert pulled is not None
    return pulled.known


def grant(store: PolicyStore, who: str) -> None:
    with store.changing(Tenant("acme")) as write:
        write.commit(BindingChange((parse_runtime_row(who, "role:viewer"),), ()), "service:admin")


def test_what_is_granted_is_signed_once_keys_are_known(store: PolicyStore, url: str, tmp_path: Path) -> None:
    release, binding, other = (SigningKey.new(tmp_path / name) for name in ("release", "binding", "other"))
    trust = Trust([release.public], [binding.public])
    publish(store, 0, release, acme="")
    with PolicyStore(url, key=binding) as signing, PolicyStore(url, key=other) as mallory:
        grant(store, "user:zoe")
        with pytest.raises(ForgedReleaseError, match="change 2 of tenant `acme` is not signed, and `binding_keys`"):
            store.pull(Known(), trust)
        # Its node had taken over the change before.
        grant(signing, "user:yan")
        known = taken(store.pull(Known(), trust))
        grant(mallory, "user:eve")
        for each in (known, Known()):
            with pytest.raises(ForgedReleaseError, match=f"change 4 .* no good signature of key `{other.public.id}`"):
                store.pull(each, trust)
        with pytest.raises(ForgedReleaseError, match="change 4"):
            store.pull(known, Trust([other.public], [binding.public]))
        assert taken(store.pull(known, Trust([release.public]))).tenants["acme"].head.seq == 4


def test_a_publishers_signature_does_not_vouch_for_what_was_granted(
    store: PolicyStore, url: str, tmp_path: Path
) -> None:
    release, binding = (SigningKey.new(tmp_path / name) for name in ("release", "binding"))
    trust = Trust([release.public], [binding.public])
    publish(store, 0, release, acme="")
    with PolicyStore(url, key=binding) as signing:
        grant(signing, "user:zoe")
    adopts = RowKey.of(parse_runtime_row("user:zoe", "role:viewer"))
    draft = Draft(tree_of(files(acme=allows("ann"))), "ci")
    store.publish(draft, 1, release, lambda tenant, rows: Reviewed((), (adopts,)))
    known = taken(store.pull(Known(), trust))

    grant(store, "user:eve")
    evil = RowKey.of(parse_runtime_row("user:eve", "role:viewer"))
    draft = Draft(tree_of(files(acme=allows("bob"))), "ci")
    store.publish(draft, 2, release, lambda tenant, rows: Reviewed((), (evil,)))

    for each in (known, Known()):
        with pytest.raises(ForgedReleaseError, match="change 5 of tenant `acme` is not signed"):
            store.pull(each, trust)


def test_a_publisher_cannot_say_that_a_row_has_ended(store: PolicyStore, url: str, tmp_path: Path) -> None:
    """It may be a suspension."""
    release, binding = (SigningKey.new(tmp_path / name) for name in ("release", "binding"))
    publish(store, 0, release, acme="")
    with PolicyStore(url, key=binding) as signing:
        grant(signing, "user:zoe")
    with PolicyStore(url, key=release) as publishing, publishing.changing(Tenant("acme")) as write:
        zoe = RowKey.of(parse_runtime_row("user:zoe", "role:viewer"))
        write.commit(BindingChange((), (), (zoe,)), "service:ci")
    with pytest.raises(ForgedReleaseError, match=r"change 3 .* no good signature"):
        store.pull(Known(), Trust([release.public], [binding.public]))


def test_a_change_cannot_borrow_a_signature(store: PolicyStore, url: str, tmp_path: Path) -> None:
    binding = SigningKey.new(tmp_path / "binding")
    publish(store, 0, acme="")
    with PolicyStore(url, key=binding) as signing:
        grant(signing, "user:zoe")
    grant(store, "user:eve")
    with store.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE changes SET (key_id, signature) = (SELECT key_id, signature FROM changes WHERE seq = 2) WHERE seq = 3"
            )
        )
    with pytest.raises(ForgedReleaseError, match=f"change 3 .* no good signature of key `{binding.public.id}`"):
        store.pull(Known(), Trust((), [binding.public]))


def test_a_release_that_is_replaced_during_a_pull_serves_nowhere(store: PolicyStore, url: str, tmp_path: Path) -> None:
    """Its number is known, and so its signature is not looked at again."""
    key = SigningKey.new(tmp_path / "release")
    trust = Trust([key.public])
    signed = publish(store, 0, key, acme="")
    known = taken(store.pull(Known(), trust))
    grant(store, "user:zoe")
    forged = replace(signed.release, message="forged")

    with PolicyStore(url) as mallory:

        @event.listens_for(store.engine, "before_cursor_execute")
        def swap(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("SELECT releases.seq, releases.hash, releases.format"):
                with mallory.engine.begin() as connection:
                    connection.execute(update(releases).values(body=forged.text, hash=forged.hash))

        with suppress(ForgedReleaseError):
            pulled = store.pull(known, trust)
            assert pulled is not None
            assert signed.release == pulled.release
        with pytest.raises(ForgedReleaseError, match="release 1 has a signature"):
            store.pull(Known(), trust)
