"""The rights of callers: the mask of `_callers` says what Check says, and so do plain Casbin and the naive reference."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from hypothesis import given
from reference import Reference
from strategies import CALLERS_VOCABULARY, World, callers_worlds, randoms
from support.trees import snapshot_of

from remit.core.caller_actions import CallerAction, actions_about, asked_about
from remit.core.names import CALLERS, INSTANCE, Principal, Tenant, Word
from remit.core.question import Question
from remit.engine.differential.casbin_oracle import CasbinOracle
from remit.engine.snapshot import Snapshot
from remit.policy.live import LivePolicies, TenantPolicy, TenantState
from remit.service.caller_rights import CallerRights
from remit.service.callers import EVERY_TENANT, Caller
from remit.service.settings_reader import read_settings

STRANGERS = ("service:stranger", "user:stranger")
SAMPLE = 60
"""Rights of a world that Casbin and the reference are asked about: both are slow."""


def rights_by(snapshot: Snapshot, **settings: str) -> CallerRights:
    tls = {name: Path(name) for name in ("tls_cert", "tls_key", "tls_client_ca")}
    live = LivePolicies()
    live.put(TenantPolicy(CALLERS, TenantState.SERVING, 0, snapshot))
    return CallerRights(read_settings({**tls, **settings}), live)


def callers(world: World) -> list[str]:
    return [*(name for name in world.subjects if name.startswith(("user:", "service:"))), *STRANGERS]


def abouts(world: World) -> list[str]:
    """The tenants that rows may name, one that none names, and what is no tenant."""
    return [*world.segments, "zz", INSTANCE, CALLERS, EVERY_TENANT]


def each_right(world: World) -> Iterator[tuple[str, str, CallerAction, Question]]:
    for principal in callers(world):
        for tenant in abouts(world):
            kind, namespace = asked_about(Tenant(tenant) if tenant else None)
            for action in actions_about(kind):
                yield principal, tenant, action, Question(Principal(principal), Word(action), kind, namespace)


@given(callers_worlds)
def test_mask_equals_check(world: World) -> None:
    """On every caller, tenant and action, the first time and from then on."""
    snapshot = snapshot_of(world.files, CALLERS)
    rights = rights_by(snapshot)
    for principal, tenant, action, question in each_right(world):
        allowed = snapshot.decide(question).allowed
        assert allowed == bool(rights.mask(Caller(principal), tenant) & action.bit)
        assert allowed == rights.may(Caller(principal), action, tenant)


@given(callers_worlds, randoms)
def test_mask_equals_casbin_and_the_reference(world: World, random: Random) -> None:
    snapshot = snapshot_of(world.files, CALLERS)
    rights, witness = rights_by(snapshot), CasbinOracle(snapshot.policy)
    # No managed role applies, and the words are the built-in ones.
    reference = Reference({**world.files, "vocabulary.yaml": CALLERS_VOCABULARY, "roles.csv": b""}, CALLERS)
    every = list(each_right(world))
    for principal, tenant, action, question in random.sample(every, min(SAMPLE, len(every))):
        may = rights.may(Caller(principal), action, tenant)
        answer = reference.decide(*question)
        assert answer is not None
        assert answer.reason != "UNKNOWN_ACTION", question
        assert (may, may) == (witness.allows(question), answer.effect == "allow")


@given(callers_worlds, randoms)
def test_settings_add_rights_and_take_none_away(world: World, random: Random) -> None:
    """Whoever runs the server is never locked out by a policy."""
    snapshot = snapshot_of(world.files, CALLERS)
    # A setting is a list between commas: no name in it may hold `=`.
    named = [name for name in callers(world) if "=" not in name]
    operator, auditor = random.choice(named), random.choice(named)
    bare, broken = rights_by(snapshot), rights_by(snapshot, operators=operator, auditors=auditor)
    for principal in callers(world):
        for tenant in abouts(world):
            before, after = (each.mask(Caller(principal), tenant) for each in (bare, broken))
            assert before & after == before
            if principal not in {operator, auditor}:
                assert before == after
            if principal == operator:
                assert after & CallerAction.PIN.bit
            if principal == auditor:
                assert after & CallerAction.AUDIT.bit
