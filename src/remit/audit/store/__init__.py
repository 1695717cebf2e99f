"""Where records live: one store, several files read as one, backup and restore."""
