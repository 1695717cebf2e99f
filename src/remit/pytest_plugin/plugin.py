"""A pytest plugin: `pytest policies/` runs the tests of a policy directory, one item per case.

Every run of pytest loads it if remit is installed: it imports nothing before it finds a test file of a tenant.
"""

from pathlib import Path
from typing import Final

import pytest

_VOCABULARY: Final = "vocabulary.yaml"
_TESTS: Final = "tests"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collects DIR/TENANT/tests/*.yaml if DIR has a vocabulary. Ignores every other file."""
    folder = file_path.parent
    if file_path.suffix != ".yaml" or folder.name != _TESTS or not (folder.parents[1] / _VOCABULARY).is_file():
        return None
    try:
        from remit.pytest_plugin.cases import CaseFile  # noqa: PLC0415 (its dependencies may not be installed)
    except ModuleNotFoundError as error:
        needed = f"`{error.name}`: install it with `pip install 'remit[pytest]'`"
        raise parent.CollectError(f"the tests of a policy directory need {needed}") from error
    return CaseFile.from_parent(parent, path=file_path)
