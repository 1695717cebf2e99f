"""gateway.yaml: what loads, what its tests say, and which overlaps lint finds."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trees import write

from remit.core.gateway import PathTemplate
from remit.engine.snapshot import Snapshot
from remit.policy.lint.routes import _common_path, _covers, _cross
from remit.policy.load import LoadedTenant, load_tree
from remit.policy.testing.coverage import exercised

VOCABULARY = b"""
kinds:
  FLOW: {class: namespace, actions: [VIEW, UPDATE]}
  DASHBOARD: {class: tenant, actions: [VIEW]}
  TENANT: {class: instance, actions: [VIEW]}
"""
BINDINGS = b"p, user:bob, acme, acme.data.**, FLOW, VIEW, allow\n"
FLOWS = '{method: GET, path: "/flows/{ns}/{id}", kind: FLOW, action: VIEW, namespace: "{ns}", resource_id: "{id}"}'


def loaded(folder: Path, routes: str, cases: str = "", tenant: str = "acme") -> LoadedTenant:
    files = {"vocabulary.yaml": VOCABULARY, f"{tenant}/gateway.yaml": f"routes:\n{routes}".encode()}
    if tenant == "acme":
        files["acme/bindings.csv"] = BINDINGS
    if cases:
        files[f"{tenant}/tests/gateway.yaml"] = f"name: t\ngateway:\n{cases}".encode()
    return next(iter(load_tree(write(folder, files)).tenants.values()))


def test_routes_are_part_of_the_policy_and_of_its_revision(tmp_path: Path) -> None:
    one = loaded(tmp_path / "one", f"  - {FLOWS}\n")
    other = loaded(tmp_path / "other", f"  - {FLOWS}\n  # the same\n")

    assert one.diagnostics == ()
    assert isinstance(one.snapshot, Snapshot)
    assert ["GET /flows/{ns}/{id}"] == [route.text for route in one.snapshot.policy.routes]
    assert one.revision != other.revision


@pytest.mark.parametrize(
    ("route", "expected"),
    {
        "{path: /a, kind: FLOW, action: VIEW}": "acme/gateway.yaml:2:5: a route lacks `method`",
        FLOWS.replace(
            "GET", "get"
        ): "acme/gateway.yaml:2:14: `get` names no method: expected upper-case letters and `-`; "
        "several joined by `|`; or `*`",
        FLOWS.replace("GET", "GET|GET"): "acme/gateway.yaml:2:14: `GET|GET` names one method twice",
        FLOWS.replace('"/flows/', '"flows/'): "acme/gateway.yaml:2:25: `flows/{ns}/{id}` is not a template of paths: "
        "expected `/` and segments joined by `/`, each plain text or one `{name}`, and `**` at most as the last; "
        "at most 512 characters and 32 segments",
        FLOWS.replace("FLOW", "FLOWS"): "acme/gateway.yaml:2:51: `FLOWS` is not a kind of this tenant: expected one of "
        "`DASHBOARD`, `FLOW`; did you mean `FLOW`?",
        FLOWS.replace(
            "FLOW", "TENANT"
        ): "acme/gateway.yaml:2:51: `TENANT` is not a kind of this tenant: expected one of `DASHBOARD`, `FLOW`",
        FLOWS.replace("VIEW", "VEIW"): "acme/gateway.yaml:2:65: `VEIW` is not an action of `FLOW`: expected one of "
        "`UPDATE`, `VIEW`; did you mean `VIEW`?",
        FLOWS.replace('namespace: "{ns}"', 'namespace: "{id2}"'): "acme/gateway.yaml:2:82: `{id2}` is no capture of "
        "`/flows/{ns}/{id}`, which has `{id}`, `{ns}`",
        FLOWS.replace(
            'namespace: "{ns}", ', ""
        ): "acme/gateway.yaml:2:5: a route lacks `namespace`: kind `FLOW` lives in namespaces",
        "{method: GET, path: /a, kind: DASHBOARD, action: VIEW, namespace: acme}": "acme/gateway.yaml:2:71: kind "
        "`DASHBOARD` is of class `tenant`, so leave `namespace` out",
        "{method: GET, path: /a, kind: DASHBOARD, action: VIEW, host: a.example}": "acme/gateway.yaml:2:60: unknown key "
        "`host` in a route: expected `method`, `path`, `kind`, `action`, `namespace`, `resource_id`",
    }.items(),
)
def test_a_mistake_is_named_at_its_place(tmp_path: Path, route: str, expected: str) -> None:
    assert [expected] == [str(each) for each in loaded(tmp_path, f"  - {route}\n").diagnostics]


def test_two_routes_for_the_same_requests_do_not_load(tmp_path: Path) -> None:
    other = FLOWS.replace("{ns}", "{x}").replace("GET", "GET|HEAD")
    found = loaded(tmp_path, f"  - {FLOWS}\n  - {other}\n")

    assert found.snapshot is None
    (diagnostic,) = found.diagnostics
    assert str(diagnostic) == (
        "acme/gateway.yaml:3:5: `GET|HEAD /flows/{x}/{id}` and `GET /flows/{ns}/{id}` match the same requests, and so "
        "does line 2: remove one of the two"
    )


def test_more_routes_than_the_limit_do_not_load(tmp_path: Path) -> None:
    routes = "".join(f"  - {{method: GET, path: /{n}, kind: DASHBOARD, action: VIEW}}\n" for n in range(1001))

    assert ["acme/gateway.yaml:1:1: 1001 routes: expected at most 1000"] == [
        str(each) for each in loaded(tmp_path, routes).diagnostics
    ]


def test_the_instance_has_routes_of_its_kinds_and_callers_have_none(tmp_path: Path) -> None:
    route = "  - {method: GET, path: /tenants, kind: TENANT, action: VIEW}\n"

    assert loaded(tmp_path / "instance", route, tenant="_instance").diagnostics == ()
    assert "unknown file `gateway.yaml`" in str(loaded(tmp_path / "callers", route, tenant="_callers").diagnostics[0])


def test_cases_about_requests_hold_fail_and_count_as_coverage(tmp_path: Path) -> None:
    cases = """
  - {request: GET /flows/acme.data/load?x=/y, principal: user:bob, expect: allow, reason: ALLOWED_BY_RULE}
  - {request: GET /flows/acme.sales/load, principal: user:bob, expect: allow}
  - {request: GET /nothing, principal: user:bob, expect: deny, reason: NO_ROUTE}
  - {request: GET /flows/acme.data/load, principal: user:bob, expect: deny, reason: NO_ROUTE}
