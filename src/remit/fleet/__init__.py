"""A fleet: nodes that serve the releases of one policy store."""
