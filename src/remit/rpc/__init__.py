"""The API over gRPC.

It has many modules because each service has one. The others are the boundary around every call and its parts.
"""
