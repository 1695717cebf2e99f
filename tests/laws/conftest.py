import pytest
from hypothesis import HealthCheck, Phase, settings

# No deadline: the machine's load is not the code's. Failures print a blob that `@reproduce_failure` takes.
settings.register_profile(
    "laws",
    deadline=None,
    max_examples=60,
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
