"""Policy files to values with positions: the tree of a directory, CSV, YAML, rows, manifests, limits."""
