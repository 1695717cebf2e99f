"""In which order a look loads tenants, and which it leaves for later."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.trees import write

from remit.core.names import Tenant
from remit.policy.build.scan import (
    BuildStarted,
    CutShort,
    Deferred,
    Fingerprint,
    RootRead,
    ScanRequest,
    ScanResult,
    TenantBuilt,
    run,
)
from remit.policy.read.limits import Limits

FILES = {
    "vocabulary.yaml": b"kinds: {}\n",
    "acme/roles.csv": b"# acme, which is of middle size\n",
    "globex/roles.csv": b"#\n",
    "initech/roles.csv": b"# the largest of the three, by far, as anybody can see\n",
}
ACME, GLOBEX, INITECH = Tenant("acme"), Tenant("globex"), Tenant("initech")


@pytest.fixture
def order(tmp_path: Path) -> ScanRequest:
    return ScanRequest(write(tmp_path, FILES), Limits(), None, {}, {})


def built(found: list[ScanResult]) -> list[Tenant]:
    return [each.tenant for each in found if isinstance(each, TenantBuilt)]


def known(found: list[ScanResult]) -> dict[Tenant, Fingerprint]:
    return {each.tenant: Fingerprint(each.signature, each.folder) for each in found if isinstance(each, TenantBuilt)}


def test_quick_tenants_load_first_and_small_ones_before_large_ones(order: ScanRequest) -> None:
    assert [GLOBEX, ACME, INITECH] == built(list(run(order)))
    assert [ACME, INITECH, GLOBEX] == built(list(run(replace(order, took_s={GLOBEX: 1.5}))))


def test_scan_that_is_cut_short_continues_in_the_next_scan(order: ScanRequest) -> None:
    """An edit that comes between them is read, and comes first where it is small."""
    first = list(run(replace(order, slice_s=-1)))
    assert [GLOBEX] == built(first)
    assert isinstance(first[-1], CutShort)
    write(order.directory, {"globex/roles.csv": b"# edited\n"})
    second = list(run(replace(order, slice_s=-1, known=known(first))))
    assert [GLOBEX] == built(second)
    last = list(run(replace(order, known=known(second))))
    assert [ACME, INITECH] == built(last)
    assert not isinstance(last[-1], CutShort)


def test_scan_defers_tenants_that_another_process_loads(order: ScanRequest) -> None:
    found = list(run(replace(order, apart=frozenset({ACME, INITECH}))))
    root, deferred, begun, loaded = found
    assert Deferred(frozenset({ACME, INITECH})) == deferred
    assert isinstance(root, RootRead)
    assert isinstance(begun, BuildStarted)
    assert isinstance(loaded, TenantBuilt)
    assert [GLOBEX] == built(found)
    of_acme = known(list(run(replace(order, only=ACME))))
    assert {ACME} == of_acme.keys()
    again = list(run(replace(order, apart=frozenset({ACME}), known=of_acme)))
    assert not [each for each in again if isinstance(each, Deferred)]


def test_folder_that_has_not_settled_waits_for_the_next_scan(order: ScanRequest) -> None:
    """The root's files hold up all."""
    settled = list(run(replace(order, settle_s=1e-9)))
    assert 3 == len(built(settled))
    hour_s = 3600.0
    root, *_ = run(replace(order, settle_s=1e-9))
    assert isinstance(root, RootRead)
    assert not root.unsettled
    with pytest.raises(Exception, match=r"has not rested for 3600 s"):
        list(run(replace(order, settle_s=hour_s)))
