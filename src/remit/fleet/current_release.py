"""`release.json`: what a node's disk says of the release whose files lie beside it."""

import json
from collections.abc import Mapping
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


class CurrentRelease(NamedTuple):
    """What `release.json` says of the release that the policy files are from."""

    seq: int
    hash: str
    tenants: Mapping[Tenant, TenantPosition]
    fork: Fork | None = None
    """The last one, however long ago."""
    passed: Mapping[Tenant, dict[int, Position]] = {}
    """The positions of each tenant that this node keeps, by their number, ascending, the present one included."""
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
    passed = {
        Tenant(name): {found.seq: found for found in map(_position, each["passed"])}
        for name, each in members["tenants"].items()
    }
    fork = Fork(**members["fork"]) if members["fork"] is not None else None
    doubts = {Tenant(name): (int(low), int(high)) for name, (low, high) in members.get("doubts", {}).items()}
    return CurrentRelease(int(members["release"]), str(members["hash"]), tenants, fork, passed, doubts)


def _position(text: str) -> Position:
    # There are hundreds, at each change: they are as this program wrote them.
    tenant, seq, digest = text.split(":")
    return Position(Tenant(tenant), int(seq), digest)


def _head(seq: int, hash_: str) -> Head:
    return Head(int(seq), bytes.fromhex(hash_))


def about(pulled: Pulled, before: CurrentRelease | None) -> bytes:
    """The content of `release.json` for a release that follows the one of `before`."""
    goes_on = before is not None and not (pulled.fork or pulled.is_anew)
    doubts = pulled.doubts or (before.doubts if before is not None and not pulled.fork else {})
    passed = {
        tenant: {
            seq: position
            for seq, position in {
                **(before.passed.get(tenant, {}) if before is not None and goes_on else {}),
                **pulled.passed.get(tenant, {}),
            }.items()
            if is_remembered(seq, each.head.seq, doubts.get(tenant))
        }
        for tenant, each in pulled.known.tenants.items()
    }
    tenants = {
        tenant: {
            "seq": each.head.seq,
            "hash": each.head.hash.hex(),
            "revision": each.revision,
            "bindings": [each.bindings.seq, each.bindings.hash.hex()],
            "passed": [str(position) for position in passed[tenant].values()],
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
    return json.dumps(members, indent=1).encode()
