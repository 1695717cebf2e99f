import pytest

from remit.core.errors import InvalidNameError
from remit.core.names import Tenant
from remit.core.position import Position, parse_position


@pytest.mark.parametrize(
    "position",
    [
        Position(Tenant("acme"), 1, "0123456789abcdef"),
        Position(Tenant("_instance"), 10**18 - 1, "0" * 16),
        Position(Tenant("a-b_c"), 12, "f" * 16),
    ],
)
def test_text_of_a_position_parses_to_it(position: Position) -> None:
    assert parse_position(str(position)) == position


def test_text_is_tenant_number_and_digest() -> None:
    assert str(Position(Tenant("acme"), 12, "0123456789abcdef")) == "acme:12:0123456789abcdef"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "acme",
        "acme:12",
        "acme:12:0123456789ABCDEF",
        "acme:12:0123456789abcde",
        "acme:12:0123456789abcdef0",
        "acme:0:0123456789abcdef",
        "acme:012:0123456789abcdef",
        "acme:-1:0123456789abcdef",
        "acme:1٢:0123456789abcdef",
        "acme:" + "9" * 19 + ":0123456789abcdef",
        "ACME:12:0123456789abcdef",
        "_other:12:0123456789abcdef",
        ":12:0123456789abcdef",
        "acme:12:0123456789abcdef\n",
        " acme:12:0123456789abcdef",
    ],
)
def test_other_texts_are_no_positions(text: str) -> None:
    with pytest.raises(InvalidNameError, match=r"position.*expected a position as an answer gives it"):
        parse_position(text)
