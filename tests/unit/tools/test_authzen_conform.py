"""The runner against real servers: a right one, and one for each way to be wrong."""

import io
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
import trustme
from support.fixture_pdp import FixturePdp, RefusedError, running
from tools.authzen_conform import main
from tools.conformance.http import CallerCredential, HttpCaller, well_known
from tools.conformance.modules import Level, Support, all_modules
from tools.conformance.runner import ConformanceRun, ModuleOutcome, ModuleResult
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

NOBODY = CallerCredential()


class Done(NamedTuple):
    exit_code: object
    stdout: str
    stderr: str


def conform(*words: str) -> Done:
    with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
        try:
            code: object = main(words)
        except SystemExit as ended:
            code = ended.code
    return Done(code, stdout.getvalue(), stderr.getvalue())


@contextmanager
def tried(pdp: FixturePdp, *levels: Level, credential: CallerCredential = NOBODY) -> Iterator[list[ModuleResult]]:
    with running(pdp) as port, HttpCaller(credential, None, timeout_s=10) as caller:
        pdp.identifier = pdp.identifier or f"http://127.0.0.1:{port}"
        run = ConformanceRun(caller, f"http://127.0.0.1:{port}", levels or tuple(Level)[:3], Support.PROPERTIES)
        yield list(run.results())


def names(results: list[ModuleResult], outcome: ModuleOutcome) -> set[str]:
    return {f"{each.module.plan}-{each.module.name}" for each in results if each.outcome is outcome}


def test_all_modules_of_the_suite_are_there() -> None:
    counts = dict.fromkeys(("evaluation", "evaluations", "subject-search", "resource-search", "action-search"), 0)
    for module in all_modules():
        if module.plan in counts:
            counts[module.plan] += 1

    assert {
        "evaluation": 33,
        "evaluations": 27,
        "subject-search": 25,
        "resource-search": 20,
        "action-search": 22,
    } == counts
    assert 10 == sum(module.support is Support.PROPERTIES for module in all_modules())
    assert len(all_modules()) == len({(module.plan, module.name) for module in all_modules()})


def test_a_right_server_passes_every_module() -> None:
    class Right(FixturePdp):
        token = "secret"

    with tried(Right(), credential=CallerCredential(token="secret")) as results:
        assert (
            names(results, ModuleOutcome.FAILED)
            | names(results, ModuleOutcome.WARNED)
            | names(results, ModuleOutcome.SKIPPED)
            == set()
        )
        assert {"evaluations-batch-with-default-value-merging"} == names(results, ModuleOutcome.EXCEPTED)
        assert 126 == len(names(results, ModuleOutcome.PASSED))


class WrongMediaType(FixturePdp):
    def content_type(self) -> str:
        return "text/html"


class EchoesNothing(FixturePdp):
    def echoed(self, headers: dict[str, str]) -> dict[str, str]:
        return {}


class EchoesAnother(FixturePdp):
    def echoed(self, headers: dict[str, str]) -> dict[str, str]:
        return {"x-request-id": "another"}


class TakesEveryMethod(FixturePdp):
    def method_allowed(self, method: str) -> bool:
        return True


class TakesPut(FixturePdp):
    def method_allowed(self, method: str) -> bool:
        return method in {"POST", "PUT"}


class TakesEveryMediaType(FixturePdp):
    def media_type_allowed(self, content_type: str) -> bool:
        return True


class RefusesParameters(FixturePdp):
    def media_type_allowed(self, content_type: str) -> bool:
        return content_type == "application/json"


class TakesArrays(FixturePdp):
    def parse(self, body: bytes) -> Any:
        try:
            parsed = json.loads(body)
        except ValueError:
            raise RefusedError(400, "no JSON") from None
        return parsed[0] if isinstance(parsed, list) else parsed


