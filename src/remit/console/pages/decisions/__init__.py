"""Pages about decisions that were recorded."""
