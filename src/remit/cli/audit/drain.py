import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from remit.audit.errors import AuditStoreError
from remit.audit.spool.spool import Spool
from remit.audit.spool.store_and_forward import StoreAndForward
from remit.audit.store.store import AuditStore
from remit.cli.audit.options import STORE_DEFAULT, StoreOption
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, fail, out
from remit.cli.common.progress import progress

_COLUMNS: Final = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
_LOOK_EVERY_S: Final = 0.05
_NO_CAP: Final = 1 << 50


def drain(
    spool: Annotated[Path, typer.Argument(metavar="FILE", help="The spool of a server that does not run any more.")],
    as_json: JsonOption = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """Forward the records of a spool to the audit store, in their order, each once.

    A server does so by itself. Use this for the spool of a server that will not start again.

    Example: `remit audit drain var/spool.db`
    """
    if not spool.is_file():
        fail(Exit.UNAVAILABLE, f"there is no spool `{spool}`")
    try:
        with AuditStore(audit).open() as store:
            waiting = StoreAndForward(store, Spool(spool, max_bytes=_NO_CAP), lambda: None).open()
            found = waiting.status.records
            with progress(*_COLUMNS) as shown:
                task = shown.add_task("handed on", total=found)
                while waiting.status.spooling and not waiting.status.error:
                    shown.update(task, completed=found - waiting.status.records)
                    time.sleep(_LOOK_EVERY_S)
            why = waiting.status.error
            left = waiting.close()
    except AuditStoreError as error:
        fail(Exit.UNAVAILABLE, str(error))
    if as_json:
        print_json({"spool": spool, "forwarded": found - left, "waiting": left})
    if left:
        fail(Exit.UNAVAILABLE, f"{found - left} records forwarded, {left} still wait in `{spool}`: {why}")
    if not as_json:
        out.print(f"{found} records forwarded, `{spool}` is empty")
