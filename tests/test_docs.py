"""Each example in the documents is run: what README and docs show is what happens."""

import doctest
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import termios
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import generate
import pytest
import typer
import yaml
from support.server import free_port, until
from support.trees import write

from remit.audit.chain.signing import SigningKey
from remit.cli.main import app
from remit.policy.lint.finding import RULES, RuleId
from remit.policy.lint.linter import LintResult, lint_directory
from remit.policy.load import load_tree
from remit.service.identities.file import parse_identities
from remit.service.settings import Settings
from remit.service.settings_reader import read_settings

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
DEFAULT_TARGET = "127.0.0.1:9090"
DEFAULT_HTTP = "127.0.0.1:9080"

_BLOCK = re.compile(r"^```(\S+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_same = doctest.OutputChecker().check_output


def blocks(path: Path, language: str) -> list[tuple[str, str]]:
    """The (name, text) of each fenced block of a language."""
    return [(name, text) for found, name, text in _BLOCK.findall(path.read_text()) if found == language]


def copied(folder: Path) -> Path:
    shutil.copytree(ROOT / "policies", folder / "policies")
    shutil.copytree(ROOT / "docs" / "graphs", folder / "docs" / "graphs")
    return folder


class Addresses(NamedTuple):
    """Where a server is, by the addresses that the documents name."""

    real: Mapping[str, str]

    def put(self, text: str) -> str:
        for default, real in self.real.items():
            text = text.replace(default, real)
        return text


@contextmanager
def serving(folder: Path, *flags: str) -> Iterator[Addresses]:
    """A server as `make serve` starts it, on free ports."""
    command = [BIN / "remit", "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--metrics", "", *flags]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = next(line for line in server.stderr if '"event": "serving"' in line)
        ports = json.loads(line)
        try:
            yield Addresses(
                {
                    DEFAULT_TARGET: f"127.0.0.1:{ports['port']}",
                    DEFAULT_HTTP: f"127.0.0.1:{ports['http_port']}",
                }
            )
        finally:
            server.send_signal(signal.SIGTERM)
            server.stderr.read()
    assert server.returncode == 0


@pytest.fixture
def example(tmp_path: Path) -> Path:
    return copied(tmp_path)


@pytest.fixture
def target(example: Path) -> Iterator[Addresses]:
    with serving(example) as address:
        yield address


@pytest.fixture(scope="module")
def shared_target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """For those who only ask."""
    with serving(copied(tmp_path_factory.mktemp("shared"))) as address:
        yield address


def on_a_terminal(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What a command prints on a terminal without colours, which is as wide as the pages are."""
    reading, terminal = os.openpty()
    attributes = termios.tcgetattr(terminal)
    attributes[1] &= ~termios.OPOST  # a line ends as the command ends it
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)
    environment = {**environment, "TERM": "dumb", "COLUMNS": str(generate.WIDTH), "GIT_PAGER": "cat"}
    shown = b""
    with (
        os.fdopen(reading, "rb", buffering=0) as output,
        subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=terminal) as running,
    ):
        os.close(terminal)
        # Where nobody writes any more, Linux reports an error and others the end.
        with suppress(OSError):
            while part := output.read(1 << 16):
                shown += part
        running.wait(timeout=60)
    # A table ends where its border does. The pages do not repeat before each answer where it comes from.
    return "".join(f"{line.rstrip()}\n" for line in shown.decode().splitlines() if not line.startswith("asking "))


def run_console(page: Path, folder: Path, target: Addresses | None = None) -> int:
    """Runs each command of a page and holds its output against what the page shows. Returns how many there were."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "REMIT_AUDIT": "sqlite:///var/audit.db"}
    ran = 0
    for _, text in blocks(page, "console"):
        for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            first, *lines = step.splitlines(keepends=True)
            # As in a shell, a command may go on over lines that begin with `> `.
            more = list(itertools.takewhile(lambda line: line.startswith(">"), lines))
            command = first.rstrip("\n") + "".join(f"\n{line[2:-1]}" for line in more)
            expected = "".join(lines[len(more) :])
            redirected = f"{command} 2>&1" if not more else f"exec 2>&1\n{command}"
            shown = on_a_terminal(
                ["sh", "-c", redirected if target is None else target.put(redirected)], folder, environment
            )
            assert _same(expected, shown, doctest.ELLIPSIS), f"$ {command}\n{shown}\nexpected:\n{expected}"
            if command.startswith("cd "):
                folder /= command.removeprefix("cd ")
            ran += 1
    return ran


def test_the_demo_answers_and_refuses_a_caller(example: Path) -> None:
    """`make demo`, over a copy of the example company."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    command = ["sh", str(ROOT / "docs" / "demo.sh")]
    done = subprocess.run(
        command, cwd=example, env=environment, capture_output=True, text=True, check=False, timeout=280
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert 2 == done.stdout.count("\nallow ALLOWED_BY_RULE\n")
    assert "\nPERMISSION_DENIED: `service:dns/shop.acme.example` may not CHECK in `globex`\n" in done.stdout
    assert "would allow  g, service:dns/shop.acme.example, role:enforcer, _callers/globex" in done.stdout
    assert done.stdout.endswith(
        "`make serve` starts one that stays, and its console\nfor browsers at http://127.0.0.1:9095/\n"
    )


@pytest.mark.parametrize(
    ("page", "commands"),
    {
        "README.md": 5,
        "docs/tutorials/policy-author.md": 22,
        "docs/tutorials/service-engineer.md": 7,
        "docs/tutorials/auditor.md": 12,
        "docs/tutorials/operator.md": 5,
        "docs/how-to/reach.md": 4,
        "docs/how-to/questions.md": 4,
        "docs/how-to/resources.md": 7,
        "docs/how-to/review-an-edit.md": 6,
        "docs/how-to/dependency-graphs.md": 3,
        "docs/how-to/test-policies.md": 5,
        "docs/how-to/who-may-ask.md": 5,
        "docs/how-to/http-api.md": 4,
        "docs/how-to/fleet.md": 7,
    }.items(),
)
def test_console_examples_print_what_they_show(page: str, commands: int, example: Path, target: Addresses) -> None:
    """Each page from its top to its end, over a copy of the example company and a server beside it."""
    assert run_console(ROOT / page, example, target) >= commands


def test_envoy_answers_as_its_page_shows(example: Path) -> None:
    """docs/how-to/envoy.md from an empty folder: its files, its commands, and the three programs that it starts."""
    pytest.importorskip("envoy", reason="there is no Envoy for this platform")
    ports = {port: str(free_port()) for port in ("9090", "8000", "8080", "9901", "9464")}

    def moved(text: str) -> str:
        return re.sub(r"\b(?:9090|8000|8080|9901|9464)\b", lambda found: ports[found[0]], text)

    (example / "deploy").mkdir()
    (example / "deploy" / "envoy.yaml").write_text(moved((ROOT / "deploy" / "envoy.yaml").read_text()))
    source = ROOT / "docs" / "how-to" / "envoy.md"
    for name, text in blocks(source, "yaml"):
        (example / name).write_text(text)
    before, after = source.read_text().split("**5. Start**")
    (example / "before.md").write_text(before)
    (example / "after.md").write_text(moved(after))
    assert run_console(example / "before.md", example) == 5
    (_, _), (_, started) = blocks(source, "sh")
    listening = {
        "REMIT_LISTEN": f"127.0.0.1:{ports['9090']}",
        "REMIT_METRICS": "",
        "REMIT_HTTP": "",
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    with ExitStack() as stack:
        for command in started.splitlines():
            process = subprocess.Popen(
                shlex.split(moved(command)),
                cwd=example,
                env={**os.environ, **listening},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
        for port in ("9090", "8000", "8080"):
            until(lambda port=ports[port]: answers(int(port)), f"a program at the port of {port}")
        assert run_console(example / "after.md", example) == 4


def test_a_server_goes_from_nothing_to_production_as_its_tutorial_shows(tmp_path: Path) -> None:
    """docs/tutorials/production.md in an empty folder: certificates, rights, a signed audit, a refused edit, a backup."""
    ports = {"9090": str(free_port()), "9464": str(free_port())}
    before, after = re.sub(
        r"\b(?:9090|9464)\b",
        lambda found: ports[found[0]],
        (ROOT / "docs" / "tutorials" / "production.md").read_text(),
    ).split("## 6. Ask")
    (tmp_path / "before.md").write_text(before)
    (tmp_path / "after.md").write_text(after)
    assert run_console(tmp_path / "before.md", tmp_path) == 15
    folder = tmp_path / "access"
    ((_, command),) = blocks(tmp_path / "before.md", "sh")
    path = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    log = tmp_path / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(["sh", "-c", f"exec {command}"], cwd=folder, env=path, stderr=errors) as server,
    ):
        try:
            until(lambda: answers(int(ports["9090"])) or server.poll() is not None, "the server")
            assert server.poll() is None, log.read_text()
            assert run_console(tmp_path / "after.md", folder) == 13
        finally:
            server.send_signal(signal.SIGTERM)
    assert 0 == server.returncode, log.read_text()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_authzen_answers_as_its_page_shows(example: Path) -> None:
    """With the mapping and the catalogue of the page."""
    page = ROOT / "docs" / "how-to" / "authzen.md"
    for name, text in [*blocks(page, "yaml"), *blocks(page, "csv")]:
        (example / "policies" / "acme" / name).write_text(text)
    with serving(example, "--authzen", "--authzen-tenant", "acme") as addresses:
        assert 6 == run_console(page, example, addresses)


def test_imports_and_exports_are_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/how-to/casbin.md: its model and rows are imported, exported, and asked in plain Casbin."""
    page = ROOT / "docs" / "how-to" / "casbin.md"
    for name, text in [*blocks(page, "ini"), *blocks(page, "csv")]:
        (tmp_path / name).write_text(text)
    shutil.copytree(ROOT / "docs" / "kestra", tmp_path / "kestra")
    assert run_console(page, tmp_path) == 6
    monkeypatch.chdir(tmp_path)
    ((_, text),) = blocks(page, "python")
    exec(compile(text, str(page), "exec"), {})


@pytest.mark.parametrize(
    ("page", "commands"),
    {"casbin": 4, "cerbos": 2, "opa": 2, "openfga": 2, "spicedb": 2, "kestra": 2}.items(),
)
def test_pages_for_users_of_other_products_translate_a_policy(page: str, commands: int, tmp_path: Path) -> None:
    """The named files of the page are a policy, or are imported as one; its tests hold. It says when to stay."""
    path = ROOT / "docs" / "how-to" / "coming-from" / f"{page}.md"
    *_, last = re.findall("^## (.*)", path.read_text(), re.MULTILINE)
    assert re.fullmatch("Stay with .* if", last)
    files = [block for language in ("ini", "csv", "yaml") for block in blocks(path, language)]
    write(tmp_path, {name: text.encode() for name, text in files if name})
    shutil.copytree(ROOT / "docs" / "kestra", tmp_path / "kestra")
    assert run_console(path, tmp_path) == commands
    imported = page in ("casbin", "kestra")
    assert imported or not lint_directory(tmp_path / "policies").findings


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/tutorials/service-engineer.md",
        "docs/how-to/client.md",
        "docs/how-to/questions.md",
        "docs/how-to/resources.md",
    ],
)
def test_python_examples_run(page: str, shared_target: Addresses) -> None:
    found = blocks(ROOT / page, "python")
    for _, text in found:
        exec(compile(shared_target.put(text), page, "exec"), {})
    assert found


