"""Scans the policy directory once: finds changed files, and loads or refuses tenants one after the other."""

import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from remit.clock import now_us
from remit.core.diagnostics import Diagnostic, PolicyError
from remit.core.names import Tenant
from remit.engine.snapshot import Snapshot
from remit.policy.lint.finding import LintSeverity
from remit.policy.lint.linter import tenant_findings
from remit.policy.load import Root, load_root, load_tenant
from remit.policy.read.git import Checkout
from remit.policy.read.limits import Limits
from remit.policy.read.tree import VOCABULARY, Folder, Tree, read_settled
from remit.policy.revisions.archive import Archive
from remit.policy.revisions.load import load_revision
from remit.policy.revisions.store import RevisionStore

_SLICE_READS: Final = 4
"""A slice is longer by so many times the time to read the files."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a scan already knows about a tenant."""

    signature: str
    """Hash of the files scanned last, loaded or not; '' if there were none."""
    folder: str
    """SHA-256 of the tenant's own files that serve; '' if there are none. Other files must pass the tenant's tests."""


NO_FINGERPRINT: Final = Fingerprint("", "")


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """What to scan, and what the caller already knows."""

    directory: Path
    limits: Limits
    store: RevisionStore | None
    root: Mapping[str, bytes]
    """The last good root files, used if the new ones are invalid; empty if there are none."""
    known: Mapping[Tenant, Fingerprint]
    check_only: frozenset[Tenant] = frozenset()
    """Tenants for which no snapshot is needed."""
    lint: LintSeverity | None = None
    """Findings of at least this severity refuse a folder, as failing tests do. None: no finding does."""
    only: Tenant | None = None
    """The only tenant whose folder is read and loaded; None for all."""
    apart: frozenset[Tenant] = frozenset()
    """Tenants that something else loads: the scan reports that they have changed files, and does not load them."""
    took_s: Mapping[Tenant, float] = field(default_factory=dict)
    """Processor time of the tenants' last load, in seconds: quick tenants come first."""
    within_s: float = math.inf
    """Processor time that one tenant may take, in seconds. Past it the build process aborts the scan."""
    slice_s: float = math.inf
    """After so many seconds of loading, and some more if there is much to read, the scan stops, to start again: there may be
    newer files by then."""
    settle_s: float = 0.0
    """Folders that changed less than so many seconds ago wait for the next scan."""


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    store: RevisionStore
    limits: Limits
    tenant: Tenant
    revision: str


