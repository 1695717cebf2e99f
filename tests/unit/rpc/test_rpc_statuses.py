"""Every error that a call may end with has a status that somebody chose."""

import importlib
from collections.abc import Iterator

import grimp
import grpc
import pytest

from remit.audit.errors import AuditStoreError, JournalUnavailable, NotCountedError, StoreAwayError
from remit.core.authzen import UnknownResourceError
from remit.core.diagnostics import PolicyError
from remit.core.errors import InvalidNameError, RemitError
from remit.core.gateway import RefusedPathError, SameRequestsError
from remit.engine.decision_diagram import TooManyDiagramsError
from remit.engine.diff.escalation import TooManyWaysError
from remit.engine.differential.casbin_oracle import RegistrationError
from remit.engine.role_graph import TooManyPathsError
from remit.fleet.errors import ForgedReleaseError, PublishRefusedError
from remit.policy.build.build_process import SlowLoadError
from remit.policy.read.git import GitError
from remit.policy.read.tree import UnsettledError
from remit.process.errors import ChannelError
from remit.rpc.errors import status_of
from remit.service.errors import StartupError
from remit.service.identities.file import IdentitiesError
from remit.service.reload.overlays import OverlayRefusedError
from remit.service.reload.swap import OtherReleaseError
from remit.service.settings_file import SettingsFileError

BEHIND = "remit.rpc.server"
ELSEWHERE = {
    InvalidNameError: "made a violation of its field by `named`",
    UnknownResourceError: "the room of AuthZEN answers it, and a test of policies tells it",
    RefusedPathError: "the answer to a gateway tells it",
    SameRequestsError: "files are loaded by the reloader, in a process of its own",
    NotCountedError: "made a violation of `group_by`",
    TooManyPathsError: "a search tells it as part of its answer",
    PolicyError: "files are loaded by the reloader, in a process of its own",
    UnsettledError: "likewise",
    RegistrationError: "likewise",
    ChannelError: "the parent of a child process makes a ChildEndedError of it",
    StartupError: "there is no server yet",
    SettingsFileError: "likewise",
    SlowLoadError: "the reloader loads that tenant again, by itself",
    IdentitiesError: "the file is read at the start, and by a thread of its own",
    GitError: "a revision is kept without its commit",
    TooManyDiagramsError: "a change of rows of run time is refused for it",
    TooManyWaysError: "likewise",
    PublishRefusedError: "the command tells it, and a server over a directory puts it into the diagnostics",
    ForgedReleaseError: "the puller notes it, and what serves goes on",
    OverlayRefusedError: "the log has it, and what serves goes on",
    OtherReleaseError: "likewise",
}
"""Errors of what a server consists of that no call ends with, and why not."""


def derived(base: type[Exception]) -> Iterator[type[Exception]]:
    for each in base.__subclasses__():
        yield each
        yield from derived(each)


@pytest.fixture(scope="module")
def errors() -> set[type[Exception]]:
    """All that are defined in the modules that a server imports."""
    modules = grimp.build_graph("remit", cache_dir=None).find_upstream_modules(BEHIND) | {BEHIND}
    for each in modules:
        importlib.import_module(each)
    roots = (RemitError, AuditStoreError, JournalUnavailable)
    return {each for root in roots for each in (root, *derived(root)) if each.__module__ in modules}


def test_every_error_has_a_status(errors: set[type[Exception]]) -> None:
    without = {each for each in errors if status_of(each) is grpc.StatusCode.INTERNAL}
    assert ELSEWHERE.keys() | {RemitError} == without


def test_a_derived_error_has_the_status_of_its_base(errors: set[type[Exception]]) -> None:
    assert StoreAwayError in errors
    assert grpc.StatusCode.UNAVAILABLE is status_of(StoreAwayError)


def test_unexpected_error_is_internal() -> None:
    assert grpc.StatusCode.INTERNAL is status_of(ZeroDivisionError)
