import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


def refusal(error: grpc.RpcError) -> tuple[str, float]:
    """The limit that the error names, and the seconds until the call may be tried again."""
    retry, info = error_details_pb2.RetryInfo(), error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)
    assert status is not None
    first, second = status.details
    assert first.Unpack(retry)
    assert second.Unpack(info)
    assert "remit" == info.domain
    return info.reason, retry.retry_delay.ToNanoseconds() / 1e9