def test_rows_are_granted_as_the_page_shows(example: Path) -> None:
    """docs/how-to/grant-at-run-time.md: its key in the files of the example company, its programs and its commands."""
    page = ROOT / "docs/how-to/grant-at-run-time.md"
    ((_, opened),) = blocks(page, "yaml")
    programs = [text for _, text in blocks(page, "python")]
    commands, importing, drifting = (text for _, text in blocks(page, "sh"))
    (example / "grants.csv").write_text("g, user:zoe, role:viewer, acme/acme.finance.**\n")
    with (example / "policies/acme/tenant.yaml").open("a") as manifest:
        manifest.write(f"\n{opened}")
    store = "sqlite:///var/policy.db"
    publish = [BIN / "remit", "publish", "policies", "--to", store, "--migrate"]
    subprocess.run(publish, cwd=example, capture_output=True, check=True)
    with serving(example, "--policy-store", store) as addresses:
        names: dict[str, Any] = {}
        for program in programs:
            exec(compile(addresses.put(program), str(page), "exec"), names)
        assert names["answer"].allowed
        assert 50 == names["done"].granted == len(names["exported"])
        where = {"REMIT_TARGET": addresses.real[DEFAULT_TARGET], "PATH": f"{BIN}:{os.environ['PATH']}"}

        def run(text: str) -> subprocess.CompletedProcess[str]:
            shell = ["sh", "-e", "-c", text]
            return subprocess.run(
                shell, cwd=example, env={**os.environ, **where}, capture_output=True, text=True, check=False
            )

        granted = run(commands)
        assert (0, True) == (granted.returncode, "user:zoe" in granted.stdout), granted.stderr
        imported = run(importing)
        assert (0, True) == (imported.returncode, "1 granted" in imported.stdout), imported.stderr
        drifted = run(drifting)
        assert (1, 50) == (drifted.returncode, drifted.stdout.count("\tunused\n")), drifted.stderr


