"""The JSON schemas for editors say what the readers say: over every YAML file of this repository that is one of theirs, and over
each of them with one thing wrong.

A file that loads is valid. What a reader refuses for its form is invalid. A schema knows nothing of what else exists.
"""

import ast
import copy
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import json_schemas
import pytest
import yaml
from jsonschema import Draft202012Validator
from support.trees import tree_of
from typer.testing import CliRunner

from remit.cli.main import app
from remit.core.diagnostics import Diagnostic, PolicyError
from remit.policy.load import load_root, load_tenant
from remit.policy.read.limits import Limits
from remit.service.identities.file import IdentitiesError, parse_identities

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "policies"
SCHEMAS = {name.removesuffix(".json"): json.loads(text) for name, text in json_schemas.schemas().items()}
VALIDATORS = {name: Draft202012Validator(schema) for name, schema in SCHEMAS.items()}
# What `Schema` and the parsers of names refuse by themselves. Other choices depend on the vocabulary.
FORM = re.compile(
    r"^expected .* as (?:a mapping|a list|text)$|^unknown key |^.* lacks `[^:]*$|: an? \w+ is missing: expected |"
    r"is not an? (?:class|effect|reason|resource|place|asymmetric algorithm): expected one of|, a boolean: expected|"
    r"^`[^`]*` is not an? (?:kind|action|relation|operation|service|namespace|principal|tenant|subject): expected [^o]|"
    r" credentials: expected |has no check|is not `\w+`: expected a whole number"
)
# What only the parser of YAML refuses: an editor's is another.
NO_YAML = re.compile(
    "is not YAML|is null|duplicate key|merge key|as a key|anchor|alias|tag|directive|second document|deeper|UTF-8"
)
WRONG: tuple[Any, ...] = ("?!", [], {"zzz": "1"})

Files = Mapping[str, bytes]


def name_of(path: str) -> str | None:
    """The schema of a file of a policy directory."""
    match path.split("/"):
        case [("vocabulary.yaml" | "resources.yaml") as file]:
            return file.removesuffix(".yaml")
        case [_, ("tenant.yaml" | "authzen.yaml" | "gateway.yaml") as file]:
            return file.removesuffix(".yaml")
        case [_, "tests", file] if file.endswith(".yaml"):
            return "tests"
    return None


def folder(directory: Path) -> Files:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.suffix in {".csv", ".yaml"}
    }


def literals() -> Iterator[Files]:
    """The policy files that tests write: each dictionary with paths and contents."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Dict):
                found = {
                    key.value: value.value
                    for key, value in zip(node.keys, node.values, strict=True)
                    if isinstance(key, ast.Constant) and isinstance(key.value, str) and "." in key.value
                    if isinstance(value, ast.Constant) and isinstance(value.value, bytes)
                }
                if any(name_of(each) for each in found):
                    yield found


@cache
def worlds() -> tuple[Files, ...]:
    templates = [folder(path) for path in sorted((ROOT / "src/remit/templates").glob("*/policies"))]
    root = {path: content for path, content in folder(EXAMPLE).items() if "/" not in path}
    return (folder(EXAMPLE), *templates, *({**root, **each} for each in literals()))


def plain(content: bytes, loader: Any) -> Any:
    """None if it is no YAML, or nothing that a reader begins with."""
    try:
        return yaml.load(content, loader)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError):
        return None


class EditorLoader(yaml.SafeLoader):
    """YAML 1.2 has no dates."""


EditorLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in each if not tag.endswith("timestamp")]
    for first, each in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def problems(schema: str, document: Any) -> list[str]:
    return [each.message for each in VALIDATORS[schema].iter_errors(document)]


def refusals(files: Files) -> dict[str, list[str]]:
    """What the readers say of each file; of none of a tenant's if the root does not load."""
    tree, limits = tree_of(files), Limits()
    found: list[Diagnostic] = []
    read = [path for path in files if "/" not in path]
    try:
        root = load_root(tree, limits)
    except PolicyError as error:
        found += error.diagnostics
    else:
        read = [*files]
        found += (each for tenant in tree.tenants for each in load_tenant(tree, tenant, root, limits).diagnostics)
    return {path: [each.message for each in found if each.file == path] for path in read}


def mutants(document: Any) -> Iterator[Any]:
    """The document with one key or value changed: of a mapping's first six entries, of a list's first."""
    keys = range(len(document)) if isinstance(document, list) else list(document) if isinstance(document, dict) else []
    if isinstance(document, dict):
        yield {**document, "zzz": "1"}
    for key in list(keys)[: 1 if isinstance(document, list) else 6]:
        for wrong in WRONG:
            changed = copy.copy(document)
            changed[key] = wrong
            yield changed
        if isinstance(document, dict):
            yield {name: value for name, value in document.items() if name != key}
        for inner in mutants(document[key]):
            changed = copy.copy(document)
            changed[key] = inner
            yield changed


