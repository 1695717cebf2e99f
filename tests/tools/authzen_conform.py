"""Tries an AuthZEN server: sends the requests of the OpenID certification suite, and judges the answers.

The server must hold the fixture of the suite, which docs/how-to/authzen-conform.md describes. Exits 1 if a module fails. A
module is skipped if it needs properties, a credential, or an API that the metadata does not name.
"""

import ssl
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from remit.cli.common.junit import JUnitCase, junit_xml
from remit.cli.common.output import printable
from remit.core.errors import InvalidNameError
from remit.core.names import parse_tenant
from remit.files import cause_of

from .conformance.http import CallerCredential, HttpCaller, NoAnswerError, WrongUrlError, check_url
from .conformance.modules import PLANS, Level, Support
from .conformance.runner import ConformanceRun, ModuleOutcome, ModuleResult


def main(words: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(words)
    credential = _credential(parser, options)
    asked = options.levels or [Level.BASIC, Level.BATCH, Level.SEARCH, *([Level.DISCOVERY] if options.discover else [])]
    levels = [level for level in Level if level in asked]
    url, tenant = options.url, options.tenant
    try:
        identifier = f"{url.removesuffix('/')}/tenants/{parse_tenant(tenant)}" if tenant else url
        check_url(identifier)
        with HttpCaller(credential, options.tls_server_ca, options.timeout) as caller:
            results = list(ConformanceRun(caller, identifier, levels, options.support, options.discover).results())
    except (WrongUrlError, InvalidNameError) as error:
        parser.error(str(error))
    except NoAnswerError as error:
        parser.exit(3, f"no answer: {error}\n")
    if options.junit is not None:
        options.junit.write_bytes(_junit(results))
    _print(results, levels, show_all=options.all)
    return int(any(each.outcome is ModuleOutcome.FAILED for each in results))


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m tests.tools.authzen_conform", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("url", metavar="URL", help="the server: the identifier of its policy decision point")
    parser.add_argument("--tenant", default="", help="of a remit server: its identifier is `URL/tenants/TENANT`")
    parser.add_argument(
        "--level",
        dest="levels",
        action="append",
        type=Level,
        choices=[*Level],
        help="what to try; may be repeated (basic, batch, search; with --discover also discovery)",
    )
    parser.add_argument(
        "--support",
        type=Support,
        choices=[*Support],
        default=Support.CORE,
        help="`properties` adds decisions by properties of the request (core)",
    )
    parser.add_argument("--discover", action="store_true", help="take the endpoints from the server's metadata")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="a bearer token or an API key")
    parser.add_argument("--basic-file", type=Path, metavar="FILE", help="`USER:PASSWORD` for HTTP Basic")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="PEM: the certificate to show, for mutual TLS")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="PEM: its private key")
    parser.add_argument("--tls-server-ca", type=Path, metavar="FILE", help="PEM: who signed the server's certificate")
    parser.add_argument("--all", action="store_true", help="list the modules that passed or were skipped too")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the results as JUnit XML too")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="deadline of each request (10)")
    return parser


def _credential(parser: ArgumentParser, options: Namespace) -> CallerCredential:
    cert, key = options.tls_cert, options.tls_key
    if (cert is None) != (key is None):
        parser.error("mutual TLS needs both --tls-cert and --tls-key")
    if sum(each is not None for each in (options.token_file, options.basic_file, cert)) > 1:
        parser.error("expected one of --token-file, --basic-file, and --tls-cert with --tls-key")
    if cert is not None:
        try:
            ssl.create_default_context().load_cert_chain(cert, key, password="")
        except OSError as error:
            parser.error(f"`{cert}` and `{key}` cannot be used: {error.strerror or error}")
    token = _secret(parser, options.token_file, "--token-file")
    password = _secret(parser, options.basic_file, "--basic-file")
    if password and ":" not in password:
        parser.error(f"`{options.basic_file}`: expected `USER:PASSWORD`")
    return CallerCredential(token, password, cert, key)


def _secret(parser: ArgumentParser, file: Path | None, option: str) -> str:
    if file is None:
        return ""
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"{option}: `{file}` cannot be read: {cause_of(error)}")
    if not text or not text.isprintable():
        parser.error(f"{option}: `{file}`: expected one line")
    return text


def _print(results: Sequence[ModuleResult], levels: Sequence[Level], *, show_all: bool) -> None:
    for each in results:
        if show_all or each.outcome not in {ModuleOutcome.PASSED, ModuleOutcome.SKIPPED}:
            print(f"{each.module.plan}-{each.module.name}\t{each.outcome}\t{printable(each.detail)}")
    counts: defaultdict[str, Counter[ModuleOutcome]] = defaultdict(Counter)
    for each in results:
        counts[each.module.plan][each.outcome] += 1
    for plan in (plan for level in levels for plan in PLANS[level]):
        print(f"{plan}: {_sum(counts[plan])}")
    print(_sum(sum(counts.values(), Counter[ModuleOutcome]())))


def _sum(counts: Counter[ModuleOutcome]) -> str:
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in ModuleOutcome)


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
        "authzen_conform", ((plan, cases, sum(case.seconds or 0.0 for case in cases)) for plan, cases in suites.items())
    )


if __name__ == "__main__":
    sys.exit(main())
