"""What people who run plain Casbin over the same files get from `remit.casbin`."""

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import casbin
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import covers, one_of
from strategies import World, namespaces, patterns, randoms, worlds
from support.trees import write
from worldly import questions, reach_questions, snapshots

import remit.casbin
from remit.casbin import ACCESS_MODEL, REACH_MODEL, RegistrationError
from remit.core.patterns import NamespacePattern
from remit.engine.differential.compare import BY_ROWS

odd = st.one_of(st.text(max_size=12), st.text(alphabet="a.*/|, :", max_size=12))


@given(odd, odd)
def test_functions_never_raise(one: str, other: str) -> None:
    """Casbin swallows what a function raises and takes it for no match, which loses denies: so none raises."""
    for function in (remit.casbin.one_of, remit.casbin.within, remit.casbin.scope_match):
        assert function(one, other) in {True, False}


@given(namespaces, patterns(), odd)
def test_functions_agree_with_the_reference(namespace: str, pattern: NamespacePattern, text: str) -> None:
    """`within` tests a pattern, `scope_match` a pattern after an equal tenant, `one_of` a plain choice."""
    assert covers(pattern.text, namespace) == remit.casbin.within(namespace, pattern.text)
    assert covers(pattern.text, namespace) == remit.casbin.scope_match(f"acme/{namespace}", f"acme/{pattern.text}")
    assert remit.casbin.scope_match(f"acme/{namespace}", "acme")
    assert not remit.casbin.scope_match(f"acme/{namespace}", f"acme2/{pattern.text}")
    assert not remit.casbin.scope_match(f"acme/{namespace}", "acme2")
    assert one_of(text, "A|B|AB") == remit.casbin.one_of(text, "A|B|AB")


def enforcer_of(model: str, directory: Path, rows: str) -> Any:
    """As a user makes one: from a model file and a policy file; the functions come after."""
    write(directory, {"model.conf": model.encode(), "policy.csv": rows.encode()})
    return casbin.Enforcer(str(directory / "model.conf"), str(directory / "policy.csv"))


@given(worlds, randoms)
def test_registered_enforcer_decides_like_remit(world: World, random: Random) -> None:
    """Plain Casbin over the files as they are, functions registered after loading, gives remit's decisions."""
    for snapshot in snapshots(world):
        tenant = snapshot.tenant
        managed = "" if snapshot.policy.is_instance else world.files["roles.csv"].decode()
        access = managed + world.files[f"{tenant}/roles.csv"].decode() + world.files[f"{tenant}/bindings.csv"].decode()
        reach = world.files.get(f"{tenant}/reach.csv", b"").decode()
        with TemporaryDirectory() as directory:
            people = enforcer_of(ACCESS_MODEL, Path(directory), access)
            places = enforcer_of(REACH_MODEL, Path(directory), reach)
        remit.casbin.register(people)
        remit.casbin.register(places)
        for question in questions(snapshot, random):
            decision = snapshot.decide(question)
            principal, action, kind, namespace = question
            if decision.reason in BY_ROWS:
                assert decision.allowed == people.enforce(principal, tenant, namespace, kind, action)
        for reached in reach_questions(snapshot, random):
            decision = snapshot.reach.decide(reached)
            if decision.rule is not None:
                assert decision.allowed == places.enforce(tenant, *reached)


class Declining:
    """A Casbin enforcer that takes no domain matching function, as one with another role manager does."""

    def __init__(self, enforcer: Any) -> None:
        self._enforcer = enforcer
        self.added: list[str] = []

    def get_model(self) -> Any:
        return self._enforcer.get_model()

    def add_named_domain_matching_func(self, ptype: str, function: object) -> bool:
        return False

    def add_function(self, name: str, function: object) -> None:
        self.added.append(name)


def test_register_adds_all_or_none() -> None:
    """Where Casbin declines `scope_match`, registering raises and adds nothing."""
    declining = Declining(casbin.Enforcer(casbin.Enforcer.new_model(text=ACCESS_MODEL)))
    with pytest.raises(RegistrationError, match="declined `scope_match`"):
        remit.casbin.register(declining)
    assert not declining.added


def test_register_declines_an_enforcer_without_its_role_manager() -> None:
    """A real enforcer that has lost the role manager of `g` is declined too."""
    enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=ACCESS_MODEL))
    enforcer.rm_map.clear()
    before = set(enforcer.fm.get_functions())
    with pytest.raises(RegistrationError):
        remit.casbin.register(enforcer)
    assert before == set(enforcer.fm.get_functions())


def test_unregistered_casbin_does_not_decide() -> None:
    """The models need the functions: an enforcer without them raises, and allows nothing in silence."""
    enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=ACCESS_MODEL))
    enforcer.add_policy("user:a", "acme", "**", "FLOW", "VIEW", "allow")
    with pytest.raises(Exception, match="one_of"):
        enforcer.enforce("user:a", "acme", "a", "FLOW", "VIEW")


def test_register_serves_a_synced_enforcer_too() -> None:
    """Its add_named_domain_matching_func returns None where Casbin accepts."""
    enforcer = casbin.SyncedEnforcer(casbin.Enforcer.new_model(text=ACCESS_MODEL))
    remit.casbin.register(enforcer)
    enforcer.add_policy("role:r", "acme", "**", "FLOW", "VIEW", "allow")
    enforcer.add_grouping_policy("user:u", "role:r", "acme/a.**")

    assert enforcer.enforce("user:u", "acme", "a.b", "FLOW", "VIEW")
    assert not enforcer.enforce("user:u", "acme", "ab", "FLOW", "VIEW")
