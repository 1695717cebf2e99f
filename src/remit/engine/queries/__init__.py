"""Lists and composites, each equal to Check: search, reachable owners, dedicated resources, graphs, operations."""
