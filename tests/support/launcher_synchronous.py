"""`remit serve` with a forgetful SQLite, to show that the test of power cuts would notice: the first argument is what
every connection's `synchronous` is set to, after remit has made sure that it is FULL."""

import sys
from typing import Any

from sqlalchemy import event
from sqlalchemy.pool import Pool

from remit.cli.main import main

synchronous = sys.argv.pop(1)


@event.listens_for(Pool, "checkout")
def forget(connection: Any, *_: object) -> None:
    connection.execute(f"PRAGMA synchronous = {synchronous}")


main()
