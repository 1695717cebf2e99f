from typing import Annotated

import typer

from remit.audit.retention.ages import Retention, parse_retention
from remit.audit.retention.purge import Purged
from remit.cli.audit.options import STORE_DEFAULT, StoreOption, time_text
from remit.cli.audit.purge import (
    TombstoneKeyOption,
    UnsignedOption,
    YesOption,
    print_what_stays,
    purge_with_progress,
    purged_json,
)
from remit.cli.common.as_json import JsonOption, print_json
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
    as_json: JsonOption = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """Delete the decisions that are older than their tenant's retention, as a server with `audit_retention` does.

    Example: `remit audit retain --retention "90d, globex=400d" --key audit.pem --yes`
    """
    cutoffs = retention.cutoffs(now_us())
    parts = []
    for rule in cutoffs.rules:
        whose = f"of tenant {rule}" if rule else "of all other tenants" if cutoffs.of_tenant else "of all tenants"
        parts.append(f"{whose} made before {time_text(max(cutoffs.of(rule) or 0, 0))}")
    if not parts:
        if as_json:
            print_json(purged_json(Purged(), cutoffs))
        else:
            out.print("decisions are kept forever")
        return
    purged = purge_with_progress(audit, cutoffs, key, ", ".join(parts), unsigned=unsigned, yes=yes)
    if as_json:
        print_json(purged_json(purged, cutoffs))
        return
    out.print(f"{purged.deleted} decisions deleted: those {', '.join(parts)}")
    print_what_stays(purged)
