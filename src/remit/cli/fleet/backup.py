from pathlib import Path
from typing import Annotated

import typer

from remit.cli.common import backups
from remit.cli.common.as_json import JsonOption
from remit.cli.common.output import Exit, fail
from remit.cli.fleet.store_option import StoreOption, require_named
from remit.fleet.backup import POLICY
from remit.fleet.errors import PolicyStoreError
from remit.fleet.store import PolicyStore


def backup(
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="A file that does not exist yet.")],
    as_json: JsonOption = False,
    policy_store: StoreOption = None,
) -> None:
    """Copy a policy store in SQLite into a file, also while a server writes to it.

    The copy holds what was committed when it began: releases, and rows of run time. It gets its name after it is synced
    and all chains in it are checked. For PostgreSQL, use `pg_dump`.

    Example: `remit fleet backup --to policy-backup.db --policy-store sqlite:///var/policy.db`
    """
    source = _file_of(policy_store, "pg_dump --format=custom --file=policy.dump DATABASE")
    backups.back_up(source, to, POLICY, as_json=as_json)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `remit fleet backup` wrote.")],
    force: Annotated[bool, typer.Option("--force", help="If a store exists there, rename it first.")] = False,
    as_json: JsonOption = False,
    policy_store: StoreOption = None,
) -> None:
    """Make a policy store in SQLite from a backup, completely or not at all. Stop the server that uses it first.

    Example: `remit fleet restore policy-backup.db --policy-store sqlite:///var/restored-policy.db`
    """
    target = _file_of(policy_store, "pg_restore --dbname=DATABASE policy.dump")
    backups.restore(file, target, POLICY, force=force, as_json=as_json)


def _file_of(url: str | None, instead: str) -> Path:
    url = require_named(url, "--policy-store")
    try:
        found = PolicyStore(url).file
    except PolicyStoreError as error:
        fail(Exit.USAGE, str(error))
    return backups.require_file(found, url, instead, "docs/how-to/fleet.md")