class FailsOnBrokenJson(FixturePdp):
    def parse(self, body: bytes) -> Any:
        try:
            return super().parse(body)
        except RefusedError as error:
            raise RefusedError(500 if str(error) == "no JSON" else 400, "failed") from None


class RefusesUnknownMembers(FixturePdp):
    def parse(self, body: bytes) -> Any:
        request = super().parse(body)
        if "foo" in request:
            raise RefusedError(400, "unknown member")
        return request


class DeniesWhatIsMalformed(FixturePdp):
    def evaluation(self, request: Any) -> Any:
        try:
            return super().evaluation(request)
        except RefusedError:
            return {"decision": False}


class TakesNumbersAsNames(FixturePdp):
    def entity(self, request: Any, name: str, *members: str) -> Any:
        if isinstance(request.get(name), dict):
            request[name] = {key: str(value) if key == "name" else value for key, value in request[name].items()}
        return super().entity(request, name, *members)


class AllowsBob(FixturePdp):
    def allowed(self, subject: Any, action: Any, resource: Any) -> bool:
        return subject["id"] == "bob" or super().allowed(subject, action, resource)


class AnswersText(FixturePdp):
    def evaluation(self, request: Any) -> Any:
        return {"decision": str(super().evaluation(request)["decision"]).lower()}


class BelievesNoProperty(FixturePdp):
    def allowed(self, subject: Any, action: Any, resource: Any) -> bool:
        return super().allowed(subject, {"name": action["name"]}, resource)


class FailsAsAWhole(FixturePdp):
    def evaluations(self, request: Any) -> Any:
        for item in request.get("evaluations", []):
            self.evaluation(self.item(request, item))
        return super().evaluations(request)


class NeverStops(FixturePdp):
    def stops(self, semantic: str, decision: bool) -> bool:
        return False


class StopsTooEarly(FixturePdp):
    def stops(self, semantic: str, decision: bool) -> bool:
        return not decision


class TakesEverySemantic(FixturePdp):
    def evaluations(self, request: Any) -> Any:
        if request.get("options", {}).get("evaluations_semantic") == "bogus_value":
            del request["options"]
        return super().evaluations(request)


class WrapsASingleAnswer(FixturePdp):
    def evaluations(self, request: Any) -> Any:
        return super().evaluations({"evaluations": [{}], **request} if not request.get("evaluations") else request)


class IgnoresItems(FixturePdp):
    def item(self, request: Any, item: Any) -> Any:
        return {**super().item(request, item), **{key: request[key] for key in request if key in item}}


class ReversesItems(FixturePdp):
    def evaluations(self, request: Any) -> Any:
        answer = super().evaluations(request)
        return {name: value[::-1] if isinstance(value, list) else value for name, value in answer.items()}


class NumbersAnswers(FixturePdp):
    asked = 0

    def listed(self, request: Any, results: list[Any]) -> Any:
        self.asked += 1
        return {**super().listed(request, results), "context": {"decision_id": self.asked}}


class NarrowsByStrayIds(FixturePdp):
    def listed(self, request: Any, results: list[Any]) -> Any:
        stray = {entity.get("id") for entity in request.values() if isinstance(entity, dict)}
        kept = [each for each in results if "ignored-stray-id" not in stray]
        return super().listed(request, kept)


class AddsProperties(FixturePdp):
    def listed(self, request: Any, results: list[Any]) -> Any:
        return super().listed(request, [{**each, "properties": {}} for each in results])


class RefusesUnknownTypes(FixturePdp):
    def subjects(self, request: Any) -> Any:
        if self.entity(request, "subject", "type")["type"] != "user":
            raise RefusedError(404, "unknown type")
        return super().subjects(request)


class ListsEverybody(FixturePdp):
    def subjects(self, request: Any) -> Any:
        super().subjects(request)
        return self.listed(request, [{"type": "user", "id": name} for name in ("alice", "bob")])


