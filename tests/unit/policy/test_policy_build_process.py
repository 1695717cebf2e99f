"""What a process of its own loads is what this one would have loaded."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from support.trees import write

from remit.core.names import Tenant
from remit.engine.differential.random_questions import random_questions
from remit.policy.build.build_process import BuildProcess, SlowLoadError
from remit.policy.build.scan import BuildStarted, RootRead, ScanRequest, TenantBuilt, run
from remit.policy.read.limits import Limits
from remit.process.errors import ChildEndedError

EXAMPLE = Path(__file__).parents[3] / "policies"


@pytest.fixture(scope="module")
def worker() -> "BuildProcess":
    made = BuildProcess()
    yield made
    made.end()
    made.close()


def order(directory: Path) -> ScanRequest:
    return ScanRequest(directory, Limits(), None, {}, {})


def test_build_process_returns_the_same_policies(worker: BuildProcess) -> None:
    here = {found.tenant: found for found in run(order(EXAMPLE)) if isinstance(found, TenantBuilt)}
    there = {found.tenant: found for found in worker.run(order(EXAMPLE)) if isinstance(found, TenantBuilt)}
    assert here.keys() == there.keys() == {"acme", "globex", "_instance", "_callers"}
    for tenant, mine in here.items():
        its = there[tenant]
        assert mine.snapshot is not None
        assert its.snapshot is not None
        assert mine.snapshot.policy == its.snapshot.policy
        assert (mine.revision, mine.cases, mine.witnessed) == (its.revision, its.cases, its.witnessed)
        for question in random_questions(mine.snapshot.policy, Random(1), 300):
            assert mine.snapshot.decide(question) == its.snapshot.decide(question)


def test_shared_names_are_one_object_after_a_build_process(worker: BuildProcess) -> None:
    """Else a policy would take several times its memory after a reload."""
    (acme,) = [each for each in worker.run(order(EXAMPLE)) if isinstance(each, TenantBuilt) and each.tenant == "acme"]
    assert acme.snapshot is not None
    holds = [link.holds for link in acme.snapshot.policy.links]
    assert len(set(holds)) == len({id(each) for each in holds})


def test_child_errors_arrive_unchanged_and_the_process_continues(worker: BuildProcess, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(worker.run(order(tmp_path / "nowhere")))
    process = worker._child._process
    assert process is not None
    root = next(worker.run(order(write(tmp_path, {"vocabulary.yaml": b"kinds: [\n", "acme/roles.csv": b""}))))
    assert isinstance(root, RootRead)
    assert (frozenset({Tenant("acme")}), {}) == (root.tenants, root.root)
    assert root.diagnostics


def test_dead_process_is_reported_and_replaced() -> None:
    worker = BuildProcess()
    looking = worker.run(order(EXAMPLE))
    next(looking)
    assert worker._child._process is not None
    worker._child._process.kill()
    with pytest.raises(ChildEndedError):
        list(looking)
    assert [found for found in worker.run(order(EXAMPLE)) if isinstance(found, TenantBuilt)]
    worker.end()
    worker.close()
    with pytest.raises(ChildEndedError, match="stopping"):
        list(worker.run(order(EXAMPLE)))


def test_tenant_that_takes_too_much_processor_time_ends_the_scan(worker: BuildProcess, tmp_path: Path) -> None:
    """Those before it have come over; the next look is another process's."""
    rows = "".join(f"g, user:u{number}, group:g{number % 100}, globex\n" for number in range(100_000))
    files = {"vocabulary.yaml": b"kinds: {}\n", "acme/roles.csv": b"# acme\n", "globex/bindings.csv": rows.encode()}
    wanted = replace(order(write(tmp_path, files)), within_s=0.3)
    found = []
    with pytest.raises(SlowLoadError):
        found.extend(worker.run(wanted))
    loading = worker.run(wanted)
    assert [RootRead, BuildStarted, TenantBuilt, BuildStarted] == [type(next(loading)) for _ in range(4)]
    with pytest.raises(SlowLoadError):
        next(loading)
    (_, begun, built) = worker.run(replace(wanted, only=Tenant("acme")))
    assert isinstance(begun, BuildStarted)
    assert isinstance(built, TenantBuilt)
    assert 0 < built.processor_s < wanted.within_s


def test_tenant_that_takes_too_long_to_apply_ends_the_scan(
    worker: BuildProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are compiled in the server's own process, beside the calls."""
    monkeypatch.setattr("remit.policy.build.build_process._UNPACKED", 1e9)
    files = {"vocabulary.yaml": b"kinds: {}\n", "acme/bindings.csv": b"g, user:u, group:g, acme\n"}
    with pytest.raises(SlowLoadError):
        list(worker.run(replace(order(write(tmp_path, files)), within_s=60)))
