"""What the import graph, the generated code and the documents must stay."""

import ast
import re
import runpy
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grimp
import pytest

from remit.core.decision import Reason
from remit.migrate.finding import KESTRA, FindingId, findings_table
from remit.service.settings import settings_table

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

# One wall a dependency: who alone may import it.
WALLS = {
    # The import reads somebody's model and rows as pycasbin itself does: it must drop, cut and keep what Casbin does.
    "casbin": ("remit.engine.differential.casbin_oracle", "remit.migrate.casbin.enforcer"),
    "sqlalchemy": (
        "remit.audit",
        "remit.fleet",
        "remit.client.sql",
        "remit.migrate.casbin.sql_table",
    ),
    "alembic": ("remit.audit", "remit.fleet.schema"),
    "psycopg": ("remit.audit.schema.postgres_timeout", "remit.fleet.hints"),
    "cryptography": ("remit.audit.chain.signing", "remit.rpc.identity"),
    "joserfc": (
        "remit.service.identities.jwt",
        "remit.service.identities.key_set",
        # The errors that authlib passes on.
        "remit.console.login.provider",
    ),
    "authlib": ("remit.console.login.provider",),
    "httpx2": ("remit.console.login.provider",),
    "itsdangerous": ("remit.console.login.provider_login",),
    "urllib3": ("remit.service.identities.fetch",),
    "pyarrow": ("remit.audit.export.parquet",),
    "grpc": (
        "remit.rpc",
        "remit.web",
        "remit.connect",
        "remit.envoy",
        "remit.client",
        "remit.pytest_plugin.server_process",
        "remit.v1",
    ),
    "grpc_status": ("remit.rpc", "remit.client"),
    "grpc_health": ("remit.rpc",),
    "google": (
        "remit.rpc",
        "remit.web",
        "remit.connect",
        "remit.envoy",
        "remit.cli",
        "remit.client",
        "remit.drawing",
        "remit.v1",
    ),
    "opentelemetry": ("remit.service.otlp.sender_process",),
    "prometheus_client": ("remit.service.metrics", "remit.service.metrics_at_scrape"),
    "pydantic": ("remit.service.settings", "remit.service.settings_reader"),
    "pydantic_settings": ("remit.service.settings",),
    "structlog": ("remit.service", "remit.fleet", "remit.rpc", "remit.web", "remit.server", "remit.cli.server.serve"),
    "uvicorn": ("remit.web", "remit.console.serve"),
    "starlette": ("remit.console",),
    "jinja2": ("remit.console.render",),
    "connectrpc": ("remit.connect.application",),
    "protobuf": ("remit.connect.application",),
    "typer": ("remit.cli",),
    "pytest": ("remit.pytest_plugin.plugin", "remit.pytest_plugin.cases", "remit.pytest_plugin.server"),
    "rich": ("remit.cli",),
    "pydot": ("remit.drawing.graph_dot",),
    "grandalf": ("remit.drawing.graph_svg",),
    "yaml": ("remit.policy.read.yaml",),
    "watchfiles": ("remit.policy.build.watch",),
    # What comes out of a pickle runs as our own code: only our own processes may write one.
    "pickle": ("remit.process",),
    # Our own processes are started in one place, git in another, and servers for the tests of services in a third.
    "subprocess": (
        "remit.process",
        "remit.policy.read.git",
        "remit.pytest_plugin.server_process",
    ),
}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("remit", include_external_packages=True, cache_dir=None)


@pytest.mark.parametrize("package", WALLS)
def test_each_outside_library_is_imported_in_one_place(graph: grimp.ImportGraph, package: str) -> None:
    importers = graph.find_modules_that_directly_import(package)

    assert importers, f"nobody imports {package}: delete its wall, or the dependency"
    assert {name for name in importers if not name.startswith(WALLS[package])} == set()


def test_core_imports_only_the_standard_library(graph: grimp.ImportGraph) -> None:
    core = graph.find_descendants("remit.core") | {"remit.core"}
    outside = {found for module in core for found in graph.find_modules_directly_imported_by(module)} - core

    assert {name for name in outside if name.partition(".")[0] not in sys.stdlib_module_names} == set()


