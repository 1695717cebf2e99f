from typing import Annotated

import typer
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from remit.faces.cli.audit.options import STORE_DEFAULT, StoreOption, moment, time_told
from remit.faces.cli.exits import out
from remit.faces.cli.progress import progress
from remit.faces.cli.store import opened


def purge(
    before: Annotated[int, typer.Option(parser=moment, metavar="TIME", help="ISO 8601, or an age such as `90d`.")],
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's decisions.", show_default=False)] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """Delete the decisions made before a time. The purge itself is recorded; lifecycle records stay.

    In small transactions, so a server may go on writing to the same store.
    """
    whose = f"of tenant {tenant}" if tenant else "of all tenants"
    if not yes:
        typer.confirm(f"Delete all decisions {whose} made before {time_told(before)}?", abort=True)
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed}"), TimeElapsedColumn())
    with opened(audit) as store, progress(*columns) as shown:
        task = shown.add_task("deleted", total=None)
        deleted = store.purge(before, tenant=tenant, progress=lambda count: shown.advance(task, count))
    out.print(f"{deleted} decisions {whose} made before {time_told(before)} deleted")
