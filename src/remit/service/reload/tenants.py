"""The table of tenants and the events that change it, without files, processes and locks.

Each event is a method of `Tenants` and returns a `Change`: the table after the event, and its effects.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from remit.core.diagnostics import Diagnostic
from remit.core.errors import RemitError
from remit.core.names import CALLERS, Tenant
from remit.engine.snapshot import Snapshot
from remit.policy.build.scan import NO_FINGERPRINT, Fingerprint, TenantBuilt
from remit.policy.live import TenantPolicy, TenantState
from remit.policy.revisions.store import Pin
from remit.service.directory.source_state import WELL, RefusedFiles, SourceState

_RECORDED: Final = 20
"""The most diagnostics in a record; the status has all."""


class Outcome(NamedTuple):
    """The result of an edit or of an operator's action: a lifecycle record without its id and time."""

    kind: str
    tenant: str
    revision: str
    detail: dict[str, Any]
    archive: bytes = b""
    """The files of a revision that will serve."""


class Swap(NamedTuple):
    """The snapshot that serves next; None for none."""

    snapshot: Snapshot | None


class Change(NamedTuple):
    after: "Tenants"
    tenant: Tenant | None = None
    """The tenant to update or remove in the live policies; None updates all."""
    outcome: Outcome | None = None
    """Recorded before the rest of the change is applied."""
    log: tuple[str, str, dict[str, Any]] | None = None
    """Level, event and fields."""
    swap: Swap | None = None
    """The tenant's next snapshot; without one, the present snapshot keeps serving."""


@dataclass(frozen=True, slots=True)
class TenantFiles:
    """A tenant's newest files, and what serves it."""

    known: Fingerprint = NO_FINGERPRINT
    revision: str = ""
    refused: bool = True
    diagnostics: tuple[Diagnostic, ...] = ()
    pin: Pin | None = None
    serving: str = ""
    """The revision that serves; '' for none."""


