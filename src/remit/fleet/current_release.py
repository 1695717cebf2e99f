"""What a node's disk says of its release: `release.json` beside the files, and the positions of each tenant."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from remit.audit.chain.chain import Head
from remit.core.names import Tenant
from remit.core.position import Position
from remit.files import make_private, open_private, write_whole
from remit.fleet.change import position_of
from remit.fleet.history import REMEMBERED, Pulled, TenantPosition, is_remembered
from remit.fleet.release import Release

_LINE: Final = re.compile(r"^(\d+) ([0-9a-f]{16})$", re.MULTILINE)
_LONG: Final = 64 * REMEMBERED
"""Bytes from which on a tenant's file is written anew, without the positions that need not be remembered."""
ROOT: Final = ""
"""The folder of the files that are no tenant's."""


class Fork(NamedTuple):
    """The policy store had another history than this node."""

    text: str
    """How they differed."""
    release: int
    """What the node took over then."""
    hash: str


class CurrentRelease(NamedTuple):
    """What `release.json` says of the release that the policy files are from."""

    seq: int
    hash: str
    tenants: Mapping[Tenant, TenantPosition]
    fork: Fork | None = None
    """The last one, however long ago."""
    passed: Mapping[Tenant, dict[int, Position]] = {}
    """The positions of each tenant that this node keeps, the present one included."""
    doubts: Mapping[Tenant, tuple[int, int]] = {}
    """The numbers of each tenant's changes, from and to, that the history before the last fork had too, or may have had."""

    heads: Mapping[Tenant, Position] = {}
    """The positions of tenants that need not be made again."""

    def position(self, tenant: Tenant) -> Position:
        """Of a tenant that it has."""
        return self.heads.get(tenant) or position_of(tenant, self.tenants[tenant].head)

    def after(self, before: "CurrentRelease | None") -> "CurrentRelease":
        """The same with `heads`. Most are those of the release before: there may be thousands."""
        made = before.heads if before is not None else {}
        heads = {
            tenant: made[tenant]
            if before is not None and before.tenants.get(tenant) == each
            else position_of(tenant, each.head)
            for tenant, each in self.tenants.items()
        }
        return self._replace(heads=heads)


class PassedPositions(Mapping[Tenant, dict[int, Position]]):
    """Positions of each tenant's history, by their number, ascending. There are hundreds of each tenant: its file is read when
    somebody asks for them."""

    def __init__(
        self, folder: Path, heads: Mapping[Tenant, Position], read: dict[Tenant, dict[int, Position]] | None = None
    ) -> None:
        self._folder = folder
        self._heads = heads
        self._read = read or {}

    def at(self, heads: Mapping[Tenant, Position]) -> "PassedPositions":
        """After changes: the files of other tenants need not be read again."""
        same = {tenant: found for tenant, found in self._read.items() if heads.get(tenant) == self._heads[tenant]}
        return PassedPositions(self._folder, heads, same)

    def __getitem__(self, tenant: Tenant) -> dict[int, Position]:
        found = self._read.get(tenant)
        if found is None:
            head = self._heads[tenant]
            found = {
                seq: Position(tenant, seq, digest) for seq, digest in noted_positions(self._folder, tenant).items()
            }
            # The last lines are not synced: a power cut may have taken them.
            if head.seq not in found:
                found = dict(sorted({**found, head.seq: head}.items()))
            self._read[tenant] = found
        return found

    def __iter__(self) -> Iterator[Tenant]:
        return iter(self._heads)

    def __len__(self) -> int:
        return len(self._heads)


def noted_positions(folder: Path, tenant: Tenant) -> dict[int, str]:
    """The digests in a tenant's file, by the numbers of their changes, ascending; none if it is not there. Lines that a power
    cut damaged count for nothing."""
    try:
        text = (folder / tenant).read_text("ascii", "replace")
    except OSError:
        return {}
    return {int(seq): digest for seq, digest in _LINE.findall(text)}


def note_positions(folder: Path, pulled: Pulled, before: CurrentRelease | None) -> None:
    """Adds to the files of the tenants that have changed, and shortens those that are long. Raises OSError."""
    make_private(folder)
    goes_on = _goes_on(pulled, before)
    if not goes_on:
        for path in folder.iterdir():
            path.unlink()
    doubts = _doubts(pulled, before)
    for tenant, new in pulled.passed.items():
        # A sync at each change would cost more than to find, after a power cut, that a position is not remembered.
        with os.fdopen(open_private(folder / tenant), "a+b") as file:
            if file.tell() < _LONG:
                file.write("".join(f"{seq} {each.digest}\n" for seq, each in new.items()).encode())
                continue
        known = noted_positions(folder, tenant) | {seq: each.digest for seq, each in new.items()}
        head, doubt = pulled.known.tenants[tenant].head, doubts.get(tenant)
        kept = (f"{seq} {digest}\n" for seq, digest in known.items() if is_remembered(seq, head.seq, doubt))
        write_whole(folder / tenant, "".join(kept).encode(), synced=False)
    if not goes_on:
        # No position of another history may come back. There may be ten thousand files: one call for all.
        os.sync()


@lru_cache(2)
def parse_about(content: bytes) -> CurrentRelease:
    """The release of such a file. Several parts of a process read each.

    Raises ValueError, KeyError, TypeError, AttributeError or InvalidNameError if it is no `release.json`.
    """
    members = json.loads(content)
    tenants = {
        Tenant(name): TenantPosition(_head(each["seq"], each["hash"]), str(each["revision"]), _head(*each["bindings"]))
        for name, each in members["tenants"].items()
    }
    fork = Fork(**members["fork"]) if members["fork"] is not None else None
    doubts = {Tenant(name): (int(low), int(high)) for name, (low, high) in members.get("doubts", {}).items()}
    return CurrentRelease(int(members["release"]), str(members["hash"]), tenants, fork, doubts=doubts)


def _head(seq: int, hash_: str) -> Head:
    return Head(int(seq), bytes.fromhex(hash_))


def next_release(pulled: Pulled, before: CurrentRelease | None) -> CurrentRelease:
    """The release that follows the one of `before`."""
    # The next release may come before a process has read this one: a fork stays until there is another one.
    fork = before.fork if before is not None else None
    if pulled.fork:
        fork = Fork(pulled.fork, pulled.known.seq, pulled.known.hash)
    return CurrentRelease(*pulled.known, fork, doubts=_doubts(pulled, before))


def about(current: CurrentRelease, release: Release) -> bytes:
    """The content of `release.json`."""
    tenants = {
        tenant: {
            "seq": each.head.seq,
            "hash": each.head.hash.hex(),
            "revision": each.revision,
            "bindings": [each.bindings.seq, each.bindings.hash.hex()],
        }
        for tenant, each in current.tenants.items()
    }
    digests: dict[str, str] = {ROOT: release.root} | {**release.tenants}
    members: dict[str, Any] = {"release": current.seq, "hash": current.hash}
    members["fork"] = current.fork._asdict() if current.fork is not None else None
    members |= {"doubts": current.doubts, "tenants": tenants, "digests": digests}
    return json.dumps(members).encode()


def _goes_on(pulled: Pulled, before: CurrentRelease | None) -> bool:
    """Whether what was noted before is of the same history."""
    return before is not None and not (pulled.fork or pulled.is_anew)


def _doubts(pulled: Pulled, before: CurrentRelease | None) -> Mapping[Tenant, tuple[int, int]]:
    return pulled.doubts or (before.doubts if before is not None and not pulled.fork else {})
