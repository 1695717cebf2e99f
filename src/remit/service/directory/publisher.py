"""Publishes each good state of a policy directory to the policy store of its machine.

The module is long because reading, loading and publishing share what is known of each folder.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from threading import Event, Thread
from typing import Final

import structlog

from remit.core.diagnostics import Diagnostic
from remit.core.names import Tenant, is_tenant
from remit.engine.pacing import Pacing, unpaced
from remit.engine.snapshot import Snapshot
from remit.fleet.bindings import GrantedRow
from remit.fleet.errors import ForgedReleaseError, PolicyStoreError, PublishRefusedError
from remit.fleet.journal import ReleaseJournal
from remit.fleet.release import DIRECTORY, SignedRelease
from remit.fleet.review import reviewer
from remit.fleet.store import Draft, PolicyStore, Review, Reviewed
from remit.policy.build.build_process import BuildProcess
from remit.policy.build.scan import BuildStarted, Fingerprint, RootRead, ScanRequest, TenantBuilt, signature_of
from remit.policy.build.throttle import throttled
from remit.policy.build.watch import changes
from remit.policy.lint.finding import LintSeverity
from remit.policy.read.git import commit_of
from remit.policy.read.tree import (
    SHARED,
    VOCABULARY,
    Folder,
    Stamp,
    Tree,
    UnsettledError,
    changed_folders,
    read_settled,
    stamp,
    young_folders,
)
from remit.policy.revisions.archive import RevisionNotLoadableError
from remit.policy.revisions.load import load_revision
from remit.process.errors import ChildEndedError
from remit.service.directory.source_state import WELL, RefusedFiles, SourceState
from remit.service.settings import Settings

_AGAIN_S: Final = 1.0
_FIRST_READINGS: Final = 10
_FEW: Final = 16
"""Changed folders that are read one by one. To read all of them also finds changes that no other way finds."""
_SMALL_BYTES: Final = 100_000
"""Of a tenant's files that are loaded in some milliseconds: so long, nobody else writes to the policy store."""
_TICK_S: Final = 1.0
"""A folder that changed so lately may change once more within the same time of its file system."""
_NOTHING: Final = Tree(Folder(""), {})

_log = structlog.get_logger("remit")


class _LoadAgainError(Exception):
    """Files are needed that were only checked, for rows of run time were granted meanwhile."""


@dataclass(frozen=True, slots=True)
class _Checked:
    """The files of a tenant as they were last loaded, or refused."""

    signature: str
    digest: str
    revision: str
    refused: bool = False
    diagnostics: tuple[Diagnostic, ...] = ()
    snapshot: Snapshot | None = None
    """Only of a tenant with rows of run time, until its files are published."""


