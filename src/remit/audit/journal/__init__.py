"""Group commit: admits records, waits a commit delay, writes a batch and releases its callers."""
