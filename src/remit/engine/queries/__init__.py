"""Lists and composites, consistent with Check: search, reachable owners, dedicated resources, graphs, operations."""
