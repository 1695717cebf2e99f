"""`release.json`: what a node's disk says of the release whose files lie beside it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from remit.audit.chain.chain import Head
from remit.core.names import Tenant
from remit.core.position import Position
from remit.fleet.change import position_of
from remit.fleet.history import Pulled, TenantPosition, is_remembered

ROOT: Final = ""
"""The folder of the files that are no tenant's."""


class Fork(NamedTuple):
    """The policy store had another history than this node."""

    text: str
    """How they differed."""
    release: int
    """What the node took over then."""
    hash: str


class PassedPositions(Mapping[Tenant, dict[int, Position]]):
    """Positions of each tenant's history, by their number, ascending. There are hundreds of each tenant, at each change of
    any: their texts are read when somebody asks for the tenant's."""

    def __init__(self, texts: Mapping[Tenant, Sequence[str]]) -> None:
        self.texts = texts
        self._read: dict[Tenant, dict[int, Position]] = {}

    def __getitem__(self, tenant: Tenant) -> dict[int, Position]:
        found = self._read.get(tenant)
        if found is None:
            found = self._read[tenant] = {each.seq: each for each in map(_position, self.texts[tenant])}
        return found

    def __iter__(self) -> Iterator[Tenant]:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)


class CurrentRelease(NamedTuple):
    """What `release.json` says of the release that the policy files are from."""

    seq: int
    hash: str
    tenants: Mapping[Tenant, TenantPosition]
    fork: Fork | None = None
    """The last one, however long ago."""
    passed: PassedPositions = PassedPositions({})
    """Those that this node keeps, the present one included."""
    doubts: Mapping[Tenant, tuple[int, int]] = {}
    """The numbers of each tenant's changes, from and to, that the history before the last fork had too, or may have had."""

    @property
    def positions(self) -> dict[Tenant, tuple[str, Position]]:
        """The revision and the position of each tenant."""
        return {tenant: (each.revision, position_of(tenant, each.head)) for tenant, each in self.tenants.items()}


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
    passed = PassedPositions({Tenant(name): each["passed"] for name, each in members["tenants"].items()})
    fork = Fork(**members["fork"]) if members["fork"] is not None else None
    doubts = {Tenant(name): (int(low), int(high)) for name, (low, high) in members.get("doubts", {}).items()}
    return CurrentRelease(int(members["release"]), str(members["hash"]), tenants, fork, passed, doubts)


def _position(text: str) -> Position:
    tenant, seq, digest = text.split(":")
    return Position(Tenant(tenant), int(seq), digest)


def _head(seq: int, hash_: str) -> Head:
    return Head(int(seq), bytes.fromhex(hash_))


def about(pulled: Pulled, before: CurrentRelease | None) -> bytes:
    """The content of `release.json` for a release that follows the one of `before`."""
    goes_on = before is not None and not (pulled.fork or pulled.is_anew)
    doubts = pulled.doubts or (before.doubts if before is not None and not pulled.fork else {})
    passed = {**before.passed.texts} if before is not None and goes_on else {}
    for tenant, new in pulled.passed.items():
        known = {**(before.passed.get(tenant, {}) if before is not None and goes_on else {}), **new}
        head, doubt = pulled.known.tenants[tenant].head, doubts.get(tenant)
        passed[tenant] = [str(each) for seq, each in known.items() if is_remembered(seq, head.seq, doubt)]
    tenants = {
        tenant: {
            "seq": each.head.seq,
            "hash": each.head.hash.hex(),
            "revision": each.revision,
            "bindings": [each.bindings.seq, each.bindings.hash.hex()],
            "passed": passed.get(tenant, []),
        }
        for tenant, each in pulled.known.tenants.items()
    }
    # The next release may come before a process has read this one: a fork stays until there is another one.
    fork = before.fork if before is not None else None
    if pulled.fork:
        fork = Fork(pulled.fork, pulled.known.seq, pulled.known.hash)
    digests: dict[str, str] = {ROOT: pulled.release.root} | {**pulled.release.tenants}
    members: dict[str, Any] = {"release": pulled.known.seq, "hash": pulled.known.hash}
    members["fork"] = fork._asdict() if fork is not None else None
    members |= {"doubts": doubts, "tenants": tenants, "digests": digests}
    return json.dumps(members).encode()