def compare(schema: str, document: Any, messages: list[str], where: str) -> None:
    found = problems(schema, document)
    if not messages:
        assert [] == found, f"{where}: {document}"
    elif any(map(FORM.search, messages)):
        assert found, f"{where}: {messages}: {document}"


def test_every_file_of_the_repository_is_judged_alike() -> None:
    valid = invalid = 0
    for files in worlds():
        for path, messages in refusals(files).items():
            schema, document = name_of(path), plain(files[path], EditorLoader)
            if schema is None or not isinstance(document, dict) or any(map(NO_YAML.search, messages)):
                continue
            compare(schema, document, messages, path)
            valid, invalid = valid + (not messages), invalid + bool(messages)

    assert (valid > 100, invalid > 30) == (True, True), (valid, invalid)


def beside(path: str) -> Files:
    """The file and those that its reading depends on."""
    needed = {"vocabulary.yaml", "resources.yaml", f"{path.partition('/')[0]}/tenant.yaml", path}
    return {name: content for name, content in folder(EXAMPLE).items() if name in needed}


@pytest.mark.parametrize("path", [each for each in folder(EXAMPLE) if name_of(each)])
def test_file_with_one_thing_wrong_is_judged_alike(path: str) -> None:
    files, schema = beside(path), name_of(path)
    assert schema
    seen = 0
    for document in mutants(plain(files[path], yaml.BaseLoader)):
        messages = refusals({**files, path: yaml.safe_dump(document).encode()})[path]
        compare(schema, document, messages, path)
        seen += bool(messages)

    assert seen > 5


EXAMPLES = {
    "authzen": b"subjects: {employee: user}\nactions: {read: VIEW}\ntypes:\n  flow: {kind: FLOW, namespace: '{resource.properties.ns}'}\n",
    "tenant": b"runtime: {roles: ['role:a*'], groups: ['group:*'], scopes: ['**'], max_ttl: 30d}\n",
    "gateway": b"routes:\n  - {method: GET, path: '/flows/{ns}', kind: FLOW, action: VIEW, namespace: '{ns}'}\n",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_mapping_with_one_thing_wrong_is_judged_alike(name: str) -> None:
    path = f"acme/{name}.yaml"
    files = {**beside(path), path: EXAMPLES[name]}
    assert [] == refusals(files)[path]
    for document in mutants(plain(files[path], yaml.BaseLoader)):
        messages = refusals({**files, path: yaml.safe_dump(document).encode()})[path]
        compare(name, document, messages, path)


def identities() -> list[bytes]:
    pages = [ROOT / "docs/how-to/rotate-credentials.md", ROOT / "docs/reference/callers.md"]
    blocks = [
        block
        for page in pages
        for block in re.findall(r"^ *```yaml identities.yaml\n(.*?)^ *```$", page.read_text(), re.MULTILINE | re.DOTALL)
    ]
    assert blocks
    return [textwrap.dedent(each).encode() for each in blocks]


@pytest.mark.parametrize("content", identities())
def test_identities_with_one_thing_wrong_are_judged_alike(content: bytes) -> None:
    def refused(document: Any) -> list[str]:
        try:
            parse_identities("identities.yaml", yaml.safe_dump(document).encode(), ROOT)
        except IdentitiesError as error:
            return [each.message for each in error.diagnostics]
        return []

    assert [] == problems("identities", plain(content, EditorLoader))
    for document in mutants(plain(content, yaml.BaseLoader)):
        compare("identities", document, refused(document), "identities.yaml")


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_fresh_and_valid(name: str) -> None:
    """`make docs` writes them."""
    Draft202012Validator.check_schema(SCHEMAS[name])

    assert json_schemas.schemas()[f"{name}.json"] == (ROOT / f"src/remit/schemas/{name}.json").read_text()


def test_command_lists_and_prints_the_schemas() -> None:
    listed = CliRunner().invoke(app, ["schema"]).stdout.splitlines()

    assert sorted(SCHEMAS) == [line.split()[0] for line in listed]
    for name, schema in SCHEMAS.items():
        assert schema == json.loads(CliRunner().invoke(app, ["schema", name]).stdout)


def test_page_on_editors_names_each_schema_and_its_files() -> None:
    page = (ROOT / "docs/how-to/editor.md").read_text()
    (settings,) = re.findall(r"^```json \S+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    named = {Path(schema).stem: pattern for schema, pattern in json.loads(settings)["yaml.schemas"].items()}
    (written,) = re.findall(r"^for name in (.*); do$", page, re.MULTILINE)

    assert {*SCHEMAS} - {"identities"} == {*named} == {*written.split()}
    for schema, pattern in named.items():
        assert name_of(pattern.removeprefix("policies/").replace("*", "x")) == schema


def test_unknown_schema_is_refused_with_a_hint() -> None:
    done = CliRunner().invoke(app, ["schema", "tenants"])

    assert (2, "") == (done.exit_code, done.stdout)
    assert "there is no schema `tenants`; did you mean `tenant`?" in done.stderr
