from collections.abc import Iterable, Iterator

from remit.cli.common.junit import JUnitCase, junit_xml
from remit.policy.load import LoadedTenant


def junit(tenants: Iterable[LoadedTenant]) -> bytes:
    """Writes the tests as JUnit XML: one suite per tenant, one test per case.

    A tenant that does not load is one test with an error.
    """
    return junit_xml("remit test", ((loaded.tenant, list(_cases(loaded)), loaded.seconds) for loaded in tenants))


def _cases(loaded: LoadedTenant) -> Iterator[JUnitCase]:
    mistakes = loaded.mistakes
    if mistakes:
        text = "\n".join(map(str, mistakes))
        yield JUnitCase(loaded.tenant, "loads", problem="error", message=mistakes[0].message, text=text)
        return
    failures = {each.case: each for each in reversed(loaded.failures)}
    for case in loaded.cases:
        failure = failures.get(case)
        if failure is None:
            yield JUnitCase(case.file, case.asked, case.file, case.line)
        else:
            message = f"expected {failure.expected}, got {failure.actual}"
            text = f"{case.place}\n{failure.text}"
            yield JUnitCase(case.file, case.asked, case.file, case.line, "failure", message, text)
