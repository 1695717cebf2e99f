"""Store and forward: records wait in a local file while the store is away."""
