"""Files of workers that no longer exist, after the number of workers was reduced."""

from remit.audit.errors import AuditStoreError
from remit.audit.spool.spool import Spool
from remit.audit.store.shards import files_of, unattended
from remit.audit.store.store import AuditStore
from remit.service.errors import StartupError
from remit.service.workers.process_settings import ProcessSettings


def left_stores(process: ProcessSettings) -> dict[str, AuditStore]:
    """The audit stores of former workers, by the name that a purge uses. They remain part of the audit. Empty unless
    this server is the first worker, which manages them."""
    return unattended(process.node.audit, process.node.workers) if process.is_first else {}


def refuse_left_spools(process: ProcessSettings) -> None:
    """Raises StartupError if records wait in a spool from which no worker sends them to the store."""
    settings = process.node
    if settings.audit_spool is None or not process.is_first:
        return
    used = {0} if settings.workers == 1 else {*range(1, settings.workers + 1)}
    try:
        for number, file in files_of(settings.audit_spool).items():
            if number not in used:
                spool = Spool(file, max_bytes=settings.audit_spool_max_bytes)
                try:
                    waiting = spool.open().records
                finally:
                    spool.close()
                if waiting:
                    raise StartupError(
                        f"{waiting} audit records wait in the spool `{file}`, which nobody has with `workers` "
                        f"{settings.workers}: start once with {number or 1}, so that they reach the store, or hand them "
                        f"on with `remit audit drain {file}`"
                    )
    except AuditStoreError as error:
        raise StartupError(str(error)) from error
    except OSError as error:
        raise StartupError(
            f"setting `audit_spool` is `{settings.audit_spool}`, which cannot be reached: {error.strerror}"
        ) from error
