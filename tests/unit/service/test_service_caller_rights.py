"""Which caller may ask what about which tenant."""

from pathlib import Path

import pytest

from remit.core.caller_actions import CallerAction
from remit.core.errors import MalformedQuestionError
from remit.core.names import CALLERS, Tenant
from remit.engine.snapshot import Snapshot
from remit.policy.live import LivePolicies, TenantPolicy, TenantState
from remit.policy.load import load_root, load_tenant
from remit.policy.read.limits import Limits
from remit.policy.read.tree import read_tree
from remit.service import caller_rights
from remit.service.caller_rights import CallerRights
from remit.service.callers import ANONYMOUS, Caller, parse_auditors
from remit.service.errors import ForbiddenError, StartupError
from remit.service.settings_reader import read_settings

SPIFFE = "spiffe://example.org/auditor"
AUDITORS = f"{SPIFFE}, audit.example.org=acme ,audit.example.org=globex, service:one=acme,user:both=acme,user:both"
ALL, TWO, ONE = Caller(f"service:{SPIFFE}"), Caller("service:dns/audit.example.org"), Caller("service:one")
SHOP, BATCH = Caller("service:shop"), Caller("service:batch")


class World:
    """The rights of a server with TLS, over tenants whose policies do not matter."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._folder = folder
        self.live = LivePolicies()
        tls = {name: folder / name for name in ("tls_cert", "tls_key", "tls_client_ca")}
        self.rights = CallerRights(read_settings({**settings, **tls}), self.live)
        self.show(Tenant("acme"), Tenant("globex"))

    def show(self, *tenants: Tenant) -> None:
        self.live.put(*(TenantPolicy(tenant, TenantState.UNAVAILABLE, 0, None) for tenant in tenants))

    def callers(self, rows: str) -> None:
        """Puts a policy of `_callers` in force."""
        folder = self._folder / "policies" / CALLERS
        folder.mkdir(parents=True, exist_ok=True)
        (folder.parent / "vocabulary.yaml").write_text("kinds:\n  FLOW: {class: namespace, actions: [VIEW]}\n")
        (folder / "bindings.csv").write_text(rows)
        tree = read_tree(folder.parent, Limits())
        loaded = load_tenant(tree, CALLERS, load_root(tree))
        assert loaded.snapshot is not None, loaded.diagnostics
        self.live.put(TenantPolicy(CALLERS, TenantState.SERVING, 0, loaded.snapshot))

    def allowed(self, caller: Caller, tenant: str) -> set[CallerAction]:
        return {action for action in CallerAction if self.rights.may(caller, action, tenant)}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, operators=f"{SPIFFE},", auditors=AUDITORS)


def test_without_tls_everybody_may_do_everything() -> None:
    rights = CallerRights(read_settings({}), LivePolicies())
    assert all(rights.may(ANONYMOUS, action, tenant) for action in CallerAction for tenant in ("acme", ""))
    assert "globex" == rights.audit_tenant(ANONYMOUS, "tenant", "globex")
    assert "" == rights.audit_tenant(ANONYMOUS, "tenant", "")


def test_without_callers_everybody_may_ask_but_not_read_audit_and_pin(world: World) -> None:
    refused = {CallerAction.READ, CallerAction.AUDIT, CallerAction.PIN, CallerAction.BIND, CallerAction.ACT_FOR}
    for tenant in ("acme", "nowhere", "_instance", ""):
        assert {*CallerAction} - refused == world.allowed(SHOP, tenant)


def test_settings_add_rights_that_no_policy_takes_away(world: World) -> None:
    world.callers(f"p, service:{SPIFFE}, _callers, acme, REMIT, *, deny\n")
    operator = {CallerAction.STATUS, CallerAction.READ, CallerAction.WATCH, CallerAction.PIN}
    auditor = {CallerAction.STATUS, CallerAction.READ, CallerAction.AUDIT, CallerAction.EXPLAIN}
    for tenant in ("acme", "nowhere", "_instance", ""):
        assert operator | auditor == world.allowed(ALL, tenant)
    assert auditor == world.allowed(ONE, "acme")
    assert set() == world.allowed(ONE, "globex")


def test_policy_of_callers_decides_by_tenant(world: World) -> None:
    world.callers(
        "p, service:shop, _callers, acme, REMIT, CHECK|LIST, allow\n"
        "p, service:batch, _callers, **, REMIT, *, allow\n"
        "p, service:batch, _callers, globex, REMIT, *, deny\n"
    )
    assert {CallerAction.CHECK, CallerAction.LIST} == world.allowed(SHOP, "acme")
    assert set() == world.allowed(SHOP, "globex") | world.allowed(SHOP, "_instance") | world.allowed(SHOP, "")
    of_tenants = {*CallerAction} - {CallerAction.ACT_FOR}
    assert of_tenants == world.allowed(BATCH, "acme") == world.allowed(BATCH, "nowhere")
    assert set() == world.allowed(BATCH, "globex") | world.allowed(BATCH, "_instance") | world.allowed(
        BATCH, "_callers"
    )


def test_rights_across_tenants_need_the_instance_kind(world: World) -> None:
    world.callers("p, service:shop, _callers, **, REMIT_INSTANCE, STATUS, allow\n")
    for tenant in ("", "_instance", "_callers"):
        assert {CallerAction.STATUS} == world.allowed(SHOP, tenant)
    assert set() == world.allowed(SHOP, "acme")


def test_new_policy_counts_at_the_next_question(world: World) -> None:
    world.callers("p, service:shop, _callers, acme, REMIT, CHECK, allow\n")
    assert {CallerAction.CHECK} == world.allowed(SHOP, "acme")
    world.callers("p, service:shop, _callers, acme, REMIT, PIN, allow\n")
    assert {CallerAction.PIN} == world.allowed(SHOP, "acme")


def test_callers_that_do_not_load_give_no_rights(world: World) -> None:
    """Also to callers who had asked before there was such a folder."""
    assert CallerAction.CHECK in world.allowed(SHOP, "acme")
    world.show(CALLERS)
    assert set() == world.allowed(SHOP, "acme")


def test_right_that_is_computed_while_the_policy_changes_does_not_outlive_the_change(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread may compute a right by a policy that another thread replaces meanwhile."""
    world.callers("p, service:shop, _callers, acme, REMIT, CHECK, allow\n")
    by_policy = caller_rights.granted

    def replaced_meanwhile(snapshot: Snapshot, principal: str, tenant: str) -> int:
        monkeypatch.undo()
        mask = by_policy(snapshot, principal, tenant)
        world.callers("p, service:nobody, _callers, acme, REMIT, CHECK, allow\n")
        world.rights.mask(BATCH, "acme")
        return mask

    monkeypatch.setattr(caller_rights, "granted", replaced_meanwhile)
    assert {CallerAction.CHECK} == {action for action in [CallerAction.CHECK] if world.rights.may(SHOP, action, "acme")}
    assert set() == world.allowed(SHOP, "acme")


