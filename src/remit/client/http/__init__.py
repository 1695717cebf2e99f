"""Channels that speak the Connect protocol over HTTP/1.1, in place of those of gRPC. They need the extra `http-client`."""
