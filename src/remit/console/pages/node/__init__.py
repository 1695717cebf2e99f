"""Pages about the server, and about all tenants at once."""
