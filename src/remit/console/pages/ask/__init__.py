"""Pages that ask the policy of a tenant."""
