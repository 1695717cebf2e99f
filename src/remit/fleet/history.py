"""What a policy store holds, read and verified: every hash is computed again."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, func, or_, select, true

from remit.audit.chain.chain import Head
from remit.core.names import Tenant
from remit.core.position import Position
from remit.fleet.binding_log import NO_BINDINGS
from remit.fleet.change import ChangeKind, PolicyChange, genesis, position_of
from remit.fleet.errors import ForgedReleaseError, PolicyStoreError
from remit.fleet.release import FIRST, Release, SignedRelease, hash_of
from remit.fleet.schema.tables import changes, heads, releases
from remit.fleet.trust import Trust
from remit.policy.read.tree import Folder, is_policy_file
from remit.policy.revisions.archive import RevisionNotStoredError, unpack

_PAGE: Final = 200
_MOST_BYTES: Final = 8 << 20
"""Bodies of changes that are read at a time, if that is more than one."""
REMEMBERED: Final = 256
"""So many changes of a tenant a node can tell from those of another history. After a fork, also those of so many numbers
before and after the change that the node had, for as long as the node lives."""


# Statements that a change makes every node execute are built once.
_newest: Final = select(releases.c.seq, releases.c.hash).order_by(releases.c.seq.desc()).limit(1).subquery()
_NEWEST: Final = select(_newest, heads).select_from(_newest.outerjoin(heads, true()))
_GLANCE: Final = select(
    _newest,
    select(func.count()).select_from(heads).scalar_subquery().label("tenants"),
    select(func.coalesce(func.sum(heads.c.seq), 0)).scalar_subquery().label("changes"),
)
_RELEASE: Final = select(releases).where(releases.c.seq == bindparam("seq"))
_later: Final = (
    select(changes, func.sum(func.length(changes.c.body)).over(order_by=changes.c.seq).label("size"))
    .where(
        changes.c.tenant == bindparam("tenant"),
        changes.c.seq > bindparam("after"),
        changes.c.seq <= bindparam("until"),
    )
    .order_by(changes.c.seq)
    .limit(_PAGE)
    .subquery()
)
_NEXT: Final = (
    select(*(_later.c[column.name] for column in changes.c))
    .where(or_(_later.c.seq == bindparam("first"), _later.c.size <= _MOST_BYTES))
    .order_by(_later.c.seq)
)


class TenantPosition(NamedTuple):
    """A tenant's newest change, and what serves from it on."""

    head: Head
    revision: str
    bindings: Head = NO_BINDINGS
    """The newest of its changes that is about rows of run time."""


class Known(NamedTuple):
    """What a node has: the release, and the newest change of each of its tenants."""

    seq: int = 0
    """0 for nothing."""
    hash: str = FIRST
    tenants: Mapping[Tenant, TenantPosition] = {}


class StoreHeads(NamedTuple):
    """How far a policy store goes."""

    seq: int
    """Of the newest release; 0 for none."""
    hash: str
    tenants: Mapping[Tenant, Head]

    def are(self, known: Known) -> bool:
        here = {tenant: place.head for tenant, place in known.tenants.items()}
        return (self.seq, self.hash) == (known.seq, known.hash) and self.tenants == here


class PulledBindings(NamedTuple):
    """The changes of a tenant's rows of run time that a node does not have."""

    changes: Sequence[PolicyChange]
    after: Head | None
    """The change before them that the node has; None if they are all there are: what the node has counts no more."""


class Pulled(NamedTuple):
    """What a node should have. Every hash was computed again, and every signature was verified."""

    known: Known
    release: Release
    bindings: Mapping[Tenant, PulledBindings] = {}
    """By tenants that have any."""
    fork: str = ""
    """How the store's history differs from the node's; '' if it only went on."""
    passed: Mapping[Tenant, Mapping[int, Position]] = {}
    """The positions of each tenant that has changed, by their number, ascending: all that are new, or if everything was read
    from the beginning, the last REMEMBERED and those in doubt."""
    doubts: Mapping[Tenant, tuple[int, int]] = {}
    """After a fork: the lowest and the highest number of changes that both histories may have, and differently."""
    is_anew: bool = False
    """Everything was read from the beginning."""


