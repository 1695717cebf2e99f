"""The store of records: one store, shards read as one, backup and restore."""
