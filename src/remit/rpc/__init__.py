"""The API over gRPC.

It has many modules because each service has one, beside the boundary that all calls pass and its parts.
"""