@dataclass(frozen=True, slots=True)
class Tenants:
    files: Mapping[Tenant, TenantFiles] = field(default_factory=dict)
    wrong: tuple[Diagnostic, ...] = ()
    """Errors of all of the newest files: in the root files, or of the directory itself."""
    source: SourceState = WELL
    """What is wrong with the directory from which the releases are made. `files` and `wrong` are about a release then."""

    def state(self, tenant: Tenant) -> TenantState:
        files = self.files[tenant]
        if not files.serving:
            return TenantState.UNAVAILABLE
        if files.pin is not None:
            return TenantState.PINNED
        source = self.source.wrong or tenant in self.source.tenants
        return TenantState.STALE if files.refused or self.wrong or source else TenantState.SERVING

    def policy(self, tenant: Tenant, since_us: int, snapshot: Snapshot | None) -> TenantPolicy:
        files = self.files[tenant]
        pinned_by = files.pin.caller if files.pin is not None else ""
        source = self.source.tenants.get(tenant, RefusedFiles(files.revision, ()))
        diagnostics = (*self.wrong, *self.source.wrong, *files.diagnostics, *source.diagnostics)
        return TenantPolicy(tenant, self.state(tenant), since_us, snapshot, diagnostics, source.revision, pinned_by)

    def root_checked(self, wrong: tuple[Diagnostic, ...], revision: str = "") -> Change | None:
        """The newest root files, or the directory, have these errors, or none. Returns None if nothing has changed."""
        if wrong == self.wrong:
            return None
        after, texts = replace(self, wrong=wrong), [str(each) for each in wrong]
        if not wrong:
            loaded = Outcome("POLICY_LOADED", "", revision, {})
            return Change(after, None, loaded, ("info", "root loads again", {"revision": revision}))
        refused = Outcome("POLICY_REFUSED", "", revision, {"diagnostics": texts[:_RECORDED]})
        return Change(after, None, refused, ("error", "root refused", {"revision": revision, "diagnostics": texts}))

    def source_checked(self, wrong: tuple[Diagnostic, ...]) -> Change | None:
        """The directory from which the releases are made has these errors, or none, as a whole."""
        if wrong == self.source.wrong:
            return None
        after, texts = replace(self, source=self.source._replace(wrong=wrong)), [str(each) for each in wrong]
        if not wrong:
            return Change(after, log=("info", "root loads again", {}))
        refused = Outcome("POLICY_REFUSED", "", "", {"diagnostics": texts[:_RECORDED]})
        return Change(after, None, refused, ("error", "root refused", {"diagnostics": texts}))

    def source_refused(self, tenant: Tenant, refused: RefusedFiles | None) -> Change | None:
        """The tenant's files in the directory from which the releases are made are in no release; None if they are again."""
        before = self.source.tenants.get(tenant)
        if refused == before:
            return None
        others = {name: each for name, each in self.source.tenants.items() if name != tenant}
        tenants = others if refused is None else {**others, tenant: refused}
        after = replace(self, source=self.source._replace(tenants=tenants))
        serving = self.files[tenant].serving if tenant in self.files else ""
        if refused is None:
            return Change(after, tenant, log=("info", "tenant loads again", {"tenant": tenant, "serving": serving}))
        texts = [str(each) for each in refused.diagnostics]
        detail = {"diagnostics": texts[:_RECORDED], "serving": serving}
        fields = {"tenant": tenant, "revision": refused.revision, "serving": serving, "diagnostics": texts}
        outcome = Outcome("POLICY_REFUSED", tenant, refused.revision, detail)
        return Change(after.folders_listed((tenant,)), tenant, outcome, ("error", "tenant refused", fields))

    def folders_listed(self, tenants: Iterable[Tenant]) -> "Tenants":
        """These tenants have a folder. A new one is shown after it was loaded or refused."""
        return replace(self, files={**dict.fromkeys(tenants, TenantFiles()), **self.files})

    def folder_removed(self, tenant: Tenant) -> Change:
        """The tenant's folder is gone: the tenant is removed, unless it is pinned or `_callers`."""
        files = self.files[tenant]
        if files.pin is not None or tenant == CALLERS:
            # Without `_callers` a server on loopback gives rights to everybody: an edit must not do that.
            return Change(self._unread(tenant, "the folder is gone", revision=""), tenant)
        after = replace(self, files={name: each for name, each in self.files.items() if name != tenant})
        log = "warning", "tenant removed", {"tenant": tenant, "revision": files.serving}
        return Change(after, tenant, Outcome("POLICY_REMOVED", tenant, files.serving, {}), log)

    def built(self, result: TenantBuilt) -> Change:
        """The tenant's newest files were loaded or refused. The files of a pinned tenant are only checked."""
        before = self.files[result.tenant]
        folder = before.known.folder if result.refused else result.folder
        loaded = not result.refused and before.pin is None
        after = self._with(
            result.tenant,
            known=Fingerprint(result.signature, folder),
            revision=result.revision,
            refused=result.refused,
            diagnostics=result.diagnostics,
            serving=result.revision if loaded else before.serving,
        )
        return Change(after, result.tenant, *_report(result, before), Swap(result.snapshot) if loaded else None)

    def pinned(
        self, tenant: Tenant, pin: Pin, recalled: TenantBuilt | RemitError, lifted: Sequence[str] = ()
    ) -> Change:
        """Until it is unpinned, the recalled revision serves, whatever the files say. After an error nothing serves. `lifted`
        are people whose suspension does not count then."""
        detail: dict[str, Any] = {"caller": pin.caller, "replaces": self.files[tenant].serving}
        if lifted:
            detail["lifted"] = lifted
        archive = recalled.archive if isinstance(recalled, TenantBuilt) else b""
        log = "warning", "tenant pinned", {"tenant": tenant, "revision": pin.revision, "caller": pin.caller}
        outcome = Outcome("POLICY_PINNED", tenant, pin.revision, detail, archive)
        return self._recalled(tenant, recalled, pin=pin)._replace(outcome=outcome, log=log)

    def unpinned(self, tenant: Tenant, caller: str) -> Change:
        """The present revision serves until the files are loaded. This state remains if the load breaks off."""
        before = self.files[tenant]
        assert before.pin is not None
        after = self._unread(tenant, "its files have not been loaded since it was unpinned", pin=None)
        log = "warning", "tenant unpinned", {"tenant": tenant, "revision": before.serving, "caller": caller}
        return Change(after, tenant, Outcome("POLICY_UNPINNED", tenant, before.pin.revision, {"caller": caller}), log)

    def unread(self, tenant: Tenant) -> Change:
        """The start ended before the tenant's files were loaded."""
        return Change(self._unread(tenant, "its files have not been loaded yet"), tenant)

    def restored(self, tenant: Tenant, before: TenantFiles, recalled: TenantBuilt | RemitError) -> Change | None:
        """The recalled revision serves, if the files are still as in `before`. After an error nothing serves a pinned
        tenant; others keep what served. Returns None if the revision is no longer needed."""
        files = self.files.get(tenant)
        if files is None or files.pin != before.pin:
            return None
        if files.pin is None and not (files.refused and files.known.folder == before.known.folder):
            return None
        if isinstance(recalled, RemitError):
            return self._recalled(tenant, recalled) if files.pin is not None else None
        detail = {"pinned_by": files.pin.caller} if files.pin is not None else {}
        fields = {"tenant": tenant, "revision": recalled.revision, "pinned": files.pin is not None}
        outcome = Outcome("POLICY_RESTORED", tenant, recalled.revision, detail, recalled.archive)
        log = "warning", "kept revision serves", fields
        return self._recalled(tenant, recalled)._replace(outcome=outcome, log=log)

    def _recalled(self, tenant: Tenant, recalled: TenantBuilt | RemitError, **fields: Any) -> Change:
        if isinstance(recalled, TenantBuilt):
            after = self._with(tenant, serving=recalled.revision, **fields)
            return Change(after, tenant, swap=Swap(recalled.snapshot))
        wrong = Diagnostic(tenant, 0, 0, f"is pinned to a revision that cannot be served: {recalled}")
        diagnostics = (wrong, *self.files[tenant].diagnostics)
        return Change(self._with(tenant, serving="", diagnostics=diagnostics, **fields), tenant, swap=Swap(None))

    def _unread(self, tenant: Tenant, why: str, **fields: Any) -> "Tenants":
        """Marks the tenant's files to be loaded, whatever they are."""
        known = replace(self.files[tenant].known, signature="")
        return self._with(tenant, known=known, refused=True, diagnostics=(Diagnostic(tenant, 0, 0, why),), **fields)

    def _with(self, tenant: Tenant, **fields: Any) -> "Tenants":
        return replace(self, files={**self.files, tenant: replace(self.files[tenant], **fields)})


def _report(result: TenantBuilt, before: TenantFiles) -> tuple[Outcome, tuple[str, str, dict[str, Any]]]:
    texts = [str(each) for each in result.diagnostics]
    about: dict[str, Any] = {"tenant": result.tenant, "revision": result.revision}
    detail: dict[str, Any]
    if result.refused:
        detail = {"diagnostics": texts[:_RECORDED], "serving": before.serving}
        log = "error", "tenant refused", {**about, "serving": before.serving, "diagnostics": texts}
        return Outcome("POLICY_REFUSED", result.tenant, result.revision, detail), log
    pinned = before.pin is not None
    kind, event = ("POLICY_CHECKED", "checked") if pinned else ("POLICY_LOADED", "loaded")
    detail = {"rows": result.rows, "cases": result.cases, "witnessed": result.witnessed}
    fields = {**about, **detail, "seconds": round(result.seconds, 3)}
    if before.serving:
        detail["replaces"] = before.serving
    if texts:
        fields["diagnostics"], detail["diagnostics"] = texts, texts[:_RECORDED]
    outcome = Outcome(kind, result.tenant, result.revision, detail, result.archive)
    return outcome, ("warning" if texts else "info", f"tenant {event}", fields)
