"""`remit audit`: read, prove and purge the audit store.

The folder has many modules because each command has its own module.
"""

import typer

from remit.cli.common import lazy
from remit.cli.common.output import EXIT_CODES

app = typer.Typer(
    help=f"Read, prove and purge the audit store: what was decided, for whom, by which rule, when.\n\n{EXIT_CODES}",
    no_args_is_help=True,
)
lazy.add(
    app,
    {
        "list": ("remit.cli.audit.list_records:list_records", "List records, newest first, a page at a time."),
        "show": (
            "remit.cli.audit.show:show",
            "Show one decision with every field, its place in its chain, and why it was made, by the policy of that time.",
        ),
        "follow": (
            "remit.cli.audit.follow:follow",
            "Print decisions as they are committed, each once, until Ctrl-C. Starts now, or with --since or --after in the past.",
        ),
        "count": ("remit.cli.audit.count:count", "Count decisions, in whole hours, without reading a record."),
        "explain": (
            "remit.cli.audit.explain:explain",
            "Show what the answer to a question was in the past, or would have been, and why: by the policy of that time.",
        ),
        "explain-reach": (
            "remit.cli.audit.explain:explain_reach",
            "Like `explain`: might work in CALLER use what OWNER owned, by RELATION?",
        ),
        "purge": (
            "remit.cli.audit.purge:purge",
            "Delete the decisions made before a time, the records of who read the audit, and policies and names in counts that are no longer needed.",
        ),
        "verify": (
            "remit.cli.audit.verify:verify",
            "Verify every chain, and name the first record of each that was altered, removed, inserted or reordered.",
        ),
        "checkpoint": (
            "remit.cli.audit.checkpoint:checkpoint",
            "Print the head of each chain as a JSON line. Keep the lines where nobody who writes to the store can write.",
        ),
        "export": (
            "remit.cli.audit.export:export",
            "Write a tenant's records to files, with a proof. `remit audit verify --export FILE` verifies them without the store.",
        ),
        "retain": (
            "remit.cli.audit.retain:retain",
            "Delete the decisions that are older than their tenant's retention, as a server with `audit_retention` does.",
        ),
        "hash": (
            "remit.cli.audit.hash_name:hash_",
            "Print the hash that a redacted field holds in place of a value, to search for it with `remit audit list`.",
        ),
        "backup": (
            "remit.cli.audit.backup:backup",
            "Copy a SQLite audit store into a file while servers write to it; with several workers, into one file each.",
        ),
        "restore": (
            "remit.cli.audit.backup:restore",
            "Make a SQLite audit store from a backup, completely or not at all. Stop the servers that use it first.",
        ),
        "drain": (
            "remit.cli.audit.drain:drain",
            "Forward the records of a spool to the audit store, in their order, each once.",
        ),
        "faults": (
            "remit.cli.audit.faults:faults",
            "Break real servers, in a scratch folder, and prove that no acknowledged decision is lost.",
        ),
    },
)
keys = typer.Typer(help=f"Keys that sign the audit's checkpoints (Ed25519).\n\n{EXIT_CODES}", no_args_is_help=True)
lazy.add(
    keys,
    {
        "new": (
            "remit.cli.audit.keys:new",
            "Make a key: FILE holds the private half, for its owner only, and FILE.pub the public half, for verifiers.",
        ),
        "show": ("remit.cli.audit.keys:show", "Show the id and the public half of a key."),
    },
)
app.add_typer(keys, name="key")