def folder_files(name: str, packed: bytes, digest: str, most_bytes: int) -> dict[str, bytes]:
    """The files of a packed folder of a tenant, or of the root, whose name is ''. They must have this digest. Raises
    ForgedReleaseError."""
    try:
        files = unpack(f"the files of `{name or 'the root'}` in a release", packed, most_bytes=most_bytes)
    except RevisionNotStoredError as error:
        raise ForgedReleaseError(str(error)) from error
    for path in files:
        if not is_policy_file(path) or (path.partition("/")[0] if "/" in path else "") != name:
            raise ForgedReleaseError(
                f"`{path}` is no policy file of `{name or 'the root'}`, and a release holds it there"
            )
    if Folder(name, files).digest != digest:
        raise ForgedReleaseError(f"the files of `{name or 'the root'}` in a release are not those that it names")
    return files


def newest_release(connection: Connection) -> SignedRelease | None:
    row = connection.execute(select(releases).order_by(releases.c.seq.desc()).limit(1)).one_or_none()
    return None if row is None else release_in(row)


def release_at(connection: Connection, seq: int, hash_: str | None = None) -> SignedRelease:
    row = connection.execute(_RELEASE, {"seq": seq}).one_or_none()
    if row is None:
        raise PolicyStoreError(f"there is no release {seq} in the policy store: `remit releases` lists them")
    if hash_ not in {None, row.hash}:
        raise ForgedReleaseError(f"release {seq} became another one while it was read")
    return release_in(row)


def release_in(row: Any) -> SignedRelease:
    if hash_of(row.body) != row.hash:
        raise ForgedReleaseError(f"release {row.seq} does not have the hash under which it is stored")
    release = Release.parse(row.body)
    if release.seq != row.seq:
        raise ForgedReleaseError(f"release {release.seq} is stored as release {row.seq}")
    return SignedRelease(release, row.key_id, bytes(row.signature))


def store_heads(connection: Connection) -> StoreHeads:
    """One statement: every idle node asks it all the time."""
    rows = connection.execute(_NEWEST).all()
    tenants = {Tenant(tenant): Head(seq, bytes(hash_)) for *_, tenant, seq, hash_ in rows if tenant is not None}
    return StoreHeads(rows[0][0], rows[0][1], tenants) if rows else StoreHeads(0, FIRST, {})


def seems_to_be(connection: Connection, known: Known) -> bool:
    """Whether the store has the release that is known, and as many changes. Another history may have as many."""
    row = connection.execute(_GLANCE).one_or_none()
    changes_known = sum(each.head.seq for each in known.tenants.values())
    return row is not None and tuple(row) == (known.seq, known.hash, len(known.tenants), changes_known)


def pulled_since(connection: Connection, known: Known, trust: Trust) -> Pulled | None:
    """As `PolicyStore.pull`. It needs no snapshot of the store: releases and changes stay as they are, and must lead to the
    heads that the first statement found."""
    found = store_heads(connection)
    if found.are(known):
        return None
    fork = _fork(connection, known, found)
    if not found.seq:
        if fork:
            raise ForgedReleaseError(fork)
        return None
    doubts: dict[Tenant, tuple[int, int]] = {}
    if fork:
        doubts = {each: _doubt(place.head.seq) for each, place in known.tenants.items()}
        known = Known()
    release = _verified(connection, known, found, trust)
    moved = {
        tenant: _moved(connection, tenant, head, known.tenants.get(tenant), doubts.get(tenant, (0, -1)))
        for tenant, head in found.tenants.items()
        if tenant not in known.tenants or known.tenants[tenant].head != head
    }
    tenants = {tenant: moved[tenant][0] if tenant in moved else known.tenants[tenant] for tenant in found.tenants}
    bindings = {
        tenant: PulledBindings(changes, known.tenants[tenant].bindings if tenant in known.tenants else None)
        for tenant, (_, changes, _) in moved.items()
        if changes
    }
    for each in bindings.values():
        trust.require_bindings(each.changes)
    passed = {tenant: passed for tenant, (*_, passed) in moved.items() if passed}
    return Pulled(Known(release.seq, release.hash, tenants), release, bindings, fork, passed, doubts, not known.seq)


