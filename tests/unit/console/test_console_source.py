import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from remit.client import DecisionUnavailable
from remit.console.pages.policy.source import PAGE
from remit.v1 import policy_service_pb2 as messages


def shown(error: DecisionUnavailable) -> Any:
    """The page of a file with coverage, of a server whose tests give this error."""

    async def ask(request: Any) -> Any:
        if isinstance(request, messages.GetTestsRequest):
            raise error
        return messages.GetSourceResponse(
            revision="1" * 64, total_lines=1, lines=[messages.SourceLine(number=1, text="p")]
        )

    def text(name: str) -> str:
        return {"file": "acme/roles.csv", "coverage": "rows"}.get(name, "")

    visit: Any = SimpleNamespace(
        tenant="acme",
        text=text,
        number=lambda name, default, **_: default,
        need_room=lambda _: None,
        whole=False,
        client=SimpleNamespace(ask=ask),
    )
    return asyncio.run(PAGE.show(visit))


def test_the_text_of_a_file_does_not_wait_for_tests_that_still_run() -> None:
    view = shown(DecisionUnavailable("UNAVAILABLE", "the tests of `1111` still run: ask again for the result"))
    assert "still run: load this page again" in view.context["coverage"]
    assert ["p"] == [each.text for each in view.context["lines"]]


def test_tests_that_may_not_be_read_are_no_page() -> None:
    with pytest.raises(DecisionUnavailable, match="PERMISSION_DENIED"):
        shown(DecisionUnavailable("PERMISSION_DENIED", "may not READ"))
