"""The pytest plugin, in runs of pytest of its own."""

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from support.trees import write

ROOT = Path(__file__).parents[3]
VOCABULARY = b"kinds:\n  FLOW: {class: namespace, actions: [VIEW, UPDATE]}\n"
CASES = b"""\
name: x
access:
  - {principal: user:a, action: VIEW, kind: FLOW, namespace: a, expect: allow}
  - {principal: user:a, action: VIEW, kind: FLOW, namespace: b, expect: deny, reason: OUT_OF_SCOPE}
grids:
  - {kind: FLOW, namespace: a, actions: [VIEW, UPDATE], expect: {user:a: [allow, deny]}}
"""
FILES = {
    "policies/vocabulary.yaml": VOCABULARY,
    "policies/acme/bindings.csv": b"p, user:a, acme, a, FLOW, VIEW, allow\n",
    "policies/acme/tests/x.yaml": CASES,
}


def run(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    # By name and with no other plugin: so it is the same whether or not the installed one is this one.
    command = [sys.executable, "-m", "pytest", "-p", "remit.pytest_plugin.plugin", "-p", "no:cacheprovider", *options]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_each_case_is_an_item_named_by_what_it_asks(tmp_path: Path) -> None:
    done = run(write(tmp_path, FILES), "--collect-only", "-q", "policies")

    assert [
        "policies/acme/tests/x.yaml::user:a VIEW FLOW in a (3:5)",
        "policies/acme/tests/x.yaml::user:a VIEW FLOW in b",
        "policies/acme/tests/x.yaml::user:a VIEW FLOW in a (6:75)",
        "policies/acme/tests/x.yaml::user:a UPDATE FLOW in a",
    ] == done.stdout.splitlines()[:4], done.stdout + done.stderr


def test_items_run_by_folder_file_name_and_id(tmp_path: Path) -> None:
    write(tmp_path, {**FILES, "policies/globex/tests/y.yaml": CASES.replace(b"allow", b"deny").split(b"grids")[0]})
    file = "policies/acme/tests/x.yaml"

    for selected, passed in (("policies/acme", 4), (file, 4), (f"{file}::user:a VIEW FLOW in b", 1), ("-kUPDATE", 1)):
        assert f"{passed} passed" in run(tmp_path, selected).stdout


def test_pytest_failure_has_the_text_of_remit_test(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            **FILES,
            "policies/acme/tests/x.yaml": CASES.replace(
                b"namespace: b, expect: deny, reason: OUT_OF_SCOPE", b"namespace: b, expect: allow"
            ),
        },
    )

    done = run(tmp_path)
    told = subprocess.run(
        [Path(sys.executable).parent / "remit", "test", "policies"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (1, 1) == (done.returncode, told.returncode)
    assert "1 failed, 3 passed" in done.stdout
    failure = told.stdout.removeprefix("FAILED ")
    lines = [line.removeprefix("  ") for line in failure.split("\nacme: ")[0].splitlines()]
    assert lines[:2] == ["acme/tests/x.yaml:4:5", "x: user:a VIEW FLOW in b"]
    assert "\n".join(lines) in done.stdout
    assert "Traceback" not in done.stdout


def test_a_tenant_that_does_not_load_is_an_error_and_the_others_run(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            **FILES,
            "policies/globex/bindings.csv": b"p, user:a, globex, a, FLOW, VEIW, allow\n",
            "policies/globex/tests/x.yaml": CASES,
            "policies/globex/tests/y.yaml": CASES,
        },
    )

    done = run(tmp_path, "--continue-on-collection-errors")

    assert "4 passed, 2 errors" in done.stdout
    assert 2 == done.stdout.count("globex/bindings.csv:1:29: kind `FLOW` has no action `VEIW`; did you mean `VIEW`?")


def test_root_files_that_do_not_load_are_an_error_of_each_file(tmp_path: Path) -> None:
    write(tmp_path, {**FILES, "policies/vocabulary.yaml": b"kind: {}\n"})

    done = run(tmp_path)

    assert "1 error" in done.stdout
    assert "vocabulary.yaml:1:1: unknown key `kind`" in done.stdout


def test_pytest_ignores_other_files(tmp_path: Path) -> None:
    """YAML below a folder of tests without a vocabulary, beside the tests, and Python tests."""
    write(
        tmp_path,
        {
            "app/tests/data.yaml": b"{",
            "other/app/tests/data.yaml": b"{",
            "policies/vocabulary.yaml": b"{",
            "policies/data.yaml": b"{",
            "policies/acme/data.yaml": b"{",
            "policies/acme/tests/deep/data.yaml": b"{",
            "test_app.py": b"def test_it(): pass\n",
        },
    )

    assert "1 passed" in run(tmp_path).stdout


def test_pytest_run_without_policies_imports_no_policy_code(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "test_app.py": b"import sys\n\ndef test_it():\n"
            b"    assert {name for name in sys.modules if name.startswith(('remit.', 'yaml', 'casbin'))}"
            b" == {'remit.pytest_plugin', 'remit.pytest_plugin.plugin'}\n"
        },
    )

    done = run(tmp_path)

    assert "1 passed" in done.stdout, done.stdout


def test_missing_extra_is_reported_with_what_to_install(tmp_path: Path) -> None:
    write(tmp_path, {**FILES, "conftest.py": b"import sys\n\nsys.modules['yaml'] = None\n"})

    done = run(tmp_path)

    assert 2 == done.returncode
    assert "the tests of a policy directory need `yaml`: install remit with the extra `pytest`" in done.stdout
    assert "Traceback" not in done.stdout


def test_python_that_is_too_old_is_reported(tmp_path: Path) -> None:
    newer = b"from remit.pytest_plugin import plugin\n\nplugin.OLDEST_PYTHON = (3, 99)\n"
    write(tmp_path, {**FILES, "conftest.py": newer})

    done = run(tmp_path)

    assert 2 == done.returncode
    assert "the tests of a policy directory need Python 3.99 or newer" in done.stdout
    assert "Traceback" not in done.stdout


def test_project_declares_the_pytest_plugin(pytestconfig: pytest.Config) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert {"remit": "remit.pytest_plugin.plugin"} == project["entry-points"]["pytest11"]
    assert callable(import_module("remit.pytest_plugin.plugin").pytest_collect_file)