@dataclass(frozen=True, slots=True)
class RootRead:
    """The first result of a scan."""

    tree_revision: str
    root: Mapping[str, bytes]
    """The root files with which the tenants load; empty if none load, and then no tenant loads."""
    diagnostics: tuple[Diagnostic, ...]
    tenants: frozenset[Tenant]
    """Tenants that have a folder."""
    unsettled: frozenset[str] = frozenset()
    """Folders that changed too recently, or while they were read: they are not loaded, and need another scan."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """Tenants of `ScanRequest.apart` with changed files."""

    tenants: frozenset[Tenant]


@dataclass(frozen=True, slots=True)
class CutShort:
    """The last result if `ScanRequest.slice_s` was over before all tenants were loaded."""


@dataclass(frozen=True, slots=True)
class BuildStarted:
    """The next tenant to load. If its files crash the loader, this result names the tenant."""

    tenant: Tenant
    revision: str
    signature: str


@dataclass(frozen=True, slots=True)
class TenantBuilt:
    """The result for a tenant with changed files."""

    tenant: Tenant
    revision: str
    signature: str
    folder: str
    snapshot: Snapshot | None
    """None if the files were refused, or only checked."""
    refused: bool
    diagnostics: tuple[Diagnostic, ...]
    """Why the files were refused, or which tests failed although they were loaded."""
    rows: int = 0
    cases: int = 0
    witnessed: bool = False
    seconds: float = 0.0
    processor_s: float = 0.0
    """Processor time of this load, in seconds."""
    not_kept: str = ""
    """Why the revision could not be stored on disk."""
    archive: bytes = b""
    """The archive of the files, if there is a snapshot."""


ScanResult = RootRead | Deferred | BuildStarted | TenantBuilt | CutShort


def run(order: ScanRequest | RestoreRequest) -> Iterator[ScanResult]:
    """Runs a scan or restores a revision. Raises OSError if the directory cannot be read, UnsettledError if it keeps
    changing; for a RestoreRequest, RevisionNotStoredError if the revision is missing, damaged or does not load."""
    return _scan(order) if isinstance(order, ScanRequest) else _recall(order)


def _scan(order: ScanRequest) -> Iterator[ScanResult]:
    began = time.monotonic()
    tree, unsettled = read_settled(order.directory, order.limits, order.only, order.settle_s)
    tree_revision = tree.tree_revision
    diagnostics: tuple[Diagnostic, ...] = ()
    root: Root | None = None
    try:
        root = load_root(tree, order.limits)
    except PolicyError as error:
        diagnostics = error.diagnostics
    except Exception as error:  # noqa: BLE001 (whatever the root does to the loader, what serves serves on)
        diagnostics = (Diagnostic(VOCABULARY, 0, 0, _defect(error)),)
    if root is None:
        tree = Tree(Folder("", dict(order.root)), tree.tenants)
        root = _last_good(tree, order.limits) if order.root else None
    files = tree.root.files if root is not None else {}
    yield RootRead(tree_revision, files, diagnostics, frozenset(tree.tenants), unsettled)
    if root is None:
        return
    new = [begun for begun in _begun(order, tree) if begun.tenant not in unsettled]
    if deferred := frozenset(begun.tenant for begun in new if begun.tenant in order.apart):
        yield Deferred(deferred)
    checkout: Checkout | None = None
    # To read many tenants takes long: at most a fifth of the time is for that.
    ends_at = time.monotonic() + order.slice_s + _SLICE_READS * (time.monotonic() - began)
    for number, begun in enumerate(begun for begun in new if begun.tenant not in deferred):
        if number == 0:
            checkout = Checkout.of(order.directory)
        elif time.monotonic() > ends_at:
            yield CutShort()
            return
        yield begun
        started = time.process_time()
        built = _built(order, tree, root, begun, checkout)
        yield replace(built, processor_s=time.process_time() - started)


def _begun(order: ScanRequest, tree: Tree) -> list[BuildStarted]:
    """Tenants with changed files, in loading order: quick ones of the last load first, then small ones. A large tenant
    delays only larger ones."""
    found = []
    for tenant, folder in tree.tenants.items():
        if order.only in {None, tenant}:
            revision = tree.revision(tenant)
            begun = BuildStarted(tenant, revision, signature_of(revision, folder))
            if order.known.get(tenant, NO_FINGERPRINT).signature != begun.signature:
                found.append((order.took_s.get(tenant, 0.0), sum(map(len, folder.files.values())), begun))
    return [begun for _, _, begun in sorted(found, key=lambda each: each[:2])]


def _built(order: ScanRequest, tree: Tree, root: Root, begun: BuildStarted, checkout: Checkout | None) -> TenantBuilt:
    tenant, signature = begun.tenant, begun.signature
    folder = tree.tenants[tenant].digest
    gated = folder != order.known.get(tenant, NO_FINGERPRINT).folder
    findings: tuple[Diagnostic, ...] = ()
    try:
        loaded = load_tenant(tree, tenant, root, order.limits, gated=gated)
        if order.lint is not None and gated and loaded.snapshot is not None:
            findings = tuple(_linted(tree, loaded.snapshot, order.lint))
    except Exception as error:  # noqa: BLE001 (whatever a folder does to the loader, no other tenant is touched)
        wrong = (Diagnostic(tenant, 0, 0, _defect(error)),)
        return TenantBuilt(tenant, begun.revision, signature, folder, None, refused=True, diagnostics=wrong)
    not_kept, content = "", b""
    refused = loaded.snapshot is None or bool(findings)
    if not refused:
        files = tree.root.files, tenant, tree.tenants[tenant].files
        commit = checkout.name_of(*files) if checkout is not None else ""
        archive = Archive.of(tree, tenant, now_us(), str(order.directory), commit)
        content = archive.content
        try:
            if order.store is not None:
                order.store.keep(archive)
        except OSError as error:
            not_kept = str(error)
    checked_only = tenant in order.check_only
    return TenantBuilt(
        tenant,
        loaded.revision,
        signature,
        folder,
        None if refused or checked_only else loaded.snapshot,
        refused=refused,
        diagnostics=(*loaded.diagnostics, *findings),
        rows=loaded.rows,
        cases=len(loaded.cases),
        witnessed=loaded.witnessed,
        seconds=loaded.seconds,
        not_kept=not_kept,
        archive=b"" if checked_only else content,
    )


def _linted(tree: Tree, snapshot: Snapshot, from_on: LintSeverity) -> Iterator[Diagnostic]:
    for each in tenant_findings(tree, snapshot.policy):
        if each.severity.reaches(from_on):
            yield Diagnostic(each.file, each.line, each.column, f"{each.severity} {each.rule}: {each.message}")


def _defect(error: Exception) -> str:
    return f"cannot be loaded: {error!r}: a defect in remit, please report it with these files"


def _recall(order: RestoreRequest) -> Iterator[ScanResult]:
    tenant, revision = order.tenant, order.revision
    tree = order.store.read(tenant, revision)
    # The tests would refuse nothing any more, and may take long.
    loaded = load_revision(tree, tenant, order.limits, tested=False)
    yield TenantBuilt(
        tenant,
        revision,
        "",
        tree.tenants[tenant].digest,
        loaded.snapshot,
        refused=False,
        diagnostics=loaded.diagnostics,
        rows=loaded.rows,
        seconds=loaded.seconds,
        archive=order.store.path(tenant, revision).read_bytes(),
    )


def _last_good(tree: Tree, limits: Limits) -> Root | None:
    """The last good root; None if another version of remit wrote the files and they do not load here."""
    try:
        return load_root(tree, limits)
    except PolicyError:
        return None


def signature_of(revision: str, folder: Folder) -> str:
    """Hash of the folder as scanned. Unlike the revision, it also covers files that could not be read."""
    wrong = "\n".join(map(str, folder.report.diagnostics))
    return hashlib.sha256(f"{revision}\n{wrong}".encode()).hexdigest()