def test_number_of_remembered_rights_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remit.service.caller_rights._MASKS", 10)
    world.callers("p, service:shop, _callers, **, REMIT, CHECK, allow\n")
    for number in range(100):
        assert {CallerAction.CHECK} == world.allowed(SHOP, f"invented{number}")
    assert 10 >= len(world.rights._known.masks)


def test_forbidden_text_is_the_same_for_every_tenant(world: World) -> None:
    world.callers("p, service:shop, _callers, acme, REMIT, CHECK, allow\n")
    for tenant in ("globex", "nowhere", "_instance"):
        with pytest.raises(ForbiddenError, match=f"^`service:shop` may not CHECK in `{tenant}`$"):
            world.rights.require(SHOP, CallerAction.CHECK, tenant)


def test_auditor_of_one_tenant_reads_it_unnamed_and_of_several_names_one(world: World) -> None:
    assert ["acme", "acme"] == [world.rights.audit_tenant(ONE, "tenant", asked) for asked in ("", "acme")]
    assert ["", "acme", "hooli"] == [world.rights.audit_tenant(ALL, "tenant", asked) for asked in ("", "acme", "hooli")]
    with pytest.raises(MalformedQuestionError, match="expected one of acme, globex"):
        world.rights.audit_tenant(TWO, "tenant", "")
    with pytest.raises(ForbiddenError, match="across tenants"):
        world.rights.audit_tenant(SHOP, "tenant", "")


def test_deny_of_one_tenant_keeps_an_auditor_from_reading_all_at_once(world: World) -> None:
    world.callers(
        "p, service:batch, _callers, **, REMIT_INSTANCE, AUDIT, allow\n"
        "p, service:batch, _callers, **, REMIT, AUDIT, allow\n"
        "p, service:batch, _callers, globex, REMIT, AUDIT, deny\n"
    )
    assert not world.rights.audits_all(BATCH)
    with pytest.raises(MalformedQuestionError, match="expected one of _callers, acme"):
        world.rights.audit_tenant(BATCH, "tenant", "")