class PagesForEver(FixturePdp):
    def listed(self, request: Any, results: list[Any]) -> Any:
        answer = super().listed(request, results)
        return {**answer, "page": {"next_token": "1"}} if "page" in request else answer


class LosesTheSecondPage(FixturePdp):
    def listed(self, request: Any, results: list[Any]) -> Any:
        answer = super().listed(request, results)
        return {**answer, "page": {"next_token": ""}} if "page" in request else answer


class PagesWithoutToken(FixturePdp):
    def listed(self, request: Any, results: list[Any]) -> Any:
        return {"page": {"count": len(results)}, "results": results}


class CountsBelowZero(FixturePdp):
    def listed(self, request: Any, results: list[Any]) -> Any:
        return {"page": {"next_token": "", "total": -1}, "results": results}


@pytest.mark.parametrize(
    ("wrong", "failing"),
    {
        WrongMediaType: [
            "*-idempotency",
            "*-echoed",
            "*-ignored",
            "*-charset",
            "*fixture*",
            "*-with-*",
            "*valid-*-search*",
            "evaluations-*",
            "*-unknown-entity-*",
        ],
        EchoesNothing: ["*-x-request-id-echoed"],
        EchoesAnother: ["*-x-request-id-echoed"],
        TakesEveryMethod: ["*-reject-get-method", "*-reject-put-method"],
        TakesPut: ["*-reject-put-method"],
        TakesEveryMediaType: ["*-reject-non-json-content-type"],
        RefusesParameters: ["*-accept-content-type-with-charset"],
        TakesArrays: ["*-reject-top-level-array"],
        FailsOnBrokenJson: ["*-reject-malformed-json", "*-reject-empty-body"],
        RefusesUnknownMembers: ["*-unknown-top-level-fields-ignored"],
        DeniesWhatIsMalformed: ["evaluation-*missing-*", "evaluation-subject-is-string", "evaluation-*-is-number"],
        TakesNumbersAsNames: ["evaluation-action-name-is-number"],
        AllowsBob: ["evaluation-fixture-request-deny-decision", "evaluations-*", "subject-search-unknown-entity-type"],
        AnswersText: [
            "evaluation-fixture*",
            "evaluation-*-ignored",
            "evaluation-request-*",
            "evaluation-*-charset",
            "evaluation-*-echoed",
            "evaluation-idempotency",
            "evaluations-*",
        ],
        BelievesNoProperty: ["evaluation-fixture-request-permit-based-on-action-properties"],
        FailsAsAWhole: ["evaluations-evaluation-level-errors", "*-returns-decision-false", "*-default-value-merging"],
        NeverStops: ["evaluations-deny-on-first-deny", "evaluations-permit-on-first-permit"],
        StopsTooEarly: [
            "evaluations-permit-on-first-permit",
            "*-batch-with-subject-properties-validated",
            "*-default-value-merging",
        ],
        TakesEverySemantic: ["evaluations-unknown-semantic-value"],
        WrapsASingleAnswer: ["evaluations-missing-evaluations-array-backward-compat"],
        IgnoresItems: ["evaluations-per-eval-overrides-default"],
        ReversesItems: ["evaluations-*"],
        NumbersAnswers: ["*-search-idempotency"],
        NarrowsByStrayIds: ["subject-search-extra-subject-id-ignored", "resource-search-extra-resource-id-ignored"],
        AddsProperties: [
            "*-search-valid-*",
            "*-search-*-with-*",
            "*-search-*-ignored",
            "*-search-idempotency",
            "*-search-*-echoed",
        ],
        RefusesUnknownTypes: ["subject-search-unknown-entity-type"],
        ListsEverybody: ["subject-search-unknown-entity-type"],
        PagesForEver: ["subject-search-request-with-page-limit"],
        LosesTheSecondPage: ["subject-search-request-with-page-limit"],
        PagesWithoutToken: [
            "*-search-valid-*",
            "*-search-idempotency",
            "*-search-*-ignored",
            "*-search-*-with-*",
            "*-search-*-echoed",
            "*-search-unknown-entity-*",
        ],
        CountsBelowZero: [
            "*-search-valid-*",
            "*-search-idempotency",
            "*-search-*-ignored",
            "*-search-*-with-*",
            "*-search-*-echoed",
            "*-search-unknown-entity-*",
        ],
    }.items(),
    ids=lambda given: given.__name__ if isinstance(given, type) else "",
)
def test_a_server_with_one_defect_fails(wrong: type[FixturePdp], failing: list[str]) -> None:
    with tried(wrong()) as results:
        failed = names(results, ModuleOutcome.FAILED)

    assert [pattern for pattern in failing if not any(fnmatchcase(name, pattern) for name in failed)] == []
    # Nothing that is about something else fails.
    assert [name for name in failed if not any(fnmatchcase(name, pattern) for pattern in failing)] == []