def test_the_settings_example_is_accepted(example: Path) -> None:
    ((_, text),) = blocks(ROOT / "docs/reference/settings.md", "toml")
    (example / "remit.toml").write_text(text + 'log_level = "loud"\n')
    done = subprocess.run(
        [BIN / "remit", "serve"],
        cwd=example,
        env={**os.environ, "REMIT_CONFIG": "remit.toml"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 3
    assert done.stderr.count("setting `") == 1, done.stderr
    assert "`log_level` is `loud`" in done.stderr


def test_the_manuals_policies_load_and_its_tests_hold(example: Path) -> None:
    """All rows of the policy author's manual together are a tenant that loads beside the example's root files."""
    manual = ROOT / "policies" / "README.md"
    tenant = example / "policies" / "acme"
    shutil.rmtree(tenant)
    (tenant / "tests").mkdir(parents=True)
    named = [*blocks(manual, "csv"), *blocks(manual, "yaml")]
    for name in ("roles.csv", "bindings.csv", "reach.csv", "tenant.yaml", "tests/example.yaml"):
        (tenant / name).write_text("".join(text for block, text in named if block == name))

    loaded = load_tree(example / "policies").tenants["acme"]

    assert loaded.diagnostics == ()
    assert len(loaded.cases) >= 18


def test_the_manuals_diagnostic_is_a_real_one(example: Path) -> None:
    text = next(text for _, text in blocks(ROOT / "policies" / "README.md", "text") if "did you mean" in text)
    bindings = example / "policies" / "acme" / "bindings.csv"
    lines = bindings.read_text().splitlines()
    lines[13] = "g, user:bob, role:develper, acme"
    bindings.write_text("\n".join(lines) + "\n")

    loaded = load_tree(example / "policies").tenants["acme"]

    assert str(loaded.diagnostics[0]) == text.strip()


def _lint_sections() -> dict[str, str]:
    """The text of each rule's section of the page, by the rule's id; "" is what stands before them."""
    head, *sections = re.split(r"^## ", (ROOT / "docs" / "reference" / "lint.md").read_text(), flags=re.MULTILINE)
    return {"": head, **{name: text for name, _, text in (each.partition("\n") for each in sections)}}


def _linted(directory: Path, text: str) -> LintResult:
    """What lint says of the files in a section, in tenant acme beside the page's vocabulary."""
    files = re.findall(r"^```(?:csv|yaml) (\S+)\n(.*?)^```$", _lint_sections()[""] + text, re.MULTILINE | re.DOTALL)
    return lint_directory(
        write(directory, {f"acme/{name}" if name[0] != "." else name[3:]: content.encode() for name, content in files})
    )


def test_every_lint_rule_has_its_section_with_its_severity() -> None:
    sections = _lint_sections()

    assert list(RuleId) == [name for name in sections if name]
    for rule in RuleId:
        assert sections[rule].strip().startswith(f"{RULES[rule].severity.title()}. ")


@pytest.mark.parametrize("rule", [rule for rule in RuleId if rule is not RuleId.UNDECIDED])
def test_the_examples_of_a_lint_rule(tmp_path: Path, rule: RuleId) -> None:
    """The first policy has the findings that the page prints, and the one after *Instead* has none."""
    bad, _, good = _lint_sections()[rule].partition("\nInstead:\n")
    expected = re.search(r"^```text\n(.*?)^```$", bad, re.MULTILINE | re.DOTALL)
    found = [each for each in _linted(tmp_path / "bad", bad).findings if each.rule is rule]

    assert expected
    assert expected[1].splitlines() == [f"{each.place}: {each.severity} {each.rule}: {each.message}" for each in found]
    assert [] == [
        each for each in _linted(tmp_path / "good", good).findings if each.rule in {rule, RuleId.DOES_NOT_LOAD}
    ]


def _commands(text: str) -> list[list[str]]:
    """The words of each command `remit` in a script, up to what the shell reads itself."""
    # What one command prints is a word of another.
    text = re.sub(r'"\$\(remit audit hash [^)]*\)"', f"hmac:{'0' * 32}", text)
    lines = (line.strip().removeprefix("- run: ") for line in text.splitlines())
    return [
        shlex.split(re.split(r" (?:>|\||&&|#)", line.removeprefix("remit "))[0])
        for line in lines
        if line.startswith("remit ")
    ]


def _accepted(words: list[str]) -> None:
    """Raises where the command line has no such command, or the command no such flag or value."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    command.make_context(command.name, words)


def test_the_workflow_for_github_names_real_commands() -> None:
    """The YAML parses, and the command line takes each command of its steps."""
    ((name, text), *_) = blocks(ROOT / "docs/how-to/ci.md", "yaml")
    workflow = yaml.safe_load(text)
    found = [words for step in workflow["jobs"]["gate"]["steps"] for words in _commands(step.get("run", ""))]

    assert name.startswith(".github/workflows/")
    assert ["validate", "fmt", "lint", "diff", "test"] == [words[0] for words in found]
    for words in found:
        _accepted(words)


def test_the_page_on_pipelines_names_real_commands() -> None:
    quoted = re.findall(r"`(remit [a-z][^`]*)`", (ROOT / "docs" / "how-to" / "ci.md").read_text())

    assert quoted
    for words in _commands("\n".join(quoted)):
        _accepted(words)


RUNNING = [
    "explanation/audit.md",
    "explanation/reload.md",
    "how-to/authzen-conform.md",
    "how-to/authzen.md",
    "how-to/back-up.md",
    "how-to/deploy.md",
    "how-to/read-the-audit.md",
    "how-to/retain-records.md",
    "how-to/rotate-credentials.md",
    "how-to/run-a-server.md",
    "how-to/scale.md",
    "how-to/try-a-candidate.md",
    "reference/callers.md",
    "reference/limits.md",
    "reference/metrics.md",
    "reference/records.md",
    "tutorials/operator.md",
    "tutorials/production.md",
]


@pytest.mark.parametrize("page", RUNNING)
def test_the_pages_on_running_name_real_commands_and_settings(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SigningKey.new(tmp_path / "audit.pem")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / page).read_text()
    commands = _commands("\n".join(block for _, block in blocks(ROOT / "docs" / page, "sh")))
    settings = [tomllib.loads(block) for _, block in blocks(ROOT / "docs" / page, "toml")]

    for words in commands:
        _accepted(words)
    for each in settings:
        read_settings(each)
    assert set(re.findall(r"`(audit_[a-z_]+)`", text)) <= {*Settings.model_fields}
    assert set(re.findall(r"`(remit_(?:audit|shadow|worker|tenant|calls?)_[a-z_]+)`", text)) <= _metrics()


@pytest.mark.parametrize("page", ["how-to/rotate-credentials.md", "reference/callers.md"])
def test_the_examples_of_identities_load(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    found = re.findall(r"^( *)```yaml identities.yaml\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)

    assert found
    for indent, block in found:
        assert parse_identities(page, textwrap.dedent(f"{block}").encode(), ROOT).rows, indent


def test_the_pages_on_running_show_commands() -> None:
    shown = [page for page in RUNNING if blocks(ROOT / "docs" / page, "sh")]

    assert {"explanation/audit.md", "how-to/back-up.md", "how-to/read-the-audit.md", "how-to/try-a-candidate.md"} <= {
        *shown
    }


def _metrics() -> set[str]:
    """The metric names in the code, as they are scraped."""
    source = "".join(path.read_text() for path in (ROOT / "src" / "remit" / "service").glob("metrics*.py"))
    counters = re.findall(r'Counter\(\s*"(\w+)"', source)
    return {*re.findall(r'"(remit_\w+)"', source), *(f"{name}_total" for name in counters)}


def test_the_pre_commit_hooks_name_real_commands_and_a_real_extra() -> None:
    hooks = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    example = next(
        text for name, text in blocks(ROOT / "docs/how-to/ci.md", "yaml") if name == ".pre-commit-config.yaml"
    )
    (used,) = yaml.safe_load(example)["repos"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    assert {"remit-validate", "remit-fmt", "remit-lint", "remit-test"} == {*hooks}
    assert {*hooks} == {hook["id"] for hook in used["hooks"]}
    assert "server" in extras
    for hook in hooks.values():
        assert ("python", [".[server]"], False) == (
            hook["language"],
            hook["additional_dependencies"],
            hook["pass_filenames"],
        )
        assert re.search(hook["files"], "policies/acme/bindings.csv")
        ((command, *words),) = _commands(hook["entry"])
        _accepted([command, *words, *hook["args"]])


def test_accepted_rejects_an_unknown_command_or_flag() -> None:
    with pytest.raises(KeyError):
        _accepted(["tset", "policies"])
    with pytest.raises(Exception, match="No such option"):
        _accepted(["test", "--mutants"])


PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("[a-z]*/*.md")), *sorted(ROOT.glob("docs/*/*.md"))]


def _id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_prose_wraps_at_100_columns(page: Path) -> None:
    """Tables and blocks apart, and a line that is one long piece of code."""
    prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    long = [line for line in prose.splitlines() if len(line) > 100 and not line.lstrip().startswith("|")]

    assert [] == [line for line in long if not re.fullmatch(r"[-\s]*`[^`]+`\S*", line)]


@pytest.mark.parametrize("page", generate.PAGES)
def test_generated_pages_are_fresh(page: str) -> None:
    """`make docs` writes them."""
    assert generate.fresh(page) == (generate.REFERENCE / page).read_text()


def test_man_pages_are_fresh() -> None:
    """`make docs` writes them."""
    assert generate.manual() == {path.name: path.read_text() for path in generate.MANUAL.iterdir()}


def test_man_pages_describe_each_command_and_option() -> None:
    pages = generate.manual()
    audit_list = pages["remit-audit-list.1"]

    assert {"remit.1", "remit-serve.1", "remit-import-casbin.1"} <= {*pages}
    assert r"\fBremit\-audit\-list(1)\fR" in pages["remit.1"]
    assert r"\fB\-\-tenant TENANT\fR" in audit_list
    assert [] == [name for name, text in pages.items() if ".SH SYNOPSIS\n\\fBremit" not in text]


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_man_pages_are_set_without_a_warning() -> None:
    pages = sorted(generate.MANUAL.glob("*.1"))
    done = subprocess.run(
        ["groff", "-ww", "-mandoc", "-Tutf8", "-z", *pages], capture_output=True, text=True, check=False, timeout=120
    )

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    shown = subprocess.run(
        ["groff", "-mandoc", "-Tascii", "-P-cbou", generate.MANUAL / "remit-lint.1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "remit-lint - Find rows, roles, groups" in " ".join(shown.stdout.split())


# The words of the field that a reader searches for: each has its line in the glossary.
TERMS = """
action, anchor, batch, binding, build, chain head, change feed, checkpoint, commit delay, decision diagram, decision point (PDP),
differential test, enforcement point, fall back, group commit, inclusion, journal, kind, live policies, membership, minimal sets,
minute index, namespace, oracle, pacing, pattern, pending write, policy administration, principal, record, restore, retry, revision,
role, rollup, rule, scan, scope, shard, snapshot, spool, store, store and forward, tenant, throttle, tombstone
"""


def test_the_glossary_defines_the_terms_of_the_field() -> None:
    """In order, and where they are in the code."""
    glossary = (ROOT / "CONTRIBUTING.md").read_text().partition("## Glossary")[2]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| `([a-z_/]+)` \|$", glossary, re.MULTILINE)
    terms = [term for term, _ in rows]

    assert set() == {*re.split(r",\s+", TERMS.strip())} - {*terms}
    assert sorted(terms) == terms
    assert [] == [package for _, package in rows if not (ROOT / "src/remit" / package / "__init__.py").exists()]


TEXTS = [
    *PAGES,
    *(path for path in sorted((ROOT / "src").rglob("*")) if path.suffix in {".py", ".md", ".yaml"}),
    *sorted((ROOT / "deploy").rglob("*")),
]


def test_no_text_installs_remit_from_an_index() -> None:
    """The name is free to take there. A file and a URL are no names."""
    name = re.compile(r"""pip3? install (?:-\S+ )*["']?remit(?:\[[\w,]+\])?(?![\w\[./-])(?!["']? ?@)""")

    assert name.search("`pip install 'remit[server]'`")
    assert name.search("run pip install remit and")
    assert name.search("needs `pip install remit[http]`")
    assert not name.search('pip install "remit[server] @ https://files.example/remit.whl"')
    assert [] == [path for path in TEXTS if path.is_file() and name.search(path.read_text())]


def test_texts_of_the_program_name_pages_and_extras_that_exist() -> None:
    source = "".join(path.read_text() for path in sorted((ROOT / "src").rglob("*.py")))
    pages = {*re.findall(r"docs/[\w/-]+\.md", source)}
    extras = {*re.findall(r"the extra `(\w+)`", source + (ROOT / "docs/how-to/install.md").read_text())}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert "docs/how-to/install.md" in pages
    assert [] == [page for page in pages if not (ROOT / page).is_file()]
    assert {"server", "otlp", "parquet", "postgres", "pytest", "sqlalchemy"} <= extras
    assert extras <= {*project["optional-dependencies"]}


def test_every_page_is_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    missing = [path for path in (ROOT / "docs").glob("*/*.md") if f"({path.relative_to(ROOT / 'docs')})" not in index]

    assert [] == missing


def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Strict: a page that no menu lists and a link or anchor that leads nowhere fail the build."""
    command = [BIN / "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert 0 == done.returncode, done.stderr

    pages = {path: path.read_text() for path in tmp_path.rglob("*.html")}
    # What a browser loads by itself; a link is only followed by a person.
    loads = re.compile(r"""<(?!a\b)[a-z]+\b[^>]*\b(?:src|href|action|data)\s*=\s*["']?\s*((?:https?:)?//[^"'\s>]*)""")
    styles = "".join(path.read_text() for path in tmp_path.rglob("*.css"))

    assert len(PAGES) - 1 <= len(pages)
    assert {} == {path.name: found for path, text in pages.items() if (found := loads.findall(text))}
    assert [] == re.findall(r"""(?:url\(\s*["']?|@import\s+["'])((?:https?:)?//[^"')]*)""", styles)
    # The theme would load what draws them from a network.
    assert [] == [path.name for path, text in pages.items() if 'class="mermaid"' in text]
    assert (tmp_path / "search" / "search_index.json").stat().st_size > 100_000


def test_threat_model_names_tests_that_exist() -> None:
    paths = re.findall(r"`(tests/[^`]+)`", (ROOT / "SECURITY.md").read_text())
    assert paths
    assert [] == [path for path in paths if not (ROOT / path).is_file()]