class DirectoryPublisher:
    """Watches the policy directory, loads and tests what changed in a process of its own, and publishes what loads.

    A tenant whose files do not load, or that rows of run time stand against, keeps those of the last release. A change of
    the root files waits until no tenant is kept back.
    """

    def __init__(self, settings: Settings, store: PolicyStore, journal: ReleaseJournal) -> None:
        self._settings = settings
        self._store = store
        self._journal = journal
        self._directory = settings.policies.absolute()
        self._loader = BuildProcess()
        self._suspect = ""
        """The signature of the files at which the process last ended."""
        self._with_rows: set[Tenant] = set()
        """Tenants with rows of run time of which the journal may not know yet."""
        self._checked: dict[Tenant, _Checked] = {}
        self._released = _NOTHING
        """The files of the newest release."""
        self._seq = 0
        """The number of the newest release; 0 for none."""
        self._takes_over = False
        """Whether the newest release is not one of this server."""
        self._state: SourceState | None = None
        self._seen: Stamp = None
        """The directory as it was read last, without the folders that must be read again; None to read all of them."""
        self._root: RootRead | None = None
        self._tree = _NOTHING
        """The files of the directory that were read last."""
        self._stopping = Event()
        self._thread: Thread | None = None

    def first(self) -> None:
        """Publishes once, for a start. Raises PolicyStoreError if this server may not publish to the store, if nothing can
        serve, or with `strict` if not all of the directory can."""
        self._take_up(self._store.newest())
        for _ in range(_FIRST_READINGS):
            if self.step() or self._stopping.wait(self._settings.settle_s):
                break
        state = self._state or WELL
        texts = [str(each) for each in (*state.wrong, *(one for each in state.tenants.values() for one in each[1]))]
        if texts and (not self._seq or self._settings.strict):
            what = "`strict` is on, and not all of" if self._seq else "nothing serves, for nothing is published of"
            raise PolicyStoreError("\n".join((f"{what} policy directory `{self._settings.policies}`:", *texts)))
        if not self._seq:
            raise PolicyStoreError(f"policy directory `{self._settings.policies}` has no tenant's folder")

    def begin(self) -> None:
        """Follows the directory until `stop`."""
        self._thread = Thread(target=self._follow, name="remit-directory", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._loader.end()
        if self._thread is not None:
            self._thread.join(_AGAIN_S)
        self._loader.close()

    def _follow(self) -> None:
        settings = self._settings
        for _ in changes(self._directory, settings.settle_s, settings.watch_every_s, self._stopping):
            while not self._stopping.is_set() and not self.step():
                self._stopping.wait(_AGAIN_S)

    def step(self) -> bool:
        """Takes the directory as it is; False if that must be tried again."""
        try:
            while True:
                with suppress(_LoadAgainError):
                    state, done = self._taken()
                    break
        except FileNotFoundError:
            # The watch notices when it appears.
            state, done = self._kept(f"policy directory `{self._settings.policies}` is not there"), True
        except (OSError, UnsettledError, PolicyStoreError, ForgedReleaseError, PublishRefusedError) as error:
            state, done = self._kept(f"policy directory `{self._settings.policies}` is not published: {error}"), False
        except ChildEndedError as error:
            if not self._stopping.is_set():
                _log.error("policy directory not published", error=str(error))
            return False
        if state != self._state:
            try:
                state.write(self._journal)
            except OSError as error:
                _log.error("the state of the policy directory is not noted", error=str(error))
                return False
            self._state = state
        return done

    def _kept(self, why: str) -> SourceState:
        """What was known of the tenants, and this of the directory."""
        tenants = self._state.tenants if self._state is not None else {}
        return SourceState((Diagnostic(".", 0, 0, why),), tenants)

    def _taken(self) -> tuple[SourceState, bool]:
        newest = self._store.newest()
        if newest is not None and newest.release.seq != self._seq:
            self._take_up(newest)
        if not (self._takes_over or self._checked) and self._is_released():
            return WELL, True
        root, unsettled = self._read()
        tree = self._tree
        wrong = list(root.diagnostics)
        if not (wrong or root.tenants) and self._released.tenants:
            # A volume that is not mounted looks like this; no edit removes all tenants.
            wrong.append(Diagnostic(".", 0, 0, "no tenant's folder is there any more"))
        if not root.root:
            return SourceState(tuple(wrong)), True
        folders, unread = self._loaded(root, tree)
        checked = {tenant: self._checked[tenant] for tenant in root.tenants & self._checked.keys()}
        refused = {each: RefusedFiles(it.revision, it.diagnostics) for each, it in checked.items() if it.refused}
        kept = {each: it for each, it in self._released.tenants.items() if each in refused or each in unread}
        later = bool(unread or unsettled) or (not root.diagnostics and tree.root.files != root.root)
        if root.root != self._released.root.files and (kept or (later and self._seq)):
            if names := ", ".join(f"`{each}`" for each in sorted(kept.keys() & refused.keys())):
                wrong.append(Diagnostic(VOCABULARY, 0, 0, f"the root files wait, for tenants do not load: {names}"))
            return SourceState(tuple(wrong), refused), not later
        # While the root does not load, a missing folder may be about to appear.
        folders = {**(self._released.tenants if wrong else kept), **folders}
        if folders:
            candidate = Tree(Folder("", dict(root.root)), dict(sorted(folders.items())))
            later |= self._publish(candidate, wrong, refused)
        return SourceState(tuple(wrong), refused), not later

    def _read(self) -> tuple[RootRead, frozenset[str]]:
        """Reads and loads the folders that have changed since the last time: if they are few, no other. Returns the root, and
        the names of folders that kept changing."""
        limits, before, seen = self._settings.limits, self._seen, stamp(self._directory)
        self._seen, recent = None, young_folders(seen, _TICK_S)
        changed = changed_folders(before, seen)
        if self._root is not None:
            changed |= self._root.tenants - self._checked.keys()
        unsettled: frozenset[str] = frozenset()
        if before is None or self._root is None or SHARED in changed or len(changed) > _FEW:
            root = self._scanned()
            self._tree, unsettled = read_settled(self._directory, limits)
        else:
            root = self._root
            for tenant in map(Tenant, sorted(changed)):
                root = self._scanned(tenant)
                tree, unfinished = read_settled(self._directory, limits, tenant)
                # Of the others only the names were read.
                here = {**self._tree.tenants, tenant: tree.tenants.get(tenant)}
                self._tree = Tree(tree.root, {name: it for name in tree.tenants if (it := here.get(name)) is not None})
                unsettled |= unfinished & {tenant}
        self._root = root
        if seen is not None and SHARED not in recent:
            again = recent | unsettled
            self._seen = {**seen, **dict.fromkeys(again, frozenset())}
        return root, unsettled

    def _loaded(self, root: RootRead, tree: Tree) -> tuple[dict[Tenant, Folder], set[Tenant]]:
        """The folders whose present files load, and the tenants whose files have changed since they were loaded."""
        folders, unread = dict[Tenant, Folder](), set[Tenant]()
        for tenant in root.tenants:
            checked, folder = self._checked.get(tenant), tree.tenants.get(tenant)
            if checked is None or folder is None or (folder.digest != checked.digest and not checked.refused):
                unread.add(tenant)
            elif not checked.refused:
                folders[tenant] = folder
        return folders, unread

    def _take_up(self, newest: SignedRelease | None) -> None:
        """Publishes after this release from now on. Raises PolicyStoreError if that would undo another's release."""
        if newest is None:
            return
        release, name = newest.release, self._settings.node
        mine = release.origin == DIRECTORY and release.publisher == name
        files = self._store.tree(release, self._settings.limits.bytes)
        if not mine and release.origin == DIRECTORY:
            live = {
                each.node for each in self._store.nodes() if each.is_live and each.instance != self._journal.instance
            }
            if release.publisher in live:
                raise PolicyStoreError(
                    f"server `{release.publisher}` publishes its policy directory to `{self._store.url}`, and one alone may: "
                    "give this server a `policy_store` of its own, or no `policies`"
                )
        elif not mine and not self._has(files):
            raise PolicyStoreError(
                f"release {release.seq} of `{self._store.url}` was published by `{release.publisher}`, and policy directory "
                f"`{self._settings.policies}` has other files: publish them once with `remit publish`, while this server is "
                "stopped, or take over those of the release"
            )
        self._released, self._seq, self._takes_over = files, release.seq, not mine
        # What was checked is judged against what serves.
        self._checked.clear()
        self._seen = None

    def _has(self, files: Tree) -> bool:
        """Whether the directory has these files, and nothing that is no policy."""
        tree, unsettled = read_settled(self._directory, self._settings.limits)
        wrong = [each for folder in (tree.root, *tree.tenants.values()) for each in folder.report.diagnostics]
        return not (unsettled or wrong) and _digests(tree) == _digests(files)

    def _is_released(self) -> bool:
        """Whether the directory has the files of the newest release: then they need no load to be published."""
        tree = self._released
        if not (self._seq and self._has(tree)):
            return False
        for tenant, folder in tree.tenants.items():
            revision = tree.revision(tenant)
            self._checked[tenant] = _Checked(signature_of(revision, folder), folder.digest, revision)
        return True

    def _scanned(self, only: Tenant | None = None) -> RootRead:
        """Loads what has changed since the last scan, of all tenants or only of this one."""
        known = {
            tenant: self._fingerprint(tenant)
            for tenant in (self._checked.keys() | self._released.tenants.keys() if only is None else [only])
        }
        order = ScanRequest(
            self._directory,
            self._settings.limits,
            None,
            self._released.root.files,
            known,
            self._without_rows(only),
            None if self._settings.policy_lint == "off" else LintSeverity(self._settings.policy_lint),
            only,
        )
        root, begun = None, None
        try:
            with closing(self._loader.run(order, self._pacing)) as results:
                for result in results:
                    begun = result if isinstance(result, BuildStarted) else None
                    if isinstance(result, RootRead):
                        root = result
                        self._checked = {each: it for each, it in self._checked.items() if each in root.tenants}
                    elif isinstance(result, TenantBuilt):
                        self._checked[result.tenant] = _Checked(
                            result.signature,
                            result.folder,
                            result.revision,
                            result.refused,
                            result.diagnostics if result.refused else (),
                            result.snapshot,
                        )
        except ChildEndedError:
            # The first end may have another cause.
            suspect, self._suspect = self._suspect, begun.signature if begun is not None else ""
            if begun is not None and suspect == begun.signature and not self._stopping.is_set():
                text = "brings down the process that loads policies, or keeps it from ending; the log has more"
                wrong = (Diagnostic(begun.tenant, 0, 0, text),)
                self._checked[begun.tenant] = _Checked(begun.signature, "", begun.revision, True, wrong)
            raise
        self._suspect = ""
        assert root is not None
        return root

    def _fingerprint(self, tenant: Tenant) -> Fingerprint:
        checked, released = self._checked.get(tenant), self._released.tenants.get(tenant)
        signature = checked.signature if checked is not None else ""
        return Fingerprint(signature, released.digest if released is not None else "")

    def _without_rows(self, only: Tenant | None) -> frozenset[Tenant]:
        current = self._journal.current()
        tenants = current.tenants if current is not None else {}
        listed = {only} if only else {Tenant(each.name) for each in self._directory.iterdir() if is_tenant(each.name)}
        without = {each for each in listed if each not in tenants or not tenants[each].bindings.seq}
        return frozenset(without - self._with_rows)

    @property
    def _pacing(self) -> Pacing:
        """At a start there are no calls that need processor time."""
        return throttled if self._thread is not None else unpaced

    def _publish(self, candidate: Tree, wrong: list[Diagnostic], refused: dict[Tenant, RefusedFiles]) -> bool:
        """Publishes the files, except those of tenants that rows of run time stand against: they are added to `refused`.
        Returns whether it must be tried again."""
        later = False
        while self._takes_over or _digests(candidate) != _digests(self._released):
            against: dict[Tenant, Sequence[str]] = {}
            draft = Draft(
                candidate, self._settings.node, commit=commit_of(self._directory, candidate), origin=DIRECTORY
            )
            try:
                signed = self._store.publish(draft, self._seq, review=self._reviewer(candidate, against))
            except PublishRefusedError:
                if not against:
                    raise
                later = True
                same_root = candidate.root.files == self._released.root.files
                for tenant, texts in against.items():
                    found = tuple(Diagnostic(tenant, 0, 0, text.removeprefix(f"{tenant}: ")) for text in texts)
                    checked = self._checked.get(tenant)
                    refused[tenant] = RefusedFiles(checked.revision if checked is not None else "", found)
                if not same_root:
                    names = ", ".join(f"`{each}`" for each in sorted(against))
                    text = f"the root files wait, for rows of run time of these tenants stand against them: {names}"
                    wrong.append(Diagnostic(VOCABULARY, 0, 0, text))
                    break
                kept = {each: self._released.tenants[each] for each in against}
                candidate = replace(candidate, tenants=dict(sorted({**candidate.tenants, **kept}.items())))
            else:
                self._released, self._seq, self._takes_over = candidate, signed.release.seq, False
                for tenant, each in self._checked.items():
                    if each.snapshot is not None:
                        self._checked[tenant] = replace(each, snapshot=None)
                self._journal.ask_for_news()
                _log.info("policy directory published", release=self._seq, commit=draft.commit)
        return later

    def _reviewer(self, candidate: Tree, against: dict[Tenant, Sequence[str]]) -> Review:
        def snapshot_of(tenant: Tenant) -> Snapshot | None:
            if tenant not in candidate.tenants:
                return None
            checked = self._checked.get(tenant)
            if checked is None or checked.snapshot is None:
                self._with_rows.add(tenant)
                if sum(map(len, candidate.tenants[tenant].files.values())) <= _SMALL_BYTES:
                    # Else an edit of the root would never be published while somebody grants in one tenant after another.
                    with suppress(RevisionNotLoadableError):
                        return load_revision(candidate, tenant, self._settings.limits, tested=False).snapshot
                self._checked.pop(tenant, None)
                raise _LoadAgainError
            return checked.snapshot

        review = reviewer(snapshot_of, self._settings.policy_max_question_rows)

        def judged(tenant: Tenant, rows: Sequence[GrantedRow]) -> Reviewed:
            reviewed = review(tenant, rows)
            if reviewed.refusals:
                against[tenant] = reviewed.refusals
            return reviewed

        return judged


def _digests(tree: Tree) -> Mapping[str, str]:
    return {"": tree.root.digest} | {tenant: folder.digest for tenant, folder in tree.tenants.items()}
