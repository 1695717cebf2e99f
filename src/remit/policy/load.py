import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from remit.core.authzen import AuthzenMapping
from remit.core.caller_actions import CALLERS_VOCABULARY
from remit.core.diagnostics import Diagnostic, PolicyError
from remit.core.gateway import Route, RouteTable
from remit.core.names import CALLERS, INSTANCE, Tenant
from remit.core.policy import Policy
from remit.core.rows import Link, ReachRule, Rule
from remit.core.runtime import Runtime
from remit.core.vocabulary import EMPTY_VOCABULARY, Vocabulary
from remit.engine.differential.casbin_oracle import CasbinOracle
from remit.engine.pacing import Pacing, unpaced
from remit.engine.role_graph import RoleGraph
from remit.engine.snapshot import Snapshot
from remit.policy.read import tree as policy_tree
from remit.policy.read.authzen import CatalogueReader, read_mapping
from remit.policy.read.csv import column, rows
from remit.policy.read.gateway import read_gateway
from remit.policy.read.limits import Limits
from remit.policy.read.manifests import (
    Manifest,
    Resources,
    opened,
    read_manifest,
    read_resources,
    read_runtime,
    read_vocabulary,
)
from remit.policy.read.question_cost import check_access_cost, check_reach_cost
from remit.policy.read.role_graph_check import check_graph, check_reach
from remit.policy.read.rows import RowReader
from remit.policy.read.schema import Schema
from remit.policy.read.text import read_text
from remit.policy.read.tree import Folder, Tree, read_tree
from remit.policy.read.yaml import Mapping as YamlMapping
from remit.policy.read.yaml import parse_yaml
from remit.policy.testing.case_reader import CaseReader
from remit.policy.testing.cases import Case, Failure, run_case

DEFAULT_LIMITS: Final = Limits()
_CLOCK_EVERY: Final = 4096
"""Rows between two readings of the clock."""


@dataclass(frozen=True, slots=True)
class Root:
    """The content of the root files, which applies to every tenant."""

    vocabulary: Vocabulary
    managed: tuple[Rule, ...]
    resources: Resources

    def of(self, tenant: Tenant) -> "Root":
        """What applies to this tenant. `_callers` has a vocabulary of its own, and nothing else of the root."""
        if tenant == CALLERS:
            return Root(CALLERS_VOCABULARY, (), {})
        return Root(self.vocabulary, (), self.resources) if tenant == INSTANCE else self


EMPTY_ROOT: Final = Root(EMPTY_VOCABULARY, (), {})


@dataclass(frozen=True, slots=True)
class LoadedTenant:
    """One tenant's folder, loaded or refused. `snapshot` is None if it was refused. `diagnostics` say why, or which
    tests failed although it was loaded."""

    tenant: Tenant
    revision: str
    snapshot: Snapshot | None
    rows: int
    """Rows that were read, managed roles included."""
    cases: tuple[Case, ...]
    failures: tuple[Failure, ...]
    diagnostics: tuple[Diagnostic, ...]
    witnessed: bool
    """True if Casbin answered the tests too."""
    seconds: float

    @property
    def mistakes(self) -> tuple[Diagnostic, ...]:
        """The errors that keep the files from loading, without failed tests."""
        failures = {failure.diagnostic for failure in self.failures}
        return tuple(each for each in self.diagnostics if each not in failures)


@dataclass(frozen=True, slots=True)
class LoadedTree:
    tree_revision: str
    tenants: Mapping[Tenant, LoadedTenant]

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return tuple(each for loaded in self.tenants.values() for each in loaded.diagnostics)


def load_tree(directory: Path, limits: Limits = DEFAULT_LIMITS, *, tested: bool = True) -> LoadedTree:
    """Loads a policy directory: the root, then each tenant on its own, as `load_tenant` does.

    Raises PolicyError if the root files are invalid; the LoadedTenant of an invalid tenant says so.
    """
    tree = read_tree(directory, limits)
    root = load_root(tree, limits)
    tenants = {tenant: load_tenant(tree, tenant, root, limits, tested=tested) for tenant in tree.tenants}
    return LoadedTree(tree.tree_revision, tenants)


def load_root(tree: Tree, limits: Limits = DEFAULT_LIMITS) -> Root:
    """Raises PolicyError with every diagnostic of the root files."""
    reading = _Reading(tree.root, limits)
    vocabulary = EMPTY_VOCABULARY
    document = reading.document(policy_tree.VOCABULARY)
    if document is not None:
        vocabulary = read_vocabulary(reading.schema(policy_tree.VOCABULARY), document)
    # Rows are checked against the vocabulary: if it is invalid, every row would be.
    worded = not any(each.file == policy_tree.VOCABULARY for each in reading.report.diagnostics)
    resources: Resources = {}
    document = reading.document(policy_tree.RESOURCES)
    if document is not None:
        services = vocabulary.services if worded else None
        resources = read_resources(reading.schema(policy_tree.RESOURCES), document, services)
    managed: tuple[Rule, ...] = ()
    if worded:
        try:
            managed, _ = reading.access_rows(RowReader(None, vocabulary, reading.report))
            reading.check_cost(managed)
        except _LimitError as error:
            reading.report.add(policy_tree.ROLES, 0, 0, str(error))
    if reading.report:
        raise PolicyError(reading.report.diagnostics)
    return Root(vocabulary, managed, resources)


