"""`remit callers init`: writes the starter of the folder `_callers`."""

from pathlib import Path

from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.output import Exit, err, fail, out
from remit.cli.common.policies_option import with_policies
from remit.cli.common.policy_files import not_a_tenants
from remit.core.names import CALLERS
from remit.policy.read.tree import VOCABULARY
from remit.service.callers_starter import STARTER, write_starter


@with_policies
def init(directory: Path, as_json: JsonOption = False) -> None:
    """Write the folder `_callers` with the roles enforcer, reader, auditor and operator, and with nobody bound.

    With that folder a server with TLS refuses every caller whom its rows do not name: bind callers before the server
    sees it. docs/how-to/who-may-ask.md says how.

    Example: `remit callers init policies`
    """
    not_a_tenants(directory)
    if not (directory / VOCABULARY).is_file():
        fail(Exit.USAGE, f"`{directory}` is no policy directory: it has no {VOCABULARY}")
    try:
        write_starter(directory)
    except FileExistsError:
        fail(Exit.NO, f"`{directory / CALLERS}` exists already, and stays as it is")
    except OSError as error:
        fail(Exit.UNAVAILABLE, f"`{directory / CALLERS}` cannot be written: {error.strerror or error}")
    written = [str(directory / path) for path in STARTER]
    if as_json:
        print_json({"written": written})
    else:
        for path in written:
            out.print(path)
    err.print("nobody may ask anything yet: bind callers in bindings.csv, or see `remit callers propose`")
