"""The HTTP server of a node, and what calls over HTTP share with calls over gRPC: identity, admission and statuses."""