def load_tenant(
    tree: Tree,
    tenant: Tenant,
    root: Root,
    limits: Limits = DEFAULT_LIMITS,
    *,
    tested: bool = True,
    gated: bool = True,
    pacing: Pacing = unpaced,
) -> LoadedTenant:
    """Loads one tenant, all or nothing: reads, checks, compiles, and runs its tests on both engines.

    If not `tested`, does not even read the tests. If not `gated`, reports failing tests but loads the tenant. `pacing`
    walks the tests that run.
    """
    started = time.monotonic()
    folder = tree.tenants[tenant]
    root = root.of(tenant)
    revision = tree.revision(tenant)
    reading = _Reading(folder, limits)
    cases: tuple[Case, ...] = ()
    failures: tuple[Failure, ...] = ()
    snapshot: Snapshot | None = None
    witness: CasbinOracle | None = None
    try:
        policy = reading.policy(tenant, root, revision)
        cases = reading.cases(policy) if tested else ()
        if not folder.report:
            snapshot = Snapshot(policy)
            reading.check_clock()
            if cases and policy.rows <= limits.witness_rows:
                witness = CasbinOracle(policy)
            failures = reading.run(pacing(cases), snapshot, witness)
    except _LimitError as error:
        folder.report.add(folder.name, 0, 0, str(error))
    diagnostics = (*folder.report.diagnostics, *(failure.diagnostic for failure in failures))
    return LoadedTenant(
        tenant,
        revision,
        None if folder.report or (failures and gated) else snapshot,
        snapshot.policy.rows if snapshot is not None else 0,
        cases,
        failures,
        diagnostics,
        witness is not None,
        time.monotonic() - started,
    )


def read_policy(tree: Tree, tenant: Tenant, root: Root, limits: Limits = DEFAULT_LIMITS) -> Policy:
    """One tenant's rows and manifest. Raises as `read_cases` does."""
    policy, _ = read_cases(tree, tenant, root, limits)
    return policy


def read_cases(
    tree: Tree, tenant: Tenant, root: Root, limits: Limits = DEFAULT_LIMITS
) -> tuple[Policy, tuple[Case, ...]]:
    """One tenant's rows and manifest, and its tests, without running them.

    Raises PolicyError with every diagnostic of the folder.
    """
    folder = tree.tenants[tenant]
    root = root.of(tenant)
    reading = _Reading(folder, limits)
    policy: Policy | None = None
    cases: tuple[Case, ...] = ()
    try:
        policy = reading.policy(tenant, root, tree.revision(tenant))
        cases = reading.cases(policy)
    except _LimitError as error:
        folder.report.add(folder.name, 0, 0, str(error))
    if policy is None or folder.report:
        raise PolicyError(folder.report.diagnostics)
    return policy, cases


class _LimitError(Exception):
    pass


