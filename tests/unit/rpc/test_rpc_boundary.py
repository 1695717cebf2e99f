from types import SimpleNamespace
from typing import Any

from remit.core.errors import InvalidNameError
from remit.rpc.boundary import CallBoundary, CallMethod


def test_refused_call_is_counted_before_its_caller_has_the_answer() -> None:
    """Whoever reads the metrics after an answer finds it there."""
    order: list[str] = []

    def no_caller(*_: object, **__: object) -> None:
        raise InvalidNameError("a caller without a name")

    metrics: Any = SimpleNamespace(called=lambda *_: order.append("counted"))
    identities: Any = SimpleNamespace(credential_of=no_caller)
    call: Any = SimpleNamespace(context=SimpleNamespace(), refuse=lambda: order.append("refused"))
    unused: Any = None
    boundary = CallBoundary(
        metrics,
        lambda *_: True,
        refusals=unused,
        rights=unused,
        forbidden=unused,
        limited=unused,
        identities=identities,
        prompt=True,
    )
    calls: Any = SimpleNamespace(weight=1)
    method = CallMethod("Check", unused, calls, parse=unused, serialize=unused)
    boundary.bind(method).arrive(b"", call)
    assert ["counted", "refused"] == order
