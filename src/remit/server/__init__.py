"""A server process: assembles settings, node and gRPC server, serves until a signal, and stops in order."""
