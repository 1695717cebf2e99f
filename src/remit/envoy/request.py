"""A request as Envoy describes it."""

import re
from collections.abc import Mapping
from typing import Final

from remit.core.errors import MalformedQuestionError
from remit.core.names import Tenant
from remit.envoy.v1 import ext_authz_pb2 as messages
from remit.service.errors import ForbiddenError
from remit.service.gateways import ANY_HOST, plain_host

PREFIX: Final = "remit."
"""Of the context extensions of a route in Envoy that are for remit."""
TENANT: Final = "remit.tenant"
_PLAIN_HOST: Final = re.compile(r"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])?").fullmatch


class EnvoyRequest:
    """A call of Envoy, with the fields that the call boundary reads from every request."""

    __slots__ = ("attributes", "refusal", "tenant")

    def __init__(self, attributes: messages.AttributeContext, hosts: Mapping[str, Tenant]) -> None:
        """The tenant is that of the route, else that of the host by `hosts`; '' if neither names one."""
        self.attributes = attributes
        self.tenant: str = attributes.context_extensions.get(TENANT, "") or _tenant_of(attributes, hosts)
        self.refusal: ForbiddenError | MalformedQuestionError | None = None
        """Why Envoy may not ask about this tenant."""


def _tenant_of(attributes: messages.AttributeContext, hosts: Mapping[str, Tenant]) -> str:
    host = plain_host(attributes.request.http.host.decode("ascii", "replace"))
    # The service behind may read another host than this one in a text that is none.
    return hosts.get(host, hosts.get(ANY_HOST, "")) if _PLAIN_HOST(host) else ""


def header(http: messages.HttpRequest, name: str) -> bytes:
    """The value of a header; empty if there is none."""
    if http.header_map.headers:
        return b",".join(each.raw_value or each.value for each in http.header_map.headers if each.key == name)
    return http.headers.get(name, b"")
