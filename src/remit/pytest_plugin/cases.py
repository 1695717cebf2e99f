from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pytest

from remit.core.diagnostics import Diagnostic, PolicyError
from remit.core.names import Tenant
from remit.core.policy import Policy
from remit.engine.differential.casbin_oracle import CasbinOracle
from remit.engine.snapshot import Snapshot
from remit.policy.load import DEFAULT_LIMITS, load_root, read_cases
from remit.policy.read.tree import read_tree
from remit.policy.testing.cases import Case, run_case


class CaseFile(pytest.File):
    """One test file of a tenant. If the tenant does not load, each of its files has an error."""

    def collect(self) -> Iterator["CaseItem"]:
        folder = self.path.parent.parent
        directories = self.config.stash.setdefault(_DIRECTORIES, {})
        try:
            directory = directories.get(folder.parent) or directories.setdefault(
                folder.parent, _Directory(folder.parent)
            )
            tested = directory.tested(Tenant(folder.name))
        except PolicyError as error:
            raise self.CollectError("\n".join(map(str, error.diagnostics))) from error
        file = f"{folder.name}/{self.path.parent.name}/{self.path.name}"
        cases = [case for case in tested.cases if case.file == file]
        asked = Counter(case.asked for case in cases)
        for case in cases:
            name = case.asked if asked[case.asked] == 1 else f"{case.asked} ({case.line}:{case.column})"
            yield CaseItem.from_parent(self, name=name, case=case, tested=tested)


class CaseItem(pytest.Item):
    """One case, which remit's engine and Casbin answer."""

    def __init__(self, *, case: Case, tested: "_Tested", **rest: Any) -> None:
        super().__init__(**rest)
        self._case = case
        self._tested = tested

    def runtest(self) -> None:
        failures = list(run_case(self._case, self._tested.snapshot, self._tested.witness))
        if failures:
            raise _FailedError("\n".join([self._case.place, *(failure.text for failure in failures)]))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return str(excinfo.value) if isinstance(excinfo.value, _FailedError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self._case.line - 1, self.name


class _FailedError(Exception):
    pass


class _Directory:
    def __init__(self, directory: Path) -> None:
        """Raises PolicyError if the root files do not load."""
        self._tree = read_tree(directory, DEFAULT_LIMITS)
        self._root = load_root(self._tree)
        self._tenants: dict[Tenant, _Tested | PolicyError] = {}

    def tested(self, tenant: Tenant) -> "_Tested":
        """Raises PolicyError if the tenant does not load."""
        known = self._tenants.get(tenant)
        if known is None:
            known = self._tenants[tenant] = self._read(tenant)
        if isinstance(known, PolicyError):
            raise known
        return known

    def _read(self, tenant: Tenant) -> "_Tested | PolicyError":
        if tenant not in self._tree.tenants:
            return PolicyError((Diagnostic(tenant, 0, 0, "is no tenant's folder: remit does not read it"),))
        try:
            return _Tested(*read_cases(self._tree, tenant, self._root))
        except PolicyError as error:
            return error


class _Tested:
    def __init__(self, policy: Policy, cases: tuple[Case, ...]) -> None:
        self._policy = policy
        self.cases = cases

    @cached_property
    def snapshot(self) -> Snapshot:
        return Snapshot(self._policy)

    @cached_property
    def witness(self) -> CasbinOracle | None:
        return CasbinOracle(self._policy) if self._policy.rows <= DEFAULT_LIMITS.witness_rows else None


_DIRECTORIES: Final = pytest.StashKey[dict[Path, _Directory]]()
