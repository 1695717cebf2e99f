from typing import Final

from remit.core.errors import RemitError

NO_RECORDS: Final = "the audit store takes no records"
STORE_AWAY: Final = "the audit store does not answer"
"""What callers read of a failure that the log has in the store's own words."""


class AuditStoreError(Exception):
    """The audit store could not do what was asked; the text holds the cause. What was to be written is not written,
    except where a lost connection hid the outcome of a commit."""


class RecordRefused(AuditStoreError):  # noqa: N818
    """The store works and will never take these records: a duplicate id, or a value that its columns cannot hold."""


class StoreAwayError(AuditStoreError):
    """The database cannot be reached, or lets nobody in."""


WHAT_TO_DO: Final = (
    "This process records nothing there any more: put back what was there, or keep what is there as evidence, and "
    "restart the server"
)


class StoreChangedError(AuditStoreError):
    """Somebody has taken away, replaced or set back what this process has recorded: to go on would make a second
    history, so the process writes no more until it is started anew."""


class UnmigratedError(AuditStoreError):
    """The database's schema is not the one this program was written for.

    `found` is the database's schema version (None: it has no audit tables), `needed` is this program's.
    """

    def __init__(self, url: str, found: str | None, needed: str) -> None:
        self.found = found
        self.needed = needed
        state = "has no audit tables" if found is None else f"has audit schema `{found}`"
        super().__init__(
            f"the audit database `{url}` {state} and this program needs schema `{needed}`: "
            "back it up and start `remit serve` once with `--audit-migrate`"
        )


class NotCountedError(RemitError):
    """The counts do not hold what is asked of them together: the message says what to leave out."""


class JournalUnavailable(Exception):  # noqa: N818
    """No promise that the records are on disk: the caller must not answer as if they were.

    After a timeout the records may still be written; after any other cause they were not, unless the store lost sight
    of its own commit. `shown` is for callers; `cause`, for the log, is in the store's own words, which name hosts,
    users and files.
    """

    def __init__(self, shown: str, cause: str = "") -> None:
        super().__init__(f"{shown}: {cause}" if cause else shown)
        self.shown = shown