def test_a_deep_merge_is_the_known_exception() -> None:
    class Merges(FixturePdp):
        def item(self, request: Any, item: Any) -> Any:
            merged = super().item(request, item)
            for name in ("subject", "action", "resource"):
                if name in item and name in request:
                    merged[name] = {**request[name], **item[name]}
            return merged

    with tried(Merges(), Level.BATCH) as results:
        assert names(results, ModuleOutcome.FAILED) == set()
        excepted = [each.detail for each in results if each.outcome is ModuleOutcome.EXCEPTED]

    assert ["as the suite, against the specification: https://github.com/openid/authzen/issues/640"] == excepted


def test_what_the_specification_advises_against_is_a_warning() -> None:
    class Unwise(FixturePdp):
        token = "secret"

        def challenge(self) -> dict[str, str]:
            return {}

        def evaluations(self, request: Any) -> Any:
            answer = super().evaluations(request)
            return {"decision": True, **answer} if "evaluations" in answer else answer

        def listed(self, request: Any, results: list[Any]) -> Any:
            answer = super().listed(request, results)
            return {"results": answer["results"], **answer}

    with tried(Unwise(), credential=CallerCredential(token="secret")) as results:
        assert names(results, ModuleOutcome.FAILED) == set()
        details = {each.detail for each in results if each.outcome is ModuleOutcome.WARNED}

    assert {
        "status 401 without `WWW-Authenticate`",
        "a `decision` beside `evaluations`",
        "`page` is not the first member",
    } == details


def test_a_server_that_asks_nobody_who_it_is_fails() -> None:
    with tried(FixturePdp(), Level.BASIC, credential=CallerCredential(token="secret")) as results:
        assert {
            "evaluation-missing-credentials-returns-401",
            "evaluation-invalid-credentials-returns-401",
        } == names(results, ModuleOutcome.FAILED)


class NoMetadata(FixturePdp):
    def metadata(self, path: str) -> Any:
        raise RefusedError(404, "no metadata")


class OtherIdentifier(FixturePdp):
    identifier = "https://pdp.example.com/"


class PlainHttp(FixturePdp):
    def metadata(self, path: str) -> Any:
        return {**super().metadata(path), "access_evaluation_endpoint": "http://127.0.0.1/access/v1/evaluation"}


class EmptyMember(FixturePdp):
    def metadata(self, path: str) -> Any:
        return {**super().metadata(path), "search_action_endpoint": None}


class NoEvaluation(FixturePdp):
    def metadata(self, path: str) -> Any:
        return {name: url for name, url in super().metadata(path).items() if name != "access_evaluation_endpoint"}


class NumbersAsCapabilities(FixturePdp):
    def metadata(self, path: str) -> Any:
        return {**super().metadata(path), "capabilities": [1]}


