"""Encodes differences between revisions as messages of the API."""

from collections.abc import Iterable
from typing import Final

from remit import wire
from remit.core.names import Word
from remit.engine.decision_diagram import Piece
from remit.engine.diff import AccessChange, DedicatedChange, Direction, Pairs, ReachChange, RuntimeChange
from remit.policy.revisions.differ import RevisionDiff
from remit.v1 import decision_pb2
from remit.v1 import policy_service_pb2 as messages

PAIRS: Final = {each: messages.ReachPairs.Value(f"REACH_PAIRS_{each.name}") for each in Pairs}


def diff_to(diff: RevisionDiff) -> messages.DiffRevisionsResponse:
    found = diff.found
    response = messages.DiffRevisionsResponse(
        old=diff.old,
        new=diff.new,
        dedicated=map(_dedicated_to, found.dedicated),
        added=map(wire.row_to, diff.added),
        removed=map(wire.row_to, diff.removed),
        rows_added=found.rows_added,
        rows_removed=found.rows_removed,
        runtime=map(_runtime_to, found.runtime),
    )
    for change in found.access:
        (response.gains if change.direction is Direction.GAIN else response.losses).append(_access_to(change))
    for reached in found.reach:
        gains = reached.direction is Direction.GAIN
        (response.reach_gains if gains else response.reach_losses).append(_reach_to(reached))
    return response


def _access_to(change: AccessChange) -> messages.AccessChange:
    return messages.AccessChange(
        principals=change.principals,
        through=change.through or "",
        holders=change.holders,
        permissions=_permissions_to(change.permissions),
        namespaces=_sets_to(change.where.namespaces),
        tenant_itself=change.where.tenant_itself,
    )


def _reach_to(change: ReachChange) -> messages.ReachChange:
    return messages.ReachChange(
        relations=change.relations,
        callers=_sets_to(change.callers),
        owners=_sets_to(change.owners),
        pairs=PAIRS[change.pairs],
    )


def _dedicated_to(change: DedicatedChange) -> messages.DedicatedChange:
    return messages.DedicatedChange(
        resource=wire.RESOURCE_TYPES[change.resource],
        before=change.before.name if change.before is not None else "",
        after=change.after.name if change.after is not None else "",
        namespaces=_sets_to(change.where.namespaces),
        tenant_itself=change.where.tenant_itself,
    )


def _runtime_to(change: RuntimeChange) -> messages.RuntimeChange:
    return messages.RuntimeChange(
        gain=change.direction is Direction.GAIN,
        key=change.key,
        values=change.values,
        permissions=_permissions_to(change.permissions),
        namespaces=_sets_to(change.where.namespaces),
        tenant_itself=change.where.tenant_itself,
    )


def _permissions_to(permissions: Iterable[tuple[Word, Word]]) -> list[messages.Permission]:
    return [messages.Permission(kind=kind, action=action) for kind, action in permissions]


def _sets_to(pieces: Iterable[Piece]) -> list[decision_pb2.NamespaceSet]:
    return [
        decision_pb2.NamespaceSet(only=[each.only.text], excluded=[pattern.text for pattern in each.excepted])
        for each in pieces
    ]
