from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from remit.cli.common.option_group import where_option
from remit.cli.common.output import Exit, fail
from remit.fleet.errors import ForgedReleaseError, PolicyStoreError
from remit.fleet.store import PolicyStore

_VARIABLE = "REMIT_POLICY_STORE"
_HELP = "The policy store: `sqlite:///PATH` or `postgresql+psycopg://USER@HOST/DATABASE`."
ToOption = Annotated[str | None, where_option("--to", _VARIABLE, "URL", _HELP)]
StoreOption = Annotated[str | None, where_option("--policy-store", _VARIABLE, "URL", _HELP)]


def require_named(url: str | None, option: str) -> str:
    """Ends the command if there is no URL."""
    if not url:
        fail(Exit.USAGE, f"no policy store is named: say {option} URL, or set {_VARIABLE}")
    return url


@contextmanager
def opened(url: str | None, option: str, *, migrate: bool = False) -> Iterator[PolicyStore]:
    """The policy store. Ends the command if there is none, or if the block finds that it fails."""
    url = require_named(url, option)
    try:
        with PolicyStore(url) as store:
            if migrate:
                store.migrate()
            store.open()
            yield store
    except (PolicyStoreError, ForgedReleaseError) as error:
        fail(Exit.UNAVAILABLE, str(error))
