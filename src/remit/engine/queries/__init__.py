"""Lists and composites, all consistent with Check: search, reachable owners, dedicated resources, graphs,
operations."""
