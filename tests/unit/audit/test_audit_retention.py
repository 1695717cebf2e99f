import pytest

from remit.audit.retention.ages import Retention, parse_retention
from remit.audit.retention.cutoffs import Cutoffs
from remit.core.ages import parse_age

DAY = 86_400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90d", Retention(others=90 * DAY)),
        (
            "90d, globex=400d,acme = 36h",
            Retention(others=90 * DAY, of_tenant={"globex": 400 * DAY, "acme": 36 * 3_600}),
        ),
        ("acme=30m, 10s", Retention(others=10, of_tenant={"acme": 1_800})),
        ("90d, acme=forever", Retention(others=90 * DAY, of_tenant={"acme": None})),
        ("_instance=1d", Retention(of_tenant={"_instance": DAY})),
        ("forever", Retention()),
    ],
)
def test_ages_of_everyone_and_of_a_tenant(text: str, expected: Retention) -> None:
    assert expected == parse_retention(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("90", "`90` names no age: expected one such as `90d`"),
        ("0d", "`0d` names no age"),
        ("-1d", "`-1d` names no age"),
        ("٩d", "names no age"),
        ("1234567d", "names no age"),
        ("acme=", "`acme=` names no age"),
        ("acme=never", "`acme=never` names no age"),
        ("90d, 30d", "`30d` is a second age for all others"),
        ("acme=1d, acme=2d", "`acme=2d` is a second age for tenant `acme`"),
        ("Acme=1d", "`Acme=1d`: `Acme` is not a tenant"),
        ("=1d", "`=1d`: tenant is missing"),
        ("90d,", "has nothing where an age is expected"),
    ],
)
def test_malformed_retention_is_reported(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("(", r"\(")):
        parse_retention(text)


def test_cutoffs_are_as_long_ago_as_the_ages() -> None:
    now_us = 1_700_000_000_000_000
    cutoffs = parse_retention("2s, acme=3s, globex=forever").cutoffs(now_us)
    assert (now_us - 3_000_000, None, now_us - 2_000_000) == tuple(map(cutoffs.of, ("acme", "globex", "other")))
    assert ["", "acme"] == cutoffs.rules
    assert now_us - 2_000_000 == cutoffs.latest_us
    assert Cutoffs() == parse_retention("forever").cutoffs(now_us)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5_400),
        ("7d", 7 * DAY),
        ("1w", 7 * DAY),
        ("1d12h", 36 * 3_600),
        ("1w2d3h4m5s", 9 * DAY + 3 * 3_600 + 4 * 60 + 5),
        ("12h1d", None),
        ("1d1d", None),
        ("1d 12h", None),
        ("90", None),
        ("m", None),
        ("", None),
    ],
)
def test_an_age_in_seconds(text: str, seconds: int | None) -> None:
    assert seconds == parse_age(text)
