from collections.abc import Mapping
from typing import Final

from remit.core.diagnostics import PolicyError
from remit.migrate.finding import FindingId, Findings
from remit.migrate.output_folder import loaded

_SHOWN: Final = 20


def report_differences(files: Mapping[str, bytes], findings: Findings) -> None:
    """Loads the files and runs their tests. A difference is a finding that refuses the import."""
    try:
        tenants = loaded(files)
    except PolicyError as error:
        for each in error.diagnostics[:_SHOWN]:
            findings.add(FindingId.ANSWERS_DIFFER, each.file, f"the files would not load: {each.message}")
        return
    for tenant in tenants.values():
        failures = {failure.diagnostic: failure for failure in tenant.failures}
        for each in tenant.diagnostics[:_SHOWN]:
            failure = failures.get(each)
            message = each.message
            if failure is not None:
                question = f"{failure.case.asked} in `{tenant.tenant}`"
                message = f"{question}: the original says {failure.expected}, the translation {failure.actual}"
            findings.add(FindingId.ANSWERS_DIFFER, each.file, message)
