"""The policy store of a node: its puller, and what all processes of the node know of it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Self

from remit.audit.errors import AuditStoreError
from remit.core.names import CALLERS, Tenant
from remit.fleet.current_release import CurrentRelease
from remit.fleet.errors import ForgedReleaseError, PolicyStoreAwayError, PolicyStoreError
from remit.fleet.journal import ReleaseJournal
from remit.fleet.node_report import LIVE_S
from remit.fleet.puller import Puller
from remit.fleet.store import PolicyStore
from remit.policy.live import TenantPolicy
from remit.service.directory.publisher import DirectoryPublisher
from remit.service.errors import StartupError
from remit.service.known_stores import refuse_unmigrated
from remit.service.settings import Settings
from remit.service.version import VERSION

_MOST_BEHIND = 20


class PolicyPuller:
    """The puller of a node, with its store and its journal. The only server of a node has one, or the supervisor.

    If a policy directory is the source of the store, what publishes it too.
    """

    def __init__(
        self,
        puller: Puller,
        journal: ReleaseJournal,
        publisher: DirectoryPublisher | None,
        grace_s: float,
        stop: ExitStack,
    ) -> None:
        self._puller = puller
        self._publisher = publisher
        self._grace_s = grace_s
        self._stop = stop
        self.journal = journal

    @classmethod
    def start(cls, settings: Settings) -> Self | None:
        """Pulls once, so that there is something to load. None without `policy_store`. Raises StartupError."""
        journal = settings.journal
        if journal is None:
            return None
        with ExitStack() as failed:
            try:
                # To pull and to load may take minutes: what would refuse the start after them refuses it before.
                refuse_unmigrated(settings)
                store = PolicyStore(settings.policy_store)
                failed.callback(store.close)
                journal.begin()
                failed.callback(journal.end)
                if settings.publishes_directory:
                    _make(store, journal)
                _open(store)
                _refuse_taken_name(store, settings.node, journal.instance)
                publisher: DirectoryPublisher | None = None
                if settings.publishes_directory:
                    publisher = DirectoryPublisher(settings, store, journal)
                    failed.callback(publisher.stop)
                    publisher.first()
                puller = Puller(
                    store,
                    journal,
                    node=settings.node,
                    version=VERSION,
                    trust=settings.trust,
                    poll_s=settings.policy_poll_s,
                    most_bytes=settings.limits.bytes,
                )
                puller.first()
            except (AuditStoreError, PolicyStoreError, ForgedReleaseError, OSError) as error:
                raise StartupError(str(error)) from error
            return cls(puller, journal, publisher, settings.grace_s, failed.pop_all())

    def begin(self, behind: Callable[[], Sequence[str]]) -> None:
        self._puller.begin(behind)
        if self._publisher is not None:
            self._publisher.begin()

    def stop(self) -> None:
        if self._publisher is not None:
            self._publisher.stop()
        self._puller.stop(self._grace_s)
        self._stop.close()


def behind(release: CurrentRelease | None, tenants: Mapping[Tenant, TenantPolicy]) -> tuple[str, ...]:
    """The tenants that are not at the position that the release has for them, and what they serve instead."""
    if release is None:
        return ()
    # The texts are made only for the few that differ: there may be thousands of tenants.
    others = [
        tenant
        for tenant in release.tenants.keys() | tenants.keys()
        if not ((known := release.tenants.get(tenant)) and known.revision and (policy := tenants.get(tenant)))
        or policy.snapshot is None
        or policy.snapshot.position != release.position(tenant)
    ]
    found = []
    for tenant in sorted(others):
        known, policy = release.tenants.get(tenant), tenants.get(tenant)
        # A tenant that was removed has a position, and no files.
        wanted = str(release.position(tenant)) if known is not None and known.revision else ""
        serving = policy.position or policy.revision if policy is not None else ""
        if serving != wanted and not (tenant == CALLERS and not wanted):
            state = policy.state if policy is not None else "not loaded"
            found.append(f"{tenant} serves {serving or 'nothing'} instead of {wanted or 'nothing'}: {state}")
    return tuple(found[:_MOST_BEHIND])


def is_too_old(settings: Settings) -> bool:
    """Whether this node has not looked into the policy store for longer than it may."""
    journal = settings.journal
    return journal is not None and 0 < settings.policy_max_age_s < journal.age_s()


def _refuse_taken_name(store: PolicyStore, node: str, instance: str) -> None:
    """Raises PolicyStoreError if another server reports under the name of this node."""
    with suppress(PolicyStoreAwayError):
        taken = next((each for each in store.nodes() if each.node == node and each.is_live), None)
        if taken is not None and taken.instance != instance:
            raise PolicyStoreError(
                f"another server with another directory `releases` runs as node `{node}`: it reported {taken.age_s:.0f} s ago; "
                "give each its own `node`. If that one is gone for good, `remit nodes --forget` removes its report, and after "
                f"{LIVE_S:g} s without a report it counts no more"
            )


def _make(store: PolicyStore, journal: ReleaseJournal) -> None:
    """Makes the store of a policy directory at the first start. Raises PolicyStoreError if it is gone."""
    if store.file is None or store.file.exists():
        return
    if journal.target is not None:
        raise PolicyStoreError(
            f"`{store.url}` is gone, and this node served releases of it: restore it from a backup. To begin anew, without the "
            f"rows that were granted at run time, remove `{journal.directory}`"
        )
    store.migrate()


def _open(store: PolicyStore) -> None:
    """Checks the schema, unless the store is away: the journal may do for a start."""
    with suppress(PolicyStoreAwayError):
        store.open()
