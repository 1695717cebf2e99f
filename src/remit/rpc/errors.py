"""Maps errors to gRPC statuses, and to the text that the caller may read."""

from collections.abc import Mapping
from enum import StrEnum
from math import ceil
from typing import Final, NoReturn

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from remit.audit.errors import STORE_AWAY, AuditStoreError, JournalUnavailable
from remit.core.errors import MalformedQuestionError, RemitError
from remit.engine.inquiry import TooLargeError
from remit.fleet.errors import HistoryLostError, PolicyStoreAwayError, PolicyStoreError
from remit.policy.live import RevisionNotCurrentError, TenantUnavailableError
from remit.policy.revisions.archive import RevisionNotLoadableError, RevisionNotStoredError
from remit.process.errors import ChildEndedError
from remit.rpc.call_context import CallContext
from remit.service.errors import (
    BindingConflictError,
    BindingRefusedError,
    ForbiddenError,
    LoadingError,
    NoBindingsError,
    NoSuchTenantError,
    PinError,
    StillComputingError,
    TooManyWaitingError,
)
from remit.service.identities.errors import CredentialRefusedError, KeysAwayError, UnverifiedTokenError

POLICY_STORE_AWAY: Final = "the policy store does not answer"
STORE_REFUSES: Final = "this node cannot change the policy store; its log says why"

_log = structlog.get_logger("remit.rpc")


class Refusal(StrEnum):
    """The limit that refused a call: the reason of its `google.rpc.ErrorInfo`."""

    CALLER_RATE = "CALLER_RATE"
    TENANT_RATE = "TENANT_RATE"
    IN_FLIGHT = "IN_FLIGHT"


class CrowdedError(RemitError):
    """The limit of calls in flight is reached."""

    reason = "places"
    """A label of the metric."""
    limit: Refusal | None = None
    """What the details of the status name; None if they name nothing, and the caller should not try again by itself."""
    retry_s = 0.1
    """When the caller may try again."""


class ShareError(CrowdedError):
    """The caller already has as many places as one caller may have."""

    reason = "share"
    limit = Refusal.IN_FLIGHT


class LimitError(CrowdedError):
    """A limit of the caller or of the tenant is reached."""

    def __init__(self, limit: Refusal, text: str, retry_s: float | None = None) -> None:
        super().__init__(f"{text}: try again" if retry_s is None else f"{text}: try again in {retry_s:.3g} s")
        self.limit = limit
        self.reason = limit.lower().replace("_", " ")
        if retry_s is not None:
            self.retry_s = retry_s


class StoppingError(RemitError):
    """The server takes no new calls."""


class PageOfOldPolicyError(RemitError):
    """The policy changed since the first page, so the pages would not fit together."""


class NoSuchFileError(RemitError):
    """The revision has no such file."""


class RecordNotFoundError(RemitError):
    """There is no such record, or the caller may not know of it."""


class MalformedMessageError(RemitError):
    """The bytes are not a message of this method."""


class RequestsLateError(RemitError):
    """The requests of a stream took too long to come."""


class NoShadowError(RemitError):
    """The server has no candidate policy."""


