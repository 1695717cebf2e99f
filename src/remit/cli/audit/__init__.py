"""`remit audit`: read, prove and purge the audit store.

The folder has many modules because each command has its own module.
"""

import typer

from remit.cli.common import lazy
from remit.cli.common.help import PlainGroup
from remit.cli.common.output import EXIT_CODES

app = typer.Typer(
    cls=PlainGroup,
    rich_markup_mode=None,
    help=f"Read, prove and purge the audit store: what was decided, for whom, by which rule, when.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)
lazy.add(
    app,
    {
        "list": "remit.cli.audit.list_records:list_records",
        "show": "remit.cli.audit.show:show",
        "follow": "remit.cli.audit.follow:follow",
        "count": "remit.cli.audit.count:count",
        "explain": "remit.cli.audit.explain:explain",
        "explain-reach": "remit.cli.audit.explain:explain_reach",
        "purge": "remit.cli.audit.purge:purge",
        "heads": "remit.cli.audit.heads:heads",
        "verify": "remit.cli.audit.verify:verify",
        "checkpoint": "remit.cli.audit.checkpoint:checkpoint",
        "export": "remit.cli.audit.export:export",
        "retain": "remit.cli.audit.retain:retain",
        "hash": "remit.cli.audit.hash_name:hash_",
        "backup": "remit.cli.audit.backup:backup",
        "restore": "remit.cli.audit.backup:restore",
        "drain": "remit.cli.audit.drain:drain",
    },
)
keys = typer.Typer(
    cls=PlainGroup,
    rich_markup_mode=None,
    help=f"Keys that sign the audit's checkpoints (Ed25519).\n\n{EXIT_CODES}",
    no_args_is_help=True,
)
lazy.add(
    keys,
    {
        "new": "remit.cli.audit.keys:new",
        "show": "remit.cli.audit.keys:show",
    },
)
app.add_typer(keys, name="key")
