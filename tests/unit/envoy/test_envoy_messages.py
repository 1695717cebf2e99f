"""Envoy's messages: what they are on the wire, whom they name, and what a route's context extensions say."""

import pytest

from remit.core.errors import MalformedQuestionError
from remit.core.gateway import HttpRequest, RouteTable, route_of
from remit.envoy.context_extensions import routes_in
from remit.envoy.principals import JWT_AUTHN, principal_of
from remit.envoy.request import EnvoyRequest, header
from remit.envoy.v1 import ext_authz_pb2 as messages
from remit.service.gateways import parse_hosts, parse_principal_sources

HOSTS = parse_hosts("api.acme.example=acme, [::1]=globex")


def field(number: int, content: bytes | int) -> bytes:
    """A field of a message as bytes, made by hand: shorter than 128 bytes each."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    assert len(content) < 16_384
    size = bytes([len(content)]) if len(content) < 128 else bytes([len(content) & 127 | 128, len(content) >> 7])
    return bytes([number << 3 | 2]) + size + content


def entry(number: int, key: bytes, value: bytes) -> bytes:
    return field(number, field(1, key) + field(2, value))


UNKNOWN = field(15, b"of a later Envoy") + field(14, 1)


def envoys_bytes() -> bytes:
    """CheckRequest by the numbers of envoy/service/auth/v3/attribute_context.proto, with fields that remit ignores."""
    peer = field(1, field(1, b"socket")) + field(2, b"web") + field(4, b"spiffe://acme.example/web") + field(5, b"PEM")
    http = (
        field(1, b"id")
        + field(2, b"GET")
        + entry(3, b"x-request-id", b"r-1")
        + entry(3, b"x-\xc3\xa9", b"\xff")
        + field(4, b"/a/\xff?b")
        + field(5, b"API.acme.example:8443")
        + field(6, b"https")
        + field(9, 5)
        + field(10, b"HTTP/2")
        + field(11, b"body")
        + field(12, b"raw")
        + field(13, field(1, field(1, b"x-raw") + field(3, b"\xfe")))
        + UNKNOWN
    )
    claims = entry(1, b"email", field(3, b"bob"))
    filters = entry(1, JWT_AUTHN.encode(), entry(1, b"company", field(5, claims)))
    attributes = (
        field(1, peer + UNKNOWN)
        + field(2, peer)
        + field(4, field(1, field(1, 7)) + field(2, http))
        + entry(10, b"remit.tenant", b"acme")
        + field(11, filters)
        + field(12, field(1, b"sni"))
        + field(13, filters)
        + UNKNOWN
    )
    return field(1, attributes) + UNKNOWN


def test_a_request_of_envoy_is_read_by_its_numbers() -> None:
    attributes = messages.CheckRequest.FromString(envoys_bytes()).attributes
    http = attributes.request.http

    assert (b"GET", b"/a/\xff?b", b"API.acme.example:8443") == (http.method, http.path, http.host)
    assert b"spiffe://acme.example/web" == attributes.source.principal
    assert {"remit.tenant": "acme"} == dict(attributes.context_extensions)
    assert b"\xfe" == header(http, "x-raw")
    assert "user:bob" == principal_of(attributes, parse_principal_sources("company/email=user"))


def test_an_answer_is_written_by_envoys_numbers() -> None:
    option = messages.HeaderValueOption(header=messages.HeaderValue(key="x", value=b"y"), append_action=2)
    allowed = messages.CheckResponse(status={"code": 0}, ok_response={"headers": [option]})
    denied = messages.CheckResponse(
        status={"code": 7}, denied_response={"status": {"code": 403}, "headers": [option], "body": "no"}
    )
    header_option = field(1, field(1, b"x") + field(2, b"y")) + field(3, 2)

    assert field(1, b"") + field(3, field(2, header_option)) == allowed.SerializeToString(deterministic=True)
    status = bytes([1 << 3, 403 & 127 | 128, 403 >> 7])
    assert field(1, field(1, 7)) + field(2, field(1, status) + field(2, header_option) + field(3, b"no")) == (
        denied.SerializeToString(deterministic=True)
    )


@pytest.mark.parametrize(
    ("extensions", "host", "tenant"),
    [
        ({"remit.tenant": "globex"}, b"api.acme.example", "globex"),
        ({}, b"api.acme.example", "acme"),
        ({}, b"API.Acme.example.:80", "acme"),
        ({}, b"[::1]:8080", "globex"),
        ({}, b"[::1]", "globex"),
        ({}, b"x.api.acme.example", ""),
        ({}, b"*", ""),
        ({}, b"", ""),
        ({}, b"\xff", ""),
    ],
)
def test_the_tenant_is_that_of_the_route_or_else_of_the_host(
    extensions: dict[str, str], host: bytes, tenant: str
) -> None:
    attributes = messages.AttributeContext(
        context_extensions=extensions, request=messages.Request(http=messages.HttpRequest(host=host))
    )
    assert tenant == EnvoyRequest(attributes, HOSTS).tenant


def test_a_star_stands_for_all_other_hosts() -> None:
    hosts = parse_hosts("a.example=acme, *=globex")
    found = [
        EnvoyRequest(messages.AttributeContext(request={"http": {"host": host}}), hosts).tenant
        for host in (b"a.example", b"b.example", b"*", b"")
    ]
    assert ["acme", "globex", "", "globex"] == found


@pytest.mark.parametrize(
    "host",
    [
        *(b"a.example..", b"a.example:80:80", b"u@a.example", b"a.example,b.example", b"a.example ", b"\xffa.example"),
        *(b"a.example/x", b"a%2eexample", b"a.example:+80", b".a.example", b"[::1"),
    ],
)
def test_a_star_does_not_stand_for_what_is_no_host(host: bytes) -> None:
    """The service behind may read `a.example` in it."""
    hosts = parse_hosts("a.example=acme, *=globex")
    assert "" == EnvoyRequest(messages.AttributeContext(request={"http": {"host": host}}), hosts).tenant


@pytest.mark.parametrize("host", [b"A.example", b"a.example:80", b"a.example:", b"a.example.", b"a.example.:80"])
def test_one_host_has_many_spellings(host: bytes) -> None:
    hosts = parse_hosts("a.example=acme, *=globex")
    assert "acme" == EnvoyRequest(messages.AttributeContext(request={"http": {"host": host}}), hosts).tenant


def attributes_of(
    *, claims: dict[str, object] | None = None, peer: bytes = b"", forwarded: bytes = b"", key: str = "company"
) -> messages.AttributeContext:
    attributes = messages.AttributeContext(source={"principal": peer})
    if forwarded:
        attributes.request.http.headers["x-forwarded-client-cert"] = forwarded
    if claims is not None:
        attributes.metadata_context.filter_metadata[JWT_AUTHN].update({key: claims})
    return attributes


@pytest.mark.parametrize(
    ("sources", "given", "principal"),
    [
        ("company/sub=user", {"claims": {"sub": "alice"}}, "user:alice"),
        ("company/azp=service", {"claims": {"azp": "ci"}}, "service:ci"),
        ("company/https://acme.example/id=user", {"claims": {"https://acme.example/id": "a"}}, "user:a"),
        ("company/sub=user", {"claims": {"sub": "alice"}, "key": "other"}, None),
        ("company/sub=user", {"claims": {"email": "alice"}}, None),
        ("company/sub=user", {"claims": {"sub": 7}}, None),
        ("company/sub=user", {"claims": {"sub": "a b"}}, None),
        ("company/sub=user, certificate", {"claims": {"sub": "a b"}, "peer": b"spiffe://a/b"}, None),
        *(
            ("company/sub=user, certificate", {"claims": {"sub": claim}, "peer": b"spiffe://a/b"}, None)
            for claim in (7, True, None, "", ["alice"], {"name": "alice"})
        ),
        ("company/sub=user, certificate", {"claims": {}, "peer": b"spiffe://a/b"}, "service:spiffe://a/b"),
        ("company/sub=user, certificate", {"peer": b"spiffe://a/b"}, "service:spiffe://a/b"),
        ("certificate, company/sub=user", {"claims": {"sub": "bob"}, "peer": b"a.example"}, "service:dns/a.example"),
        ("company/sub=user", {"peer": b"spiffe://a/b"}, None),
        ("certificate", {"peer": b"CN=bob,O=acme"}, None),
        ("certificate", {"peer": b"spiffe://a/\xff"}, None),
        ("certificate", {"forwarded": b"URI=spiffe://a/b"}, None),
        (
            "forwarded-certificate",
            {"forwarded": b'By=x;Hash=9;Subject="CN=\\"a,b\\"";URI=spiffe://a/b'},
            "service:spiffe://a/b",
        ),
        ("forwarded-certificate", {"forwarded": b"Hash=9;DNS=a.example;DNS=b.example"}, "service:dns/a.example"),
        ("forwarded-certificate", {"forwarded": b"URI=spiffe://a/b,URI=spiffe://c/d"}, None),
        ("forwarded-certificate", {"forwarded": b"URI=spiffe://a/b;URI=spiffe://c/d"}, None),
        ("forwarded-certificate", {"forwarded": b"URI="}, None),
        ("forwarded-certificate", {"forwarded": b"URI=;DNS=a.example"}, "service:dns/a.example"),
        ("forwarded-certificate", {"forwarded": b"DNS=a.example;URI=spiffe://a/b"}, None),
        ("forwarded-certificate", {"forwarded": b"URI=;DNS=a.example;URI=spiffe://a/b"}, None),
        ("forwarded-certificate", {"forwarded": b'Subject="URI=spiffe://a/b'}, None),
        ("forwarded-certificate", {"forwarded": b'Subject="x;URI=spiffe://a/b"'}, None),
        ("forwarded-certificate", {"peer": b"spiffe://a/b"}, None),
    ],
)
def test_only_what_envoy_verified_names_the_principal(
    sources: str, given: dict[str, object], principal: str | None
) -> None:
    attributes = attributes_of(**given)  # type: ignore[arg-type]
    before = attributes.SerializeToString(deterministic=True)

    assert principal == principal_of(attributes, parse_principal_sources(sources))
    assert before == attributes.SerializeToString(deterministic=True)


def asked(table: RouteTable, path: bytes) -> str | None:
    route, segments = route_of(table, HttpRequest("GET", path))
    return None if route is None else str(tuple(route.question("user:bob", segments)[0][1:]))


def test_context_extensions_describe_one_route() -> None:
    table = routes_in(
        {
            "other.filter": "x",
            "remit.tenant": "acme",
            "remit.kind": "FLOW",
            "remit.action": "VIEW",
            "remit.path": "/flows/{ns}/{id}",
            "remit.namespace": "{ns}",
            "remit.resource_id": "{id}",
        }
    )
    assert table is not None
    assert "('VIEW', 'FLOW', 'acme.data')" == asked(table, b"/flows/acme.data/x")
    assert asked(table, b"/flows/acme.data") is None
    everywhere = routes_in({"remit.kind": "DASHBOARD", "remit.action": "LIST"})
    assert everywhere is not None
    assert "('LIST', 'DASHBOARD', '')" == asked(everywhere, b"/any/thing")


def test_without_them_the_file_decides() -> None:
    assert routes_in({}) is None
    assert routes_in({"remit.tenant": "acme", "other": "x"}) is None


@pytest.mark.parametrize(
    ("extensions", "field_"),
    [
        ({"action": "VIEW"}, "remit.kind"),
        ({"kind": "FLOW"}, "remit.action"),
        ({"namespace": "acme"}, "remit.kind"),
        ({"kind": "FLOW", "action": "VIEW", "namspace": "acme"}, "remit.namspace"),
        ({"kind": "FLOW", "action": "VIEW", "namespace": "{ns}"}, "remit.namespace"),
        ({"kind": "FLOW", "action": "VIEW", "namespace": "{ns}", "path": "/{id}"}, "remit.namespace"),
        ({"kind": "FLOW", "action": "VIEW", "resource_id": "{ns}"}, "remit.resource_id"),
        ({"kind": "FLOW", "action": "VIEW", "namespace": "A.b"}, "remit.namespace"),
        ({"kind": "FLOW", "action": "VIEW", "path": "flows"}, "remit.path"),
        ({"kind": "F L", "action": "VIEW"}, "remit.kind"),
    ],
)
def test_half_a_route_is_refused_and_does_not_fall_to_the_file(extensions: dict[str, str], field_: str) -> None:
    with pytest.raises(MalformedQuestionError) as caught:
        routes_in({f"remit.{key}": text for key, text in extensions.items()})
    assert field_ in str(caught.value)


@pytest.mark.parametrize(
    "text", ["acme", "a.example=", "=acme", "A.example=acme", "a.example:80=acme", "a b=acme", "a=X"]
)
def test_a_wrong_host_is_an_error_of_its_setting(text: str) -> None:
    with pytest.raises(ValueError, match="`envoy_hosts` holds"):
        parse_hosts(text)


def test_a_host_has_one_tenant() -> None:
    with pytest.raises(ValueError, match=r"names `a\.example` twice"):
        parse_hosts("a.example=acme, a.example=globex")


@pytest.mark.parametrize(
    "text", ["sub=user", "company/sub", "company/sub=group", "/sub=user", "company/=user", "header"]
)
def test_a_wrong_source_of_principals_is_an_error_of_its_setting(text: str) -> None:
    with pytest.raises(ValueError, match="`envoy_principal` holds"):
        parse_principal_sources(text)