class _Reading:
    """Reads the files of one folder into rows, within the limits."""

    def __init__(self, folder: Folder, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        self._deadline = time.process_time() + limits.seconds
        self._rows = 0
        self._lines: dict[str, list[str]] = {}
        self.report = folder.report
        tests = f"{self._path(policy_tree.TESTS)}/"
        self._all_read = all(each.file.startswith(tests) for each in self.report.diagnostics)
        """True if each file of rows is clean text, or absent, and no unknown file may be one."""

    def policy(self, tenant: Tenant, root: Root, revision: str) -> Policy:
        manifest = Manifest(None, {})
        document = self.document(policy_tree.MANIFEST)
        if document is not None:
            manifest = read_manifest(self.schema(policy_tree.MANIFEST), document, tenant, root.resources)
        authzen = self.authzen(tenant, root.vocabulary)
        routes = self.routes(tenant, root.vocabulary)
        reader = RowReader(tenant, root.vocabulary, self.report)
        rules, links = self.access_rows(reader)
        reach = self.reach_rows(reader)
        refused = reader.refused if self._all_read else None
        check_graph(rules, links, {rule.subject for rule in root.managed}, self._refuse, refused)
        check_reach(reach, self._refuse)
        runtime: Runtime | None = None
        if document is not None and "runtime" in document.items:
            _, node = document.items["runtime"]
            graph = RoleGraph((*root.managed, *rules), links) if refused is not None and not refused else None
            schema, access = self.schema(policy_tree.MANIFEST), manifest.access or ()
            runtime = read_runtime(schema, node, tenant, root.vocabulary, graph=graph, access=access)
        self.check_clock()
        self.check_cost((*root.managed, *rules), links, reach)
        return Policy(
            tenant,
            revision,
            root.vocabulary,
            rules=(*root.managed, *rules),
            links=links,
            reach=reach,
            access=manifest.access,
            dedicated=manifest.dedicated,
            opened=opened(root.resources) if tenant == INSTANCE else {},
            authzen=authzen,
            routes=routes,
            runtime=runtime,
        )

    def access_rows(self, reader: RowReader) -> tuple[tuple[Rule, ...], tuple[Link, ...]]:
        rules: list[Rule] = []
        links: list[Link] = []
        for file in (policy_tree.ROLES, policy_tree.BINDINGS):
            text = self.text(file)
            self._all_read &= text is not None or self._folder.get(file) is None
            for row in rows(self._path(file), text or ""):
                self._count_row()
                parsed = reader.access(row)
                if isinstance(parsed, Rule):
                    rules.append(parsed)
                elif parsed is not None:
                    links.append(parsed)
        return tuple(rules), tuple(links)

    def reach_rows(self, reader: RowReader) -> tuple[ReachRule, ...]:
        found = []
        for row in rows(self._path(policy_tree.REACH), self.text(policy_tree.REACH) or ""):
            self._count_row()
            found.append(reader.reach(row))
        return tuple(rule for rule in found if rule is not None)

    def authzen(self, tenant: Tenant, vocabulary: Vocabulary) -> AuthzenMapping:
        reader = CatalogueReader(tenant, vocabulary, self.report)
        for row in rows(self._path(policy_tree.CATALOGUE), self.text(policy_tree.CATALOGUE) or ""):
            self._count_row()
            reader.add(row)
        document = self.document(policy_tree.AUTHZEN)
        return read_mapping(self.schema(policy_tree.AUTHZEN), document, reader.catalogue(), tenant, vocabulary)

    def routes(self, tenant: Tenant, vocabulary: Vocabulary) -> tuple[Route, ...]:
        document = self.document(policy_tree.GATEWAY)
        if document is None:
            return ()
        return read_gateway(self.schema(policy_tree.GATEWAY), document, tenant, vocabulary)

    def cases(self, policy: Policy) -> tuple[Case, ...]:
        found: list[Case] = []
        # Cases about routes are read by the routes: if their file is wrong, every such case would be.
        broken = any(each.file == self._path(policy_tree.GATEWAY) for each in self.report.diagnostics)
        routes = None if broken else RouteTable(policy.routes)
        prefix = f"{self._path(policy_tree.TESTS)}/"
        for path in self._folder.files:
            if path.startswith(prefix):
                file = path.removeprefix(f"{self._folder.name}/")
                document = self.document(file)
                if document is not None:
                    found += CaseReader(self.schema(file), policy, routes).read(document)
                if len(found) > self._limits.cases:
                    raise _LimitError(f"has more than {self._limits.cases} test cases, its limit")
                self.check_clock()
        return tuple(found)

    def text(self, file: str) -> str | None:
        """The text of a file; None if it is absent or not clean."""
        content = self._folder.get(file)
        return read_text(self._path(file), content, self.report) if content is not None else None

    def document(self, file: str) -> YamlMapping | None:
        text = self.text(file)
        return parse_yaml(self._path(file), text, self.report) if text is not None else None

    def schema(self, file: str) -> Schema:
        return Schema(self._path(file), self.report)

    def check_cost(self, rules: Sequence[Rule], links: Sequence[Link] = (), reach: Sequence[ReachRule] = ()) -> None:
        """Checks rows only if they are otherwise valid: rows behind a cycle cannot be counted."""
        if not self.report:
            check_access_cost(rules, links, self._limits.question_rows, self._refuse, self.check_clock)
            check_reach_cost(reach, self._limits.question_rows, self._refuse)

    def check_clock(self) -> None:
        # Measure processor time: other load on the machine must not decide if a folder loads.
        if time.process_time() > self._deadline:
            raise _LimitError(f"takes longer than {self._limits.seconds:g} s of processor time to build, its limit")

    def run(self, cases: Iterable[Case], snapshot: Snapshot, witness: CasbinOracle | None) -> tuple[Failure, ...]:
        failures: list[Failure] = []
        for case in cases:
            failures += run_case(case, snapshot, witness)
            self.check_clock()
        return tuple(failures)

    def _refuse(self, row: Rule | Link | ReachRule, field: int, message: str) -> None:
        lines = self._lines.get(row.file)
        if lines is None:
            # Cached, because a file may have as many errors as rows.
            lines = self._lines[row.file] = self._folder.files[row.file].decode().split("\n")
        self.report.add(row.file, row.line, column(lines[row.line - 1], field), message)

    def _count_row(self) -> None:
        self._rows += 1
        if self._rows > self._limits.rows:
            raise _LimitError(f"has more than {self._limits.rows} rows, its limit")
        if self._rows % _CLOCK_EVERY == 0:
            self.check_clock()

    def _path(self, file: str) -> str:
        return f"{self._folder.name}/{file}" if self._folder.name else file
