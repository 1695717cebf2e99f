"""A child process: what it answers, how it ends, and that nothing of it stays behind."""

import gc
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Timer

import pytest
from tools.faults.promise import until

from remit.core.errors import RemitError
from remit.process.channel import ChildProcess
from remit.process.errors import ChildEndedError

TESTS = Path(__file__).parents[2]
PATIENCE_S = 60.0
LATE = RemitError("it was late")


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChildProcess]:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    made = ChildProcess("the child", "answering", "serve", "first")
    yield made
    made.close()


@pytest.fixture
def doubler(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChildProcess]:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    made = ChildProcess("the child", "answering", "serve_numbers")
    yield made
    made.close()


def test_a_process_answers_or_raises_and_goes_on(doubler: ChildProcess) -> None:
    _, process = doubler.answer(0, PATIENCE_S, LATE)
    with pytest.raises(RemitError, match="no number"):
        doubler.answer("no number", PATIENCE_S, LATE)
    assert (0, process) == doubler.answer(0, PATIENCE_S, LATE)


def test_an_answer_that_is_late_is_the_error_for_it(doubler: ChildProcess) -> None:
    with pytest.raises(RemitError) as caught:
        doubler.answer(600, 0.05, LATE)
    assert LATE is caught.value
    assert 0 == doubler.answer(0, PATIENCE_S, LATE)[0]


@pytest.mark.parametrize("asked", [0, "no number"])
def test_a_process_that_answers_once_is_gone_then(doubler: ChildProcess, asked: object) -> None:
    with suppress(RemitError):
        assert 0 == doubler.answer_once(asked, PATIENCE_S, LATE)[0]
    assert doubler._process is None
    assert 0 == doubler.answer_once(0, PATIENCE_S, LATE)[0]


def test_a_process_starts_with_the_first_request_and_stays(child: ChildProcess) -> None:
    assert child._process is None
    nice = os.nice(0) + 3
    assert [(1, "first", nice), (2, "first", nice)] == [child.request("x") for _ in range(2)]


def test_objects_shared_by_messages_are_shared_by_the_receiver(child: ChildProcess) -> None:
    with child.channel() as channel:
        channel.send("many")
        messages = channel.receive_all()
        once, twice, last = next(messages), next(messages), next(messages)
    assert (once, None) == ([1], last)
    assert once is twice


def test_a_process_that_ends_is_reported_and_replaced(child: ChildProcess) -> None:
    with pytest.raises(ChildEndedError, match="the child ended or hung: EOFError"):
        child.request("exit")
    assert child.exit_code in {7, -signal.SIGKILL}
    assert 1 == child.request("x")[0]


def test_a_process_that_hangs_is_ended_at_the_timeout(child: ChildProcess) -> None:
    with pytest.raises(ChildEndedError, match="timed out") as caught, child.channel(0.05) as channel:
        channel.request("sleep")
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert -signal.SIGKILL == child.exit_code
    assert 1 == child.request("x")[0]


def test_unread_answer_is_not_given_to_another_request(child: ChildProcess) -> None:
    def asked() -> Iterator[None]:
        with child.channel() as channel:
            channel.send("x")
            yield

    abandoned = asked()
    next(abandoned)
    del abandoned
    gc.collect()
    assert child._process is None
    assert 1 == child.request("x")[0]


def test_stop_interrupts_a_request_and_refuses_new_ones(child: ChildProcess) -> None:
    child.request("x")
    Timer(0.05, child.stop).start()
    with pytest.raises(ChildEndedError, match="ended or hung"):
        child.request("sleep")
    with pytest.raises(ChildEndedError, match="the server is stopping"):
        child.request("x")


def test_child_process_ends_with_its_parent_during_a_request(child: ChildProcess, tmp_path: Path) -> None:
    """The parent is a process that starts one and is killed."""
    parent = f"""
import os, signal, sys
from remit.process.channel import ChildProcess
child = ChildProcess("the child", "answering", "serve", "first")
child.request("x")
child._channel.send("sleep")
open({str(tmp_path / "pid")!r}, "w").write(str(child._process.pid))
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", parent], check=False, timeout=60)
    stat = Path("/proc") / (tmp_path / "pid").read_text() / "stat"
    until(lambda: not stat.exists() or " Z " in stat.read_text(), "it has ended")


def descriptors() -> list[Path]:
    return sorted(Path("/proc/self/fd").iterdir())


def hang(child: ChildProcess) -> None:
    with pytest.raises(ChildEndedError), child.channel(0.05) as channel:
        channel.request("sleep")


def end(child: ChildProcess) -> None:
    with pytest.raises(ChildEndedError):
        child.request("exit")


def raise_in_block(child: ChildProcess) -> None:
    with pytest.raises(KeyError), child.channel():
        raise KeyError


@pytest.mark.parametrize("how", [ChildProcess.close, hang, end, raise_in_block])
def test_stop_leaves_no_descriptor_and_no_process(child: ChildProcess, how: Callable[[ChildProcess], None]) -> None:
    before = descriptors()
    child.request("x")
    assert child._process is not None
    pid = child._process.pid
    how(child)
    assert before == descriptors()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_process_that_cannot_be_started_leaves_nothing(child: ChildProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    before = descriptors()
    monkeypatch.setattr("subprocess.Popen", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ChildEndedError, match="the child cannot be started: Too many open files"):
            child.request("x")
        gc.collect()
    assert before == descriptors()
