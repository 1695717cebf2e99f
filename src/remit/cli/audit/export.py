from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from remit.audit.export import formats
from remit.audit.export.errors import ExportError
from remit.audit.export.export import Export
from remit.audit.export.plan import Span
from remit.audit.export.proof import lifecycle_of, proof_of
from remit.cli.audit.options import STORE_DEFAULT, SinceOption, StoreOption, UntilOption
from remit.cli.audit.report_text import counting, finding_json, finding_told
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.help import OUTPUT
from remit.cli.common.open_store import opened
from remit.cli.common.output import Exit, fail, out
from remit.cli.common.parsers import tenant_from


class ExportFormat(StrEnum):
    JSONL = formats.JSONL
    PARQUET = formats.PARQUET


def export(
    tenant: Annotated[
        str, typer.Option(parser=tenant_from, metavar="TENANT", help="Whose records.", show_default=False)
    ],
    out_file: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE", help="The decisions; the lifecycle records and the proof get names beside it."
        ),
    ],
    form: Annotated[
        ExportFormat, typer.Option("--format", help="JSON lines, or Parquet.", rich_help_panel=OUTPUT)
    ] = ExportFormat.JSONL,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """Write a tenant's records to files, with a proof. `remit audit verify --export FILE` verifies them without the
    store.

    For a time range, the files contain whole parts of the chains, so also a few records from just before and after it.

    Example: `remit audit export --tenant acme --since 2026-11-01 --until 2026-12-01 --out acme-november.jsonl`
    """
    try:
        with opened(audit) as store, store.snapshots() as snapshots, counting("records") as progress:
            report = Export(
                snapshots=snapshots,
                tenant=tenant,
                out=out_file,
                format_=form.value,
                span=Span(since, until),
                progress=progress,
            ).run()
    except ExportError as error:
        fail(Exit.UNAVAILABLE, str(error))
    records = report.records + sum(each.unchained for each in report.chains)
    files = (out_file, lifecycle_of(out_file), proof_of(out_file))
    if as_json:
        findings = map(finding_json, report.findings)
        print_json({"tenant": tenant, "records": records, "files": files, "findings": findings})
    else:
        for finding in report.findings:
            out.print(finding_told(finding))
        out.print(f"{records:,} records of tenant {tenant}")
        for path in files:
            out.print(f"  {path}")
    if report.findings:
        raise typer.Exit(Exit.NO)
