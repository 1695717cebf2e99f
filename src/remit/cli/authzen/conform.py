import ssl
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from remit.authzen.conformance.http import (
    CallerCredential,
    HttpCaller,
    NoAnswerError,
    WrongUrlError,
    check_url,
)
from remit.authzen.conformance.modules import PLANS, Level, Support, modules_of
from remit.authzen.conformance.runner import ConformanceRun, ModuleOutcome, ModuleResult
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.junit import JUnitCase, JunitOption, junit_xml, write_junit
from remit.cli.common.output import Exit, fail, out, styled
from remit.cli.common.parsers import secret_in
from remit.cli.common.progress import progress
from remit.cli.common.table import print_table
from remit.core.errors import InvalidNameError
from remit.core.names import parse_tenant

_COLOURS: Final = {
    ModuleOutcome.PASSED: "green",
    ModuleOutcome.WARNED: "yellow",
    ModuleOutcome.EXCEPTED: "yellow",
    ModuleOutcome.SKIPPED: "dim",
    ModuleOutcome.FAILED: "red",
}
_DEFAULT_LEVELS: Final = [Level.BASIC, Level.BATCH, Level.SEARCH]
_COLUMNS: Final = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())


def conform(
    url: Annotated[str, typer.Argument(metavar="URL", help="The server: the identifier of its policy decision point.")],
    tenant: Annotated[
        str,
        typer.Option(help="A tenant of a remit server: its identifier is `URL/tenants/TENANT`.", show_default=False),
    ] = "",
    levels: Annotated[
        list[Level] | None,
        typer.Option(
            "--level",
            help="What to try; may be repeated.",
            show_default="basic, batch, search; with --discover also discovery",
        ),
    ] = None,
    support: Annotated[
        Support, typer.Option(help="`properties` adds decisions by properties of the request.")
    ] = Support.CORE,
    discover: Annotated[
        bool, typer.Option("--discover", help="Take the endpoints from the server's metadata, not `/access/v1/...`.")
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with a bearer token or an API key; both go out as `Bearer`.", show_default=False),
    ] = None,
    basic_file: Annotated[
        Path | None, typer.Option(help="File with `USER:PASSWORD` for HTTP Basic.", show_default=False)
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="PEM: the certificate to show, for mutual TLS.", show_default=False)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM: its private key.", show_default=False)] = None,
    tls_server_ca: Annotated[
        Path | None,
        typer.Option(help="PEM: who signed the server's certificate.", show_default="the authorities of the system"),
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="List the modules that passed or were skipped too.")] = False,
    junit_file: JunitOption = None,
    as_json: JsonOption = False,
    timeout: Annotated[float, typer.Option(help="Deadline of each request, in seconds.", min=0.001)] = 10.0,
) -> None:
    """Try an AuthZEN server: send it the requests of the OpenID certification suite, and judge its answers.

    The server must hold the fixture of the suite, which docs/how-to/authzen-conform.md describes. Exits 1 if a module
    fails. A module is skipped if it needs properties, a credential, or an API that the metadata does not name.

    Example: `remit authzen conform https://pdp.example.com --token-file token.txt`
    """
    credential = _credential(token_file, basic_file, tls_cert, tls_key)
    chosen = _chosen(levels, discover=discover)
    modules = sum(len(modules_of(level)) for level in chosen)
    results: list[ModuleResult] = []
    try:
        identifier = f"{url.removesuffix('/')}/tenants/{parse_tenant(tenant)}" if tenant else url
        check_url(identifier)
        with HttpCaller(credential, tls_server_ca, timeout) as caller, progress(*_COLUMNS) as shown:
            run = ConformanceRun(caller, identifier, chosen, support, discover)
            results += shown.track(run.results(), total=modules, description="modules")
    except (WrongUrlError, InvalidNameError) as error:
        fail(Exit.USAGE, str(error))
    except NoAnswerError as error:
        fail(Exit.UNAVAILABLE, f"no answer: {error}")
    if junit_file is not None:
        write_junit(junit_file, _junit(results))
    if as_json:
        print_json({"modules": [_json(each) for each in results]})
    else:
        _print(results, chosen, show_all=show_all)
    raise typer.Exit(Exit.NO if any(each.outcome is ModuleOutcome.FAILED for each in results) else Exit.OK)


def _chosen(levels: list[Level] | None, *, discover: bool) -> list[Level]:
    """Each level once, in the order of their definition."""
    asked = levels or _DEFAULT_LEVELS
    return [level for level in Level if level in asked or (level is Level.DISCOVERY and discover and not levels)]


def _credential(token: Path | None, basic: Path | None, cert: Path | None, key: Path | None) -> CallerCredential:
    if (cert is None) != (key is None):
        fail(Exit.USAGE, "mutual TLS needs both --tls-cert and --tls-key")
    if sum(each is not None for each in (token, basic, cert)) > 1:
        fail(Exit.USAGE, "expected one of --token-file, --basic-file, and --tls-cert with --tls-key")
    if cert is not None and key is not None:
        try:
            ssl.create_default_context().load_cert_chain(cert, key, password="")
        except OSError as error:
            fail(Exit.USAGE, f"`{cert}` and `{key}` cannot be used: {error.strerror or error}")
    bearer = "" if token is None else secret_in(token, "--token-file")
    password = "" if basic is None else secret_in(basic, "--basic-file")
    if basic is not None and ":" not in password:
        fail(Exit.USAGE, f"`{basic}`: expected `USER:PASSWORD`")
    return CallerCredential(bearer, password, cert, key)


def _print(results: Sequence[ModuleResult], levels: Sequence[Level], *, show_all: bool) -> None:
    listed = [each for each in results if show_all or each.outcome not in {ModuleOutcome.PASSED, ModuleOutcome.SKIPPED}]
    if listed:
        rows = [
            (f"{each.module.plan}-{each.module.name}", styled((each.outcome, _COLOURS[each.outcome])), each.detail)
            for each in listed
        ]
        print_table(("module", "result", "detail"), rows)
    counts: defaultdict[str, Counter[ModuleOutcome]] = defaultdict(Counter)
    for each in results:
        counts[each.module.plan][each.outcome] += 1
    plans = [plan for level in levels for plan in PLANS[level]]
    print_table(
        ("plan", *ModuleOutcome), [(plan, *(str(counts[plan][outcome]) for outcome in ModuleOutcome)) for plan in plans]
    )
    total = sum(counts.values(), Counter[ModuleOutcome]())
    out.print(", ".join(f"{total[outcome]} {outcome}" for outcome in ModuleOutcome))


def _json(result: ModuleResult) -> dict[str, Any]:
    module = result.module
    return {
        "plan": module.plan,
        "name": module.name,
        "support": module.support.value,
        "outcome": result.outcome.value,
        "detail": result.detail,
    }


def _junit(results: Sequence[ModuleResult]) -> bytes:
    problems = {ModuleOutcome.FAILED: "failure", ModuleOutcome.SKIPPED: "skipped"}
    suites: defaultdict[str, list[JUnitCase]] = defaultdict(list)
    for each in results:
        suites[each.module.plan].append(
            JUnitCase(
                f"authzen.{each.module.plan}",
                each.module.name,
                problem=problems.get(each.outcome, ""),
                message=each.detail if each.outcome in problems else "",
                text=each.detail,
                seconds=each.seconds,
            )
        )
    return junit_xml(
        "remit authzen conform",
        ((plan, cases, sum(case.seconds or 0.0 for case in cases)) for plan, cases in suites.items()),
    )
