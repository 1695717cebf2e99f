"""What messages show of a URL."""

import pytest

from remit.core.urls import masked

SECRET = "S3CRET"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///var/audit.db", "sqlite:///var/audit.db"),
        ("sqlite:////tmp/a@b:c.db", "sqlite:////tmp/a@b:c.db"),
        ("postgresql+psycopg://remit@db.example/audit", "postgresql+psycopg://remit@db.example/audit"),
        (f"postgresql+psycopg://remit:{SECRET}@db/audit", "postgresql+psycopg://remit:***@db/audit"),
        (f"postgresql+psycopg://db/audit?password={SECRET}", "postgresql+psycopg://db/audit?***"),
        (f"postgresql+psycopg://db/audit?sslmode=require&sslpassword={SECRET}", "postgresql+psycopg://db/audit?***"),
        (f"postgresql+psycopg://remit:x@db/audit?password={SECRET}", "postgresql+psycopg://remit:***@db/audit?***"),
        (f"postgresql+psycopg://remit:{SECRET}/{SECRET}@db/audit", "postgresql+psycopg://remit:***@db/audit"),
        (f"postgresql+psycopg://remit:{SECRET}@{SECRET}@db/audit", "postgresql+psycopg://remit:***@db/audit"),
        (f"postgresql+psycopg://remit:{SECRET}?{SECRET}@db/audit", "postgresql+psycopg://***"),
        (f"postgresql+psycopg://db/audit?password={SECRET}@{SECRET}", "postgresql+psycopg://***"),
        (f"https://me:{SECRET}@collector:4318/v1/logs?key={SECRET}", "https://me:***@collector:4318/v1/logs?***"),
        (f"me:{SECRET}@collector", "***"),
        ("", "***"),
    ],
)
def test_url_is_shown_without_secrets(url: str, shown: str) -> None:
    assert shown == masked(url)
    assert SECRET not in shown
