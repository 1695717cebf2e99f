"""Differences between kept revisions of a tenant, as a running server tells them."""

from collections.abc import Iterable
from typing import Final

from remit import wire
from remit.cli.common.backend import no_answer
from remit.cli.common.output import Exit, fail
from remit.cli.common.server_options import Connection
from remit.cli.policy.compared import Compared
from remit.client import DecisionUnavailable
from remit.core.names import Principal, Subject, Tenant, Word
from remit.core.patterns import NamespacePattern
from remit.core.policy import DedicatedResource
from remit.engine.decision_diagram import Piece
from remit.engine.diff import (
    AccessChange,
    ChangedNamespaces,
    DedicatedChange,
    Direction,
    Pairs,
    ReachChange,
    RuntimeChange,
    TenantDiff,
)
from remit.v1 import decision_pb2
from remit.v1 import policy_service_pb2 as messages

SERVING: Final = "serving"
"""Stands for the revision that serves."""
_PAIRS: Final = {messages.ReachPairs.Value(f"REACH_PAIRS_{each.name}"): each for each in Pairs}


def compared_by_server(
    connection: Connection, target: str, tenant: Tenant | None, old: str, new: str
) -> tuple[str, str, Compared]:
    """All digits of both revisions, and what changes. Ends the command if there is no answer."""
    if tenant is None:
        fail(Exit.USAGE, "--target needs --tenant: a server keeps revisions of each tenant")
    first, second = ("" if text == SERVING else text for text in (old, new))
    try:
        with connection.client(target) as client:
            response = client.tenant(tenant).diff_revisions(first, second)
    except DecisionUnavailable as error:
        no_answer(error)
    # The server does not say all words of both vocabularies, so a sentence spells every action.
    return response.old, response.new, Compared(_diff_from(tenant, response), {each: {} for each in Direction})


def _diff_from(tenant: Tenant, response: messages.DiffRevisionsResponse) -> TenantDiff:
    access = [_access_from(Direction.GAIN, each) for each in response.gains]
    access += [_access_from(Direction.LOSS, each) for each in response.losses]
    reach = [_reach_from(Direction.GAIN, each) for each in response.reach_gains]
    reach += [_reach_from(Direction.LOSS, each) for each in response.reach_losses]
    return TenantDiff(
        tenant,
        tuple(access),
        tuple(reach),
        tuple(map(_dedicated_from, response.dedicated)),
        tuple(map(_runtime_from, response.runtime)),
        response.rows_added,
        response.rows_removed,
    )


def _access_from(direction: Direction, change: messages.AccessChange) -> AccessChange:
    return AccessChange(
        direction,
        tuple(map(Principal, change.principals)),
        Subject(change.through) if change.through else None,
        change.holders,
        _permissions(change.permissions),
        ChangedNamespaces(_pieces(change.namespaces), change.tenant_itself),
    )


def _reach_from(direction: Direction, change: messages.ReachChange) -> ReachChange:
    return ReachChange(
        direction,
        tuple(map(Word, change.relations)),
        _pieces(change.callers),
        _pieces(change.owners),
        _PAIRS[change.pairs],
    )


def _dedicated_from(change: messages.DedicatedChange) -> DedicatedChange:
    before, after = (DedicatedResource(name) if name else None for name in (change.before, change.after))
    where = ChangedNamespaces(_pieces(change.namespaces), change.tenant_itself)
    return DedicatedChange(wire.RESOURCE_TYPE_OF[change.resource], before, after, where)


def _runtime_from(change: messages.RuntimeChange) -> RuntimeChange:
    return RuntimeChange(
        Direction.GAIN if change.gain else Direction.LOSS,
        change.key,
        tuple(change.values),
        _permissions(change.permissions),
        ChangedNamespaces(_pieces(change.namespaces), change.tenant_itself),
    )


def _permissions(permissions: Iterable[messages.Permission]) -> tuple[tuple[Word, Word], ...]:
    return tuple((Word(each.kind), Word(each.action)) for each in permissions)


def _pieces(sets: Iterable[decision_pb2.NamespaceSet]) -> tuple[Piece, ...]:
    return tuple(
        Piece(NamespacePattern.parse(*each.only), tuple(map(NamespacePattern.parse, each.excluded))) for each in sets
    )
