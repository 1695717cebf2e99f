"""The tenants of a fleet that is broken: their files, the rows that are granted at run time, and what callers ask."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random
from typing import Final, NamedTuple

from remit.core.names import Tenant, parse_action, parse_kind, parse_namespace, parse_principal
from remit.core.position import Position
from remit.core.question import Question
from remit.core.rows import Effect
from remit.engine.snapshot import Snapshot
from remit.policy.load import load_root, load_tenant
from remit.policy.read.tree import Folder, Tree

from .history import RowGrant, RowName
from .places import SUSPENDED

TENANTS: Final = (Tenant("acme"), Tenant("globex"))
PRINCIPALS: Final = tuple(f"user:{name}" for name in ("ann", "bob", "cid", "dee", "eve", "fay"))
KIND, ACTION = "FLOW", "VIEW"
GRANTER: Final = "user:olga"
_HELD: Final = ("role:viewer", "group:on-call", SUSPENDED)
_VOCABULARY: Final = f"""\
kinds:
  {KIND}: {{class: namespace, actions: [{ACTION}]}}
  BINDING: {{class: tenant, actions: [CREATE, DELETE, GRANT_ANY]}}
""".encode()
_RUNTIME: Final = f"""\
runtime:
  roles: [role:viewer]
  groups: [group:on-call]
  scopes: ["**"]
  suspend: {SUSPENDED}
""".encode()
_ROWS: Final = f"""\
p, role:viewer, {{tenant}}, **, {KIND}, {ACTION}, allow
p, {SUSPENDED}, {{tenant}}, **, {KIND}, {ACTION}, deny
p, role:owner, {{tenant}}, **, BINDING, *, allow
# remit: ignore privilege-escalation: the gates of run time hold
g, {GRANTER}, role:owner, {{tenant}}
g, group:on-call, role:viewer, {{tenant}}
"""
_MOST_ROWS: Final = 3
_MANY_ROWS: Final = 60
_SHORT_S: Final = (0.3, 3.0)
_LONG_S: Final = 5.0
_GRANT_SHARE: Final = 0.5
_END_SHARE: Final = 0.4
_EXPECT_SHARE: Final = 0.2
_US: Final = 1_000_000

Members = Mapping[Tenant, frozenset[str]]
"""Whom each tenant's files allow what callers ask."""


class RowRequest(NamedTuple):
    """A request to grant and to revoke, which may be sent more than once."""

    tenant: Tenant
    name: str
    """Its request id and its reason."""
    granted: tuple[RowGrant, ...]
    revoked: tuple[RowName, ...] = ()
    expected: Position | None = None


def drawn_request(rng: Random, tenant: Tenant, name: str, now_us: int, newest: Position | None) -> RowRequest:
    """Some rows are granted, some with an end soon, and some revoked."""
    rows = rng.sample([(who, what) for who in PRINCIPALS for what in _HELD], rng.randint(1, _MOST_ROWS))
    granted, revoked = list[RowGrant](), list[RowName]()
    for who, what in rows:
        if rng.random() < _GRANT_SHARE:
            # A row with a deny may not end by itself.
            ends = what != SUSPENDED and rng.random() < _END_SHARE
            granted.append(RowGrant(who, what, now_us + int(rng.uniform(*_SHORT_S) * _US) if ends else None))
        else:
            revoked.append((who, what))
    expected = newest if rng.random() < _EXPECT_SHARE else None
    return RowRequest(tenant, name, tuple(granted), tuple(revoked), expected)


def opposite(request: RowRequest, name: str) -> RowRequest:
    """Takes back what the request grants, and gives for good what it revokes."""
    granted = tuple(RowGrant(*each) for each in request.revoked)
    return RowRequest(request.tenant, name, granted, tuple(each.key for each in request.granted))


def long_request(tenant: Tenant, name: str, now_us: int) -> RowRequest:
    """So many rows that they take a while. They end by themselves."""
    end_us = now_us + int(_LONG_S * _US)
    return RowRequest(
        tenant, name, tuple(RowGrant(f"user:guest-{each}", "role:viewer", end_us) for each in range(_MANY_ROWS))
    )


def tree_of(members: Members) -> Tree:
    """The policy files that allow this."""
    folders = {
        tenant: Folder(
            tenant,
            {f"{tenant}/bindings.csv": _rows(tenant, allowed), f"{tenant}/tenant.yaml": _RUNTIME},
        )
        for tenant, allowed in members.items()
    }
    return Tree(Folder("", {"vocabulary.yaml": _VOCABULARY}), folders)


def decisions_of(tree: Tree) -> Iterator[tuple[str, frozenset[str]]]:
    """Whom the files of each tenant allow what callers ask, by their revision."""
    snapshot_of = policies_of(tree)
    for tenant in tree.tenants:
        snapshot = snapshot_of(tenant)
        assert snapshot is not None
        question = Question(parse_principal(GRANTER), parse_action(ACTION), parse_kind(KIND), parse_namespace("a"))
        decided = {each: snapshot.decide(question._replace(principal=parse_principal(each))) for each in PRINCIPALS}
        yield (
            snapshot.revision,
            frozenset(each for each, decision in decided.items() if decision.effect is Effect.ALLOW),
        )


def policies_of(tree: Tree) -> Callable[[Tenant], Snapshot | None]:
    root = load_root(tree)
    return lambda tenant: load_tenant(tree, tenant, root, tested=False).snapshot if tenant in tree.tenants else None


def _rows(tenant: str, allowed: Iterable[str]) -> bytes:
    members = "".join(f"g, {each}, role:viewer, {tenant}\n" for each in sorted(allowed))
    return (_ROWS.format(tenant=tenant) + members).encode()
