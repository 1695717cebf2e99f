import resource
from typing import Final

import structlog

_ENOUGH: Final = 4096
_MOST: Final = 1 << 20
"""More than any server needs. Some hard limits are a thousand times higher."""

_log = structlog.get_logger("remit")


def raise_descriptor_limit() -> None:
    """Raises the soft limit of file descriptors to the hard limit, for this process and its children.

    Each connection takes one descriptor. Without a free descriptor nobody can connect.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError) as error:
            _log.warning("the limit of file descriptors stays as it is", limit=soft, error=str(error))
    if soft != resource.RLIM_INFINITY and soft < _ENOUGH:
        remedy = (
            f"raise the hard limit to {_ENOUGH} or more (`ulimit -Hn`, LimitNOFILE=) and bound connections in front"
        )
        _log.warning("few file descriptors: each connection takes one", limit=soft, remedy=remedy)
