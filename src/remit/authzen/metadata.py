"""The metadata of a policy decision point (section 9 of the specification)."""

from typing import Final
from urllib.parse import urlsplit

import msgspec

WELL_KNOWN: Final = "/.well-known/authzen-configuration"
API: Final = "access/v1"


class Metadata(msgspec.Struct):
    """What an enforcement point reads first."""

    policy_decision_point: str
    access_evaluation_endpoint: str
    access_evaluations_endpoint: str
    search_subject_endpoint: str
    search_resource_endpoint: str
    search_action_endpoint: str


def identifier_of(base_url: str, tenant: str) -> str:
    """The identifier of a tenant's decision point; that of the default tenant is the base itself, as it is configured."""
    return f"{base_url.removesuffix('/')}/tenants/{tenant}" if tenant else base_url


def metadata_of(base_url: str, tenant: str) -> bytes:
    identifier = identifier_of(base_url, tenant)
    below = f"{identifier.removesuffix('/')}/{API}"
    searches = (f"{below}/search/{name}" for name in ("subject", "resource", "action"))
    return msgspec.json.encode(Metadata(identifier, f"{below}/evaluation", f"{below}/evaluations", *searches))


def well_known_tail(path: str, base_url: str) -> str | None:
    """The part of a well-known path that names a tenant, as `tenants/acme`; '' for the default one; None for no such
    path. A proxy may strip the path of the base URL, or leave it."""
    if path != WELL_KNOWN and not path.startswith(f"{WELL_KNOWN}/"):
        return None
    tail = path.removeprefix(WELL_KNOWN)
    own = urlsplit(base_url).path.rstrip("/")
    if own and (tail == own or tail.startswith(f"{own}/")):
        tail = tail.removeprefix(own)
    return tail.removeprefix("/") if tail != "/" else ""
