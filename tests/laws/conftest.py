from hypothesis import HealthCheck, settings

# No deadline: the machine's load is not the code's. Failures print a blob that `@reproduce_failure` takes.
settings.register_profile(
    "laws",
    deadline=None,
    max_examples=60,
    print_blob=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("laws")
