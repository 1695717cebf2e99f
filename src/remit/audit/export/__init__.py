"""A tenant's records in files, with what proves them beside them."""
