"""The fixtures and assertions for the tests of a service, in runs of pytest of their own."""

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.trees import write

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "how-to" / "test-a-service.md"
BLOCKS = re.compile(r"^```(?:\w+) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
POLICIES = {
    "rules/vocabulary.yaml": b"kinds:\n  FLOW: {class: namespace, actions: [VIEW, UPDATE]}\n",
    "rules/acme/bindings.csv": b"p, user:a, acme, a, FLOW, VIEW, allow\n",
}
ASKS = b"""\
from remit.client import DecisionUnavailable
from remit.pytest_plugin.assertions import assert_allowed, assert_denied
import pytest

VIEWS = ("user:a", "VIEW", "FLOW", "a")
UPDATES = ("user:a", "UPDATE", "FLOW", "a")


def test_both(remit_client):
    assert assert_allowed(remit_client.tenant("acme"), *VIEWS, resource_id="x").allowed
    assert not assert_denied(remit_client.tenant("acme"), *UPDATES, reason="NOT_GRANTED").allowed


def test_no_allow(remit_client):
    assert_allowed(remit_client.tenant("acme"), *UPDATES)


def test_no_deny(remit_client):
    assert_denied(remit_client.tenant("acme"), *VIEWS)


def test_another_reason(remit_client):
    assert_denied(remit_client.tenant("acme"), *UPDATES, reason="OUT_OF_SCOPE")


def test_by_name(remit_client):
    names = {"principal": "user:a", "action": "UPDATE", "kind": "FLOW", "namespace": "a"}
    assert_allowed(remit_client.tenant("acme"), **names)


def test_no_reason(remit_client):
    with pytest.raises(ValueError, match="no reason `OUT_OF_SCOP`; did you mean `OUT_OF_SCOPE`"):
        assert_denied(remit_client.tenant("acme"), *UPDATES, reason="OUT_OF_SCOP")


def test_no_answer(remit_client):
    for asserted in (assert_allowed, assert_denied):
        with pytest.raises(DecisionUnavailable):
            asserted(remit_client.tenant("acme"), "a", "VIEW", "FLOW", "a")
"""
CONFTEST = b"""\
import pytest
from pathlib import Path


@pytest.fixture(scope="session")
def remit_policies():
    return Path(__file__).parent / "rules"
"""


def run(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "remit.pytest_plugin.plugin", "-p", "no:cacheprovider", *options]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    environment.pop("CI", None)  # its summary would tell each failure a second time, whole
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=200
    )


def test_assertions_hold_or_explain_the_answer(tmp_path: Path) -> None:
    write(tmp_path, {**POLICIES, "conftest.py": CONFTEST, "test_it.py": ASKS})

    done = run(tmp_path)

    assert "4 failed, 3 passed" in done.stdout, done.stdout
    deny = "the answer is deny NOT_GRANTED"
    for times, text in (
        (2, f"expected an allow, but {deny}"),
        (1, "expected a deny, but the answer is allow ALLOWED_BY_RULE"),
        (1, f"expected a deny OUT_OF_SCOPE, but {deny}"),
    ):
        assert times == len(
            re.findall(rf"^E +AssertionError: {text} \(decision \S+, revision \w+\)$", done.stdout, re.MULTILINE)
        )
    assert 3 == done.stdout.count("would allow  p, user:a, acme, a, FLOW, UPDATE, allow\n")
    assert 3 == done.stdout.count("the rule names VIEW, not UPDATE")
    assert 1 == done.stdout.count("rule       acme/bindings.csv:1  p, user:a, acme, a, FLOW, VIEW, allow")
    assert "assertions.py" not in done.stdout


def test_setting_names_the_policies_relative_to_its_file(tmp_path: Path) -> None:
    write(tmp_path, {**POLICIES, "pytest.ini": b"[pytest]\nremit_policies = rules\n", "sub/test_it.py": ASKS})

    assert "2 passed" in run(tmp_path / "sub", "-k", "both or no_answer").stdout


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({}, "`remit_policies` names no policy directory: set it in pytest's configuration, relative to that file, or"),
        ({"pytest.ini": b"[pytest]\nremit_policies = a b\n"}, "`remit_policies` names no policy directory: set it"),
        ({"pytest.ini": b"[pytest]\nremit_policies = other\n"}, "other`: expected a policy directory"),
        (
            {**POLICIES, "conftest.py": CONFTEST, "rules/vocabulary.yaml": b"kind: {}\n"},
            "vocabulary.yaml:1:1: unknown key `kind` in the vocabulary",
        ),
        (
            {**POLICIES, "conftest.py": CONFTEST + b"\n\nimport sys\n\nsys.modules['sqlalchemy'] = None\n"},
            "the fixture `remit_server` needs `sqlalchemy`: install remit with the extra `server`",
        ),
    ],
    ids=["no setting", "two directories", "no directory", "does not load", "no extra"],
)
def test_a_server_that_cannot_start_is_an_error_that_says_why(
    tmp_path: Path, files: dict[str, bytes], text: str
) -> None:
    write(tmp_path, {**files, "test_it.py": ASKS})

    done = run(tmp_path, "-k", "both")

    assert 1 == done.returncode
    assert "1 error" in done.stdout
    assert text in done.stdout
    assert "Traceback" not in done.stdout
    assert "During handling" not in done.stdout


def test_server_ends_with_the_run(tmp_path: Path) -> None:
    asks = (
        b"from pathlib import Path\n\ndef test_it(remit_server):\n    Path('pid').write_text(str(remit_server.pid))\n"
    )
    write(tmp_path, {**POLICIES, "conftest.py": CONFTEST, "test_it.py": asks})

    assert "1 passed" in run(tmp_path).stdout
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_page_s_tests_pass_and_fail_as_it_shows(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    pages = PAGE.read_text() + (ROOT / "docs" / "how-to" / "web-frameworks.md").read_text()
    for name, text in BLOCKS.findall(pages):
        (tmp_path / name).write_text(text)

    done = run(tmp_path, "test_flows.py", "test_service.py")
    assert "3 passed" in done.stdout, done.stdout

    (tmp_path / "test_flows.py").write_text((tmp_path / "test_flows.py").read_text().replace('"VIEW"', '"UPDATE"'))
    done = run(tmp_path, "test_flows.py")
    found = re.sub(r"^E {,7}", "", done.stdout, flags=re.MULTILINE)
    (shown,) = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert "1 failed, 1 passed" in done.stdout
    assert doctest.OutputChecker().check_output(f"...{shown}...", found, doctest.ELLIPSIS), found
