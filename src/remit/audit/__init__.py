"""The audit: every decision is a row, and no answer is sent before its row is on disk, unless configured otherwise."""