_STATUS_OF: Final[Mapping[type[Exception], grpc.StatusCode]] = {
    MalformedQuestionError: grpc.StatusCode.INVALID_ARGUMENT,
    MalformedMessageError: grpc.StatusCode.INVALID_ARGUMENT,
    RevisionNotCurrentError: grpc.StatusCode.FAILED_PRECONDITION,
    PageOfOldPolicyError: grpc.StatusCode.FAILED_PRECONDITION,
    TooLargeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TenantUnavailableError: grpc.StatusCode.UNAVAILABLE,
    JournalUnavailable: grpc.StatusCode.UNAVAILABLE,
    StoppingError: grpc.StatusCode.UNAVAILABLE,
    LoadingError: grpc.StatusCode.UNAVAILABLE,
    StillComputingError: grpc.StatusCode.UNAVAILABLE,
    TooManyWaitingError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ChildEndedError: grpc.StatusCode.UNAVAILABLE,
    CrowdedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    AuditStoreError: grpc.StatusCode.UNAVAILABLE,
    NoSuchFileError: grpc.StatusCode.NOT_FOUND,
    NoSuchTenantError: grpc.StatusCode.NOT_FOUND,
    RecordNotFoundError: grpc.StatusCode.NOT_FOUND,
    ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
    RevisionNotStoredError: grpc.StatusCode.NOT_FOUND,
    RevisionNotLoadableError: grpc.StatusCode.FAILED_PRECONDITION,
    PinError: grpc.StatusCode.FAILED_PRECONDITION,
    RequestsLateError: grpc.StatusCode.DEADLINE_EXCEEDED,
    NoShadowError: grpc.StatusCode.FAILED_PRECONDITION,
    NoBindingsError: grpc.StatusCode.FAILED_PRECONDITION,
    BindingRefusedError: grpc.StatusCode.PERMISSION_DENIED,
    BindingConflictError: grpc.StatusCode.ABORTED,
    HistoryLostError: grpc.StatusCode.ABORTED,
    PolicyStoreAwayError: grpc.StatusCode.UNAVAILABLE,
    PolicyStoreError: grpc.StatusCode.FAILED_PRECONDITION,
    CredentialRefusedError: grpc.StatusCode.UNAUTHENTICATED,
    # The boundary verifies the token in a thread.
    UnverifiedTokenError: grpc.StatusCode.UNAVAILABLE,
    KeysAwayError: grpc.StatusCode.UNAVAILABLE,
    # A method of a library's service that the servicer does not implement.
    NotImplementedError: grpc.StatusCode.UNIMPLEMENTED,
}
"""The status of an error and of the errors derived from it."""
_AFTER_WAITING: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION}
_PASSED_S: Final = 0.001
_DOMAIN: Final = "remit"


def status_of(error: type[Exception]) -> grpc.StatusCode:
    """The status in the table of the error, or of its nearest base; INTERNAL if there is none."""
    return next((_STATUS_OF[each] for each in error.__mro__ if each in _STATUS_OF), grpc.StatusCode.INTERNAL)


def status_in(context: CallContext, error: Exception) -> grpc.StatusCode:
    """The status of an error in this call."""
    status = status_of(type(error))
    # If our timeout and the caller's deadline coincide, report DEADLINE_EXCEEDED.
    if status in _AFTER_WAITING and context.time_remaining() < _PASSED_S:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return status


def abort(context: CallContext, status: grpc.StatusCode, error: Exception) -> NoReturn:
    """Ends the call with the status and the public text of the error."""
    detailed = _with_details(status, error)
    if detailed is not None:
        context.abort_with_status(rpc_status.to_status(detailed))
    if status is grpc.StatusCode.INTERNAL:
        _log.error("a call failed", exc_info=error)
        context.abort(status, "internal error; the server's log has it")
    context.abort(status, _public_text(error))
    raise AssertionError("abort returned")


def details_of(error: CrowdedError) -> bytes:
    """The details of the error's status as trailing metadata hold them; empty if there are none."""
    detailed = _with_details(grpc.StatusCode.RESOURCE_EXHAUSTED, error)
    return detailed.SerializeToString() if detailed is not None else b""


def _with_details(status: grpc.StatusCode, error: Exception) -> status_pb2.Status | None:
    """The status with its details; None if it has none."""
    details: list[Message] = []
    if isinstance(error, MalformedQuestionError):
        bad_request = error_details_pb2.BadRequest()
        for each in error.violations:
            bad_request.field_violations.add(field=each.field, description=each.description)
        details = [bad_request]
    elif isinstance(error, CrowdedError) and error.limit is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(ceil(error.retry_s * 1e9))
        details = [retry, error_details_pb2.ErrorInfo(reason=error.limit, domain=_DOMAIN)]
    if not details:
        return None
    detailed = status_pb2.Status(code=status.value[0], message=str(error))
    for each_detail in details:
        detailed.details.add().Pack(each_detail)
    return detailed


def _public_text(error: Exception) -> str:
    """The text for the caller. A store driver's text names hosts, users and files, so it goes to the log only."""
    if isinstance(error, JournalUnavailable):
        return error.shown
    if isinstance(error, AuditStoreError):
        _log.error("the audit store failed a call", error=str(error))
        return STORE_AWAY
    if isinstance(error, PolicyStoreError):
        _log.error("the policy store failed a call", error=str(error))
        return STORE_REFUSES if not isinstance(error, PolicyStoreAwayError) else POLICY_STORE_AWAY
    return str(error)
