"""What one tenant's questions cost keeps the callers of no other waiting."""

import shutil
from collections.abc import Callable
from pathlib import Path

from support.editing import QUICK, append
from support.questions import ALLOWED, check
from support.server import DEADLINE_S, Server, access_of, until

from remit.core.names import Tenant
from remit.policy.load import load_tree
from remit.v1 import access_service_pb2 as messages

LAYERS, WIDTH = 5, 70
PEOPLE = 250
GRANT = "g, user:zoe, role:developer, acme/acme.finance\n"


def with_a_deep_graph(policies: Path) -> None:
    """Adds the tenant initech, whose every person is in hundreds of groups by tens of thousands of ways."""
    rows = [f"g, user:p{number}, group:l0-{number % WIDTH}, initech" for number in range(PEOPLE)]
    for layer in range(1, LAYERS):
        rows += [
            f"g, group:l{layer - 1}-{below}, group:l{layer}-{above}, initech"
            for below in range(WIDTH)
            for above in range(WIDTH)
        ]
    rows += [f"g, group:l{LAYERS - 1}-{each}, role:developer, initech/n{each}.**" for each in range(WIDTH)]
    (policies / "initech").mkdir()
    (policies / "initech" / "bindings.csv").write_text("\n".join(rows) + "\n")


def test_slow_batch_waits_for_a_thread_and_delays_no_other_call(
    serve: Callable[..., Server], untested: Path, tmp_path: Path
) -> None:
    """It has no more questions than others have that are answered at once."""
    policies = Path(shutil.copytree(untested, tmp_path / "policies"))
    with_a_deep_graph(policies)
    edited = Path(shutil.copytree(untested, tmp_path / "edited"))
    append(edited / "acme" / "bindings.csv", GRANT)
    to_come = load_tree(edited).tenants[Tenant("acme")].revision
    flags = ("--threads", "1", "--batch-limit", str(PEOPLE), "--revision-wait-s", str(DEADLINE_S))
    flags += ("--policy-max-question-rows", "100000")
    server = serve(*flags, *QUICK, policies=policies)
    questions = [
        messages.Question(principal=f"user:p{number}", action="VIEW", kind="FLOW", namespace="n1.x")
        for number in range(PEOPLE)
    ]
    long = messages.BatchCheckRequest(tenant="initech", questions=questions)
    short = messages.BatchCheckRequest(tenant="acme", questions=[ALLOWED] * 5)
    with server.channel() as channel:
        access = access_of(channel)
        in_the_thread = access.Check.future(check(revision=to_come), timeout=DEADLINE_S)
        until(lambda: server.metric("remit_calls_in_flight", calls="calls") == 1, "the one thread is taken")
        waiting = [access.BatchCheck.future(long, timeout=DEADLINE_S) for _ in range(3)]
        until(lambda: server.metric("remit_calls_in_flight", calls="calls") == 4, "the batches have arrived")
        for _ in range(20):
            assert access.Check(check(), timeout=DEADLINE_S).decision.decision_id
            assert 5 == len(access.BatchCheck(short, timeout=DEADLINE_S).results)
        assert not any(each.done() for each in waiting)
        append(policies / "acme" / "bindings.csv", GRANT)
        assert to_come == in_the_thread.result().revision
        assert [PEOPLE] * 3 == [len(each.result().results) for each in waiting]