def contracts() -> dict[str, Any]:
    """The import contracts by name."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {each["name"]: each for each in found}


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("the client sees wire, v1 and core alone", {"client"}),
        (
            "the console sees drawings, child processes, the client, and what the client sees",
            {"console", "drawing", "process", "client"},
        ),
    ],
)
def test_contract_forbids_every_package_that_its_name_leaves_out(
    graph: grimp.ImportGraph, name: str, seen: set[str]
) -> None:
    packages = {each.removeprefix("remit.") for each in graph.find_children("remit")}
    forbidden = {each.removeprefix("remit.") for each in contracts()[name]["forbidden_modules"]}
    assert packages - seen - {"wire", "v1", "core"} == forbidden


def test_page_about_the_architecture_draws_the_layers() -> None:
    page = (ROOT / "docs/internals/architecture.md").read_text()
    drawn = [line.split("  ")[1:] for line in page.split("```")[1].splitlines()[1:]]
    layers = [layer.split(" | ") for layer in contracts()["arrows run down only"]["layers"]]
    assert [[each.strip() for each in line if each.strip()] for line in drawn] == layers[1:]
    assert {each for layer in layers[1:] for each in layer} <= set(re.findall(r"`([a-z_0-9]+)`", page))


@pytest.mark.parametrize("page", ["README.md", "docs/internals/architecture.md", "docs/internals/add-something.md"])
def test_files_that_the_map_names_are_there(page: str) -> None:
    named = re.findall(r"(?:src/remit|docs|tests|protos)/[\w./-]*\w", (ROOT / page).read_text())
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_readme_is_short_and_shows_rows_of_the_example_company() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.replace("|", " ").split()) <= 800
    rows = [row for row in text.split("```csv\n")[1].split("```")[0].splitlines() if row]
    files = [(ROOT / "policies" / name).read_text().splitlines() for name in ("roles.csv", "acme/bindings.csv")]
    assert [any(row in lines for lines in files) for row in rows] == [True] * 4


def test_the_client_needs_no_server_library(graph: grimp.ImportGraph) -> None:
    allowed = {"remit", "grpc", "grpc_status", "google", "typing_extensions", *sys.stdlib_module_names}
    modules = graph.find_descendants("remit.client") | {"remit.wire"} | graph.find_descendants("remit.core")
    # It has an extra of its own, and nobody imports it but the service that filters its tables.
    modules -= {"remit.client.sql"}
    assert graph.find_modules_that_directly_import("remit.client.sql") == set()
    over_http = graph.find_descendants("remit.client.http")

    def outside(of: set[str]) -> set[str]:
        found = {each.partition(".")[0] for module in of for each in graph.find_modules_directly_imported_by(module)}
        return found - allowed

    assert outside(modules - over_http) == set()
    # Loaded by the first target that is a URL: see `test_client_target`.
    assert outside(over_http) == {"httpcore"}


@pytest.mark.parametrize(
    ("module", "needed"),
    [
        ("cases", {"pytest", "yaml", "casbin"}),
        ("assertions", {"grpc", "grpc_status", "google", "typing_extensions", "httpcore"}),
    ],
)
def test_the_pytest_plugin_needs_no_more_than_its_extra(
    graph: grimp.ImportGraph, module: str, needed: set[str]
) -> None:
    """And assertions about a server no more than the client, which loads httpcore for a URL only."""
    modules = graph.find_upstream_modules(f"remit.pytest_plugin.{module}")
    outside = {name.partition(".")[0] for name in modules} - {"remit", *sys.stdlib_module_names}

    assert needed == outside


MODULES = [
    path
    for path in sorted((ROOT / "src" / "remit").rglob("*.py"))
    if not {"v1", "versions"} & set(path.relative_to(ROOT / "src" / "remit").parts)
]
PACKAGES = [path for path in MODULES if path.name == "__init__.py"]
LONGEST_MODULE = 400
WIDEST_PACKAGE = 14


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: str(path.parent.relative_to(ROOT / "src")))
def test_package_opens_with_a_sentence_that_says_what_it_is(path: Path) -> None:
    sentence = docstring(path).partition("\n\n")[0]

    assert sentence.endswith(".")


def test_large_modules_and_packages_say_why() -> None:
    long = [path for path in MODULES if len(path.read_text().splitlines()) > LONGEST_MODULE]
    wide = [path for path in PACKAGES if len([*path.parent.glob("*.py")]) - 1 > WIDEST_PACKAGE]

    assert [path for path in long + wide if "because" not in docstring(path)] == []


def test_no_test_file_has_the_name_of_another() -> None:
    # pytest imports each by its name alone, and refuses the second one.
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))

    assert [name for name, count in names.items() if count > 1] == []


def test_no_class_name_occurs_twice() -> None:
    classes = Counter(
        node.name for path in MODULES for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)
    )

    assert [name for name, count in classes.items() if count > 1] == []


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    # `-o`: never makes the environment anew that these tests run in.
    command = ["make", "--silent", "-o", ".venv/ready", "proto", f"PROTO_OUT={tmp_path}"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    fresh = {path.name: path.read_text() for path in tmp_path.rglob("*.py*")}
    committed = {path.name: path.read_text() for path in _generated()}

    assert fresh == committed


def test_the_client_for_threads_is_fresh() -> None:
    committed = (ROOT / "src/remit/client/sync_client.py").read_text()

    assert runpy.run_path(str(ROOT / "tests/sync_client.py"))["generated"]() == committed


def test_the_newest_schema_is_fresh() -> None:
    committed = (ROOT / "src/remit/audit/schema/newest.sql").read_text()

    assert runpy.run_path(str(ROOT / "tests/newest_schema.py"))["generated"]() == committed


def test_protos_pass_buf_lint() -> None:
    subprocess.run([BIN / "buf", "lint"], cwd=ROOT, check=True, timeout=120)


def test_every_setting_is_in_its_table() -> None:
    assert settings_table() in (ROOT / "docs" / "reference" / "settings.md").read_text()


def test_every_reason_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "reasons.md").read_text()

    assert [reason for reason in Reason if f"`{reason}`" not in page] == []


def test_every_finding_of_an_import_is_in_its_table() -> None:
    page = (ROOT / "docs" / "how-to" / "casbin.md").read_text()

    assert findings_table(each for each in FindingId if each not in KESTRA) in page
    assert findings_table(KESTRA) in page


def test_casbin_is_never_switched_off() -> None:
    """`enable_enforce(False)` makes Casbin answer True to everybody."""
    assert [path for path in (ROOT / "src").rglob("*.py") if "enable_enforce" in path.read_text()] == []


def test_lock_files_name_no_registry() -> None:
    assert [] == [name for name in ("requirements.lock", "runtime.lock") if "://" in (ROOT / name).read_text()]


def _generated() -> Iterator[Path]:
    return (
        path
        for path in (ROOT / "src/remit").glob("**/v1/*.py*")
        if path.name.split(".")[0].endswith(("_pb2", "_pb2_grpc"))
    )