@pytest.mark.parametrize(
    "rows",
    [
        "p, service:batch, _callers, **, REMIT, AUDIT, allow\np, service:batch, _callers, globex, REMIT, AUDIT, deny\n",
        "p, service:batch, _callers, acme, REMIT, AUDIT, allow\n",
        "p, role:all, _callers, **, REMIT, AUDIT, allow\ng, service:batch, role:all, _callers/acme\n",
        (
            "p, service:batch, _callers, **, REMIT, AUDIT, allow\n"
            "p, role:none, _callers, **, REMIT, AUDIT, deny\n"
            "g, service:batch, role:none, _callers/globex\n"
        ),
    ],
)
def test_a_removed_tenant_keeps_an_auditor_without_its_right_from_reading_all_at_once(world: World, rows: str) -> None:
    world.callers(f"p, service:batch, _callers, **, REMIT_INSTANCE, AUDIT, allow\n{rows}")
    assert not world.rights.audits_all(BATCH)
    world.live.remove(Tenant("globex"))
    assert not world.rights.audits_all(BATCH)
    with pytest.raises(MalformedQuestionError, match="expected one of _callers, acme"):
        world.rights.audit_tenant(BATCH, "tenant", "")


def test_settings_name_callers_by_principal_uri_or_dns_name() -> None:
    expected = [
        (ALL.principal, ""),
        (TWO.principal, "acme"),
        (TWO.principal, "globex"),
        (ONE.principal, "acme"),
        ("user:both", "acme"),
        ("user:both", ""),
    ]
    assert expected == parse_auditors(AUDITORS)
    assert [] == parse_auditors("") == parse_auditors(" , ")


@pytest.mark.parametrize(
    ("text", "error"), [("a=Acme", "`a=Acme`"), ("=acme", "names no caller"), ("ok,a=", "tenant is missing")]
)
def test_setting_that_names_no_caller_or_no_tenant_is_refused(text: str, error: str) -> None:
    with pytest.raises(StartupError, match="`auditors` holds") as refused:
        read_settings({"auditors": text})
    assert error in str(refused.value)


@pytest.mark.parametrize("setting", ["operators", "auditors"])
@pytest.mark.parametrize("name", ["spiffe://a/x\0.evil", "a\u202eb", "x" * 257, "Acme Web", "service:", "user:a b"])
def test_setting_with_a_name_that_no_principal_has_is_refused(setting: str, name: str) -> None:
    with pytest.raises(StartupError, match=f"`{setting}` holds .*ID"):
        read_settings({setting: f"{SPIFFE},{name}"})


def test_who_acts_for_a_person_has_the_rights_that_both_have_and_changes_nothing(world: World) -> None:
    world.callers(
        "p, service:console, _callers, **, REMIT_INSTANCE, ACT_FOR, allow\n"
        "p, service:console, _callers, **, REMIT|REMIT_INSTANCE, STATUS|LIST|WHO|PIN|BIND, allow\n"
        "p, service:console, _callers, globex, REMIT, LIST, deny\n"
        "p, user:ann, _callers, **, REMIT, LIST|EXPLAIN|PIN|BIND, allow\n"
        "p, user:root, _callers, **, REMIT|REMIT_INSTANCE, *, allow\n"
    )

    def acting_for(person: str) -> Caller:
        return Caller(person, "service:console", "service:console")

    assert {CallerAction.LIST} == world.allowed(acting_for("user:ann"), "acme")
    assert set() == world.allowed(acting_for("user:ann"), "globex") | world.allowed(acting_for("user:ann"), "")
    assert {CallerAction.STATUS, CallerAction.LIST, CallerAction.WHO} == world.allowed(acting_for("user:root"), "")
    assert set() == world.allowed(acting_for("user:nobody"), "acme")
    assert {CallerAction.EXPLAIN, CallerAction.LIST, CallerAction.PIN, CallerAction.BIND} == world.allowed(
        Caller("user:ann"), "globex"
    )
    assert {*CallerAction} == world.allowed(Caller("user:root"), "")


def test_settings_give_nobody_the_right_to_act_for_others(world: World) -> None:
    assert not any(CallerAction.ACT_FOR in world.allowed(each, "") for each in (ALL, TWO, ONE, SHOP))