@pytest.mark.parametrize(
    ("wrong", "failing"),
    {
        NoMetadata: {
            "served",
            "identifier",
            "evaluation-endpoint",
            "endpoints-https",
            "no-empty-members",
            "capabilities",
        },
        OtherIdentifier: {"identifier"},
        PlainHttp: {"endpoints-https"},
        EmptyMember: {"no-empty-members", "endpoints-https"},
        NoEvaluation: {"evaluation-endpoint"},
        NumbersAsCapabilities: {"capabilities"},
    }.items(),
    ids=lambda given: given.__name__ if isinstance(given, type) else "",
)
def test_wrong_metadata_fails(wrong: type[FixturePdp], failing: set[str], tls: "Tls") -> None:
    pdp = wrong()
    with tls.running(pdp) as url, HttpCaller(CallerCredential(), tls.ca, timeout_s=10) as caller:
        pdp.identifier = pdp.identifier or url
        results = list(ConformanceRun(caller, url, [Level.DISCOVERY], Support.CORE).results())

    assert {f"discovery-{name}" for name in failing} == names(results, ModuleOutcome.FAILED)


@pytest.mark.parametrize(
    ("identifier", "url"),
    [
        ("https://pdp.example.com", "https://pdp.example.com/.well-known/authzen-configuration"),
        ("https://pdp.example.com/", "https://pdp.example.com/.well-known/authzen-configuration"),
        ("https://h:8443/tenants/acme", "https://h:8443/.well-known/authzen-configuration/tenants/acme"),
    ],
)
def test_the_well_known_path_stands_between_host_and_path(identifier: str, url: str) -> None:
    assert url == well_known(identifier)


