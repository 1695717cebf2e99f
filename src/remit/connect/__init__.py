"""The API of the protos over HTTP: the Connect protocol, in protobuf and JSON, and gRPC-Web."""
