import os

import pytest
from hypothesis import HealthCheck, Phase, settings

# How many worlds each law is tried in. A first look, or another Python, gets by with fewer; `make long` tries more.
EXAMPLES = {"long": 60, "laws": 30, "quick": 10}
# No deadline: the machine's load is not the code's. Failures print a blob that `@reproduce_failure` takes.
settings.register_profile(
    "laws",
    max_examples=EXAMPLES[os.environ.get("LAWS", "laws")],
    deadline=None,
    print_blob=True,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("laws")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Passing takes seconds; making a failing world small may take Hypothesis its five minutes."""
    for item in items:
        if "laws" in item.path.parts:
            item.add_marker(pytest.mark.timeout(600))
