"""The migrations of a policy store."""
