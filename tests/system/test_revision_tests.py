"""The tests of kept revisions: GetTests."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.server import Server, remit, until
from support.trees import write

from remit.client import Client, DecisionUnavailable
from remit.v1.policy_service_pb2 import GetTestsRequest

FILES = {
    "vocabulary.yaml": b"kinds:\n  FLOW: {class: namespace, actions: [VIEW, UPDATE]}\n",
    "acme/roles.csv": b"p, role:reader, acme, **, FLOW, VIEW, allow\np, role:unused, acme, **, FLOW, UPDATE, allow\n",
    "roles.csv": b"p, role:guest, *, **, FLOW, VIEW, allow\n",
    "acme/bindings.csv": b"g, user:ada, role:reader, acme\ng, user:bob, role:guest, acme\n",
    "acme/tests/reads.yaml": b"name: who reads\naccess:\n"
    b"  - {principal: user:ada, action: VIEW, kind: FLOW, namespace: web, expect: allow}\n"
    b"  - {principal: user:ada, action: UPDATE, kind: FLOW, namespace: web, expect: deny}\n"
    b"  - {principal: user:bob, action: VIEW, kind: FLOW, namespace: web, expect: allow}\n",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that serves a policy although a case fails: an edit of the root makes it fail, and stops no tenant."""
    folder = tmp_path_factory.mktemp("tests")
    policies = write(folder / "policies", FILES)
    with Server(folder / "audit", policies=policies) as server, server.client() as client:
        before = client.status("acme").tenants[0].revision
        write(policies, {"roles.csv": b"p, role:guest, *, **, FLOW, UPDATE, allow\n"})
        until(lambda: client.status("acme").tenants[0].revision != before, "the edit of the root serves")
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as made:
        yield made


def cases(**fields: Any) -> GetTestsRequest:
    return GetTestsRequest(**{"tenant": "acme", **fields})


def test_cases_say_whether_they_hold_and_why_not(client: Client) -> None:
    found = client.tenant("acme").get_tests()
    assert (2, 1) == (found.passed, found.failed)
    assert [3, 4, 5] == [each.line for each in found.cases]
    assert {("acme/tests/reads.yaml", "who reads")} == {(each.file, each.test) for each in found.cases}
    first, second, third = found.cases
    assert [] == [*first.failures, *second.failures]
    (why,) = third.failures
    assert why.startswith("expected allow, got deny NOT_GRANTED")
    assert [third] == list(client.tenant("acme").get_tests(failed_only=True).cases)
    assert found.revision == found.files_revision == client.status("acme").tenants[0].revision


def test_command_prints_each_case_and_fails_if_one_does(server: Server) -> None:
    done = remit("tests", "acme", "--target", server.target)
    assert 1 == done.returncode
    assert ["holds", "holds", "FAILED", "expected"] == [line.split()[0] for line in done.stdout.splitlines()[:4]]
    assert "2 passed, 1 failed, revision " in done.stdout
    failed = remit("tests", "acme", "--failed", "--target", server.target)
    assert "FAILED acme/tests/reads.yaml:5  who reads: " in failed.stdout
    assert not any(line.startswith("holds") for line in failed.stdout.splitlines())
    unknown = remit("tests", "acme", "--revision", "0" * 64, "--target", server.target)
    assert (1, True) == (unknown.returncode, unknown.stderr.startswith("NOT_FOUND")), unknown.stderr


def test_coverage_names_the_rows_that_no_case_exercises(client: Client) -> None:
    found = {each.file: each for each in client.tenant("acme").get_tests().coverage}
    roles = found["acme/roles.csv"]
    assert (2, 1) == (roles.rows, roles.missed)
    assert ["p, role:unused, acme, **, FLOW, UPDATE, allow"] == [each.text for each in roles.missed_rows]
    assert (2, 1) == (found["acme/bindings.csv"].rows, found["acme/bindings.csv"].missed)


def test_pages_of_cases_put_together_are_the_whole(client: Client) -> None:
    whole = client.ask(cases())
    pages = [client.ask(cases(page_size=2))]
    while pages[-1].next_page_token:
        pages.append(client.ask(cases(page_size=2, page_token=pages[-1].next_page_token)))
    assert list(whole.cases) == [each for page in pages for each in page.cases]
    assert [True, False] == [bool(page.coverage) for page in pages]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (cases(tenant="No Such"), "INVALID_ARGUMENT"),
        (cases(revision="abc"), "INVALID_ARGUMENT"),
        (cases(page_size=1_001), "INVALID_ARGUMENT"),
        (cases(page_token="nonsense"), "INVALID_ARGUMENT"),
        (cases(revision="0" * 64), "NOT_FOUND"),
        (cases(tenant="nowhere"), "NOT_FOUND"),
    ],
)
def test_tests_that_are_not_there_are_an_error(client: Client, request_: Any, code: str) -> None:
    with pytest.raises(DecisionUnavailable) as caught:
        client.ask(request_)
    assert code == caught.value.code