class Tls:
    """Certificates for a server and for a caller of it."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca, self.cert, self.key = folder / "ca.pem", folder / "caller.pem", folder / "caller.key"
        self._server = folder / "server.pem", folder / "server.key"
        authority.cert_pem.write_to_path(self.ca)
        for names_, cert, key in ((["127.0.0.1"], *self._server), (["caller"], self.cert, self.key)):
            issued = authority.issue_cert(*names_)
            issued.cert_chain_pems[0].write_to_path(cert)
            issued.private_key_pem.write_to_path(key)

    @contextmanager
    def running(self, pdp: FixturePdp, **options: Any) -> Iterator[str]:
        cert, key = map(str, self._server)
        with running(pdp, ssl_certfile=cert, ssl_keyfile=key, **options) as port:
            yield f"https://127.0.0.1:{port}"


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return Tls(tmp_path)


class ShowsCertificate(HttpToolsProtocol):
    def on_headers_complete(self) -> None:
        found = self.transport.get_extra_info("peercert")
        self.headers.append((b"x-peer-certificate", b"yes" if found else b""))
        super().on_headers_complete()


def test_mutual_tls_shows_the_certificate_and_leaves_it_out(tls: Tls) -> None:
    class AsksForCertificates(FixturePdp):
        def authenticate(self, headers: dict[str, str]) -> None:
            if not headers["x-peer-certificate"]:
                raise RefusedError(401, "no certificate", **self.challenge())

    optional = {"ssl_ca_certs": str(tls.ca), "ssl_cert_reqs": ssl.CERT_OPTIONAL, "http": ShowsCertificate}
    with tls.running(AsksForCertificates(), **optional) as url:
        shown = ("--tls-cert", str(tls.cert), "--tls-key", str(tls.key), "--tls-server-ca", str(tls.ca))
        done = conform(url, "--level", "basic", "--all", *shown)

    assert 0 == done.exit_code, done.stdout
    assert "evaluation-missing-credentials-returns-401\tpassed\t\n" in done.stdout
    assert "a wrong certificate ends in the TLS handshake" in done.stdout


def test_endpoints_come_from_the_metadata(tls: Tls) -> None:
    class Elsewhere(FixturePdp):
        def metadata(self, path: str) -> Any:
            moved = {name: url.replace("/access/", "/moved/") for name, url in super().metadata(path).items()}
            return {name: url for name, url in moved.items() if name != "search_action_endpoint"}

        def route(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
            return super().route(method, path.replace("/moved/", "/access/"), headers, body)

    pdp = Elsewhere()
    with tls.running(pdp) as url:
        pdp.identifier = url
        done = conform(url, "--discover", "--support", "properties", "--tls-server-ca", str(tls.ca), "--all")

    lines = done.stdout.splitlines()
    assert 0 == done.exit_code
    assert [
        "evaluation",
        "evaluations",
        "subject-search",
        "resource-search",
        "action-search",
        "discovery",
    ] == [line.partition(":")[0] for line in lines if "\t" not in line and ":" in line]
    assert {"the metadata names no `search_action_endpoint`"} == {
        line.split("\t")[2] for line in lines if line.startswith("action-search-")
    }


def test_endpoints_of_another_identifier_are_not_believed(tls: Tls) -> None:
    with tls.running(OtherIdentifier()) as url:
        done = conform(url, "--discover", "--tls-server-ca", str(tls.ca))

    assert 3 == done.exit_code
    assert "`policy_decision_point`" in done.stderr


@pytest.mark.parametrize("option", ["--token-file", "--basic-file"])
def test_a_secret_is_read_from_a_file(option: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("me:secret\n")
    pdp = FixturePdp()
    setattr(pdp, "token" if option == "--token-file" else "password", "me:secret")
    with running(pdp) as port:
        done = conform(f"http://127.0.0.1:{port}", "--level", "basic", option, str(secret))

    assert 0 == done.exit_code, done.stdout
    assert "29 passed, 0 warned, 0 excepted, 4 skipped, 0 failed" in done.stdout


def test_failures_are_listed_and_written_as_junit(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    with running(TakesPut()) as port:
        done = conform(f"http://127.0.0.1:{port}", "--junit", str(file))

    assert 1 == done.exit_code
    failed = 'evaluation-reject-put-method\tfailed\texpected status 400 or 404 or 405, got 200 {"decision": true}'
    assert failed in done.stdout
    assert done.stdout.endswith("110 passed, 0 warned, 0 excepted, 12 skipped, 5 failed\n")
    suites = {suite.get("name"): suite for suite in ET.parse(file).getroot()}
    assert ("33", "1", "6") == tuple(suites["evaluation"].get(name) for name in ("tests", "failures", "skipped"))
    [failure] = suites["action-search"].iter("failure")
    assert (failure.get("message") or "").startswith("expected status 400 or 404 or 405, got 200")


def test_a_tenant_is_part_of_the_path() -> None:
    class OneTenant(FixturePdp):
        def route(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
            return super().route(method, path.removeprefix("/tenants/acme"), headers, body)

    with running(OneTenant()) as port:
        url = f"http://127.0.0.1:{port}/"

        assert 0 == conform(url, "--tenant", "acme").exit_code
        assert 1 == conform(url, "--tenant", "globex").exit_code


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("ftp://h",), 2, "`ftp://h`: expected a URL that begins with https:// or http://"),
        (("http://h/?a",), 2, "`http://h/?a`: expected a URL without `?` and `#`"),
        (("http://a:b@h/",), 2, "the URL holds credentials: use an option"),
        (("http://h", "--tenant", "A"), 2, "`A` is not a tenant"),
        (("http://h", "--tls-cert", "x"), 2, "mutual TLS needs both --tls-cert and --tls-key"),
        (("http://h", "--token-file", "/nowhere"), 2, "--token-file: `/nowhere` cannot be read: No such file"),
        (("http://h", "--token-file", "a", "--basic-file", "b"), 2, "expected one of --token-file, --basic-file"),
        (("http://127.0.0.1:1",), 3, "no answer: "),
    ],
)
def test_wrong_usage_and_an_absent_server_are_no_failures(words: tuple[str, ...], code: int, text: str) -> None:
    done = conform(*words)

    assert code == done.exit_code
    assert text in done.stderr