"""
    found = loaded(tmp_path, f"  - {FLOWS}\n", cases)

    denied, routed = map(str, found.diagnostics)
    assert denied.startswith(
        "acme/tests/gateway.yaml:5:5: GET /flows/acme.sales/load by user:bob: expected allow, got deny OUT_OF_SCOPE. "
    )
    assert routed == (
        "acme/tests/gateway.yaml:7:5: GET /flows/acme.data/load by user:bob: expected deny NO_ROUTE, got a route that asks "
        "for VIEW FLOW in acme.data. A route matches the request."
    )
    whole = loaded(tmp_path / "whole", f"  - {FLOWS}\n", cases.splitlines()[1])
    assert whole.snapshot is not None
    assert ["p, user:bob, acme, acme.data.**, FLOW, VIEW, allow"] == [
        row.text for row in exercised(whole.snapshot, whole.cases)
    ]


@pytest.mark.parametrize(
    ("case", "expected"),
    {
        "{request: GET /nothing, principal: user:bob, expect: deny}": "no route matches `GET /nothing`: if that is what is "
        "tested, say `reason: NO_ROUTE`",
        "{request: GET /flows/A/x, principal: user:bob, expect: deny}": "the gateway refuses the request, and decides "
        "nothing: namespace: `A` is not a namespace",
        "{request: GET //flows, principal: user:bob, expect: deny}": "the gateway refuses the request, and decides "
        "nothing: the path holds `//`",
        f"{{request: GET /flows/acme.data/{'x' * 513}, principal: user:bob, expect: allow}}": "the gateway refuses the "
        "request, and decides nothing: resource_id: expected at most 512 printable characters",
        "{request: flows, principal: user:bob, expect: deny}": "`flows` is no request: expected a method and a path, as",
        "{request: GET /nothing, principal: user:bob, expect: allow, reason: NO_ROUTE}": "`allow` never has the reason",
    }.items(),
)
def test_a_case_that_tests_nothing_is_an_error(tmp_path: Path, case: str, expected: str) -> None:
    (diagnostic,) = loaded(tmp_path, f"  - {FLOWS}\n", f"  - {case}\n").diagnostics

    assert expected in str(diagnostic)
    assert "acme/tests/gateway.yaml" == diagnostic.file


def test_a_broken_file_of_routes_does_not_break_every_case(tmp_path: Path) -> None:
    case = "  - {request: GET /flows/acme.data/x, principal: user:bob, expect: allow}\n"

    assert 1 == len(loaded(tmp_path, f"  - {FLOWS.replace('VIEW', 'X')}\n", case).diagnostics)


SEGMENTS = ("a", "b", "{x}")
TEMPLATES = [
    PathTemplate.parse(f"/{'/'.join(parts)}{tail}")
    for tail in ("", "/**")
    for one in SEGMENTS
    for two in (None, *SEGMENTS)
    for three in (None, *SEGMENTS)
    if two or not three
    for parts in [[each if each != "{x}" else f"{{x{n}}}" for n, each in enumerate((one, two, three)) if each]]
]
PATHS = [
    tuple(filter(None, (one, two, three, four)))
    for one in "abc"
    for two in ("", *"abc")
    for three in ("", *"abc")
    for four in ("", *"abc")
    if (two or not three) and (three or not four)
]


def matches(template: PathTemplate, path: tuple[str, ...]) -> bool:
    long_enough = len(path) >= len(template.segments) if template.tail else len(path) == len(template.segments)
    return long_enough and all(
        one.startswith("{") or one == other for one, other in zip(template.segments, path, strict=False)
    )


@given(st.sampled_from(TEMPLATES), st.sampled_from(TEMPLATES))
def test_crossing_templates_are_those_that_share_a_path_and_have_one_each(
    one: PathTemplate, other: PathTemplate
) -> None:
    """Against every path of up to four segments: templates are shorter, so these tell all of them apart."""
    mine, its = ({path for path in PATHS if matches(each, path)} for each in (one, other))

    assert _covers(one, other) == (its <= mine)
    assert _cross(one, other) == (bool(mine & its) and not mine <= its and not its <= mine)
    if _cross(one, other):
        path = _common_path(one, other)
        assert matches(one, path)
        assert matches(other, path)
