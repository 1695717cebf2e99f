import pytest

from remit.rpc.traceparent import trace_id_in

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize("value", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-more"])
def test_the_trace_id_of_a_traceparent(value: str) -> None:
    assert TRACE == trace_id_in([("user-agent", "x"), ("traceparent", value)])


@pytest.mark.parametrize(
    "value",
    [
        "",
        TRACE,
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"cc-{TRACE}-{SPAN}-01more",
    ],
)
def test_malformed_traceparent_is_ignored(value: str) -> None:
    assert "" == trace_id_in([("traceparent", value)])


def test_call_without_a_traceparent_has_no_trace() -> None:
    assert "" == trace_id_in([("tracestate", f"00-{TRACE}-{SPAN}-01")])
