import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


def violations(error: grpc.RpcError) -> list[tuple[str, str]]:
    """Field and description of each, from the google.rpc.BadRequest in the status's details."""
    (detail,) = rpc_status.from_call(error).details
    bad_request = error_details_pb2.BadRequest()
    assert detail.Unpack(bad_request)
    return [(each.field, each.description) for each in bad_request.field_violations]
