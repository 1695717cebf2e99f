from typing import Annotated

import typer

from remit.audit.query.heads import ChainHead
from remit.audit.query.reader import AuditReader
from remit.cli.audit.options import chains_of
from remit.cli.audit.source import Source, reads
from remit.cli.common.as_json import JsonOption, print_json, time_text
from remit.cli.common.output import err
from remit.cli.common.table import print_table
from remit.client import Client
from remit.v1 import audit_service_pb2 as messages

_PAGE = 1_000


@reads
def heads(
    tenant: Annotated[
        str | None,
        typer.Option(parser=chains_of, metavar="TENANT", help="Only this tenant's chains.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
    *,
    source: Source,
) -> None:
    """List the newest record of each chain, its last checkpoint, and how far `verify --record` found it whole.

    Example: `remit audit heads`
    """
    response = source.answer(lambda store: _local(store, tenant), lambda client: _remote(client, tenant or ""))
    if as_json:
        print_json(response)
        return
    rows = [
        (
            each.table,
            each.tenant,
            each.node,
            str(each.seq),
            str(each.signed_seq or ""),
            each.key_id,
            str(each.verified_seq or ""),
            each.finding,
        )
        for each in response.heads
    ]
    columns = ("table", "tenant", "node", "records", "signed", "key", "verified", "finding")
    print_table(columns, rows, numbers=("records", "signed", "verified"))
    if response.HasField("verification"):
        last = response.verification
        result = "whole" if last.whole else "not whole"
        err.print(
            f"verified {time_text(last.time_us)}: {result}, {f'with keys {list(last.key_ids)}' if last.key_ids else 'without a key'}"
        )
    else:
        err.print("no verification left a record: `remit audit verify --record` does")


def _local(store: AuditReader, tenant: str | None) -> messages.ListHeadsResponse:
    from remit.rpc.encode_records import heads_to  # noqa: PLC0415 (a command that asks a server needs no server)

    found: list[ChainHead] = []
    while page := store.heads(tenant, after=found[-1].chain if found else None, limit=_PAGE):
        found += page
    return heads_to(found, store.last_verification(tenant or ""))


def _remote(client: Client, tenant: str) -> messages.ListHeadsResponse:
    request = messages.ListHeadsRequest(tenant=tenant, page_size=_PAGE)
    response: messages.ListHeadsResponse = client.ask(request)
    page = response
    while page.next_page_token:
        request.page_token = page.next_page_token
        page = client.ask(request)
        response.heads.extend(page.heads)
    response.next_page_token = ""
    return response