def is_remembered(seq: int, head: int, doubt: tuple[int, int] | None) -> bool:
    """Whether a node keeps the position of change `seq` of a tenant whose newest is `head`."""
    return seq > head - REMEMBERED or (doubt is not None and doubt[0] <= seq <= doubt[1])


def _doubt(head: int) -> tuple[int, int]:
    return max(head - REMEMBERED, 0), head + REMEMBERED


def _fork(connection: Connection, known: Known, found: StoreHeads) -> str:
    """How the store's history contradicts what the node has; '' if it does not."""
    if known.seq and (known.seq, known.hash) != (found.seq, found.hash):
        hash_ = connection.execute(select(releases.c.hash).where(releases.c.seq == known.seq)).scalar_one_or_none()
        if hash_ is None:
            return f"the store ends at release {found.seq}, and this node has release {known.seq}"
        if hash_ != known.hash:
            return f"the store has another release {known.seq}: `{hash_[:16]}` instead of `{known.hash[:16]}`"
    for tenant, (head, *_) in known.tenants.items():
        now = found.tenants.get(tenant, Head(0, b""))
        if now.seq < head.seq:
            return f"the changes of tenant `{tenant}` end at {now.seq}, and this node has {head.seq}"
        if now.seq == head.seq and now.hash != head.hash:
            return f"the store has another change {head.seq} of tenant `{tenant}`"
    return ""


def _verified(connection: Connection, known: Known, found: StoreHeads, trust: Trust) -> Release:
    """The newest release. Each release after the known one must follow the one before; without a known one, the newest is
    verified alone."""
    seq, previous = (known.seq, known.hash) if known.seq else (found.seq - 1, None)
    signed: SignedRelease | None = None
    while seq < found.seq:
        later = releases.c.seq > seq, releases.c.seq <= found.seq
        rows = connection.execute(select(releases).where(*later).order_by(releases.c.seq).limit(_PAGE)).all()
        if not rows:
            raise ForgedReleaseError(f"release {seq + 1} is missing in the policy store")
        for row in rows:
            signed = release_in(row)
            if signed.release.seq != seq + 1 or (previous is not None and signed.release.previous != previous):
                raise ForgedReleaseError(f"release {row.seq} does not follow release {seq}")
            trust.require_release(signed)
            seq, previous = row.seq, row.hash
    if previous != found.hash:
        raise ForgedReleaseError(f"release {found.seq} became another one while it was read")
    return (signed or release_at(connection, found.seq, found.hash)).release


def _moved(
    connection: Connection, tenant: Tenant, head: Head, known: TenantPosition | None, doubt: tuple[int, int]
) -> tuple[TenantPosition, Sequence[PolicyChange], Mapping[int, Position]]:
    """Where a tenant is after the changes up to `head`, each of which must follow the one before, those among them that are
    about rows of run time, and the positions that a node keeps."""
    at, revision, last = known if known is not None else TenantPosition(genesis(tenant), "")
    bindings: list[PolicyChange] = []
    passed: dict[int, Position] = {}
    while at != head:
        rows = next_changes(connection, tenant, at.seq, head.seq)
        for change in rows:
            if not change.follows(at):
                raise ForgedReleaseError(f"change {change.seq} of tenant `{tenant}` does not follow the one before")
            at = change.head
            if is_remembered(at.seq, head.seq, doubt):
                passed[at.seq] = position_of(tenant, at)
            if change.kind == ChangeKind.BINDINGS:
                bindings.append(change)
                last = at
            else:
                revision = change.members["revision"]
        if not rows or at.seq > head.seq:
            raise ForgedReleaseError(f"the changes of tenant `{tenant}` do not end at its head, {head.seq}")
    return TenantPosition(head, revision, last), bindings, passed


def next_changes(connection: Connection, tenant: Tenant, after: int, until: int) -> list[PolicyChange]:
    """The changes after this number, up to `until`: as many as may be read at once, and one at least if there is one."""
    page = {"tenant": tenant, "after": after, "first": after + 1, "until": until}
    return [PolicyChange.of(row) for row in connection.execute(_NEXT, page)]
