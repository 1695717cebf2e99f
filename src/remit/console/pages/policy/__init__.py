"""Pages about what the policy of a tenant says."""
