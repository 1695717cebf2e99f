from typing import Final

from remit.core.errors import RemitError

NO_RECORDS: Final = "the audit store takes no records"
STORE_AWAY: Final = "the audit store does not answer"
"""The texts that callers see for a failure. The log has the store's own message."""


class AuditStoreError(Exception):
    """The audit store failed; the text holds the cause.

    Nothing was written, unless a lost connection hid the outcome of a commit.
    """


class RecordRefused(AuditStoreError):  # noqa: N818
    """The store works and will never take these records: a duplicate id, or a value that its columns cannot hold."""


class StoreAwayError(AuditStoreError):
    """The database cannot be reached, or refuses the connection."""


WHAT_TO_DO: Final = (
    "This process records nothing there any more: restore the original store, or keep this one as evidence, and "
    "restart the server"
)


class StoreChangedError(AuditStoreError):
    """The records that this process wrote were removed, replaced or set back.

    To continue would make a second history. The process writes no more until it is restarted.
    """


class UnmigratedError(AuditStoreError):
    """The database's schema is not the one this program was written for.

    `found` is the database's schema version (None: it has no audit tables), `needed` is this program's.
    """

    def __init__(self, url: str, found: str | None, needed: str) -> None:
        self.found = found
        self.needed = needed
        state = "has no audit tables" if found is None else f"has audit schema `{found}`"
        # There is nothing to back up before the first tables.
        first = "" if found is None else "back it up and "
        super().__init__(
            f"the audit database `{url}` {state} and this program needs schema `{needed}`: "
            f"{first}start `remit serve` once with `--audit-migrate`"
        )


class NotCountedError(RemitError):
    """The counts cannot be combined as the query asks. The message says what to leave out."""


class JournalUnavailable(Exception):  # noqa: N818
    """It is not certain that the records are on disk: the caller must not answer as if they were.

    After a timeout the records may still be written. After any other cause they were not, unless the outcome of a
    commit is unknown. `shown` is for callers. `cause` is for the log: it is the store's own message, which names hosts,
    users and files.
    """

    def __init__(self, shown: str, cause: str = "") -> None:
        super().__init__(f"{shown}: {cause}" if cause else shown)
        self.shown = shown
