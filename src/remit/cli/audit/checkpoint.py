import json
from typing import Annotated

import typer

from remit.audit.chain.anchors import to_json
from remit.audit.chain.signing import Checkpoint, SigningKey, signed
from remit.audit.store import checkpoints
from remit.cli.audit.options import STORE_DEFAULT, StoreOption, chains_of, signing_key
from remit.cli.common.as_json import JsonLinesOption
from remit.cli.common.open_store import opened
from remit.cli.common.output import Exit, err, fail
from remit.clock import now_us


def checkpoint(
    tenant: Annotated[
        str | None,
        typer.Option(parser=chains_of, metavar="TENANT", help="Only this tenant's chains.", show_default=False),
    ] = None,
    key: Annotated[
        SigningKey | None,
        typer.Option(
            parser=signing_key, metavar="FILE", help="Sign the heads with this private key.", show_default=False
        ),
    ] = None,
    record: Annotated[bool, typer.Option("--record", help="Also store the signed heads, as a server does.")] = False,
    tombstones: Annotated[
        bool,
        typer.Option(
            "--tombstones",
            help="Also sign tombstones without a signature, and print them on standard error. Do so only if you know that a "
            "purge left them: they look the same if somebody deleted records.",
        ),
    ] = False,
    as_json: JsonLinesOption = False,
    audit: StoreOption = STORE_DEFAULT,
) -> None:
    """Print the head of each chain as a JSON line. Keep the lines where nobody who writes to the store can write.

    `remit audit verify --against FILE` compares the store with them. Then not even its owner can cut off or rewrite the
    end of a chain unnoticed.

    Example: `remit audit checkpoint >> /mnt/elsewhere/heads.jsonl`
    """
    del as_json  # The lines are of JSON either way, and files of them are read by `verify --against`.
    if record and key is None:
        fail(Exit.USAGE, "--record needs a --key: the store keeps signed heads")
    if tombstones and key is None:
        fail(Exit.USAGE, "--tombstones needs a --key to sign them with")
    with opened(audit, writing=record or tombstones) as stores:
        for store in stores.members:
            if tombstones and key is not None:
                for each in checkpoints.sign_tombstones(store, key, tenant):
                    whose = f"decisions of tenant `{each.tenant}` by node `{each.node}`"
                    err.print(f"signed the tombstone of {whose}, seq {each.seq}")
            made = []
            for chain, head in checkpoints.heads(store, tenant):
                before = checkpoints.newest(store, chain)
                named = Checkpoint(*chain, *head, *before, now_us())
                named = named if key is None else signed(named, key)
                typer.echo(json.dumps(to_json(named)))
                if head.seq > before.seq:
                    made.append(named)
            if record and made:
                checkpoints.keep(store, made)
