"""What becomes of a tenant's policy, event by event: no files, no processes."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.core.diagnostics import Diagnostic
from remit.core.errors import RemitError
from remit.core.names import Tenant
from remit.policy.build.scan import NO_FINGERPRINT, Fingerprint, TenantBuilt
from remit.policy.live import TenantState
from remit.policy.revisions.store import Pin
from remit.service.reload.tenants import Change, Swap, TenantFiles, Tenants

ACME, GLOBEX = Tenant("acme"), Tenant("globex")
PIN = Pin("old", "ops", 7)
LOST = RemitError("it is damaged")
WRONG = (Diagnostic("vocabulary.yaml", 3, 1, "is no mapping"),)


@dataclass(frozen=True)
class Snapshot:
    """As much of one as the table hands on."""

    revision: str


def built(revision: str, *, refused: bool = False, tenant: Tenant = ACME, checked: bool = False) -> TenantBuilt:
    wrong = (Diagnostic(tenant, 1, 1, "is no row"),) if refused else ()
    snapshot: Any = None if refused or checked else Snapshot(revision)
    return TenantBuilt(
        tenant,
        revision,
        f"signature of {revision}",
        f"folder of {revision}",
        snapshot,
        refused=refused,
        diagnostics=wrong,
    )


def folders_listed(*tenants: Tenant) -> Tenants:
    return Tenants().folders_listed(tenants)


def serving(revision: str = "a") -> Tenants:
    return folders_listed(ACME).built(built(revision)).after


def after(change: Change | None) -> Tenants:
    assert change is not None
    return change.after


def kind(change: Change | None) -> str:
    return change.outcome.kind if change is not None and change.outcome is not None else ""


def shown(tenants: Tenants) -> tuple[TenantState, str]:
    return tenants.state(ACME), tenants.files[ACME].serving


def test_a_tenant_that_loads_serves_its_newest_files() -> None:
    change = folders_listed(ACME).built(built("a"))
    assert (TenantState.SERVING, "a") == shown(change.after)
    assert (ACME, Swap(Snapshot("a")), "POLICY_LOADED") == (change.tenant, change.swap, kind(change))
    assert Fingerprint("signature of a", "folder of a") == change.after.files[ACME].known
    again = change.after.built(built("b"))
    assert "a" == again.outcome.detail["replaces"]
    assert (TenantState.SERVING, "b") == shown(again.after)


def test_refused_files_leave_the_serving_revision() -> None:
    change = serving().built(built("b", refused=True))
    assert (TenantState.STALE, "a") == shown(change.after)
    assert (None, "POLICY_REFUSED") == (change.swap, kind(change))
    # Its tests gate what differs from the files that serve.
    assert Fingerprint("signature of b", "folder of a") == change.after.files[ACME].known
    assert (TenantState.SERVING, "c") == shown(change.after.built(built("c")).after)


def test_a_new_tenant_whose_files_are_refused_is_unavailable() -> None:
    assert (TenantState.UNAVAILABLE, "") == shown(folders_listed(ACME).built(built("a", refused=True)).after)


def test_bad_root_makes_every_tenant_stale_until_it_loads() -> None:
    change = serving().root_checked(WRONG, "tree")
    assert change is not None
    assert (TenantState.STALE, "a") == shown(change.after)
    assert (None, None, "POLICY_REFUSED") == (change.tenant, change.swap, kind(change))
    assert WRONG == change.after.policy(ACME, 0, None).diagnostics
    assert change.after.root_checked(WRONG, "another tree") is None
    loads = change.after.root_checked((), "tree")
    assert ("POLICY_LOADED", TenantState.SERVING) == (kind(loads), after(loads).state(ACME))


def test_a_tenant_without_a_folder_is_removed() -> None:
    change = serving().folder_removed(ACME)
    assert ({}, "POLICY_REMOVED", ACME) == (change.after.files, kind(change), change.tenant)


def test_a_pin_swaps_and_a_load_under_it_only_checks() -> None:
    pinned = serving().pinned(ACME, PIN, built("old"))
    assert (TenantState.PINNED, "old") == shown(pinned.after)
    assert (Swap(Snapshot("old")), "POLICY_PINNED", "a") == (
        pinned.swap,
        kind(pinned),
        pinned.outcome.detail["replaces"],
    )
    checked = pinned.after.built(built("b", checked=True))
    assert (TenantState.PINNED, "old") == shown(checked.after)
    assert (None, "POLICY_CHECKED") == (checked.swap, kind(checked))
    refused = checked.after.built(built("c", refused=True))
    assert (TenantState.PINNED, "old") == shown(refused.after)


def test_pin_to_a_broken_revision_serves_nothing_and_says_why() -> None:
    change = serving().pinned(ACME, PIN, LOST)
    assert (TenantState.UNAVAILABLE, "") == shown(change.after)
    assert Swap(None) == change.swap
    assert "it is damaged" in change.after.files[ACME].diagnostics[0].message


def test_a_pinned_tenant_without_a_folder_serves_on() -> None:
    change = serving().pinned(ACME, PIN, built("old")).after.folder_removed(ACME)
    assert (TenantState.PINNED, "old") == shown(change.after)
    assert (None, "", ["the folder is gone"]) == (
        change.swap,
        kind(change),
        [each.message for each in change.after.files[ACME].diagnostics],
    )
    assert "" == change.after.files[ACME].known.signature


def test_unpinned_revision_serves_until_the_files_are_loaded() -> None:
    change = serving().pinned(ACME, PIN, built("old")).after.unpinned(ACME, "bea")
    assert (TenantState.STALE, "old") == shown(change.after)
    assert (None, "POLICY_UNPINNED", {"caller": "bea"}) == (change.swap, kind(change), change.outcome.detail)
    # Whatever its files are, they differ from what is known.
    assert "" == change.after.files[ACME].known.signature
    assert (TenantState.SERVING, "b") == shown(change.after.built(built("b")).after)


def test_stored_revision_serves_if_the_files_do_not_load() -> None:
    refused = folders_listed(ACME).built(built("b", refused=True)).after
    change = refused.restored(ACME, refused.files[ACME], built("old"))
    assert (TenantState.STALE, "old") == shown(after(change))
    assert "POLICY_RESTORED" == kind(change)


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda tenants: tenants.built(built("c")),
        lambda tenants: tenants.folder_removed(ACME),
        lambda tenants: tenants.pinned(ACME, PIN, built("c")),
    ],
    ids=["loaded", "removed", "pinned"],
)
def test_stored_revision_does_not_replace_a_newer_change(meanwhile: Any) -> None:
    before = serving().built(built("b", refused=True)).after
    assert meanwhile(before).after.restored(ACME, before.files[ACME], built("old")) is None


def test_stored_revision_that_does_not_load_changes_nothing_unless_it_is_pinned() -> None:
    refused = serving().built(built("b", refused=True)).after
    assert refused.restored(ACME, refused.files[ACME], LOST) is None
    pinned = Tenants({ACME: TenantFiles(NO_FINGERPRINT, pin=PIN)})
    change = pinned.restored(ACME, pinned.files[ACME], LOST)
    assert (TenantState.UNAVAILABLE, "") == shown(after(change))


def test_files_not_read_at_the_start_leave_the_tenant_unavailable() -> None:
    change = folders_listed(ACME).unread(ACME)
    assert (TenantState.UNAVAILABLE, "") == shown(change.after)
    assert ["its files have not been loaded yet"] == [each.message for each in change.after.files[ACME].diagnostics]


REVISIONS = st.sampled_from("abcdef")
TENANTS = st.sampled_from([ACME, GLOBEX])
EVENTS = st.one_of(
    st.tuples(st.just("found"), TENANTS),
    st.tuples(st.just("judged"), st.sampled_from([(), WRONG])),
    st.tuples(st.sampled_from(["loaded", "refused"]), TENANTS, REVISIONS),
    st.tuples(st.sampled_from(["pinned", "restored"]), TENANTS, st.one_of(REVISIONS, st.just(LOST))),
    st.tuples(st.sampled_from(["gone", "unpinned", "unread"]), TENANTS),
)


def happens(tenants: Tenants, event: tuple[Any, ...]) -> Change | None:
    """None where the event cannot come in this state."""
    what, about, *more = event
    if what == "judged":
        return tenants.root_checked(about, "tree")
    if what == "found":
        return Change(tenants.folders_listed([about]), about)
    if about not in tenants.files:
        return None
    files = tenants.files[about]
    if what in {"loaded", "refused"}:
        found = built(more[0], refused=what == "refused", tenant=about, checked=files.pin is not None)
        return tenants.built(found)
    if what == "restored" and files.pin is None and not files.diagnostics:
        # What was kept is called for where something is wrong.
        return None
    if what in {"pinned", "restored"}:
        recalled = more[0] if more[0] is LOST else built(more[0], tenant=about)
        if what == "pinned":
            return tenants.pinned(about, Pin("x" if more[0] is LOST else more[0], "ops", 1), recalled)
        return tenants.restored(about, files, recalled)
    if what == "unpinned":
        return tenants.unpinned(about, "ops") if files.pin is not None else None
    return tenants.folder_removed(about) if what == "gone" else tenants.unread(about)


def served(tenants: Tenants) -> dict[Tenant, str]:
    return {tenant: files.serving for tenant, files in tenants.files.items()}


@given(st.lists(EVENTS, max_size=30))
def test_serving_revision_changes_by_one_swap_or_not_at_all(events: list[tuple[Any, ...]]) -> None:
    """And each state follows from what serves, the pin, and the newest files."""
    tenants, live = Tenants(), dict[Tenant, str]()
    for event in events:
        change = happens(tenants, event)
        if change is None:
            continue
        before, tenants = tenants, change.after
        # Nobody else is touched.
        touched = {change.tenant} if change.tenant is not None else set()
        assert all(before.files.get(each) == tenants.files.get(each) for each in {ACME, GLOBEX} - touched), event
        # The swaps alone tell what serves.
        if change.swap is not None:
            live[change.tenant] = change.swap.snapshot.revision if change.swap.snapshot is not None else ""
        live = {tenant: live.get(tenant, "") for tenant in tenants.files}
        assert live == served(tenants), event
        # What comes to serve is recorded with its revision.
        if change.swap is not None and change.swap.snapshot is not None:
            assert change.outcome is not None
            assert change.swap.snapshot.revision == change.outcome.revision, event
        for tenant, files in tenants.files.items():
            state = tenants.state(tenant)
            assert (state is TenantState.UNAVAILABLE) == (not files.serving)
            assert (state is TenantState.PINNED) == (bool(files.serving) and files.pin is not None)
            if state is TenantState.SERVING:
                assert not files.refused
                assert not tenants.wrong
                assert files.serving == files.revision
            if state is TenantState.STALE:
                assert tenants.policy(tenant, 0, None).diagnostics


@given(st.lists(EVENTS, max_size=30))
def test_tenant_serves_until_it_is_removed_or_pinned_to_a_lost_revision(events: list[tuple[Any, ...]]) -> None:
    tenants = Tenants()
    for event in events:
        change = happens(tenants, event)
        if change is None:
            continue
        before, tenants = tenants, change.after
        for tenant, files in before.files.items():
            now = tenants.files.get(tenant)
            if files.serving and (now is None or not now.serving):
                assert event[0] == "gone" or event[2] is LOST, event
            if now is not None and files.serving != now.serving:
                # A refusal changes no revision, and no load changes that of a pinned tenant.
                assert event[0] in {"loaded", "pinned", "restored"}, event
                assert files.pin is None or event[0] != "loaded", event
