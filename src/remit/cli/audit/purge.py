from typing import Annotated, Any

import typer
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from remit.audit.chain.signing import SigningKey
from remit.audit.retention.cutoffs import Cutoffs
from remit.audit.retention.purge import Purged
from remit.cli.audit.options import STORE_DEFAULT, StoreOption, moment, signing_key, time_text
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.open_store import opened
from remit.cli.common.output import Exit, fail, out
from remit.cli.common.parsers import tenant_from
from remit.cli.common.progress import progress

TombstoneKeyOption = Annotated[
    SigningKey | None,
    typer.Option(
        "--key",
        parser=signing_key,
        metavar="FILE",
        help="Private key that signs the tombstones, so that the remaining records still verify.",
        show_default=False,
    ),
]
UnsignedOption = Annotated[
    bool,
    typer.Option(
        "--unsigned", help="Purge a signed store without --key: `remit audit verify --key` then refuses the tombstones."
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def purge(
    before: Annotated[
        int,
        typer.Option(
            parser=moment, metavar="TIME", help="ISO 8601 (UTC if it names no zone), or an age such as `90d`."
        ),
    ],
    tenant: Annotated[
        str | None,
        typer.Option(parser=tenant_from, metavar="TENANT", help="Only this tenant's decisions.", show_default=False),
    ] = None,
    key: TombstoneKeyOption = None,
    unsigned: UnsignedOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """Delete the decisions made before a time, the records of who read the audit, and policies and names in counts that
    are no longer needed.

    It deletes a prefix of each chain, and a tombstone records how far: the remaining records still verify. It records
    the purge itself; other lifecycle records stay. It uses small transactions, so a server may write to the store
    meanwhile. If the store is signed, --key signs the tombstones.

    Example: `remit audit purge --before 400d --tenant acme --key audit.pem --yes`
    """
    whose = f"of tenant {tenant}" if tenant else "of all tenants"
    which = f"{whose} made before {time_text(before)}"
    cutoffs = Cutoffs(others=before) if tenant is None else Cutoffs(of_tenant={tenant: before})
    purged = purge_with_progress(audit, cutoffs, key, which, unsigned=unsigned, yes=yes)
    if as_json:
        print_json(purged_json(purged, cutoffs))
        return
    out.print(f"{purged.deleted} decisions {which} deleted")
    print_what_stays(purged)


def purge_with_progress(
    audit: str, cutoffs: Cutoffs, key: SigningKey | None, which: str, *, unsigned: bool, yes: bool
) -> Purged:
    """Purges the store behind a progress bar.

    Ends the command if the store is signed and the purge is not, or if the user answers no.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed}"), TimeElapsedColumn())
    with opened(audit, writing=True) as store:
        if key is None and not unsigned and (signers := store.signers()):
            keys = ", ".join(f"`{each}`" for each in sorted(signers))
            fail(
                Exit.USAGE,
                f"`{store.url}` is signed (keys {keys}), and without a key `remit audit verify --key` refuses the "
                "remaining records: add --key FILE, or --unsigned to purge all the same",
            )
        if not yes:
            typer.confirm(f"Delete {store.older(cutoffs):,} decisions: those {which}?", abort=True, err=True)
        with progress(*columns) as shown:
            task = shown.add_task("deleted", total=None)
            return store.purge(cutoffs, key=key, progress=lambda count: shown.update(task, completed=count))


def purged_json(purged: Purged, cutoffs: Cutoffs) -> dict[str, Any]:
    rules = [{"tenant": rule, "before_us": max(cutoffs.of(rule) or 0, 0)} for rule in cutoffs.rules]
    return {"cutoffs": rules, **purged._asdict()}


def print_what_stays(purged: Purged) -> None:
    """Prints what else the purge deleted, and which records stay."""
    if purged.reads:
        out.print(f"{purged.reads} records of who read the audit deleted")
    if purged.revisions:
        out.print(f"{purged.revisions} policies deleted that no record names any more")
    if purged.staying:
        out.print(
            f"{purged.staying} older records stay: each follows a newer record in its chain, or one that is missing, which "
            "`remit audit verify` finds"
        )
