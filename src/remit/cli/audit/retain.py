from typing import Annotated

import typer

from remit.audit.retention.ages import Retention, parse_retention
from remit.cli.audit.options import STORE_DEFAULT, StoreOption, time_told
from remit.cli.audit.purge import (
    TombstoneKeyOption,
    UnsignedOption,
    YesOption,
    purge_with_progress,
    tell_what_stays,
)
from remit.cli.common.output import out
from remit.cli.common.parsers import from_text
from remit.clock import now_us


def retain(
    retention: Annotated[
        Retention,
        typer.Option(
            parser=from_text(parse_retention, ValueError),
            envvar="REMIT_AUDIT_RETENTION",
            metavar="AGES",
            help="As the setting `audit_retention`: how long decisions are kept, for example `90d, globex=400d`.",
            show_default=False,
        ),
    ],
    key: TombstoneKeyOption = None,
    unsigned: UnsignedOption = False,
    yes: YesOption = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """Delete the decisions that are older than their tenant's retention: what a server with `audit_retention` does by
    itself."""
    cutoffs = retention.cutoffs(now_us())
    told = []
    for rule in cutoffs.rules:
        whose = f"of tenant {rule}" if rule else "of all other tenants" if cutoffs.of_tenant else "of all tenants"
        told.append(f"{whose} made before {time_told(max(cutoffs.of(rule) or 0, 0))}")
    if not told:
        out.print("decisions are kept forever")
        return
    purged = purge_with_progress(audit, cutoffs, key, ", ".join(told), unsigned=unsigned, yes=yes)
    out.print(f"{purged.deleted} decisions deleted: those {', '.join(told)}")
    tell_what_stays(purged)
